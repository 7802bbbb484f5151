-- What reports stand on: a day's segments and coverage, and the names beside them, as sorted Parquet.

-- name: segments
-- One UTC day's lines with the identities spelt out and the cost worked out; docs/interfaces.md, Money.
SELECT c.card_id || '@' || s.from_us || '#' || row_number() OVER (
           PARTITION BY s.card_key, s.from_us ORDER BY s.allocation_id NULLS LAST, s.state) AS line_id,
       c.card_id, i.node_id, i.cluster_id, i.vendor, i.model, coalesce(i.board_id, c.board_id) AS board_id, i.pool,
       s.from_us, s.to_us, s.state, s.share_nano, w.workload_id, s.department_id, s.business, s.scenario,
       s.currency, s.price_micro, s.price_id,
       CASE WHEN s.price_micro IS NOT NULL
            THEN ((s.to_us - s.from_us)::HUGEINT * s.share_nano * s.price_micro)::DECIMAL(38, 0) END AS cost_atoms,
       c.origin, s.reason,
       concat_ws(' ', 'inventory=' || s.inventory_id, 'allocation=' || s.allocation_id, 'rule=' || s.rule_id,
                 'price=' || s.price_id, 'rate=' || s.rate_id, 'incident=' || s.incident_id,
                 'isolation=' || s.isolation_id, 'share=' || s.share_rule) AS source_rows,
       s.list_micro, s.holder_department, s.holder_business, s.holder_scenario
FROM segment s
JOIN card c USING (card_key)
JOIN inventory i USING (inventory_id)
LEFT JOIN workload w USING (workload_key)
WHERE s.day = DATE '{day}'
ORDER BY c.card_id, s.from_us, line_id

-- name: day_energy
-- One UTC day's energy with the identities spelt out; docs/interfaces.md, Money.
SELECT c.card_id || '@' || e.from_us || '~' || row_number() OVER (
           PARTITION BY e.card_key, e.from_us ORDER BY e.estimated, e.allocation_id NULLS LAST, e.state) AS line_id,
       c.card_id, i.node_id, i.cluster_id, i.vendor, i.model, i.pool, e.from_us, e.to_us, e.state, w.workload_id,
       e.department_id, e.business, e.scenario, e.energy_mj, e.pue_milli, e.tariff_micro, e.currency, e.tariff_id,
       CASE WHEN e.tariff_micro IS NOT NULL
            THEN (e.energy_mj::HUGEINT * e.pue_milli * e.tariff_micro * 1000000)::DECIMAL(38, 0) END AS cost_atoms,
       e.estimated, c.origin,
       concat_ws(' ', 'inventory=' || e.inventory_id, 'allocation=' || e.allocation_id, 'tariff=' || e.tariff_id,
                 'pue=' || e.pue_id, 'rate=' || e.rate_id) AS source_rows
FROM energy_line e
JOIN card c USING (card_key)
JOIN inventory i USING (inventory_id)
LEFT JOIN workload w USING (workload_key)
WHERE e.day = DATE '{day}'
ORDER BY c.card_id, e.from_us, line_id

-- name: day_remainder
-- One UTC day's remainders, the platform's.
SELECT c.card_id || '@' || r.from_us || '%' || r.kind || r.price_id AS line_id, r.kind, c.card_id, i.node_id, i.cluster_id, i.vendor,
       i.model, i.pool, r.from_us, r.to_us, 'platform' AS department_id, r.currency, r.price_id, r.cost_atoms, c.origin,
       concat_ws(' ', 'inventory=' || r.inventory_id, 'price=' || r.price_id, 'rate=' || r.rate_id) AS source_rows
FROM remainder_line r
JOIN card c USING (card_key)
JOIN inventory i USING (inventory_id)
WHERE r.day = DATE '{day}'
ORDER BY c.card_id, r.from_us, line_id

-- name: coverage
-- For each card and hour: what is owned and held (nano-share microseconds), what of it has a known use, and how
-- many seconds of telemetry there are (NULL: none of it is in the store).
SELECT c.card_id, any_value(i.node_id) AS node_id, any_value(i.cluster_id) AS cluster_id,
       s.from_us // 3600000000 * 3600000000 AS hour_us,
       sum((s.to_us - s.from_us) * s.share_nano)::BIGINT AS owned_quantity,
       sum((s.to_us - s.from_us) * s.share_nano) FILTER (s.state IN ('used', 'allocated_idle', 'unknown'))::BIGINT AS held_quantity,
       sum((s.to_us - s.from_us) * s.share_nano) FILTER (s.state IN ('used', 'allocated_idle'))::BIGINT AS known_quantity,
       any_value(m.seconds) AS telemetry_seconds
FROM segment s
JOIN card c USING (card_key)
JOIN inventory i USING (inventory_id)
LEFT JOIN ({minutes}) m ON m.card_key = s.card_key AND m.hour_us = s.from_us // 3600000000 * 3600000000
WHERE s.day = DATE '{day}'
GROUP BY c.card_id, s.from_us // 3600000000
ORDER BY c.card_id, hour_us

-- name: serving
-- Requests and tokens of serving workloads by hour, whole numbers; NULL: not known. covered_seconds: of the hour that is known.
SELECT w.workload_id, epoch_us(s.hour) AS hour_us, round(s.requests)::BIGINT AS requests,
       round(s.prompt_tokens)::BIGINT AS prompt_tokens, round(s.generated_tokens)::BIGINT AS generated_tokens, s.covered_seconds
FROM serving_hour s JOIN workload w USING (workload_key)
WHERE s.hour >= DATE '{day}' AND s.hour < DATE '{day}' + 1
ORDER BY w.workload_id, hour_us

-- name: activity
-- An estimate: how long the matrix units and the compute units of each card were active for each workload and hour, in seconds of a whole
-- card. A minute of a card that several hold is divided by their shares, for nobody measures them apart; covered_seconds is what was
-- held and measured at all, tensor_seconds and sm_seconds what was of each of the two, and NULL where it never was. Sums are of whole
-- microseconds, so that the same minutes give the same bytes.
SELECT c.card_id, w.workload_id, i.vendor, i.model, m.from_us // 3600000000 * 3600000000 AS hour_us,
       sum(m.held_us) / 1e6 AS covered_seconds,
       sum(m.held_us) FILTER (m.tensor IS NOT NULL) / 1e6 AS tensor_seconds,
       sum(round(m.held_us * least(greatest(m.tensor, 0), 1))::BIGINT) FILTER (m.tensor IS NOT NULL) / 1e6 AS tensor_active_seconds,
       sum(m.held_us) FILTER (m.sm IS NOT NULL) / 1e6 AS sm_seconds,
       sum(round(m.held_us * least(greatest(m.sm, 0), 1))::BIGINT) FILTER (m.sm IS NOT NULL) / 1e6 AS sm_active_seconds
FROM (SELECT s.card_key, s.inventory_id, s.workload_key, s.from_us, m.tensor, m.sm,
             round(m.covered_seconds * (least(s.to_us, m.at_us + 60000000) - greatest(s.from_us, m.at_us)) / 60
                   * (s.share_nano / 1e9))::BIGINT AS held_us
      FROM segment s
      JOIN (SELECT card_key, epoch_us(minute) AS at_us, covered_seconds, {tensor} AS tensor, {sm} AS sm FROM {source}
            WHERE minute >= DATE '{day}' AND minute < DATE '{day}' + 1 AND covered_seconds > 0) m
        ON m.card_key = s.card_key AND m.at_us // 3600000000 = s.from_us // 3600000000
           AND m.at_us < s.to_us AND m.at_us + 60000000 > s.from_us
      WHERE s.day = DATE '{day}' AND s.workload_key IS NOT NULL AND s.state IN ('used', 'allocated_idle', 'unknown')) m
JOIN card c USING (card_key)
JOIN inventory i USING (inventory_id)
JOIN workload w USING (workload_key)
GROUP BY c.card_id, w.workload_id, i.vendor, i.model, m.from_us // 3600000000
HAVING sum(m.held_us) > 0
ORDER BY c.card_id, hour_us, w.workload_id

-- name: columns
SELECT * FROM {source} LIMIT 0;

-- name: no_activity
SELECT * FROM (SELECT NULL::VARCHAR AS card_id, NULL::VARCHAR AS workload_id, NULL::VARCHAR AS vendor, NULL::VARCHAR AS model,
    NULL::BIGINT AS hour_us, NULL::DOUBLE AS covered_seconds, NULL::DOUBLE AS tensor_seconds, NULL::DOUBLE AS tensor_active_seconds,
    NULL::DOUBLE AS sm_seconds, NULL::DOUBLE AS sm_active_seconds) WHERE false

-- name: minutes
-- Seconds of telemetry by card and hour of the day.
SELECT card_key, epoch_us(minute) // 3600000000 * 3600000000 AS hour_us, sum(covered_seconds)::DOUBLE AS seconds
FROM {source} WHERE minute >= DATE '{day}' AND minute < DATE '{day}' + 1 GROUP BY ALL

-- name: no_minutes
SELECT NULL::INTEGER AS card_key, NULL::BIGINT AS hour_us, NULL::DOUBLE AS seconds WHERE false

-- name: has_minutes
SELECT count(*) FROM duckdb_columns() WHERE schema_name = 'main' AND database_name = current_database()
  AND table_name = 'card_minute' AND column_name = 'covered_seconds';

-- name: quota
-- What came of the quotas in each UTC hour of the day, as the quota book has it but for a maker's other names; integrals of nano-shares
-- over microseconds.
SELECT epoch_us(hour) AS hour_us, tree, pool, resource, {maker} AS vendor, model, quota, parent, department_id, seconds,
       "min"::DECIMAL(38, 0) AS "min", "max"::DECIMAL(38, 0) AS "max", used::DECIMAL(38, 0) AS used,
       guaranteed_used::DECIMAL(38, 0) AS guaranteed_used, borrowed::DECIMAL(38, 0) AS borrowed, lent::DECIMAL(38, 0) AS lent,
       waiting::DECIMAL(38, 0) AS waiting, headroom::DECIMAL(38, 0) AS headroom, sprint
FROM quota_hour WHERE hour >= DATE '{day}' AND hour < DATE '{day}' + 1
ORDER BY hour, tree, pool, vendor, model, resource, quota

-- name: copy
COPY ({query}) TO '{file}' (FORMAT parquet, COMPRESSION zstd);

-- name: day_facts
-- For the manifest: which revision of the states, how many lines, where they are from.
SELECT max(revision), count(*), list(DISTINCT c.origin ORDER BY c.origin) FROM segment s JOIN card c USING (card_key)
WHERE s.day = $day;

-- name: day_sums
-- Quantity and atoms by state and currency: a reader can check the file against its manifest.
SELECT state, coalesce(currency, ''), sum((to_us - from_us)::HUGEINT * share_nano)::VARCHAR,
       coalesce(sum((to_us - from_us)::HUGEINT * share_nano * price_micro), 0)::VARCHAR
FROM segment WHERE day = $day GROUP BY ALL ORDER BY ALL;

-- name: record
INSERT INTO published (what, day, revision, status, digest, published_at) VALUES ($what, $day, $revision, $status, $digest, $at);

-- name: dimension_card
SELECT c.card_id, n.node_id, n.cluster_id, c.vendor, coalesce(i.model, c.model) AS model, c.serial, c.board_id,
       c.memory_total_bytes, c.first_seen, c.last_seen, c.origin, i.pool, i.life,
       i.source IS NOT NULL AND i.source <> 'seen' AS listed
FROM card c JOIN node n USING (node_key)
LEFT JOIN (SELECT * FROM inventory WHERE known_to IS NULL
           QUALIFY row_number() OVER (PARTITION BY card_id ORDER BY source = 'seen', valid_from DESC, inventory_id DESC) = 1) i
  ON i.card_id = c.card_id
ORDER BY c.card_id

-- name: dimension_node
SELECT node_id, cluster_id, machine_id, first_seen, last_seen, clock_wrong, origin FROM node ORDER BY cluster_id, node_id

-- name: dimension_workload
SELECT workload_id, kind, cluster_id, name, user_name, namespace, partition, labels::VARCHAR AS labels, scenario, origin
FROM workload ORDER BY workload_id

-- name: dimension_department
SELECT department_id, name, parent_id, owner, cost_center, valid_from, valid_to, known_from, known_to, deputy, source_key, source
FROM department ORDER BY department_id, valid_from, known_from

-- name: departments
-- The departments as they were published.
SELECT * FROM department;

-- name: dimension_price
SELECT price_id, model, pool, currency, price_micro, assumed, valid_from, valid_to, known_from, known_to, source,
       coalesce(kind, 'list') AS kind, node, label, card, list_micro, terms::VARCHAR AS terms
FROM price ORDER BY price_id

-- name: dimension_exchange_rate
SELECT rate_id, from_currency, to_currency, rate_nano, valid_from, valid_to, known_from, known_to, source
FROM exchange_rate ORDER BY rate_id

-- name: dimension_tariff
SELECT tariff_id, cluster, currency, tariff_micro, zone, hours, weekdays, valid_from, valid_to, known_from, known_to, source
FROM tariff ORDER BY tariff_id

-- name: dimension_pue
SELECT pue_id, cluster, pue_milli, valid_from, valid_to, known_from, known_to, source FROM pue ORDER BY pue_id

-- name: dimension_incident
SELECT i.incident_id, i.family, i.subject, n.node_id, i.cause, i.severity, coalesce(i.vendor, c.vendor) AS vendor, i.code,
       i.onset, i.opened_at, i.closed_at, i.confirmed, i.action, i.evidence::VARCHAR AS evidence, i.history, i.origin
FROM incident i
LEFT JOIN card c ON i.family = 'card' AND c.card_id = i.subject
LEFT JOIN port p ON i.family = 'port' AND p.port_id = i.subject
LEFT JOIN named_node m ON i.family = 'node' AND m.node_id = i.subject AND m.told IS NOT DISTINCT FROM i.cluster_id
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, p.node_key, m.node_key)
ORDER BY i.incident_id

-- name: dimension_finding
SELECT finding_id, kind, family, subject, since, until, evidence::VARCHAR AS evidence, confidence, owner, action
FROM finding ORDER BY finding_id

-- name: dimension_recommendation
SELECT recommendation_id, kind, family, subject, cluster_id, "state", department_id, "owner", risk, effort, confidence, currency,
       month_atoms, counted_atoms, formula, unpriced, shared_with::VARCHAR AS shared_with, evidence::VARCHAR AS evidence, opened_at, due,
       accepted_at, accepted_by, done_at, done_by, ended_at, ended_by, reason, measured_at, window_days, before_from, after_from,
       before_atoms, after_atoms, saved_atoms, method
FROM recommendation ORDER BY recommendation_id

-- name: dimension_adjustment
-- Corrections, credits and disputes with what became of them; only those that are posted are money.
SELECT a.adjustment_id, a.kind, a.department_id, a.business, a.scenario, a.vendor, a.model, a.pool, a.cluster_id, a.state,
       a.cost_class, a.zone, a.period_from, a.period_to, coalesce(a.posted_at, d.posted_at) AS posted_at, a.known_at, a.quantity,
       a.currency, a.cost_atoms, a.reason, a.requester, d.decided_by AS approver,
       coalesce(d.status, CASE WHEN a.posted_at IS NULL THEN 'requested' ELSE 'posted' END) AS status, a.source_rows
FROM adjustment a LEFT JOIN adjustment_decision d USING (adjustment_id)
ORDER BY a.adjustment_id

-- name: dimension_closing
-- Closed periods with the published revisions they stand on.
SELECT zone, valid_from AS period_from, valid_to AS period_to, closed_at, closed_by, "rule", reason, dimensions_revision,
       revisions::VARCHAR AS revisions
FROM period_close ORDER BY valid_from

-- name: empty_raw_segment
-- The same columns and types where nothing is published, or an older Ullage published no such file: a query never fails
-- for want of one.
CREATE VIEW raw_segment AS SELECT NULL::VARCHAR AS line_id, NULL::VARCHAR AS card_id, NULL::VARCHAR AS node_id,
    NULL::VARCHAR AS cluster_id, NULL::VARCHAR AS vendor, NULL::VARCHAR AS model, NULL::VARCHAR AS board_id,
    NULL::VARCHAR AS pool, NULL::BIGINT AS from_us, NULL::BIGINT AS to_us, NULL::VARCHAR AS state,
    NULL::BIGINT AS share_nano, NULL::VARCHAR AS workload_id, NULL::VARCHAR AS department_id, NULL::VARCHAR AS business,
    NULL::VARCHAR AS scenario, NULL::VARCHAR AS currency, NULL::BIGINT AS price_micro, NULL::BIGINT AS price_id,
    NULL::DECIMAL(38, 0) AS cost_atoms, NULL::VARCHAR AS origin, NULL::VARCHAR AS reason, NULL::VARCHAR AS source_rows,
    NULL::BIGINT AS list_micro, NULL::VARCHAR AS holder_department, NULL::VARCHAR AS holder_business,
    NULL::VARCHAR AS holder_scenario WHERE false;

-- name: empty_coverage
CREATE VIEW coverage AS SELECT NULL::VARCHAR AS card_id, NULL::VARCHAR AS node_id, NULL::VARCHAR AS cluster_id,
    NULL::BIGINT AS hour_us, NULL::BIGINT AS owned_quantity, NULL::BIGINT AS held_quantity, NULL::BIGINT AS known_quantity,
    NULL::DOUBLE AS telemetry_seconds WHERE false;

-- name: empty_raw_energy
CREATE VIEW raw_energy AS SELECT NULL::VARCHAR AS line_id, NULL::VARCHAR AS card_id, NULL::VARCHAR AS node_id,
    NULL::VARCHAR AS cluster_id, NULL::VARCHAR AS vendor, NULL::VARCHAR AS model, NULL::VARCHAR AS pool,
    NULL::BIGINT AS from_us, NULL::BIGINT AS to_us, NULL::VARCHAR AS state, NULL::VARCHAR AS workload_id,
    NULL::VARCHAR AS department_id, NULL::VARCHAR AS business, NULL::VARCHAR AS scenario, NULL::BIGINT AS energy_mj,
    NULL::BIGINT AS pue_milli, NULL::BIGINT AS tariff_micro, NULL::VARCHAR AS currency, NULL::BIGINT AS tariff_id,
    NULL::DECIMAL(38, 0) AS cost_atoms, NULL::BOOLEAN AS estimated, NULL::VARCHAR AS origin, NULL::VARCHAR AS source_rows
    WHERE false;

-- name: empty_raw_remainder
CREATE VIEW raw_remainder AS SELECT NULL::VARCHAR AS line_id, NULL::VARCHAR AS kind, NULL::VARCHAR AS card_id,
    NULL::VARCHAR AS node_id, NULL::VARCHAR AS cluster_id, NULL::VARCHAR AS vendor, NULL::VARCHAR AS model,
    NULL::VARCHAR AS pool, NULL::BIGINT AS from_us, NULL::BIGINT AS to_us, NULL::VARCHAR AS department_id,
    NULL::VARCHAR AS currency, NULL::BIGINT AS price_id, NULL::DECIMAL(38, 0) AS cost_atoms, NULL::VARCHAR AS origin,
    NULL::VARCHAR AS source_rows WHERE false;

-- name: empty_raw_serving
CREATE VIEW raw_serving AS SELECT NULL::VARCHAR AS workload_id, NULL::BIGINT AS hour_us, NULL::BIGINT AS requests,
    NULL::BIGINT AS prompt_tokens, NULL::BIGINT AS generated_tokens, NULL::DOUBLE AS covered_seconds WHERE false;

-- name: empty_raw_activity
CREATE VIEW raw_activity AS SELECT NULL::VARCHAR AS card_id, NULL::VARCHAR AS workload_id, NULL::VARCHAR AS vendor,
    NULL::VARCHAR AS model, NULL::BIGINT AS hour_us, NULL::DOUBLE AS covered_seconds, NULL::DOUBLE AS tensor_seconds,
    NULL::DOUBLE AS tensor_active_seconds, NULL::DOUBLE AS sm_seconds, NULL::DOUBLE AS sm_active_seconds WHERE false;

-- name: empty_card
CREATE VIEW card AS SELECT NULL::VARCHAR AS card_id, NULL::VARCHAR AS node_id, NULL::VARCHAR AS cluster_id,
    NULL::VARCHAR AS vendor, NULL::VARCHAR AS model, NULL::VARCHAR AS serial, NULL::VARCHAR AS board_id,
    NULL::UBIGINT AS memory_total_bytes, NULL::TIMESTAMP AS first_seen, NULL::TIMESTAMP AS last_seen,
    NULL::VARCHAR AS origin, NULL::VARCHAR AS pool, NULL::VARCHAR AS life, NULL::BOOLEAN AS listed WHERE false;

-- name: empty_node
CREATE VIEW node AS SELECT NULL::VARCHAR AS node_id, NULL::VARCHAR AS cluster_id, NULL::VARCHAR AS machine_id,
    NULL::TIMESTAMP AS first_seen, NULL::TIMESTAMP AS last_seen, NULL::BOOLEAN AS clock_wrong, NULL::VARCHAR AS origin
    WHERE false;

-- name: empty_workload
CREATE VIEW workload AS SELECT NULL::VARCHAR AS workload_id, NULL::VARCHAR AS kind, NULL::VARCHAR AS cluster_id,
    NULL::VARCHAR AS name, NULL::VARCHAR AS user_name, NULL::VARCHAR AS namespace, NULL::VARCHAR AS partition,
    NULL::VARCHAR AS labels, NULL::VARCHAR AS scenario, NULL::VARCHAR AS origin WHERE false;

-- name: empty_department
CREATE VIEW department AS SELECT NULL::VARCHAR AS department_id, NULL::VARCHAR AS name, NULL::VARCHAR AS parent_id,
    NULL::VARCHAR AS owner, NULL::VARCHAR AS cost_center, NULL::TIMESTAMP AS valid_from, NULL::TIMESTAMP AS valid_to,
    NULL::TIMESTAMP AS known_from, NULL::TIMESTAMP AS known_to, NULL::VARCHAR AS deputy, NULL::VARCHAR AS source_key,
    NULL::VARCHAR AS source WHERE false;

-- name: empty_price
CREATE VIEW price AS SELECT NULL::BIGINT AS price_id, NULL::VARCHAR AS model, NULL::VARCHAR AS pool,
    NULL::VARCHAR AS currency, NULL::BIGINT AS price_micro, NULL::BOOLEAN AS assumed, NULL::TIMESTAMP AS valid_from,
    NULL::TIMESTAMP AS valid_to, NULL::TIMESTAMP AS known_from, NULL::TIMESTAMP AS known_to, NULL::VARCHAR AS source,
    NULL::VARCHAR AS kind, NULL::VARCHAR AS node, NULL::VARCHAR AS label, NULL::VARCHAR AS card, NULL::BIGINT AS list_micro,
    NULL::VARCHAR AS terms WHERE false;

-- name: empty_exchange_rate
CREATE VIEW exchange_rate AS SELECT NULL::BIGINT AS rate_id, NULL::VARCHAR AS from_currency, NULL::VARCHAR AS to_currency,
    NULL::BIGINT AS rate_nano, NULL::TIMESTAMP AS valid_from, NULL::TIMESTAMP AS valid_to,
    NULL::TIMESTAMP AS known_from, NULL::TIMESTAMP AS known_to, NULL::VARCHAR AS source WHERE false;

-- name: empty_tariff
CREATE VIEW tariff AS SELECT NULL::BIGINT AS tariff_id, NULL::VARCHAR AS cluster, NULL::VARCHAR AS currency,
    NULL::BIGINT AS tariff_micro, NULL::VARCHAR AS zone, NULL::VARCHAR AS hours, NULL::VARCHAR AS weekdays,
    NULL::TIMESTAMP AS valid_from, NULL::TIMESTAMP AS valid_to,
    NULL::TIMESTAMP AS known_from, NULL::TIMESTAMP AS known_to, NULL::VARCHAR AS source WHERE false;

-- name: empty_pue
CREATE VIEW pue AS SELECT NULL::BIGINT AS pue_id, NULL::VARCHAR AS cluster, NULL::BIGINT AS pue_milli,
    NULL::TIMESTAMP AS valid_from, NULL::TIMESTAMP AS valid_to,
    NULL::TIMESTAMP AS known_from, NULL::TIMESTAMP AS known_to, NULL::VARCHAR AS source WHERE false;

-- name: empty_incident
CREATE VIEW incident AS SELECT NULL::BIGINT AS incident_id, NULL::VARCHAR AS family, NULL::VARCHAR AS subject,
    NULL::VARCHAR AS node_id, NULL::VARCHAR AS cause, NULL::VARCHAR AS severity, NULL::VARCHAR AS vendor,
    NULL::VARCHAR AS code, NULL::TIMESTAMP AS onset, NULL::TIMESTAMP AS opened_at, NULL::TIMESTAMP AS closed_at,
    NULL::BOOLEAN AS confirmed, NULL::VARCHAR AS action, NULL::VARCHAR AS evidence, NULL::BOOLEAN AS history,
    NULL::VARCHAR AS origin WHERE false;

-- name: empty_finding
CREATE VIEW finding AS SELECT NULL::BIGINT AS finding_id, NULL::VARCHAR AS kind, NULL::VARCHAR AS family,
    NULL::VARCHAR AS subject, NULL::TIMESTAMP AS since, NULL::TIMESTAMP AS until, NULL::VARCHAR AS evidence,
    NULL::DOUBLE AS confidence, NULL::VARCHAR AS owner, NULL::VARCHAR AS action WHERE false;

-- name: empty_quota_hour
CREATE VIEW quota_hour AS SELECT NULL::BIGINT AS hour_us, NULL::VARCHAR AS tree, NULL::VARCHAR AS pool,
    NULL::VARCHAR AS resource, NULL::VARCHAR AS vendor, NULL::VARCHAR AS model, NULL::VARCHAR AS quota,
    NULL::VARCHAR AS parent, NULL::VARCHAR AS department_id, NULL::DOUBLE AS seconds, NULL::DECIMAL(38, 0) AS "min",
    NULL::DECIMAL(38, 0) AS "max", NULL::DECIMAL(38, 0) AS used, NULL::DECIMAL(38, 0) AS guaranteed_used,
    NULL::DECIMAL(38, 0) AS borrowed, NULL::DECIMAL(38, 0) AS lent, NULL::DECIMAL(38, 0) AS waiting,
    NULL::DECIMAL(38, 0) AS headroom, NULL::BOOLEAN AS sprint WHERE false;

-- name: empty_recommendation
CREATE VIEW recommendation AS SELECT NULL::BIGINT AS recommendation_id, NULL::VARCHAR AS kind, NULL::VARCHAR AS family,
    NULL::VARCHAR AS subject, NULL::VARCHAR AS cluster_id, NULL::VARCHAR AS "state", NULL::VARCHAR AS department_id,
    NULL::VARCHAR AS "owner", NULL::VARCHAR AS risk, NULL::VARCHAR AS effort, NULL::DOUBLE AS confidence,
    NULL::VARCHAR AS currency, NULL::DECIMAL(38, 0) AS month_atoms, NULL::DECIMAL(38, 0) AS counted_atoms,
    NULL::VARCHAR AS formula, NULL::BIGINT AS unpriced, NULL::VARCHAR AS shared_with, NULL::VARCHAR AS evidence,
    NULL::TIMESTAMP AS opened_at, NULL::DATE AS due, NULL::TIMESTAMP AS accepted_at, NULL::VARCHAR AS accepted_by,
    NULL::TIMESTAMP AS done_at, NULL::VARCHAR AS done_by, NULL::TIMESTAMP AS ended_at, NULL::VARCHAR AS ended_by,
    NULL::VARCHAR AS reason, NULL::TIMESTAMP AS measured_at, NULL::INTEGER AS window_days, NULL::DATE AS before_from,
    NULL::DATE AS after_from, NULL::DECIMAL(38, 0) AS before_atoms, NULL::DECIMAL(38, 0) AS after_atoms,
    NULL::DECIMAL(38, 0) AS saved_atoms, NULL::VARCHAR AS method WHERE false;

-- name: empty_adjustment
CREATE VIEW adjustment AS SELECT NULL::BIGINT AS adjustment_id, NULL::VARCHAR AS kind, NULL::VARCHAR AS department_id,
    NULL::VARCHAR AS business, NULL::VARCHAR AS scenario, NULL::VARCHAR AS vendor, NULL::VARCHAR AS model, NULL::VARCHAR AS pool,
    NULL::VARCHAR AS cluster_id, NULL::VARCHAR AS state, NULL::VARCHAR AS cost_class, NULL::VARCHAR AS zone,
    NULL::TIMESTAMP AS period_from, NULL::TIMESTAMP AS period_to, NULL::TIMESTAMP AS posted_at, NULL::TIMESTAMP AS known_at,
    NULL::DECIMAL(38, 0) AS quantity, NULL::VARCHAR AS currency, NULL::DECIMAL(38, 0) AS cost_atoms, NULL::VARCHAR AS reason,
    NULL::VARCHAR AS requester, NULL::VARCHAR AS approver, NULL::VARCHAR AS status, NULL::VARCHAR AS source_rows WHERE false;

-- name: empty_closing
CREATE VIEW closing AS SELECT NULL::VARCHAR AS zone, NULL::TIMESTAMP AS period_from, NULL::TIMESTAMP AS period_to,
    NULL::TIMESTAMP AS closed_at, NULL::VARCHAR AS closed_by, NULL::VARCHAR AS "rule", NULL::VARCHAR AS reason,
    NULL::INTEGER AS dimensions_revision, NULL::VARCHAR AS revisions WHERE false;

-- name: closings
SELECT zone, period_from, period_to, closed_at, closed_by, "rule", reason, dimensions_revision, revisions FROM closing
ORDER BY period_from;

-- name: source
-- What is published, and NULL in columns that an older Ullage did not publish. The view without rows stands there already.
ALTER VIEW {view} RENAME TO no_{view};
CREATE VIEW {view} AS SELECT * FROM no_{view}
UNION ALL BY NAME SELECT * FROM read_parquet([{files}], hive_partitioning = false, union_by_name = true);

-- name: clipped
-- Lines within [from_us, to_us), cut at both ends: a local midnight need not fall on a UTC hour. Cost is linear
-- in time, so a cut line costs exactly its part.
CREATE VIEW segment AS
SELECT * EXCLUDE (from_us, to_us, cost_atoms),
       greatest(from_us, {from_us}) AS from_us, least(to_us, {to_us}) AS to_us,
       (least(to_us, {to_us}) - greatest(from_us, {from_us})) * share_nano AS quantity,
       CASE WHEN price_micro IS NOT NULL
            THEN ((least(to_us, {to_us}) - greatest(from_us, {from_us}))::HUGEINT * share_nano * price_micro) END AS atoms
FROM raw_segment WHERE from_us < {to_us} AND to_us > {from_us};

-- name: clipped_energy
-- Energy within [from_us, to_us). What a line that is cut drew is divided by time, rounded down from its beginning, so that
-- the parts of neighbouring periods are the whole.
CREATE VIEW energy AS
WITH cut AS (
    SELECT *, greatest(from_us, {from_us}) AS a, least(to_us, {to_us}) AS b
    FROM raw_energy WHERE from_us < {to_us} AND to_us > {from_us}
), part AS (
    SELECT * EXCLUDE (energy_mj), (energy_mj::HUGEINT * (b - from_us) // (to_us - from_us)
                                  - energy_mj::HUGEINT * (a - from_us) // (to_us - from_us))::BIGINT AS energy_mj
    FROM cut
)
SELECT * EXCLUDE (from_us, to_us, a, b, cost_atoms), a AS from_us, b AS to_us,
       (energy_mj::HUGEINT * pue_milli * tariff_micro * 1000000)::DECIMAL(38, 0) AS cost_atoms
FROM part;

-- name: clipped_remainder
-- Remainders within [from_us, to_us), divided the same way.
CREATE VIEW remainder AS
WITH cut AS (
    SELECT *, greatest(from_us, {from_us}) AS a, least(to_us, {to_us}) AS b
    FROM raw_remainder WHERE from_us < {to_us} AND to_us > {from_us}
)
SELECT * EXCLUDE (from_us, to_us, a, b, cost_atoms), a AS from_us, b AS to_us,
       (cost_atoms::HUGEINT // (to_us - from_us) * (b - from_us) + cost_atoms::HUGEINT % (to_us - from_us) * (b - from_us) // (to_us - from_us)
        - cost_atoms::HUGEINT // (to_us - from_us) * (a - from_us)
        - cost_atoms::HUGEINT % (to_us - from_us) * (a - from_us) // (to_us - from_us))::DECIMAL(38, 0) AS cost_atoms
FROM cut;

-- name: clipped_serving
-- Requests of the hours that begin within [from_us, to_us): they are counted by the hour and not divided.
CREATE VIEW serving AS SELECT * FROM raw_serving WHERE hour_us >= {from_us} AND hour_us < {to_us};

-- name: clipped_activity
-- Activity of the hours that begin within [from_us, to_us): an estimate, and not divided.
CREATE VIEW activity AS SELECT * FROM raw_activity WHERE hour_us >= {from_us} AND hour_us < {to_us};
