-- What is believed now of closed days against what stands. Quantities and atoms are exact and signed.

-- name: capacity
-- The difference of two beliefs about a closed stretch of a day (present_given less stands_given), cut at its edges.
WITH side AS (
    SELECT 1 AS sign, * FROM present_given UNION ALL BY NAME SELECT -1 AS sign, * FROM stands_given
), clipped AS (
    SELECT *, sign * (least(to_us, $to_us) - greatest(from_us, $from_us))::HUGEINT * share_nano AS q
    FROM side WHERE from_us < $to_us AND to_us > $from_us
)
SELECT 'capacity', s.department_id, s.business, s.scenario, i.vendor, i.model, i.pool, i.cluster_id, s.state, s.currency,
       sum(s.q)::DECIMAL(38, 0), coalesce(sum(s.q * s.price_micro), 0)::DECIMAL(38, 0)
FROM clipped s JOIN inventory i USING (inventory_id)
GROUP BY ALL HAVING sum(s.q) <> 0 OR coalesce(sum(s.q * s.price_micro), 0) <> 0;

-- name: energy
-- The same of the energy lines beside them, cut as published.sql cuts them. Quantity: millijoules before the PUE.
WITH side AS (
    SELECT 1 AS sign, * FROM present_given UNION ALL BY NAME SELECT -1 AS sign, * FROM stands_given
), clipped AS (
    SELECT *, sign * (energy_mj::HUGEINT * (least(to_us, $to_us) - from_us) // (to_us - from_us)
                      - energy_mj::HUGEINT * (greatest(from_us, $from_us) - from_us) // (to_us - from_us)) AS q
    FROM side WHERE from_us < $to_us AND to_us > $from_us
)
SELECT 'energy', s.department_id, s.business, s.scenario, i.vendor, i.model, i.pool, i.cluster_id, s.state,
       CASE WHEN s.tariff_micro IS NOT NULL THEN s.currency END AS currency, sum(s.q)::DECIMAL(38, 0),
       coalesce(sum(s.q * s.pue_milli * s.tariff_micro * 1000000), 0)::DECIMAL(38, 0)
FROM clipped s JOIN inventory i USING (inventory_id)
GROUP BY ALL HAVING sum(s.q) <> 0 OR coalesce(sum(s.q * s.pue_milli * s.tariff_micro), 0) <> 0;

-- name: remainder
-- The same of what of a price no share carries: the platform's, without hours.
WITH side AS (
    SELECT 1 AS sign, * FROM present_given UNION ALL BY NAME SELECT -1 AS sign, * FROM stands_given
), clipped AS (
    SELECT *, sign * (cost_atoms::HUGEINT // (to_us - from_us) * (least(to_us, $to_us) - from_us)
                      + cost_atoms::HUGEINT % (to_us - from_us) * (least(to_us, $to_us) - from_us) // (to_us - from_us)
                      - cost_atoms::HUGEINT // (to_us - from_us) * (greatest(from_us, $from_us) - from_us)
                      - cost_atoms::HUGEINT % (to_us - from_us) * (greatest(from_us, $from_us) - from_us) // (to_us - from_us)) AS a
    FROM side WHERE from_us < $to_us AND to_us > $from_us
)
SELECT 'capacity', 'platform', NULL, NULL, i.vendor, i.model, i.pool, i.cluster_id, NULL, s.currency, 0, sum(s.a)::DECIMAL(38, 0)
FROM clipped s JOIN inventory i USING (inventory_id)
GROUP BY ALL HAVING sum(s.a) <> 0;

-- name: news
-- What became known about a day since its facts were last made.
WITH made AS (
    SELECT max(coalesce(checked_at, published_at)) AS at FROM published WHERE what = 'facts' AND day = $day
), change AS (
    SELECT 'allocation' AS kind, valid_from AS a, valid_to AS b, greatest(known_from, coalesce(known_to, known_from)) AS seen_at FROM allocation
    UNION ALL SELECT 'inventory', valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM inventory
    UNION ALL SELECT 'price', valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM price
    UNION ALL SELECT 'rate', valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM exchange_rate
    UNION ALL SELECT 'tariff', valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM tariff
    UNION ALL SELECT 'pue', valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM pue
    UNION ALL SELECT 'policy', valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM money_policy
    UNION ALL SELECT 'mapping', valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM mapping_rule
    UNION ALL SELECT 'incident', onset, closed_at, greatest(opened_at, coalesce(closed_at, opened_at)) FROM incident
    UNION ALL SELECT 'isolation', isolated_at, released_at, greatest(isolated_at, coalesce(released_at, isolated_at)) FROM isolation
)
SELECT DISTINCT kind FROM change, made WHERE (made.at IS NULL OR seen_at > made.at) AND a < $day::DATE + 1 AND (b IS NULL OR b > $day)
UNION SELECT 'telemetry' FROM touched_day t, made WHERE t.day = $day AND (made.at IS NULL OR t.touched_at > made.at)
ORDER BY 1;

-- name: forget
-- The last look at a day of a closed period.
DELETE FROM correction_cell WHERE period_from = $period AND day = $day;

-- name: looked
INSERT INTO correction_look VALUES ($period, $day, $news, true)
ON CONFLICT (period_from, day) DO UPDATE SET
    news = CASE WHEN correction_look.waiting THEN trim(correction_look.news || ' ' || excluded.news) ELSE excluded.news END,
    waiting = true;

-- name: waiting
-- Closed periods that were looked at since corrections were posted last: their days, and what became known.
SELECT l.period_from, p.valid_to, p.zone, list(l.day ORDER BY l.day), string_agg(l.news, ' ')
FROM correction_look l JOIN period_close p ON p.valid_from = l.period_from
WHERE l.waiting GROUP BY ALL ORDER BY l.period_from;

-- name: done
UPDATE correction_look SET waiting = false WHERE waiting;

-- name: cell
INSERT INTO correction_cell VALUES ($period, $day, $cost_class, $department_id, $business, $scenario, $vendor, $model, $pool,
    $cluster_id, $state, $currency, $quantity, $cost_atoms);

-- name: due
-- What is believed now of a closed period, less what stands, less what is posted already.
SELECT cost_class, department_id, business, scenario, vendor, model, pool, cluster_id, state, currency,
       sum(q)::DECIMAL(38, 0), sum(a)::DECIMAL(38, 0)
FROM (SELECT * EXCLUDE (period_from, day, quantity, cost_atoms), quantity::HUGEINT AS q, cost_atoms::HUGEINT AS a
      FROM correction_cell WHERE period_from = $period
      UNION ALL BY NAME
      SELECT cost_class, department_id, business, scenario, vendor, model, pool, cluster_id, state, currency,
             -quantity::HUGEINT AS q, -cost_atoms::HUGEINT AS a
      FROM adjustment WHERE kind = 'correction' AND period_from = $period)
GROUP BY ALL HAVING sum(q) <> 0 OR sum(a) <> 0
ORDER BY ALL;

-- name: covering
-- Where the closed period ends that holds an instant.
SELECT valid_to FROM period_close WHERE valid_from <= $at AND valid_to > $at;

-- name: last_closed
-- Where the last closed period ends.
SELECT max(valid_to) FROM period_close;
