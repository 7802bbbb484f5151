-- The seven states of one UTC day. Temp tables in the order they are built; all instants are microseconds.
-- Parameters: $from_us, $to_us the day; $as_of the instant of belief; $margin_us how far idle runs are looked
-- at beyond the day. Tables states_life, states_incident_rule, states_owner, states_price come from states.py.

-- name: next_inventory
-- Cards seen that no inventory lists: counted from when they were first seen, marked 'seen' until somebody lists them.
INSERT INTO inventory (inventory_id, card_id, cluster_id, node_id, vendor, model, serial, board_id, pool, life,
                       valid_from, valid_to, known_from, known_to, source, purchase)
SELECT nextval('record_number'), c.card_id, n.cluster_id, n.node_id, c.vendor, coalesce(c.model, 'unknown'), c.serial, c.board_id, NULL,
       'in_service', c.first_seen, NULL, $now, NULL, 'seen', NULL
FROM card c JOIN node n USING (node_key)
WHERE c.first_seen IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM inventory i WHERE i.card_id = c.card_id AND i.known_to IS NULL);

-- name: listed_since
-- A card that is listed now is no longer merely seen.
UPDATE inventory SET known_to = $now
WHERE source = 'seen' AND known_to IS NULL
  AND card_id IN (SELECT card_id FROM inventory WHERE source <> 'seen' AND known_to IS NULL);

-- name: find_unlisted
-- A finding for every card that is counted only because it was seen.
INSERT INTO finding (finding_id, kind, family, subject, since, until, evidence, confidence, owner, action)
SELECT (SELECT coalesce(max(finding_id), 0) FROM finding) + row_number() OVER (ORDER BY i.card_id),
       'unlisted_card', 'card', i.card_id, i.valid_from, NULL,
       json_object('node', i.node_id, 'model', i.model, 'inventory_id', i.inventory_id), 1.0, 'platform', 'list_in_inventory'
FROM inventory i
WHERE i.source = 'seen' AND i.known_to IS NULL
  AND NOT EXISTS (SELECT 1 FROM finding f WHERE f.kind = 'unlisted_card' AND f.subject = i.card_id AND f.until IS NULL);

-- name: close_unlisted
-- Listed: the finding ends.
UPDATE finding SET until = $now
WHERE kind = 'unlisted_card' AND until IS NULL
  AND subject NOT IN (SELECT card_id FROM inventory WHERE source = 'seen' AND known_to IS NULL);

-- name: identify_nodes
-- Nodes that are owned and were never seen get a key, so that their cards have a place.
INSERT INTO node (node_key, cluster_id, node_id, origin)
SELECT nextval('subject_key'), cluster_id, node_id, 'imported'
FROM (SELECT DISTINCT cluster_id, node_id FROM inventory WHERE known_to IS NULL) i
WHERE NOT EXISTS (SELECT 1 FROM node n WHERE n.cluster_id = i.cluster_id AND n.node_id = i.node_id);

-- name: identify_cards
-- Cards that are owned and were never seen get a key: capacity is what is owned, not what reports.
INSERT INTO card (card_key, card_id, node_key, vendor, model, serial, board_id, origin)
SELECT nextval('subject_key'), i.card_id, n.node_key, i.vendor, i.model, i.serial, i.board_id, 'imported'
FROM (SELECT * FROM inventory WHERE known_to IS NULL
      QUALIFY row_number() OVER (PARTITION BY card_id ORDER BY valid_from DESC, inventory_id DESC) = 1) i
JOIN node n ON n.cluster_id = i.cluster_id AND n.node_id = i.node_id
WHERE NOT EXISTS (SELECT 1 FROM card c WHERE c.card_id = i.card_id);

-- name: given
-- A temp table from columns that Python made (rules, owners, prices).
CREATE OR REPLACE TEMP TABLE {table} AS SELECT * FROM states_given;

-- name: columns
-- Which columns a source of minutes has.
DESCRIBE SELECT * FROM {source};

-- name: views
-- Which minute views the store has; none where nothing was ever measured.
SELECT DISTINCT table_name FROM duckdb_columns() WHERE schema_name = 'main' AND database_name = current_database()
  AND table_name IN ('card_minute', 'slice_minute');

-- name: measured_slices
-- Slices with telemetry of their own: their holders are judged by it, not by the whole card's.
CREATE OR REPLACE TEMP TABLE states_measured_slice AS
SELECT DISTINCT slice_key FROM {source} WHERE minute >= make_timestamp({from_us}) AND minute < make_timestamp({to_us});

-- name: no_measured_slices
CREATE OR REPLACE TEMP TABLE states_measured_slice AS SELECT NULL::INTEGER AS slice_key WHERE false;

-- name: minutes
-- What each minute of telemetry proves; conditions come from states.toml.
SELECT {subject} AS subject_key, epoch_us(minute) AS from_us, {active} AS active, {judged} AS judged,
       covered_seconds >= {covered} AS covered, {watts} AS watts, {watts_max} AS watts_max, {limit_watts} AS limit_watts, {measured} AS measured
FROM {source} WHERE minute >= make_timestamp({from_us}) AND minute < make_timestamp({to_us})

-- name: no_minutes
-- The same where nothing is measured.
SELECT NULL::INTEGER AS subject_key, NULL::BIGINT AS from_us, false AS active, false AS judged, false AS covered,
       NULL::FLOAT AS watts, NULL::FLOAT AS watts_max, NULL::FLOAT AS limit_watts, NULL::FLOAT AS measured WHERE false

-- name: keep_minutes
CREATE OR REPLACE TEMP TABLE states_minute AS {body};

-- name: mapping_rules
SELECT rule_id, match, priority, department_id, business, scenario, epoch_us(valid_from), epoch_us(valid_to),
       epoch_us(known_from), epoch_us(known_to) FROM mapping_rule ORDER BY rule_id;

-- name: workloads
-- Whoever holds anything that day, once for each pool its cards are in.
SELECT w.workload_key, w.workload_id, w.cluster_id, w.namespace, w.user_name, w.partition, w.labels, w.scenario,
       w.attributes, h.pool
FROM (SELECT a.workload_key, k.pool FROM states_allocation a JOIN states_capacity k USING (card_key)
      UNION
      SELECT a.workload_key, k.pool FROM states_allocation a JOIN states_capacity k USING (node_key) WHERE a.card_key IS NULL) h
JOIN workload w USING (workload_key) ORDER BY w.workload_key, h.pool;

-- name: prices
SELECT price_id, model, currency, price_micro, pool, assumed, epoch_us(valid_from), epoch_us(valid_to),
       epoch_us(known_from), epoch_us(known_to), kind, node, label, card, list_micro, terms::VARCHAR, source
FROM price ORDER BY price_id;

-- name: rates
-- Exchange rates as believed then.
SELECT rate_id, from_currency, to_currency, rate_nano, epoch_us(valid_from), epoch_us(valid_to) FROM exchange_rate
WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of) ORDER BY rate_id;

-- name: policies
-- What was decided about money, as believed then.
SELECT policy_id, currency, gap_energy, epoch_us(valid_from), epoch_us(valid_to) FROM money_policy
WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of) ORDER BY policy_id;

-- name: priced_cards
-- What needs a price that day.
SELECT k.card_key, c.card_id, k.inventory_id, k.node_key, n.cluster_id, n.node_id, k.model, k.pool, k.from_us, k.to_us
FROM states_capacity k JOIN card c USING (card_key) JOIN node n ON n.node_key = k.node_key ORDER BY k.card_key, k.from_us;

-- name: node_labels
-- Facts of nodes as heard of until then: name, JSON value, from when; each holds until the next of its name.
SELECT subject, name, CAST(value AS VARCHAR), epoch_us(valid_from) FROM fact
WHERE family = 'node' AND received_at <= $as_of AND epoch_us(valid_from) < $to_us
ORDER BY subject, name, valid_from, received_at;

-- name: all_remainders
SELECT * FROM states_remainder;

-- name: unlearned_models
-- Models of which no card was free long enough to learn what idle looks like.
SELECT DISTINCT model FROM states_capacity WHERE model NOT IN (SELECT model FROM states_idle_power) ORDER BY model;

-- name: set_idle_power
INSERT INTO states_idle_power VALUES ($model, $watts);

-- name: loose_nodes
-- Nodes held by work without its cards being known.
CREATE OR REPLACE TEMP TABLE states_loose_node AS
SELECT DISTINCT node_key FROM states_allocation WHERE card_key IS NULL AND node_key IS NOT NULL AND "rank" = 'work';

-- name: count_loose_nodes
SELECT count(*) FROM states_loose_node;

-- name: all_lines
SELECT * FROM states_line;

-- name: capacity
-- Owned spans of the day, one at a time for each card. Where rows overlap, a listed one beats one merely seen,
-- then the one valid from later: retiring a card needs a new row, not an edit of the old one.
CREATE OR REPLACE TEMP TABLE states_capacity AS
WITH believed AS (
    SELECT c.card_key, n.node_key, i.*,
           greatest(epoch_us(i.valid_from), $from_us) AS from_us,
           least(coalesce(epoch_us(i.valid_to), $to_us), $to_us) AS to_us
    FROM inventory i
    JOIN card c ON c.card_id = i.card_id
    JOIN node n ON n.cluster_id = i.cluster_id AND n.node_id = i.node_id
    WHERE i.known_from <= $as_of AND (i.known_to IS NULL OR i.known_to > $as_of)
), clipped AS (
    SELECT * FROM believed WHERE from_us < to_us
), edge AS (
    SELECT card_key, from_us AS us FROM clipped UNION SELECT card_key, to_us FROM clipped
), piece AS (
    SELECT card_key, us AS from_us, lead(us) OVER (PARTITION BY card_key ORDER BY us) AS to_us FROM edge
    QUALIFY to_us IS NOT NULL
), won AS (
    SELECT p.card_key, c.node_key, p.from_us, p.to_us, c.inventory_id, c.model, c.pool, c.life, c.source
    FROM piece p JOIN clipped c ON c.card_key = p.card_key AND c.from_us <= p.from_us AND p.to_us <= c.to_us
    QUALIFY row_number() OVER (PARTITION BY p.card_key, p.from_us
                               ORDER BY c.source = 'seen', c.valid_from DESC, c.known_from DESC, c.inventory_id DESC) = 1
)
SELECT won.*, l.treatment
FROM won JOIN states_life l USING (life)
WHERE l.treatment <> 'not_owned';

-- name: unknown_lives
-- Life words the rules do not know: their capacity would be lost, so they are an error.
SELECT DISTINCT life FROM inventory
WHERE known_to IS NULL AND life NOT IN (SELECT life FROM states_life) ORDER BY life;

-- name: allocations
-- Who held what, clipped to the day (from_us, to_us) and to the day with its margins (run_from_us, run_to_us).
-- rank: work; reserved and completing take what work leaves free, on every card of the node where no card is named.
-- subject_key: whose telemetry judges it: the slice where slices are measured, else the card. share_rule: by what an instance was
-- weighed, where that is not its compute slices.
CREATE OR REPLACE TEMP TABLE states_allocation AS
SELECT a.allocation_id, a.workload_key, a.card_key, a.node_key,
       CASE WHEN a.slice_key IN (SELECT slice_key FROM states_measured_slice) THEN a.slice_key ELSE a.card_key END AS subject_key,
       {share} AS share_nano, {share_rule} AS share_rule, coalesce(a."rank", 'work') AS "rank", epoch_us(a.valid_from) AS begun_us,
       greatest(epoch_us(a.valid_from), $from_us) AS from_us,
       least(coalesce(epoch_us(a.valid_to), $to_us), $to_us) AS to_us,
       greatest(epoch_us(a.valid_from), $from_us - $margin_us) AS run_from_us,
       least(coalesce(epoch_us(a.valid_to), $to_us + $margin_us), $to_us + $margin_us) AS run_to_us
FROM allocation a {slices}
WHERE a.known_from <= $as_of AND (a.known_to IS NULL OR a.known_to > $as_of)
  AND a.share_nano > 0
  AND epoch_us(a.valid_from) < $to_us AND (a.valid_to IS NULL OR epoch_us(a.valid_to) > $from_us)
  AND (a.valid_to IS NULL OR a.valid_to > a.valid_from);

-- name: faults
-- Confirmed hardware incidents whose action is isolation or stronger, from their onset, card by card. One that was
-- made on purpose (origin simulated) makes no real card faulty; ids of simulated cards begin with SIM-.
CREATE OR REPLACE TEMP TABLE states_fault AS
WITH serious AS (
    SELECT i.*, epoch_us(i.onset) AS f, coalesce(epoch_us(i.closed_at), $to_us) AS t
    FROM incident i JOIN states_incident_rule r ON r.family = i.family AND r.action = i.action
    WHERE i.confirmed AND epoch_us(i.onset) < $to_us AND (i.closed_at IS NULL OR epoch_us(i.closed_at) > $from_us)
), hit AS (
    SELECT c.card_key, s.incident_id, s.cause, s.origin, s.f, s.t FROM serious s JOIN card c ON c.card_id = s.subject
    WHERE s.family = 'card'
    UNION
    SELECT l.card_key, s.incident_id, s.cause, s.origin, s.f, s.t FROM serious s JOIN slice l ON l.slice_id = s.subject
    WHERE s.family = 'slice'
    UNION
    SELECT k.card_key, s.incident_id, s.cause, s.origin, s.f, s.t FROM serious s
    JOIN named_node n ON n.node_id = s.subject AND n.told IS NOT DISTINCT FROM s.cluster_id
    JOIN states_capacity k ON k.node_key = n.node_key WHERE s.family = 'node'
    UNION
    SELECT k.card_key, s.incident_id, s.cause, s.origin, s.f, s.t FROM serious s JOIN port p ON p.port_id = s.subject
    JOIN states_capacity k ON k.node_key = p.node_key WHERE s.family = 'port'
)
SELECT card_key, incident_id, cause, greatest(f, $from_us) AS from_us, least(t, $to_us) AS to_us
FROM hit JOIN card USING (card_key)
WHERE greatest(f, $from_us) < least(t, $to_us)
  AND (hit.origin <> 'simulated' OR card.origin = 'simulated' OR starts_with(card.card_id, 'SIM-'));

-- name: isolations
-- From when new work is kept off a card until it is released; an expiry nobody acted on releases nothing.
CREATE OR REPLACE TEMP TABLE states_isolation AS
WITH kept AS (
    SELECT *, greatest(epoch_us(isolated_at), $from_us) AS from_us,
           least(coalesce(epoch_us(released_at), $to_us), $to_us) AS to_us
    FROM isolation
), hit AS (
    SELECT c.card_key, k.isolation_id, k.incident_id, k.reason, k.from_us, k.to_us FROM kept k
    JOIN card c ON c.card_id = k.subject WHERE k.family = 'card'
    UNION
    SELECT s.card_key, k.isolation_id, k.incident_id, k.reason, k.from_us, k.to_us FROM kept k
    JOIN named_node n ON n.node_id = k.subject AND n.told IS NOT DISTINCT FROM k.cluster_id
    JOIN states_capacity s ON s.node_key = n.node_key WHERE k.family = 'node'
)
SELECT * FROM hit WHERE from_us < to_us;

-- name: free_power
-- Power of cards nobody holds, by model: what idle looks like here and today. One minute in ten is looked at.
CREATE OR REPLACE TEMP TABLE states_idle_power AS
SELECT k.model, CAST(quantile_cont(m.watts, $quantile) AS DOUBLE) AS watts
FROM states_minute m
JOIN states_capacity k ON k.card_key = m.subject_key AND k.from_us <= m.from_us AND m.from_us < k.to_us
WHERE m.watts IS NOT NULL AND m.from_us // 60000000 % 10 = 0
  AND NOT EXISTS (SELECT 1 FROM allocation a WHERE a.card_key = m.subject_key AND a."rank" IS DISTINCT FROM 'reserved'
                  AND a.known_from <= $as_of AND (a.known_to IS NULL OR a.known_to > $as_of)
                  AND epoch_us(a.valid_from) < m.from_us + 60000000
                  AND (a.valid_to IS NULL OR epoch_us(a.valid_to) > m.from_us))
GROUP BY k.model HAVING count(*) * 10 >= $minutes;

-- name: mute_cards
-- MIG cards that hold slices without telemetry of their own: the driver gives no utilisation of a card in MIG mode (exporters
-- write 0), and a slice at light work hides below the card's idle power. Such a card proves work, never idleness.
CREATE OR REPLACE TEMP TABLE states_mute_card AS
SELECT DISTINCT a.card_key
FROM allocation a JOIN slice s USING (slice_key) JOIN card c ON c.card_key = a.card_key
WHERE (c.facts ->> 'partition_mode' = 'mig' OR regexp_matches(s.profile, '^[0-9]+(c[.][0-9]+)?g[.]'))
  AND a.slice_key NOT IN (SELECT slice_key FROM states_measured_slice WHERE slice_key IS NOT NULL);

-- name: judged
-- What each minute proves of each card (or slice) that is held: active, not active, or NULL: nothing.
CREATE OR REPLACE TEMP TABLE states_judged AS
SELECT m.subject_key, m.from_us // 60000000 AS minute,
       CASE WHEN m.active OR m.watts_max >= p.watts + greatest($above_watts, $above_ratio * coalesce(m.limit_watts, 0))
            THEN true
            WHEN m.subject_key IN (SELECT card_key FROM states_mute_card) THEN NULL
            WHEN m.covered AND (m.judged OR (m.watts_max IS NOT NULL AND p.watts IS NOT NULL)) THEN false
            END AS active
FROM states_minute m
LEFT JOIN states_subject_model s USING (subject_key)
LEFT JOIN states_idle_power p ON p.model = s.model
WHERE subject_key IN (SELECT subject_key FROM states_allocation);

-- name: idle_watts
SELECT model, watts FROM states_idle_power;

-- name: card_runs
-- Stretches of minutes in which a card (or slice) was all active or all inactive; a silent minute belongs to none.
CREATE OR REPLACE TEMP TABLE states_card_run AS
WITH island AS (
    SELECT subject_key, minute, active,
           minute - row_number() OVER (PARTITION BY subject_key, active ORDER BY minute) AS island
    FROM states_judged WHERE active IS NOT NULL
)
SELECT subject_key, active, min(minute) * 60000000 AS from_us, (max(minute) + 1) * 60000000 AS to_us
FROM island GROUP BY subject_key, active, island;

-- name: subject_models
-- Which model's idle power judges a card.
CREATE OR REPLACE TEMP TABLE states_subject_model AS
SELECT card_key AS subject_key, arg_max(model, from_us) AS model FROM states_capacity GROUP BY card_key;

-- name: runs
-- The same for each allocation: used, or allocated_idle where it did nothing for the whole window. Nobody else's
-- activity counts, so the run of the last holder's idle minutes is not charged to the next one.
CREATE OR REPLACE TEMP TABLE states_run AS
WITH held AS (
    SELECT a.allocation_id, r.active,
           greatest(r.from_us, a.run_from_us) AS from_us, least(r.to_us, a.run_to_us) AS to_us
    FROM states_allocation a
    JOIN states_card_run r ON r.subject_key = a.subject_key AND r.from_us < a.run_to_us AND a.run_from_us < r.to_us
), marked AS (
    SELECT *, (lag(active) OVER w) IS DISTINCT FROM active
              OR from_us - (lag(to_us) OVER w) > $bridge_us AS begins
    FROM held WINDOW w AS (PARTITION BY allocation_id ORDER BY from_us)
), grouped AS (
    SELECT *, count(*) FILTER (begins) OVER (PARTITION BY allocation_id ORDER BY from_us) AS stretch FROM marked
), weighed AS (
    SELECT *, NOT active AND sum(to_us - from_us) OVER (PARTITION BY allocation_id, stretch) >= $window_us AS idle
    FROM grouped
), joined AS (
    SELECT *, (lag(idle) OVER w) IS DISTINCT FROM idle OR from_us > (lag(to_us) OVER w) AS opens
    FROM weighed WINDOW w AS (PARTITION BY allocation_id ORDER BY from_us)
), numbered AS (
    SELECT *, count(*) FILTER (opens) OVER (PARTITION BY allocation_id ORDER BY from_us) AS run FROM joined
)
SELECT allocation_id, idle, greatest(min(from_us), $from_us) AS from_us, least(max(to_us), $to_us) AS to_us
FROM numbered GROUP BY allocation_id, idle, run
HAVING greatest(min(from_us), $from_us) < least(max(to_us), $to_us);

-- name: starts
-- When each allocation that began in reach of the day first did anything; before it, at least a minute, it started up.
CREATE OR REPLACE TEMP TABLE states_start AS
SELECT a.allocation_id, any_value(a.card_key) AS card_key, min(greatest(r.from_us, a.begun_us)) AS active_us
FROM states_allocation a
JOIN states_card_run r ON r.subject_key = a.subject_key AND r.active AND r.from_us < a.run_to_us AND a.run_from_us < r.to_us
WHERE a."rank" = 'work' AND a.card_key IS NOT NULL AND a.begun_us = a.run_from_us
GROUP BY a.allocation_id, a.begun_us HAVING min(greatest(r.from_us, a.begun_us)) >= a.begun_us + 60000000;

-- name: cells
-- Each card's day cut at every instant at which anything about it changes, and at every hour.
CREATE OR REPLACE TEMP TABLE states_cell AS
WITH own AS (
    SELECT card_key, from_us AS us FROM states_capacity
    UNION SELECT card_key, to_us FROM states_capacity
    UNION SELECT card_key, from_us FROM states_allocation WHERE card_key IS NOT NULL
    UNION SELECT card_key, to_us FROM states_allocation WHERE card_key IS NOT NULL
    UNION SELECT card_key, from_us FROM states_fault
    UNION SELECT card_key, to_us FROM states_fault
    UNION SELECT card_key, from_us FROM states_isolation
    UNION SELECT card_key, to_us FROM states_isolation
    UNION SELECT a.card_key, r.from_us FROM states_run r JOIN states_allocation a USING (allocation_id)
    UNION SELECT a.card_key, r.to_us FROM states_run r JOIN states_allocation a USING (allocation_id)
    UNION SELECT card_key, active_us FROM states_start
    UNION SELECT a.card_key, o.from_us FROM states_owner o JOIN states_allocation a USING (workload_key)
          WHERE a.card_key IS NOT NULL AND o.from_us > a.from_us AND o.from_us < a.to_us
    UNION SELECT card_key, from_us FROM states_price
), shared AS (
    -- a node that is held without its cards being known: all its cards are cut at the same instants
    SELECT k.card_key, o.us FROM states_loose_node n JOIN states_capacity k USING (node_key)
    JOIN states_capacity other ON other.node_key = n.node_key JOIN own o ON o.card_key = other.card_key
    UNION SELECT k.card_key, a.from_us FROM states_allocation a JOIN states_capacity k USING (node_key) WHERE a.card_key IS NULL
    UNION SELECT k.card_key, a.to_us FROM states_allocation a JOIN states_capacity k USING (node_key) WHERE a.card_key IS NULL
    UNION SELECT k.card_key, o.from_us FROM states_owner o JOIN states_allocation a USING (workload_key)
          JOIN states_capacity k USING (node_key) WHERE a.card_key IS NULL
), hours AS (
    SELECT k.card_key, h.us FROM (SELECT DISTINCT card_key FROM states_capacity) k,
           (SELECT unnest(range($from_us, $to_us + 1, 3600000000)) AS us) h
), point AS (
    SELECT card_key, us FROM own UNION SELECT card_key, us FROM shared UNION SELECT card_key, us FROM hours
), cut AS (
    SELECT card_key, us AS from_us, lead(us) OVER (PARTITION BY card_key ORDER BY us) AS to_us
    FROM point WHERE us BETWEEN $from_us AND $to_us
    QUALIFY to_us IS NOT NULL
)
SELECT row_number() OVER () AS cell, c.card_key, k.node_key, c.from_us, c.to_us, k.inventory_id, k.model, k.pool,
       k.life, k.treatment
FROM cut c JOIN states_capacity k ON k.card_key = c.card_key AND k.from_us <= c.from_us AND c.to_us <= k.to_us;

-- name: held
-- Whose work holds each cell, before over-subscription is settled. idle NULL: nobody knows.
CREATE OR REPLACE TEMP TABLE states_held AS
SELECT c.cell, c.card_key, a.allocation_id, a.workload_key, a.share_nano, false AS loose, r.idle, a.share_rule
FROM states_cell c
JOIN states_allocation a ON a.card_key = c.card_key AND a."rank" = 'work' AND a.from_us <= c.from_us AND c.to_us <= a.to_us
LEFT JOIN states_run r ON r.allocation_id = a.allocation_id AND r.from_us <= c.from_us AND c.to_us <= r.to_us;

-- name: loose
-- Allocations of a node whose cards nobody knows (share_nano counts cards): spread over the free shares of the
-- node's cards in proportion, never over what somebody is known to hold. What is used of them is unknown.
INSERT INTO states_held
WITH known AS (
    SELECT cell, sum(share_nano) AS held FROM states_held GROUP BY cell
), free AS (
    SELECT c.cell, c.card_key, c.node_key, c.from_us, c.to_us,
           greatest(1000000000 - coalesce(k.held, 0), 0)::HUGEINT AS free_nano
    FROM states_cell c JOIN states_loose_node USING (node_key) LEFT JOIN known k USING (cell)
), wanted AS (
    SELECT f.*, a.allocation_id, a.workload_key, a.share_nano::HUGEINT AS asked,
           sum(f.free_nano) OVER (PARTITION BY f.node_key, f.from_us, a.allocation_id) AS free_total
    FROM free f JOIN states_allocation a
      ON a.card_key IS NULL AND a."rank" = 'work' AND a.node_key = f.node_key AND a.from_us <= f.from_us AND f.to_us <= a.to_us
), spread AS (
    SELECT *, sum(asked) OVER (PARTITION BY cell) AS asked_total FROM wanted
), given AS (
    SELECT *, asked * free_nano // greatest(free_total, asked_total, 1) AS share FROM spread
), settled AS (
    SELECT *, CASE WHEN asked_total >= free_total
                    AND allocation_id = max(allocation_id) OVER (PARTITION BY cell)
                   THEN free_nano - (sum(share) OVER (PARTITION BY cell) - share) ELSE share END AS settled_share
    FROM given
)
SELECT cell, card_key, allocation_id, workload_key, settled_share::BIGINT, true, NULL, NULL FROM settled WHERE settled_share > 0;

-- name: shares
-- Over-subscribed cards are divided by their sum; what does not divide goes to the last share in key order.
CREATE OR REPLACE TEMP TABLE states_share AS
WITH summed AS (
    SELECT *, sum(share_nano) OVER (PARTITION BY cell)::HUGEINT AS total,
           row_number() OVER (PARTITION BY cell ORDER BY allocation_id DESC) AS from_last
    FROM states_held
), divided AS (
    SELECT *, CASE WHEN total <= 1000000000 THEN share_nano ELSE share_nano::HUGEINT * 1000000000 // total END AS part
    FROM summed
)
SELECT cell, allocation_id, workload_key, loose, idle, total, share_rule,
       (CASE WHEN total > 1000000000 AND from_last = 1
             THEN 1000000000 - (sum(part) OVER (PARTITION BY cell) - part) ELSE part END)::BIGINT AS share_nano
FROM divided;

-- name: measured_shares
-- Over-subscribed cards by what each holder measurably did instead, where all of a cell's holders have slices that are measured
-- and somebody did anything; else they stay as they were asked for. What does not divide goes to the last share in key order.
UPDATE states_share s SET share_nano = n.part, share_rule = 'measured_sm_share'
FROM (
    WITH weighed AS (
        SELECT s.cell, s.allocation_id, round(avg(m.measured) * 1000000)::HUGEINT AS weight
        FROM states_share s JOIN states_cell c USING (cell) JOIN states_allocation a USING (allocation_id)
        JOIN states_measured_slice k ON k.slice_key = a.subject_key
        JOIN states_minute m ON m.subject_key = a.subject_key AND m.from_us < c.to_us AND m.from_us + 60000000 > c.from_us
        WHERE s.total > 1000000000 AND m.measured IS NOT NULL
        GROUP BY s.cell, s.allocation_id
    ), holders AS (
        SELECT cell, count(*) AS holders FROM states_share WHERE total > 1000000000 GROUP BY cell
    ), known AS (
        SELECT w.*, sum(w.weight) OVER (PARTITION BY w.cell) AS weights, count(*) OVER (PARTITION BY w.cell) AS measured, h.holders,
               row_number() OVER (PARTITION BY w.cell ORDER BY w.allocation_id DESC) AS from_last
        FROM weighed w JOIN holders h USING (cell)
    ), divided AS (
        SELECT *, 1000000000 * weight // weights AS whole FROM known WHERE measured = holders AND weights > 0
    )
    SELECT cell, allocation_id,
           (CASE WHEN from_last = 1 THEN 1000000000 - (sum(whole) OVER (PARTITION BY cell) - whole) ELSE whole END)::BIGINT AS part
    FROM divided
) n WHERE n.cell = s.cell AND n.allocation_id = s.allocation_id;

-- name: set_aside
-- What work leaves free of a cell and somebody keeps: a reservation of the earliest start, else a scheduler that is
-- still cleaning up after a job.
CREATE OR REPLACE TEMP TABLE states_aside AS
WITH worked AS (
    SELECT cell, sum(share_nano)::BIGINT AS held FROM states_share GROUP BY cell
), claim AS (
    SELECT c.cell, a.allocation_id, a.workload_key, a."rank", a.begun_us FROM states_cell c
    JOIN states_allocation a ON a."rank" <> 'work' AND a.from_us <= c.from_us AND c.to_us <= a.to_us
     AND (a.card_key = c.card_key OR (a.card_key IS NULL AND a.node_key = c.node_key AND a."rank" = 'reserved'))
)
SELECT k.cell, k.allocation_id, k.workload_key, k."rank", 1000000000 - coalesce(w.held, 0) AS share_nano
FROM claim k LEFT JOIN worked w USING (cell) WHERE coalesce(w.held, 0) < 1000000000
QUALIFY row_number() OVER (PARTITION BY k.cell ORDER BY k."rank" DESC, k.begun_us, k.allocation_id) = 1;

-- name: verdicts
-- Each cell with what stands above allocation: isolated (once nobody holds it), else faulty, else nothing.
CREATE OR REPLACE TEMP TABLE states_verdict AS
WITH held AS (
    SELECT cell, sum(share_nano)::BIGINT AS held_nano, bool_and(loose) AS loose FROM states_share GROUP BY cell
), faulty AS (
    SELECT c.cell, min_by(f.incident_id, (f.from_us, f.incident_id)) AS incident_id, min_by(f.cause, (f.from_us, f.incident_id)) AS cause
    FROM states_cell c JOIN states_fault f ON f.card_key = c.card_key AND f.from_us <= c.from_us AND c.to_us <= f.to_us
    GROUP BY c.cell
), isolated AS (
    SELECT c.cell, min_by(i.isolation_id, (i.from_us, i.isolation_id)) AS isolation_id,
           min_by(i.incident_id, (i.from_us, i.isolation_id)) AS incident_id, min_by(i.reason, (i.from_us, i.isolation_id)) AS reason
    FROM states_cell c JOIN states_isolation i ON i.card_key = c.card_key AND i.from_us <= c.from_us AND c.to_us <= i.to_us
    GROUP BY c.cell
)
SELECT c.*, coalesce(h.held_nano, 0) AS held_nano, coalesce(h.loose, false) AS loose,
       CASE WHEN h.cell IS NULL AND (i.cell IS NOT NULL OR c.treatment = 'isolated') THEN 'isolated'
            WHEN f.cell IS NOT NULL OR c.treatment = 'faulty' THEN 'faulty' END AS verdict,
       i.isolation_id,
       coalesce(f.incident_id, CASE WHEN h.cell IS NULL THEN i.incident_id END) AS incident_id,
       CASE WHEN h.cell IS NULL AND i.cell IS NOT NULL THEN i.reason
            WHEN h.cell IS NULL AND c.treatment = 'isolated' THEN 'life:' || c.life
            WHEN f.cell IS NOT NULL THEN f.cause
            WHEN c.treatment = 'faulty' THEN 'life:' || c.life END AS reason
FROM states_cell c
LEFT JOIN held h USING (cell) LEFT JOIN faulty f USING (cell) LEFT JOIN isolated i USING (cell);

-- name: lines
-- The day: every share of every owned card with its state, its payer and its price. holder_*: who held a card that is out of order, and
-- would pay for it where the holder pays on; it stays the platform's here.
CREATE OR REPLACE TEMP TABLE states_line AS
WITH part AS (
    SELECT cell, verdict AS state, 1000000000 - CASE verdict WHEN 'faulty' THEN held_nano ELSE 0 END AS share_nano,
           NULL::INTEGER AS workload_key, NULL::BIGINT AS allocation_id, incident_id,
           CASE WHEN verdict = 'isolated' THEN isolation_id END AS isolation_id, reason, NULL::VARCHAR AS share_rule
    FROM states_verdict WHERE verdict = 'isolated' OR (verdict = 'faulty' AND held_nano < 1000000000)
    UNION ALL
    SELECT s.cell, 'faulty', s.share_nano, s.workload_key, s.allocation_id, v.incident_id, NULL, v.reason, s.share_rule
    FROM states_share s JOIN states_verdict v USING (cell) WHERE v.verdict = 'faulty' AND s.share_nano > 0
    UNION ALL
    SELECT s.cell, CASE WHEN s.idle IS NULL THEN 'unknown' WHEN s.idle THEN 'allocated_idle' ELSE 'used' END,
           s.share_nano, s.workload_key, s.allocation_id, NULL, NULL,
           CASE WHEN s.loose THEN 'card_unknown' WHEN s.idle IS NULL THEN 'no_telemetry'
                WHEN v.from_us < b.active_us THEN 'start_up' WHEN s.idle THEN 'idle'
                WHEN s.total > 1000000000 THEN 'over_subscribed' END, s.share_rule
    FROM states_share s JOIN states_verdict v USING (cell) LEFT JOIN states_start b USING (allocation_id)
    WHERE v.verdict IS NULL AND s.share_nano > 0
    UNION ALL
    SELECT a.cell, CASE a."rank" WHEN 'reserved' THEN 'allocated_idle' ELSE 'unallocated_idle' END, a.share_nano,
           CASE a."rank" WHEN 'reserved' THEN a.workload_key END, CASE a."rank" WHEN 'reserved' THEN a.allocation_id END,
           NULL, NULL, a."rank", NULL
    FROM states_aside a JOIN states_verdict v USING (cell) WHERE v.verdict IS NULL
    UNION ALL
    SELECT v.cell, CASE WHEN v.held_nano = 0 OR v.loose THEN 'unallocated_idle' ELSE 'fragmented' END,
           1000000000 - v.held_nano, NULL, NULL, NULL, NULL,
           CASE WHEN v.held_nano > 0 AND NOT v.loose THEN 'partly_held' WHEN v.life = 'in_service' THEN 'free' ELSE 'life:' || v.life END, NULL
    FROM states_verdict v ANTI JOIN states_aside a USING (cell) WHERE v.verdict IS NULL AND v.held_nano < 1000000000
)
SELECT v.card_key, v.from_us, v.to_us, p.state, p.share_nano, CASE WHEN p.state <> 'faulty' THEN p.workload_key END AS workload_key,
       CASE WHEN p.allocation_id IS NULL OR p.state = 'faulty' THEN 'platform'
            ELSE coalesce(o.department, '__unallocated__') END AS department_id,
       CASE WHEN p.state <> 'faulty' THEN o.business END AS business, CASE WHEN p.state <> 'faulty' THEN o.scenario END AS scenario,
       o.rule_id, r.price_id, r.price_micro, r.currency, p.reason, v.inventory_id, p.allocation_id, p.incident_id, p.isolation_id,
       r.list_micro, r.rate_id,
       CASE WHEN p.state = 'faulty' AND p.allocation_id IS NOT NULL THEN coalesce(o.department, '__unallocated__') END AS holder_department,
       CASE WHEN p.state = 'faulty' THEN o.business END AS holder_business, CASE WHEN p.state = 'faulty' THEN o.scenario END AS holder_scenario,
       p.share_rule
FROM part p
JOIN states_verdict v USING (cell)
LEFT JOIN states_owner o ON o.workload_key = p.workload_key AND o.pool IS NOT DISTINCT FROM v.pool
                        AND o.from_us <= v.from_us AND v.to_us <= o.to_us
LEFT JOIN states_price r ON r.card_key = v.card_key AND r.from_us <= v.from_us AND v.to_us <= r.to_us;

-- name: check_shares
-- Instants whose shares do not add up to a whole card, or capacity that was lost or doubled: must give no row.
SELECT card_key, from_us, to_us, sum(share_nano) AS total FROM states_line
GROUP BY card_key, from_us, to_us HAVING sum(share_nano) <> 1000000000 LIMIT 5;

-- name: check_capacity
-- Owned time and the time of the lines, in card-microseconds: must be equal.
SELECT (SELECT coalesce(sum(to_us - from_us), 0) FROM states_capacity)
     - (SELECT coalesce(sum((to_us - from_us)::HUGEINT * share_nano), 0) // 1000000000 FROM states_line);

-- name: changed
-- Lines that are new or gone against the newest revision of the day.
SELECT (SELECT count(*) FROM (SELECT * FROM states_given EXCEPT ALL SELECT * EXCLUDE (day, revision) FROM segment WHERE day = $day))
     + (SELECT count(*) FROM (SELECT * EXCLUDE (day, revision) FROM segment WHERE day = $day EXCEPT ALL SELECT * FROM states_given));

-- name: known_before
-- Lines of the kept revision that stood on telemetry.
SELECT count(*) FROM segment WHERE day = $day AND state IN ('used', 'allocated_idle');

-- name: count_minutes
-- Minutes of telemetry there are for the day.
SELECT count(*) FROM states_minute WHERE from_us >= $from_us AND from_us < $to_us;

-- name: newest_revision
SELECT coalesce(max(revision), 0) FROM segment WHERE day = $day;

-- name: drop_day
-- The store keeps a day's newest revision; those before it are in the published folders that stood on them.
DELETE FROM segment WHERE day = $day;

-- name: keep_day
INSERT INTO segment BY NAME SELECT $day::DATE AS day, $revision::INTEGER AS revision, * FROM states_given
ORDER BY card_key, from_us;

-- name: orphans
-- Allocations of cards that nobody owned at the time: they get no money, so somebody must hear of it.
SELECT count(*), min(a.allocation_id) FROM states_allocation a
WHERE (a.card_key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM states_capacity k WHERE k.card_key = a.card_key
                                               AND k.from_us < a.to_us AND a.from_us < k.to_us))
   OR (a.card_key IS NULL AND (a.node_key IS NULL OR a.node_key NOT IN (SELECT node_key FROM states_capacity)));

-- name: day_totals
-- Quantity by state, and unpriced quantity, of the day just made.
SELECT state, sum((to_us - from_us)::HUGEINT * share_nano),
       sum((to_us - from_us)::HUGEINT * share_nano) FILTER (price_micro IS NULL)
FROM states_line GROUP BY state ORDER BY state;
