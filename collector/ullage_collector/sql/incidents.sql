-- Incidents: opened from the events' journal, one open at a time for a subject and a cause.

-- name: position
-- How far the fault engine has read the events' journal.
SELECT segment, "offset" FROM journal_position WHERE consumer = ?;

-- name: move_position
-- Moved in the transaction that holds what was decided.
INSERT INTO journal_position (consumer, segment, "offset", updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (consumer) DO UPDATE SET
    segment = excluded.segment, "offset" = excluded."offset", updated_at = excluded.updated_at;

-- name: open_incidents
-- What is open now: evidence is added to these instead of opening another.
SELECT incident_id, subject, cause, evidence FROM incident WHERE closed_at IS NULL;

-- name: next_incident
-- The next number.
SELECT nextval('incident_number');

-- name: open_incident
-- A fault's first evidence.
INSERT INTO incident (incident_id, family, subject, cause, severity, vendor, code, onset, opened_at,
                      confirmed, action, proposal, evidence, history, origin)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_evidence
-- Another event of the same fault.
UPDATE incident SET evidence = ?, onset = least(onset, ?) WHERE incident_id = ?;

-- name: propose
-- The exact calls that would isolate the subject.
UPDATE incident SET proposal = ? WHERE incident_id = ?;

-- name: unproposed
-- Open incidents that ask for more than observing and have no plan yet.
SELECT incident_id, subject, cause, code FROM incident
WHERE closed_at IS NULL AND NOT history AND action <> 'observe'
  AND (proposal IS NULL OR json_extract_string(proposal, '$.error') IS NOT NULL);

-- name: close_incident
-- Its exit condition came true, or a person released the subject.
UPDATE incident SET closed_at = ?, closed_by = ? WHERE incident_id = ? AND closed_at IS NULL;

-- name: incident_of
-- The open incident of a subject that asks for the strongest action, newest first.
SELECT incident_id, cause, severity, code, action FROM incident
WHERE subject = ? AND closed_at IS NULL
ORDER BY confirmed DESC, opened_at DESC LIMIT 1;

-- name: close_incidents_of
-- All open incidents of a subject.
UPDATE incident SET closed_at = ?, closed_by = ? WHERE subject = ? AND closed_at IS NULL;

-- name: list_incidents
-- For the console and the API: newest first, of one subject or of all.
SELECT i.incident_id, i.family, i.subject, i.cause, i.severity, i.vendor, i.code, i.onset, i.opened_at,
       i.closed_at, i.closed_by, i.confirmed, i.action, i.proposal, i.evidence, i.history, i.origin,
       c.model, n.node_id, n.cluster_id
FROM incident i
LEFT JOIN card c ON i.family = 'card' AND c.card_id = i.subject
LEFT JOIN node n ON n.node_key = c.node_key OR (i.family = 'node' AND n.node_id = i.subject)
WHERE (?1 IS NULL OR i.subject = ?1) AND (?2 OR i.closed_at IS NULL)
ORDER BY i.closed_at IS NOT NULL, i.opened_at DESC
LIMIT ?3;
