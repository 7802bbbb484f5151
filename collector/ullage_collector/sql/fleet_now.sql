-- What the fleet looks like now. Everything is bounded in time: an unbounded "latest row" scans every day.

-- name: cards
-- Every card that is owned now or was seen in the last week, with its newest figures of the last ten minutes.
-- $now: UTC; $quiet: since when figures count.
WITH recent AS (
    SELECT card_key,
           max(time)                                        AS last_time,
           arg_max(utilization_ratio, time)                 AS utilization_ratio,
           arg_max(memory_used_bytes, time)                 AS memory_used_bytes,
           arg_max(memory_total_bytes, time)                AS memory_total_bytes,
           arg_max(memory_ratio, time)                      AS memory_ratio,
           arg_max(power_watts, time)                       AS power_watts,
           arg_max(temperature_celsius, time)               AS temperature_celsius,
           arg_max(health, time)                            AS health,
           max(greatest(utilization_ratio, sm_active_ratio, tensor_active_ratio, memory_bandwidth_ratio))
                                                            AS busiest_ratio
    FROM card_sample
    WHERE time >= $quiet AND time <= $now + INTERVAL 10 MINUTE
    GROUP BY card_key
),
owned AS (
    SELECT card_id, any_value(life ORDER BY valid_from DESC) AS life, any_value(pool ORDER BY valid_from DESC) AS pool,
           any_value(model ORDER BY valid_from DESC) AS model,
           any_value(vendor ORDER BY valid_from DESC) AS vendor,
           any_value(cluster_id ORDER BY valid_from DESC) AS cluster_id,
           any_value(node_id ORDER BY valid_from DESC) AS node_id
    FROM inventory
    WHERE known_to IS NULL AND valid_from <= $now AND (valid_to IS NULL OR valid_to > $now)
    GROUP BY card_id
),
claim AS (
    SELECT card_key, workload_key, share_nano, valid_from, "rank" = 'reserved' AS reserved
    FROM allocation
    WHERE known_to IS NULL AND card_key IS NOT NULL AND "rank" IS DISTINCT FROM 'completing'
      AND valid_from <= $now AND (valid_to IS NULL OR valid_to > $now)
    UNION ALL
    SELECT c.card_key, a.workload_key, 1000000000, a.valid_from, true
    FROM allocation a JOIN card c USING (node_key)
    WHERE a.known_to IS NULL AND a.card_key IS NULL AND a."rank" = 'reserved'
      AND a.valid_from <= $now AND (a.valid_to IS NULL OR a.valid_to > $now)
),
-- a reservation is shown only where no work is; several holders: the one with the largest share is named
held AS (
    SELECT card_key, sum(share_nano)::BIGINT AS share_nano, arg_max(workload_key, share_nano) AS workload_key,
           max(valid_from) AS held_from
    FROM (SELECT * FROM claim QUALIFY reserved = bool_and(reserved) OVER (PARTITION BY card_key))
    GROUP BY card_key
),
broken AS (
    SELECT DISTINCT subject FROM incident
    WHERE closed_at IS NULL AND confirmed AND action <> 'observe' AND family = 'card'
),
apart AS (
    SELECT DISTINCT subject FROM isolation WHERE released_at IS NULL AND family = 'card'
),
apart_node AS (
    SELECT DISTINCT m.node_key FROM isolation s
    JOIN named_node m ON m.node_id = s.subject AND m.told IS NOT DISTINCT FROM s.cluster_id
    WHERE s.released_at IS NULL AND s.family = 'node'
)
SELECT c.card_key, c.card_id, coalesce(o.cluster_id, n.cluster_id) AS cluster_id,
       coalesce(o.node_id, n.node_id) AS node_id, coalesce(nullif(c.vendor, 'unknown'), o.vendor, 'unknown') AS vendor,
       coalesce(c.model, o.model, 'unknown') AS model, c.card_index, o.pool, o.life,
       r.last_time, r.utilization_ratio,
       coalesce(r.memory_ratio, r.memory_used_bytes / nullif(coalesce(r.memory_total_bytes, c.memory_total_bytes), 0))
           AS memory_ratio,
       r.power_watts, r.temperature_celsius, r.health, r.busiest_ratio,
       least(coalesce(h.share_nano, 0), 1000000000) AS held_nano, h.workload_key, h.held_from,
       b.subject IS NOT NULL AS is_broken,
       (a.subject IS NOT NULL OR an.node_key IS NOT NULL) AS is_apart,
       n.clock_wrong, c.origin
FROM card c
JOIN node n USING (node_key)
LEFT JOIN recent r USING (card_key)
LEFT JOIN owned o USING (card_id)
LEFT JOIN held h USING (card_key)
LEFT JOIN broken b ON b.subject = c.card_id
LEFT JOIN apart a ON a.subject = c.card_id
LEFT JOIN apart_node an ON an.node_key = c.node_key
WHERE o.life IS NOT NULL OR c.last_seen >= $now - INTERVAL 7 DAY
ORDER BY cluster_id, node_id, c.card_index NULLS LAST, c.card_id;

-- name: workloads
-- The workloads that hold cards now.
SELECT DISTINCT w.workload_key, w.workload_id, w.cluster_id, w.namespace, w.user_name, w.partition, w.labels,
       w.scenario, w.attributes
FROM workload w JOIN allocation a USING (workload_key)
WHERE a.known_to IS NULL AND a.valid_from <= $now AND (a.valid_to IS NULL OR a.valid_to > $now);

-- name: rules
-- The mapping rules believed now.
SELECT rule_id, match, priority, department_id, business, scenario,
       epoch_us(valid_from), epoch_us(valid_to), epoch_us(known_from), epoch_us(known_to)
FROM mapping_rule WHERE known_to IS NULL;

-- name: prices
-- The prices believed now.
SELECT price_id, model, currency, price_micro, pool, assumed,
       epoch_us(valid_from), epoch_us(valid_to), epoch_us(known_from), epoch_us(known_to),
       kind, node, label, card, list_micro, terms::VARCHAR, source
FROM price WHERE known_to IS NULL;

-- name: rates
-- The exchange rates believed now.
SELECT rate_id, from_currency, to_currency, rate_nano, epoch_us(valid_from), epoch_us(valid_to)
FROM exchange_rate WHERE known_to IS NULL;

-- name: node_labels
-- Facts of nodes: name, JSON value, from when; each holds until the next of its name.
SELECT subject, name, CAST(value AS VARCHAR), epoch_us(valid_from) FROM fact WHERE family = 'node'
ORDER BY subject, name, valid_from, received_at;

-- name: policies
-- What is decided about money, as believed now.
SELECT policy_id, currency, gap_energy, epoch_us(valid_from), epoch_us(valid_to) FROM money_policy WHERE known_to IS NULL;

-- name: departments
-- Department names as people write them.
SELECT department_id, name FROM department
WHERE known_to IS NULL AND valid_from <= $now AND (valid_to IS NULL OR valid_to > $now);

-- name: incidents
-- Open incidents that are no history, by severity; what is only counted and what is part of another stays out.
SELECT severity, count(*) FROM incident
WHERE closed_at IS NULL AND NOT history AND parent_id IS NULL AND coalesce("mode", 'advise') <> 'shadow'
GROUP BY severity;

-- name: nodes
-- Nodes by what their agent says: up within five minutes, silent, clock wrong, owned but never seen.
SELECT CASE WHEN last_seen IS NULL THEN 'never_seen'
            WHEN clock_wrong THEN 'clock_wrong'
            WHEN last_seen >= $now - INTERVAL 5 MINUTE THEN 'up'
            ELSE 'silent' END AS status, count(*)
FROM node GROUP BY status;
