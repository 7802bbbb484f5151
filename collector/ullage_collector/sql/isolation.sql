-- Isolation and its audit.

-- name: card
-- Where a card is and what the scheduler calls it; by card_id, UUID, serial, or index or PCI address on a node,
-- which may have its cluster before it.
SELECT c.card_id, n.cluster_id, n.node_id, c.vendor, c.model, c.minor, c.pci_address, c.card_key, n.node_key
FROM card c JOIN node n USING (node_key)
WHERE c.card_id = ?1 OR c.uuid = ?1 OR c.serial = ?1 OR n.node_id || '/' || c.pci_address = ?1
   OR n.node_id || '/' || CAST(c.card_index AS VARCHAR) = ?1
   OR n.cluster_id || '/' || n.node_id || '/' || c.pci_address = ?1
   OR n.cluster_id || '/' || n.node_id || '/' || CAST(c.card_index AS VARCHAR) = ?1
ORDER BY c.card_id;

-- name: node
-- A node by its id.
SELECT n.cluster_id, n.node_id, n.node_key FROM node n WHERE n.node_id = ?1 OR n.cluster_id || '/' || n.node_id = ?1;

-- name: cards_of_node
-- Every card on a node.
SELECT card_id, model FROM card WHERE node_key = ? ORDER BY card_index NULLS LAST, card_id;

-- name: holders
-- Which workloads hold a card of the node now, as far as is known.
SELECT DISTINCT w.workload_id, w.name, w.user_name, c.card_id
FROM allocation a JOIN workload w USING (workload_key)
LEFT JOIN card c ON c.card_key = a.card_key
WHERE (a.node_key = ?1 OR c.node_key = ?1) AND a.known_to IS NULL
  AND a.valid_from <= ?2 AND (a.valid_to IS NULL OR a.valid_to > ?2)
ORDER BY 1, 4;

-- name: standing
-- The isolation in force of a subject; a node's in its cluster alone.
SELECT isolation_id, actuator, incident_id, reason, placed, undo, isolated_at FROM isolation
WHERE family = ?1 AND subject = ?2 AND released_at IS NULL
  AND (family <> 'node' OR coalesce(cluster_id, (SELECT cluster_id FROM named_node WHERE node_id = ?2 AND told IS NULL)) = ?3)
ORDER BY isolated_at DESC;

-- name: standing_of_node
-- Isolations in force of other subjects on the same node (its cards, or itself) through a whole-node call.
SELECT s.isolation_id, s.subject FROM isolation s
LEFT JOIN card c ON s.family = 'card' AND c.card_id = s.subject
LEFT JOIN named_node m ON s.family = 'node' AND m.node_id = s.subject AND m.told IS NOT DISTINCT FROM s.cluster_id
WHERE s.released_at IS NULL AND s.actuator = ?1 AND s.isolation_id <> ?2 AND coalesce(c.node_key, m.node_key) = ?3;

-- name: next_isolation
-- The next number.
SELECT nextval('isolation_number');

-- name: insert_isolation
-- What was placed, so that only that is removed later.
INSERT INTO isolation (isolation_id, family, subject, cluster_id, node_id, incident_id, reason, actuator, requested_by,
                       isolated_at, expires_at, placed, undo)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: end_isolation
-- Released, or its call failed.
UPDATE isolation SET released_at = ?, released_by = ? WHERE isolation_id = ?;

-- name: insert_audit
-- Append-only: nothing updates or deletes this table.
INSERT INTO audit (audit_id, time, actor, action, subject, reason, evidence, command, result, undo)
VALUES (nextval('audit_number'), ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: list_audit
-- For the console and the API, newest first.
SELECT audit_id, time, actor, action, subject, reason, evidence, command, result, undo
FROM audit ORDER BY audit_id DESC LIMIT ?;

-- name: list_isolations
-- Every isolation in force, oldest first.
SELECT s.isolation_id, s.family, s.subject, s.incident_id, s.reason, s.actuator, s.requested_by,
       s.isolated_at, s.expires_at, coalesce(n.node_id, s.node_id) AS node_id, c.model,
       coalesce(n.cluster_id, s.cluster_id) AS cluster_id
FROM isolation s LEFT JOIN card c ON s.family = 'card' AND c.card_id = s.subject LEFT JOIN node n USING (node_key)
WHERE s.released_at IS NULL ORDER BY s.isolated_at;
