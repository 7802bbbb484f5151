-- What follows an isolation: resets, reboots, replacements and what became of them.

-- name: row
-- What became of one thing that follows an incident.
SELECT state, call, result, actor, epoch_us(changed_at) / 1e6, epoch_us(begun_at) / 1e6, epoch_us(ended_at) / 1e6
FROM isolation_follow WHERE incident_id = ? AND follow = ?;

-- name: put_row
-- As it is now. Only one that is not begun is ever changed into one that is.
INSERT INTO isolation_follow (incident_id, follow, intent_id, isolation_id, family, subject, cluster_id, node_id, state, call,
                              result, actor, changed_at, begun_at, ended_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (incident_id, follow) DO UPDATE SET
    intent_id = excluded.intent_id, isolation_id = excluded.isolation_id, state = excluded.state, call = excluded.call,
    result = excluded.result, actor = excluded.actor, changed_at = excluded.changed_at, begun_at = excluded.begun_at,
    ended_at = excluded.ended_at;

-- name: running
-- What had begun and whose end nobody wrote down.
SELECT incident_id, follow, subject FROM isolation_follow WHERE state = 'running' ORDER BY begun_at;

-- name: end_row
-- How it ended.
UPDATE isolation_follow SET state = ?, result = ?, changed_at = ?, ended_at = ? WHERE incident_id = ? AND follow = ?;

-- name: runs_on
-- What runs now for an isolation.
SELECT follow FROM isolation_follow WHERE isolation_id = ? AND state = 'running';

-- name: of_intents
-- What follows of intents, for the API and the console.
SELECT intent_id, incident_id, follow, state, call, result, actor, changed_at, begun_at, ended_at FROM isolation_follow
WHERE intent_id IN (SELECT unnest(?)) ORDER BY changed_at;

-- name: counts
-- By kind and state, for /metrics.
SELECT follow, state, count(*) FROM isolation_follow GROUP BY follow, state ORDER BY follow, state;

-- name: card
-- What a program is told of a card.
SELECT c.card_id, c.vendor, c.model, c.uuid, c.serial, c.minor, c.pci_address FROM card c WHERE c.card_id = ?;
