-- A report's questions to the views of ullage_collector.published. quantity: nano-share microseconds; atoms: exact
-- money, NULL where unpriced. $currency: the report's; lines in another are counted in hours and listed apart.

-- name: currencies
-- Which currencies the span is priced in, the most hours first.
SELECT currency FROM segment WHERE currency IS NOT NULL GROUP BY currency ORDER BY sum(quantity) DESC, currency;

-- name: posted_currencies
SELECT DISTINCT currency FROM adjustment
WHERE status = 'posted' AND currency IS NOT NULL AND epoch_us(posted_at) >= $from_us AND epoch_us(posted_at) < $to_us
ORDER BY currency;

-- name: spent
-- Table spent: the lines that are alike but for their time, summed: read once, and most tables are made of it. since, until: the first and
-- last instant. A month of ten thousand cards is half a million rows where there were ten million.
CREATE OR REPLACE TEMP TABLE spent AS
SELECT card_id, node_id, cluster_id, vendor, model, pool, workload_id, department_id, business, scenario, state, currency, price_micro, price_id,
       origin, sum(quantity) AS quantity, sum(atoms) AS atoms, min(from_us) AS since, max(to_us) AS until
FROM segment GROUP BY ALL;

-- name: cells
-- The finest sums the tables are made of.
SELECT department_id, coalesce(business, ''), coalesce(scenario, ''), vendor, model, coalesce(pool, ''), cluster_id, state,
       sum(quantity), coalesce(sum(atoms) FILTER (currency = $currency), 0), coalesce(sum(quantity) FILTER (price_micro IS NULL), 0)
FROM spent GROUP BY ALL;

-- name: department_cells
-- Sums by department in stretches of the organisation: $cuts are the instants at which one begins, and the last one's end.
SELECT department_id, begins, state, sum(q), coalesce(sum(q::HUGEINT * price_micro) FILTER (currency = $currency), 0),
       coalesce(sum(q) FILTER (price_micro IS NULL), 0)
FROM (SELECT s.*, e.begins, (least(s.to_us, e.ends) - greatest(s.from_us, e.begins)) * s.share_nano AS q
      FROM segment s JOIN (SELECT unnest(list_slice($cuts, 1, len($cuts) - 1))::BIGINT AS begins,
                                  unnest(list_slice($cuts, 2, len($cuts)))::BIGINT AS ends) e
        ON s.from_us < e.ends AND s.to_us > e.begins)
GROUP BY department_id, begins, state;

-- name: whole
-- The same sum by another way, from the lines themselves: it must be the sum of the cells.
SELECT coalesce(sum(quantity), 0), coalesce(sum(atoms) FILTER (currency = $currency), 0), count(*), count(DISTINCT card_id),
       coalesce(sum(quantity) FILTER (price_micro IS NOT NULL AND department_id <> '__unallocated__' AND state <> 'unknown'), 0)
FROM segment;

-- name: day_sums
-- Quantity of each whole UTC day in the span, and its money in all currencies: to hold against the manifests.
SELECT from_us // 86400000000, sum(quantity), coalesce(sum(atoms), 0) FROM segment GROUP BY 1;

-- name: owned
-- Quantity owned in each UTC day, as the coverage files say.
SELECT hour_us // 86400000000, sum(owned_quantity) FROM coverage GROUP BY 1;

-- name: hours
-- Sums by UTC hour; lines never cross one.
SELECT from_us // 3600000000 * 3600000000, state, sum(quantity), coalesce(sum(atoms) FILTER (currency = $currency), 0),
       coalesce(sum(quantity) FILTER (price_micro IS NULL), 0)
FROM segment GROUP BY ALL;

-- name: model_hours
-- Of each card model and UTC hour: what was owned, held, used, and held and idle.
SELECT vendor, model, from_us // 3600000000 * 3600000000, sum(quantity),
       coalesce(sum(quantity) FILTER (state IN ('used', 'allocated_idle', 'unknown')), 0),
       coalesce(sum(quantity) FILTER (state = 'used'), 0), coalesce(sum(quantity) FILTER (state = 'allocated_idle'), 0)
FROM segment GROUP BY ALL;

-- name: slots
-- Sums by slots shorter than an hour, for zones whose midnight is not on a UTC hour; lines are cut.
SELECT slot, state, sum(q), coalesce(sum(q::HUGEINT * price_micro) FILTER (currency = $currency), 0),
       coalesce(sum(q) FILTER (price_micro IS NULL), 0)
FROM (SELECT state, price_micro, currency, slot, (least(to_us, slot + $step) - greatest(from_us, slot)) * share_nano AS q
      FROM (SELECT *, unnest(range(from_us // $step * $step, to_us, $step)) AS slot FROM segment))
GROUP BY ALL;

-- name: models
-- What each model's cards cost an hour, and the used hours of those that are priced in the report's currency.
SELECT vendor, model, count(DISTINCT card_id), min(price_micro) FILTER (currency = $currency),
       max(price_micro) FILTER (currency = $currency),
       coalesce(bool_or(price_id IN (SELECT price_id FROM price WHERE assumed)), false),
       coalesce(sum(quantity) FILTER (currency = $currency AND state = 'used'), 0)
FROM spent GROUP BY ALL;

-- name: holders
-- Workloads that held cards and did nothing, the dearest first.
WITH held AS (
    SELECT * FROM spent WHERE workload_id IS NOT NULL
), cards AS (
    SELECT workload_id, department_id, card_id, node_id, model, sum(quantity) AS q,
           sum(atoms) FILTER (currency = $currency) AS a, min(since) AS since,
           min(business) AS business, min(scenario) AS scenario
    FROM held WHERE state = 'allocated_idle' GROUP BY workload_id, department_id, card_id, node_id, model
), idle AS (
    SELECT workload_id, department_id, count(DISTINCT card_id) AS cards, sum(q) AS q, coalesce(sum(a), 0) AS a,
           count(a) > 0 AS priced, min(since) AS since, min(business) AS business, min(scenario) AS scenario,
           arg_max(card_id, (coalesce(a, 0), q, card_id)) AS card_id, arg_max(node_id, (coalesce(a, 0), q, card_id)) AS node_id,
           arg_max(model, (coalesce(a, 0), q, card_id)) AS model
    FROM cards GROUP BY workload_id, department_id
    ORDER BY a DESC, q DESC, workload_id LIMIT $top
)
SELECT i.workload_id, i.department_id, i.business, i.scenario, i.cards, i.card_id, i.node_id, i.model, i.since, i.q, i.a,
       h.q, h.until, i.priced
FROM idle i
JOIN (SELECT workload_id, department_id, sum(quantity) AS q, max(until) AS until FROM held
      WHERE workload_id IN (SELECT workload_id FROM idle) GROUP BY ALL) h USING (workload_id, department_id)
ORDER BY i.a DESC, i.q DESC, i.workload_id;

-- name: workloads
-- Who held cards, the dearest first; what comes after the first $top is one row.
WITH held AS (
    SELECT coalesce(workload_id, '') AS workload_id, department_id, business, scenario, card_id, since, until, state, quantity,
           CASE WHEN currency = $currency THEN atoms ELSE 0 END AS a, price_micro IS NULL AS unpriced
    FROM spent WHERE state IN ('used', 'allocated_idle', 'unknown')
), workloads AS (
    SELECT workload_id, department_id, business, scenario, count(DISTINCT card_id) AS cards, min(since) AS since,
           max(until) AS until,
           coalesce(sum(quantity) FILTER (state = 'used'), 0) AS used_q, coalesce(sum(a) FILTER (state = 'used'), 0) AS used_a,
           coalesce(sum(quantity) FILTER (state = 'allocated_idle'), 0) AS idle_q,
           coalesce(sum(a) FILTER (state = 'allocated_idle'), 0) AS idle_a,
           coalesce(sum(quantity) FILTER (state = 'unknown'), 0) AS unknown_q,
           coalesce(sum(a) FILTER (state = 'unknown'), 0) AS unknown_a,
           coalesce(sum(quantity) FILTER (unpriced), 0) AS unpriced_q, sum(quantity) AS q, coalesce(sum(a), 0) AS a
    FROM held GROUP BY workload_id, department_id, business, scenario
), placed AS (
    SELECT *, least($top + 1, row_number() OVER (
        ORDER BY a DESC, q DESC, workload_id, department_id, business NULLS FIRST, scenario NULLS FIRST)) AS place
    FROM workloads
), listed AS (
    SELECT place, count(*) AS n, any_value(workload_id) AS workload_id, any_value(department_id) AS department_id,
           any_value(business) AS business, any_value(scenario) AS scenario, any_value(cards) AS cards, min(since) AS since,
           max(until) AS until, sum(used_q) AS used_q, sum(used_a) AS used_a, sum(idle_q) AS idle_q, sum(idle_a) AS idle_a,
           sum(unknown_q) AS unknown_q, sum(unknown_a) AS unknown_a, sum(unpriced_q) AS unpriced_q
    FROM placed GROUP BY place
)
SELECT l.place, l.n, l.workload_id, w.name, w.kind, l.department_id, l.business, l.scenario, l.cards, l.since, l.until,
       l.used_q, l.used_a, l.idle_q, l.idle_a, l.unknown_q, l.unknown_a, l.unpriced_q
FROM listed l LEFT JOIN workload w USING (workload_id) ORDER BY l.place;

-- name: workload_count
SELECT count(DISTINCT workload_id) FROM spent WHERE state IN ('used', 'allocated_idle', 'unknown');

-- name: idle_workloads
-- How many workloads held cards idle at all.
SELECT count(DISTINCT workload_id) FROM spent WHERE state = 'allocated_idle';

-- name: last_instant
SELECT max(to_us) FROM segment;

-- name: incidents
-- Incidents that cost card-hours in the span, and those that were open in it.
WITH lost AS (
    SELECT TRY_CAST(regexp_extract(source_rows, '(^| )incident=(\d+)', 2) AS BIGINT) AS incident_id, sum(quantity) AS q,
           coalesce(sum(atoms) FILTER (currency = $currency), 0) AS a, coalesce(bool_or(currency = $currency), false) AS priced
    FROM segment WHERE state IN ('faulty', 'isolated') GROUP BY 1
)
SELECT i.incident_id, i.family, i.subject, i.node_id, i.vendor, i.cause, i.code, i.severity, i.onset, i.closed_at, i.confirmed,
       i.action, i.origin, coalesce(l.q, 0), coalesce(l.a, 0), coalesce(l.priced, true)
FROM incident i LEFT JOIN lost l USING (incident_id)
WHERE coalesce(l.q, 0) > 0
   OR (epoch_us(i.onset) < $to_us AND (i.closed_at IS NULL OR epoch_us(i.closed_at) > $from_us))
ORDER BY coalesce(l.a, 0) DESC, coalesce(l.q, 0) DESC, i.onset, i.incident_id LIMIT $top;

-- name: findings
SELECT finding_id, kind, family, subject, since, until, confidence, owner, action FROM finding
WHERE epoch_us(since) < $to_us AND (until IS NULL OR epoch_us(until) > $from_us)
ORDER BY action IS NULL, confidence DESC, since, finding_id LIMIT $top;

-- name: departments
-- Names as believed now and valid last within the span.
SELECT department_id, name, parent_id, owner, cost_center FROM department
WHERE known_to IS NULL AND epoch_us(valid_from) < $to_us
QUALIFY row_number() OVER (PARTITION BY department_id ORDER BY valid_from DESC, known_from DESC) = 1;

-- name: energy_billed
-- Whether the price book has a tariff for any time, or had when the lines were made: where it has none, power is paid for in some other way.
SELECT EXISTS (SELECT * FROM tariff) OR EXISTS (SELECT * FROM energy WHERE tariff_micro IS NOT NULL);

-- name: unpriced
SELECT model, pool, count(DISTINCT card_id), sum(quantity), min(from_us), max(to_us) FROM segment
WHERE price_micro IS NULL GROUP BY model, pool ORDER BY sum(quantity) DESC, model, pool NULLS FIRST;

-- name: foreign_currencies
-- Money in another currency, of every kind that the bill has, and the card-hours in it.
SELECT currency, sum(quantity), sum(atoms)
FROM (SELECT currency, sum(quantity) AS quantity, sum(atoms) AS atoms FROM segment GROUP BY currency
      UNION ALL SELECT currency, 0, sum(cost_atoms::HUGEINT) FROM energy WHERE tariff_micro IS NOT NULL GROUP BY currency
      UNION ALL SELECT currency, 0, sum(cost_atoms::HUGEINT) FROM remainder GROUP BY currency
      UNION ALL SELECT currency, 0, sum(cost_atoms::HUGEINT) FROM adjustment
                WHERE status = 'posted' AND epoch_us(posted_at) >= $from_us AND epoch_us(posted_at) < $to_us GROUP BY currency)
WHERE currency IS NOT NULL AND currency <> $currency GROUP BY currency ORDER BY currency;

-- name: unmapped
-- Names no mapping rule matches, as an operator would write the rule.
SELECT CASE WHEN w.namespace IS NOT NULL THEN CASE WHEN w.kind = 'slurm_job' THEN 'account' ELSE 'namespace' END
            WHEN w.user_name IS NOT NULL THEN 'user' ELSE 'workload' END AS kind,
       coalesce(w.namespace, w.user_name, s.workload_id, '') AS name,
       count(DISTINCT s.workload_id), sum(s.quantity), coalesce(sum(s.atoms) FILTER (s.currency = $currency), 0),
       coalesce(bool_or(s.currency = $currency), false)
FROM spent s LEFT JOIN workload w USING (workload_id)
WHERE s.department_id = '__unallocated__' GROUP BY 1, 2 ORDER BY 5 DESC, 4 DESC, 1, 2 LIMIT $top;

-- name: assumed
SELECT p.price_id, p.model, p.pool, p.price_micro, p.currency, p.source, sum(s.quantity), sum(s.atoms)
FROM spent s JOIN price p USING (price_id) WHERE p.assumed AND p.currency = $currency
GROUP BY ALL ORDER BY 8 DESC, 1;

-- name: unlisted
SELECT s.card_id, any_value(s.node_id), any_value(s.vendor), any_value(s.model), sum(s.quantity),
       coalesce(sum(s.atoms) FILTER (s.currency = $currency), 0), coalesce(bool_or(s.currency = $currency), false)
FROM spent s JOIN card c USING (card_id) WHERE NOT c.listed GROUP BY s.card_id ORDER BY 6 DESC, 5 DESC, 1 LIMIT $top;

-- name: origins
SELECT origin, count(DISTINCT card_id), sum(quantity) FROM spent GROUP BY origin ORDER BY origin;

-- name: recommendations
-- The ledger's rows that were opened before the span's end.
SELECT * FROM recommendation WHERE epoch_us(opened_at) < $to_us ORDER BY recommendation_id;
