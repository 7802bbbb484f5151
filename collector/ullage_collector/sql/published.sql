-- What is published, read: views over its files, cut to a span.

-- name: departments
-- The departments as they were published.
SELECT * FROM department;

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
