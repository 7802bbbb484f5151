-- What the fragmentation detector reads, and what schedulers say of nodes beside their cards (allocation/room.py).

-- name: forget_rooms
-- A source says everything anew.
DELETE FROM node_room WHERE source = ? AND cluster_id = ?;

-- name: put_rooms
-- What a source says now.
INSERT INTO node_room (source, cluster_id, node_id, cpu_milli, cpu_free_milli, memory_mib, memory_free_mib, takes_work,
                       why, told_at)
SELECT source, cluster_id, node_id, cpu_milli, cpu_free_milli, memory_mib, memory_free_mib, takes_work, why, ?
FROM incoming;

-- name: rooms
-- Of each node what was said last, not before $since.
SELECT cluster_id, node_id, cpu_free_milli, memory_free_mib, takes_work, why, epoch_us(told_at) FROM node_room
WHERE told_at >= $since
QUALIFY row_number() OVER (PARTITION BY cluster_id, node_id ORDER BY told_at DESC, source) = 1;

-- name: held
-- What work holds now, place by place; a card that nobody names has NULL.
SELECT w.workload_id, w.kind, w.user_name, n.cluster_id, n.node_id, c.card_id, a.slice_key IS NOT NULL, a.share_nano,
       CAST(a.attributes AS VARCHAR), CAST(w.attributes AS VARCHAR)
FROM allocation a
JOIN workload w USING (workload_key)
LEFT JOIN card c ON c.card_key = a.card_key
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, a.node_key)
WHERE a.known_to IS NULL AND coalesce(a."rank", 'work') = 'work'
  AND a.valid_from <= $now AND (a.valid_to IS NULL OR a.valid_to > $now)
ORDER BY w.workload_id, n.cluster_id, n.node_id, c.card_id;

-- name: ran
-- What work asked for on each node since $since, alike ones together: cards, share of each, what its source says of the
-- run (processors and memory of all its nodes), on how many nodes, in which pool, and how often it was so.
WITH owned AS (
    SELECT card_id, any_value(pool ORDER BY valid_from DESC) AS pool FROM inventory WHERE known_to IS NULL GROUP BY card_id
), place AS (
    SELECT a.workload_key, a.valid_from, coalesce(c.node_key, a.node_key) AS node_key, any_value(a.attributes) AS said,
           sum(CASE WHEN a.card_key IS NULL THEN greatest(1, a.share_nano // 1000000000) ELSE 1 END)::BIGINT AS cards,
           sum(a.share_nano)::BIGINT AS nano, any_value(o.pool) AS pool
    FROM allocation a LEFT JOIN card c USING (card_key) LEFT JOIN owned o USING (card_id)
    WHERE a.known_to IS NULL AND coalesce(a."rank", 'work') = 'work' AND a.valid_from >= $since AND a.valid_from <= $now
    GROUP BY a.workload_key, a.valid_from, coalesce(c.node_key, a.node_key)
), run AS (
    SELECT *, count(*) OVER (PARTITION BY workload_key, valid_from) AS nodes FROM place
)
SELECT cards, nano, nodes, TRY_CAST(said ->> 'cpu_milli' AS BIGINT) AS cpu_milli,
       TRY_CAST(said ->> 'memory_mib' AS BIGINT) AS memory_mib, n.cluster_id, coalesce(pool, '') AS pool, count(*)
FROM run LEFT JOIN node n USING (node_key) GROUP BY ALL ORDER BY ALL;
