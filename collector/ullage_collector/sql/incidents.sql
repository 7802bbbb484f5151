-- Incidents: opened from the events' journal, one open at a time for a subject and a cause.

-- name: position
-- How far the fault engine has read the events' journal.
SELECT segment, "offset" FROM journal_position WHERE consumer = ?;

-- name: move_position
-- Moved in the transaction that holds what was decided.
INSERT INTO journal_position (consumer, segment, "offset", updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (consumer) DO UPDATE SET
    segment = excluded.segment, "offset" = excluded."offset", updated_at = excluded.updated_at;

-- name: ahead
-- What the fault engine judged beyond its position.
SELECT stream, cluster_id, node_id, sequence, segment, "offset" FROM fault_ahead;

-- name: put_ahead
-- One list a column.
INSERT INTO fault_ahead (stream, cluster_id, node_id, sequence, segment, "offset")
SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)
ON CONFLICT (stream, cluster_id, node_id) DO UPDATE SET
    sequence = excluded.sequence, segment = excluded.segment, "offset" = excluded."offset";

-- name: drop_ahead
-- The position has come behind what was judged ahead of it, one list a column of the key.
DELETE FROM fault_ahead WHERE (stream, cluster_id, node_id) IN (SELECT (unnest(?), unnest(?), unnest(?)));

-- name: still_open
-- The numbers of what is open now.
SELECT incident_id FROM incident WHERE closed_at IS NULL;

-- name: open_incidents
-- What is open now: evidence is added to these instead of opening another. Where it is: as the incident says, else as
-- card, port and node tables have it.
SELECT i.incident_id, i.family, i.subject, i.cause, i.severity, i.vendor, i.code, epoch_us(i.onset), i.action,
       i.evidence, i.history, i.origin, coalesce(i.cluster_id, n.cluster_id), coalesce(i.node_id, n.node_id),
       i.parent_id, i."mode", i.follow, i.reason, epoch_us(i.opened_at)
FROM incident i
LEFT JOIN card c ON i.family = 'card' AND c.card_id = i.subject
LEFT JOIN port p ON i.family = 'port' AND p.port_id = i.subject
LEFT JOIN named_node m ON i.family = 'node' AND m.node_id = i.subject AND m.told IS NOT DISTINCT FROM i.cluster_id
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, p.node_key, m.node_key)
WHERE i.closed_at IS NULL
ORDER BY i.incident_id;

-- name: next_incident
-- The next number.
SELECT nextval('incident_number');

-- name: open_incident
-- A fault's first evidence.
INSERT INTO incident (incident_id, family, subject, cause, severity, vendor, code, onset, opened_at,
                      confirmed, action, proposal, evidence, history, origin, cluster_id, node_id, parent_id,
                      "mode", follow, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_evidence
-- More evidence of the same fault.
UPDATE incident SET evidence = ?, onset = least(onset, ?) WHERE incident_id = ?;

-- name: worsen
-- The fault is at another level now, or fresh evidence came to what was history.
UPDATE incident SET action = ?, follow = ?, severity = ?, confirmed = ?, history = ?, reason = ? WHERE incident_id = ?;

-- name: set_parent
-- It is part of another incident, or of none any more.
UPDATE incident SET parent_id = ? WHERE incident_id = ?;

-- name: set_mode
-- How far it may go has changed: several nodes show the same.
UPDATE incident SET "mode" = ? WHERE incident_id = ?;

-- name: propose
-- The exact calls that would isolate the subject.
UPDATE incident SET proposal = ? WHERE incident_id = ?;

-- name: unproposed
-- Open incidents that ask for more than observing and have no plan yet.
SELECT incident_id, CASE WHEN family = 'card' THEN subject ELSE coalesce(cluster_id || '/' || node_id, subject) END,
       coalesce(reason, trim(cause || ' ' || coalesce(code, '')))
FROM incident
WHERE closed_at IS NULL AND NOT history AND action <> 'observe' AND coalesce("mode", 'advise') <> 'shadow'
  AND parent_id IS NULL
  AND (proposal IS NULL OR json_extract_string(proposal, '$.error') IS NOT NULL);

-- name: close_incident
-- Its exit condition came true, or a person released the subject.
UPDATE incident SET closed_at = ?, closed_by = ? WHERE incident_id = ? AND closed_at IS NULL;

-- name: incident_of
-- The open incident of a subject that asks for the strongest action, newest first.
SELECT incident_id, cause, severity, code, action FROM incident
WHERE family = ?1 AND subject = ?2 AND closed_at IS NULL
  AND (family <> 'node' OR coalesce(cluster_id, (SELECT cluster_id FROM named_node WHERE node_id = ?2 AND told IS NULL)) = ?3)
ORDER BY confirmed DESC, coalesce("mode", '') = 'shadow', opened_at DESC LIMIT 1;

-- name: close_incidents_of
-- All open incidents of a released subject, and those its isolation stood for: a node's may be its cards'. A node's are its
-- cluster's alone.
UPDATE incident SET closed_at = $now, closed_by = $by WHERE closed_at IS NULL AND (
    (family = $family AND subject = $subject AND (family <> 'node' OR coalesce(
        cluster_id, (SELECT cluster_id FROM named_node WHERE node_id = $subject AND told IS NULL)) = $cluster))
    OR incident_id = $incident
    OR incident_id IN (SELECT c.incident_id FROM intent_cause c JOIN isolation_intent i USING (intent_id)
                       WHERE i.isolation_id = $isolation));

-- name: list_incidents
-- For the console and the API: newest first, of one subject (a node also as CLUSTER/NODE) or of all.
SELECT i.incident_id, i.family, i.subject, i.cause, i.severity, i.vendor, i.code, i.onset, i.opened_at,
       i.closed_at, i.closed_by, i.confirmed, i.action, i.proposal, i.evidence, i.history, i.origin,
       c.model, coalesce(n.node_id, i.node_id) AS node_id, coalesce(n.cluster_id, i.cluster_id) AS cluster_id,
       i.parent_id, coalesce(i."mode", 'advise') AS "mode", i.follow, i.reason
FROM incident i
LEFT JOIN card c ON i.family = 'card' AND c.card_id = i.subject
LEFT JOIN named_node m ON i.family = 'node' AND m.node_id = i.subject AND m.told IS NOT DISTINCT FROM i.cluster_id
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, m.node_key)
WHERE (?1 IS NULL OR i.subject = ?1 OR (i.family = 'node' AND coalesce(i.cluster_id, m.cluster_id) || '/' || i.subject = ?1))
  AND (?2 OR i.closed_at IS NULL)
ORDER BY i.closed_at IS NOT NULL, coalesce(i."mode", '') = 'shadow', i.opened_at DESC
LIMIT ?3;

-- name: states
-- What the evaluator remembered.
SELECT rule, family, subject, cluster_id, node_id, vendor, CAST(state AS VARCHAR) FROM fault_state;

-- name: put_states
-- What it remembers now of some rules and subjects, one list a column.
INSERT INTO fault_state (rule, family, "scope", subject, cluster_id, node_id, vendor, watched, base, state)
SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)
ON CONFLICT (rule, family, "scope", subject) DO UPDATE SET
    cluster_id = excluded.cluster_id, node_id = excluded.node_id, vendor = excluded.vendor, watched = excluded.watched,
    base = excluded.base, state = excluded.state;

-- name: drop_states
-- What is remembered no more, one list a column of the key.
DELETE FROM fault_state WHERE (rule, family, "scope", subject) IN (SELECT (unnest(?), unnest(?), unnest(?), unnest(?)));

-- name: holders
-- Who held a card at an instant, as is believed now: workload and user. What nobody may use is held by nobody.
SELECT DISTINCT w.workload_id, w.user_name
FROM allocation a JOIN workload w USING (workload_key) JOIN card c ON c.card_key = a.card_key
WHERE c.card_id = ? AND a.known_to IS NULL AND coalesce(a."rank", 'work') <> 'reserved'
  AND a.valid_from <= ? AND (a.valid_to IS NULL OR a.valid_to > ?)
ORDER BY 1;

-- name: last_heard
-- When nodes were last heard.
SELECT cluster_id, node_id, epoch_us(last_seen) FROM node WHERE last_seen IS NOT NULL;

-- name: isolations_since
-- Isolations by card and node since an instant, those that failed left out.
SELECT s.family, s.subject, n.cluster_id, n.node_id, epoch_us(s.isolated_at)
FROM isolation s
LEFT JOIN card c ON s.family = 'card' AND c.card_id = s.subject
LEFT JOIN named_node m ON s.family = 'node' AND m.node_id = s.subject AND m.told IS NOT DISTINCT FROM s.cluster_id
JOIN node n ON n.node_key = coalesce(c.node_key, m.node_key)
WHERE s.isolated_at >= ? AND coalesce(s.released_by, '') <> 'failed'
ORDER BY s.isolated_at;

-- name: last_closed
-- When the last incident of a cause and subject was closed.
SELECT max(epoch_us(closed_at)) FROM incident WHERE cause = ? AND subject = ? AND coalesce(cluster_id, '') = ?;

-- name: through
-- How far samples have been judged, by family.
SELECT family, epoch_us(through) FROM fault_read;

-- name: move_through
-- Moved after what was decided of them is committed.
INSERT INTO fault_read (family, through) VALUES (?, ?)
ON CONFLICT (family) DO UPDATE SET through = excluded.through;
