-- Probes asked of nodes in the answers to their own pushes.

-- name: where_card_is
-- The card's node.
SELECT n.cluster_id, n.node_id FROM card c JOIN node n USING (node_key) WHERE c.card_id = ?;

-- name: isolated
-- Whether the card, or its node, is isolated now.
SELECT count(*) > 0 FROM isolation s
LEFT JOIN named_node m ON s.family = 'node' AND m.node_id = s.subject AND m.told IS NOT DISTINCT FROM s.cluster_id
WHERE s.released_at IS NULL
  AND ((s.family = 'card' AND s.subject = ?1) OR (m.cluster_id = ?2 AND m.node_id = ?3));

-- name: insert_probe
-- Asked; it travels with every answer to the node until it is answered or over.
INSERT INTO probe (probe_id, probe, cluster_id, node_id, card_id, incident_id, asked_by, asked_at, expires_at, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting');

-- name: waiting
-- What is not answered yet, oldest first.
SELECT probe_id, probe, cluster_id, node_id, card_id, coalesce(incident_id, 0), epoch_us(expires_at) / 1e6,
       epoch_us(asked_at) / 1e6
FROM probe WHERE state = 'waiting' ORDER BY asked_at, probe_id;

-- name: result
-- What became of one.
SELECT state, reason, figures, epoch_us(answered_at) / 1e6 FROM probe WHERE probe_id = ?;

-- name: of_incident
-- Everything asked for one incident, oldest first.
SELECT probe_id, probe, card_id, state, reason, figures, asked_by, asked_at, expires_at, answered_at
FROM probe WHERE incident_id = ? ORDER BY asked_at, probe_id;

-- name: answers
-- Results that came after an event already looked at, from when the oldest waiting probe was asked.
SELECT e.event_id, n.cluster_id, n.node_id, e.subject, e.message, e.attributes, epoch_us(e.time) / 1e6
FROM event e JOIN node n USING (node_key)
WHERE e.kind = 'probe_result' AND e.event_id > ? AND e.received_at >= ?
ORDER BY e.event_id;

-- name: settle
-- The first answer counts; one that is settled stays as it is.
UPDATE probe SET state = ?, reason = ?, figures = ?, answered_at = ?, event_id = ?
WHERE probe_id = ? AND state = 'waiting';
