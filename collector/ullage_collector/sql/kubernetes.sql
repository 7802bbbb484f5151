-- What the Kubernetes source asks of the store (allocation/kubernetes/). It writes through allocation/book.py alone.

-- name: handed_newest
-- Where every pod and resource stands: a node tells all again once an hour, so its words of two hours up to its
-- newest are the whole. What was released more than a day ago is left out, as is what is older than a week.
SELECT event_id, node_id, at_us, kind, attributes FROM (
    SELECT *, max(at_us) OVER whole AS newest_us, arg_max(kind, event_id) OVER whole AS newest_kind FROM (
        SELECT e.event_id, n.node_id, e.kind, e.attributes,
               epoch_us(e.time) - CAST(1e6 * CASE WHEN n.clock_wrong THEN 0 ELSE coalesce(n.clock_skew_seconds, 0) END AS BIGINT) AS at_us
        FROM event e JOIN node n USING (node_key)
        WHERE e.kind IN ('devices_assigned', 'devices_released') AND n.cluster_id = $1 AND e.event_id <= $2
          AND e.time >= make_timestamp($3 - 604800000000))
    WINDOW whole AS (PARTITION BY node_id, attributes->>'namespace', attributes->>'pod', attributes->>'container',
                     attributes->>'resource'))
WHERE at_us >= newest_us - 7200000000 AND (newest_kind = 'devices_assigned' OR newest_us >= $3 - 86400000000)
ORDER BY event_id;

-- name: handed_since
-- What nodes told of devices after an event, in the order it came.
SELECT e.event_id, n.node_id,
       epoch_us(e.time) - CAST(1e6 * CASE WHEN n.clock_wrong THEN 0 ELSE coalesce(n.clock_skew_seconds, 0) END AS BIGINT),
       e.kind, e.attributes
FROM event e JOIN node n USING (node_key)
WHERE e.event_id > $2 AND e.event_id <= $3 AND e.kind IN ('devices_assigned', 'devices_released') AND n.cluster_id = $1
ORDER BY e.event_id;

-- name: newest_event
-- The highest event number there is.
SELECT coalesce(max(event_id), 0) FROM event;

-- name: cards
-- Cards of a cluster with what devices may be called by.
SELECT c.card_id, n.node_id, c.vendor, c.uuid, c.serial, c.pci_address, c.minor, c.card_index, c.memory_total_bytes
FROM card c JOIN node n USING (node_key) WHERE n.cluster_id = $1 ORDER BY c.card_key;

-- name: slices
-- Slices of a cluster's cards: their maker's UUID and their shares as the node measured them.
SELECT s.slice_id, c.card_id, s.facts->>'uuid', s.compute_share, s.memory_share
FROM slice s JOIN card c USING (card_key) JOIN node n USING (node_key) WHERE n.cluster_id = $1 ORDER BY s.slice_key;

-- name: skews
-- By how much nodes' clocks are ahead of ours, as their agents' pushes tell.
SELECT node_id, clock_skew_seconds FROM node WHERE cluster_id = $1 AND clock_skew_seconds IS NOT NULL;

-- name: runs
-- The believed runs of these workloads by this source: whether one is open, and when it was last learned of.
SELECT w.workload_id, bool_or(a.valid_to IS NULL), max(epoch_us(a.known_from))
FROM incoming i JOIN workload w USING (workload_id) JOIN allocation a USING (workload_key)
WHERE a.known_to IS NULL AND a.source = 'kubernetes' GROUP BY ALL;

-- name: cards_stamp
-- Changes whenever a card, a slice or what is known of one does.
SELECT (SELECT count(*) FROM card), (SELECT max(facts_at) FROM card), (SELECT count(*) FROM slice),
       (SELECT max(facts_at) FROM slice);
