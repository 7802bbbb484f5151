-- What reports stand on, written: a day's segments and what lies beside them, and the names, as sorted Parquet.

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
