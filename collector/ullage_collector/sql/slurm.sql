-- What the Slurm source reads of the store (allocation/slurm/).

-- name: cards
-- The cards of a cluster that an agent saw, as it saw them.
SELECT n.node_id, c.card_id, c.minor, c.pci_address, epoch(c.last_seen)
FROM card c JOIN node n USING (node_key) WHERE n.cluster_id = ? AND c.last_seen IS NOT NULL
ORDER BY n.node_id, c.card_id;

-- name: slices
-- The slices of a cluster with the share of their card that their maker states.
SELECT s.slice_id, c.card_id, n.node_id, s.compute_share, s.memory_share
FROM slice s JOIN card c USING (card_key) JOIN node n USING (node_key) WHERE n.cluster_id = ?
ORDER BY s.slice_id;

-- name: hooks
-- What prolog and epilog told the agents since an event, in the order received.
SELECT e.event_id, epoch_us(e.time), n.node_id, e.kind, e.attributes
FROM event e JOIN node n USING (node_key)
WHERE e.event_id > ? AND e.kind IN ('job_started', 'job_ended') AND n.cluster_id = ?
  AND e.time >= make_timestamp(?) ORDER BY e.event_id LIMIT ?;

-- name: newest_event
-- The number of the newest event there is.
SELECT coalesce(max(event_id), 0) FROM event;

-- name: believed_runs
-- Which of these runs are believed with places, as their source's live view or its history gave them.
SELECT DISTINCT w.workload_id, epoch_us(a.valid_from)
FROM incoming i
JOIN workload w USING (workload_id)
JOIN allocation a ON a.workload_key = w.workload_key AND a.valid_from = i.valid_from AND a.known_to IS NULL
WHERE coalesce(json_extract_string(a.attributes, '$.prolog_only'), 'false') <> 'true';
