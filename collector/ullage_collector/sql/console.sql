-- What the console's pages and the API read.

-- name: card
-- One card with its newest facts.
SELECT c.card_key, c.card_id, n.cluster_id, n.node_id, c.vendor, c.model, c.uuid, c.serial, c.board_id, c.pci_address,
       c.card_index, c.minor, c.memory_total_bytes, c.first_seen, c.last_seen, c.origin, c.facts
FROM card c JOIN node n USING (node_key) WHERE c.card_id = ?;

-- name: card_allocations
-- Who held a card, newest first, as believed now.
SELECT w.workload_id, w.kind, w.name, w.user_name, w.namespace, a.share_nano, a.valid_from, a.valid_to, a.source
FROM allocation a JOIN workload w USING (workload_key)
WHERE a.card_key = ? AND a.known_to IS NULL ORDER BY a.valid_from DESC LIMIT 20;

-- name: card_events
-- What happened to a card, newest first.
SELECT time, kind, severity, code, source, message FROM event WHERE subject = ? ORDER BY time DESC LIMIT 50;

-- name: allocations
-- Allocations that overlap [from, to), as believed now.
SELECT w.workload_id, w.kind, w.name, w.user_name, w.namespace, w.partition, w.cluster_id, n.node_id, c.card_id,
       s.slice_id, a.share_nano, a.memory_share_nano, a.valid_from, a.valid_to, a."rank", a.source, a.attributes,
       w.labels, w.attributes AS workload_attributes
FROM allocation a
JOIN workload w USING (workload_key)
LEFT JOIN card c ON c.card_key = a.card_key
LEFT JOIN slice s ON s.slice_key = a.slice_key
LEFT JOIN node n ON n.node_key = coalesce(a.node_key, c.node_key)
WHERE a.known_to IS NULL AND a.valid_from < $to AND (a.valid_to IS NULL OR a.valid_to > $from)
ORDER BY a.valid_from DESC, w.workload_id LIMIT $limit;

-- name: nodes
-- Every node with what its agent last said.
SELECT cluster_id, node_id, machine_id, boot_id, first_seen, last_seen, clock_skew_seconds, clock_wrong, origin, facts
FROM node ORDER BY cluster_id, node_id;

-- name: findings
-- Findings that are still so, then older ones.
SELECT finding_id, kind, family, subject, since, until, evidence, confidence, owner, action
FROM finding ORDER BY until IS NOT NULL, since DESC LIMIT ?;

-- name: ledger
-- Exact money of published days by whatever can be asked for, cut at $cuts: instants at which a day begins, and the last one's end.
SELECT e.begins, s.department_id, s.business, s.scenario, s.state, i.vendor, i.model, i.pool, i.cluster_id, s.currency,
       sum((least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano)::DECIMAL(38, 0) AS quantity,
       sum((least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano * s.price_micro)::DECIMAL(38, 0)
           AS cost_atoms,
       sum((least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano)
           FILTER (s.price_micro IS NULL)::DECIMAL(38, 0) AS unpriced
FROM (SELECT * FROM segment WHERE day BETWEEN $first AND $last AND from_us < $lapse) s
JOIN (SELECT unnest(list_slice($cuts, 1, len($cuts) - 1))::BIGINT AS begins,
             unnest(list_slice($cuts, 2, len($cuts)))::BIGINT AS ends) e ON s.from_us < e.ends AND s.to_us > e.begins
LEFT JOIN inventory i USING (inventory_id)
GROUP BY ALL ORDER BY ALL;

-- name: idle_since
-- Since when cards have done nothing, looking back to $back: the last minute each was busy, and the first seen.
WITH seen AS (
    SELECT card_key, time,
           greatest(utilization_ratio, sm_active_ratio, tensor_active_ratio, memory_bandwidth_ratio) AS busy
    FROM card_sample WHERE time >= $back AND time <= $now
    UNION ALL
    SELECT card_key, minute,
           greatest(utilization_ratio_max, sm_active_ratio_max, tensor_active_ratio_max, memory_bandwidth_ratio_max)
    FROM card_minute WHERE minute >= $back AND minute <= $now
)
SELECT any_value(c.card_id) AS card_id, max(time) FILTER (busy >= $active) AS last_busy, min(time) AS seen_from
FROM seen JOIN card c USING (card_key) GROUP BY card_key;

-- name: open_findings
-- What detectors say now, the kind with the newest first.
SELECT kind, family, subject, since, evidence, confidence, owner, action FROM finding WHERE until IS NULL
ORDER BY max(since) OVER (PARTITION BY kind) DESC, kind, since DESC, subject;

-- name: origins
-- Where the fleet's cards are from: a page that shows simulated ones says so.
SELECT DISTINCT origin FROM card;
