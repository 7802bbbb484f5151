-- What goes with a card or node to its maker: facts, evidence and what was done. No user and no workload is in it.

-- name: incident
SELECT incident_id, family, subject, cause, severity, vendor, code, onset, opened_at, closed_at, closed_by, confirmed, action,
       follow, reason, evidence, history, origin, cluster_id, node_id
FROM incident WHERE incident_id = ?;

-- name: cards
-- The card of the incident, or every card of its node.
SELECT c.card_id, c.vendor, c.model, c.uuid, c.serial, c.board_id, c.pci_address, c.card_index, c.minor, c.memory_total_bytes,
       c.first_seen, c.last_seen, c.origin, c.facts, n.cluster_id, n.node_id
FROM card c JOIN node n USING (node_key)
WHERE ($family = 'card' AND c.card_id = $subject)
   OR ($family = 'slice' AND c.card_key = (SELECT card_key FROM slice WHERE slice_id = $subject))
   OR ($family = 'node' AND n.node_id = $subject AND n.cluster_id = $cluster)
ORDER BY c.card_index NULLS LAST, c.card_id;

-- name: nodes
SELECT cluster_id, node_id, machine_id, boot_id, first_seen, last_seen, facts FROM node
WHERE cluster_id = $cluster AND node_id = $node;

-- name: events
-- What was told of the subject in the month before the incident and since, newest first.
SELECT time, received_at, family, subject, kind, severity, code, vendor, source, message, attributes, origin FROM event
WHERE subject = $subject AND time >= $since AND kind <> 'probe_result'
ORDER BY time DESC LIMIT $most;

-- name: past
-- Other incidents of the same subject, newest first.
SELECT incident_id, cause, severity, code, onset, closed_at, closed_by, confirmed, action, follow FROM incident
WHERE family = $family AND subject = $subject AND incident_id <> $number
  AND (family <> 'node' OR cluster_id IS NOT DISTINCT FROM $cluster)
ORDER BY onset DESC LIMIT $most;

-- name: isolations
-- When it was kept from work for this incident.
SELECT isolation_id, reason, actuator, isolated_at, released_at FROM isolation
WHERE incident_id = $number
   OR isolation_id IN (SELECT i.isolation_id FROM isolation_intent i JOIN intent_cause c USING (intent_id)
                       WHERE c.incident_id = $number)
ORDER BY isolated_at;

-- name: follows
-- What was done to it for this incident; what a site's program said stays with the site.
SELECT follow, state, begun_at, ended_at FROM isolation_follow WHERE incident_id = $number ORDER BY changed_at;

-- name: probes
SELECT probe, card_id, state, figures, asked_at, answered_at FROM probe WHERE incident_id = $number ORDER BY asked_at;

-- name: inventory
-- How it was bought, as is believed now.
SELECT card_id, vendor, model, serial, life, valid_from, valid_to, source FROM inventory
WHERE card_id IN (SELECT unnest($cards)) AND known_to IS NULL ORDER BY valid_from;
