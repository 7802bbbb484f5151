-- What the watch over cards used without allocation reads (detect/unallocated_watch.py).

-- name: seen
-- Processes seen on cards since an instant: first and last sight, moved to the collector's clock by the node's skew.
SELECT c.card_id, p.pid, n.cluster_id, n.node_id,
       min(epoch_us(p."time") - CAST(coalesce(n.clock_skew_seconds, 0) * 1000000 AS BIGINT)) AS first_us,
       max(epoch_us(p."time") - CAST(coalesce(n.clock_skew_seconds, 0) * 1000000 AS BIGINT)) AS seen_us
FROM process_sample p JOIN card c USING (card_key) JOIN node n ON n.node_key = p.node_key
WHERE p."time" >= make_timestamp($from_us - 300000000)
  AND epoch_us(p."time") - CAST(coalesce(n.clock_skew_seconds, 0) * 1000000 AS BIGINT) >= $from_us
GROUP BY ALL ORDER BY c.card_id, p.pid;

-- name: looked_at
-- Cards whose processes were listed since an instant, and how many there were at the last look.
SELECT c.card_id, arg_max(s.processes, s."time")
FROM card_sample s JOIN card c USING (card_key) JOIN node n ON n.node_key = s.node_key
WHERE s.processes IS NOT NULL AND s."time" >= make_timestamp($from_us - 300000000)
  AND epoch_us(s."time") - CAST(coalesce(n.clock_skew_seconds, 0) * 1000000 AS BIGINT) >= $from_us
GROUP BY c.card_id;

-- name: told
-- What nodes told of processes since an instant by the collector's clock, oldest first.
SELECT subject, name, value, epoch_us(valid_from), epoch_us(received_at) FROM fact
WHERE family = 'process' AND received_at >= make_timestamp($from_us) ORDER BY valid_from;

-- name: told_of
-- The same of some processes, whenever it was told.
SELECT subject, name, value, epoch_us(valid_from), epoch_us(received_at) FROM fact
WHERE family = 'process' AND subject IN (SELECT unnest($subjects)) ORDER BY valid_from;

-- name: allocated
-- What is believed to be held, or was until lately, of some cards, and of these nodes' cards where nobody knows which.
SELECT w.workload_id, w.kind, w.user_name, json_extract_string(a.attributes, '$.job_id'), w.cluster_id,
       n.node_id, c.card_id, epoch_us(a.valid_from), epoch_us(a.valid_to)
FROM allocation a
JOIN workload w USING (workload_key)
LEFT JOIN card c ON c.card_key = a.card_key
LEFT JOIN node n ON n.node_key = a.node_key
WHERE a.known_to IS NULL AND coalesce(a."rank", 'work') <> 'reserved'
  AND (a.valid_to IS NULL OR a.valid_to >= make_timestamp($from_us))
  AND (c.card_id IN (SELECT unnest($cards)) OR (a.card_key IS NULL AND n.node_id IN (SELECT unnest($nodes))));

-- name: open_subjects
-- Cards with an open finding of a kind.
SELECT DISTINCT subject FROM finding WHERE kind = ? AND until IS NULL;
