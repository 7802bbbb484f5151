-- The policy's decisions and their lives.

-- name: highest
-- The highest numbers given to an intent and considered of an incident.
SELECT coalesce((SELECT max(intent_id) FROM isolation_intent), 0),
       coalesce((SELECT max(incident_id) FROM considered_verdict), 0);

-- name: insert_intent
-- A decision, before anything is called.
INSERT INTO isolation_intent (intent_id, {columns}) VALUES (?, {marks});

-- name: update_intent
-- What changed of it.
UPDATE isolation_intent SET {columns} WHERE intent_id = ?;

-- name: live_intents
-- Every intent that has not ended.
SELECT intent_id, {columns} FROM isolation_intent WHERE closed_at IS NULL ORDER BY intent_id;

-- name: intent
-- One intent, ended or not.
SELECT intent_id, {columns} FROM isolation_intent WHERE intent_id = ?;

-- name: recent_placed
-- When automatic isolations were called lately, for the rate limit after a restart; not yet called: as if now.
SELECT family, coalesce(placed_at, $now), placed_at IS NOT NULL FROM isolation_intent
WHERE mode = 'automatic' AND approved_by IS NULL AND (placed_at > $since OR state = 'wanted');

-- name: last_ended
-- The newest end of an intent of each subject, and how it ended, for the cool-down after a restart.
SELECT cluster_id, family, subject, state, closed_at, held_back FROM isolation_intent
WHERE closed_at > ? ORDER BY closed_at;

-- name: causes
-- The incidents of live intents; ended also when the incident itself was closed.
SELECT c.intent_id, c.incident_id, c.rule, c.node_side, c.ended_at IS NOT NULL
FROM intent_cause c JOIN isolation_intent i USING (intent_id) WHERE i.closed_at IS NULL
ORDER BY c.intent_id, c.incident_id;

-- name: closed_incidents
-- Of the live intents' causes, those whose incident is closed.
SELECT DISTINCT c.incident_id FROM intent_cause c JOIN isolation_intent i USING (intent_id)
JOIN incident n ON n.incident_id = c.incident_id
WHERE i.closed_at IS NULL AND c.ended_at IS NULL AND n.closed_at IS NOT NULL;

-- name: add_cause
-- Another incident the isolation stands for.
INSERT INTO intent_cause (intent_id, incident_id, rule, node_side, added_at) VALUES (?, ?, ?, ?, ?);

-- name: end_cause
-- That incident has ended.
UPDATE intent_cause SET ended_at = ? WHERE incident_id = ? AND ended_at IS NULL;

-- name: weight
-- How far an incident's verdicts were considered.
SELECT weight FROM considered_verdict WHERE incident_id = ?;

-- name: first_weight
-- The first verdict of an incident that is newer than any before.
INSERT INTO considered_verdict (incident_id, weight, considered_at) VALUES (?, ?, ?);

-- name: put_weight
-- Considered, in the transaction of what was decided.
INSERT INTO considered_verdict (incident_id, weight, considered_at) VALUES (?, ?, ?)
ON CONFLICT (incident_id) DO UPDATE SET weight = excluded.weight, considered_at = excluded.considered_at;

-- name: stray_isolations
-- Isolations in force that no live intent knows: a person's, or placed before there were intents.
SELECT s.isolation_id, s.family, s.subject, s.incident_id, s.reason, s.actuator, s.requested_by, s.isolated_at,
       s.expires_at, coalesce(nc.cluster_id, nn.cluster_id, s.cluster_id), coalesce(nc.node_id, nn.node_id, s.node_id, s.subject)
FROM isolation s
LEFT JOIN card c ON s.family = 'card' AND c.card_id = s.subject
LEFT JOIN node nc ON nc.node_key = c.node_key
LEFT JOIN named_node nn ON s.family = 'node' AND nn.node_id = s.subject AND nn.told IS NOT DISTINCT FROM s.cluster_id
WHERE s.released_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM isolation_intent i WHERE i.isolation_id = s.isolation_id)
ORDER BY s.isolation_id;

-- name: ended_isolations
-- Isolations of live intents that somebody released: released_by says who.
SELECT i.intent_id, s.released_by FROM isolation_intent i JOIN isolation s USING (isolation_id)
WHERE i.closed_at IS NULL AND s.released_at IS NOT NULL;

-- name: target
-- What an actuator has to know of a card.
SELECT n.cluster_id, n.node_id, c.vendor, c.minor, c.pci_address
FROM card c JOIN node n USING (node_key) WHERE c.card_id = ?;

-- name: held
-- How many workloads hold a card (or, with a node, any card of it) now, and when the newest word of them came.
SELECT count(*) FROM allocation a LEFT JOIN card c ON c.card_key = a.card_key
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, a.node_key)
WHERE a.known_to IS NULL AND a.valid_from <= $now AND (a.valid_to IS NULL OR a.valid_to > $now)
  AND n.cluster_id = $cluster AND n.node_id = $node AND ($card IS NULL OR a.card_key IS NULL OR c.card_id = $card);

-- name: fleet_cards
-- Every card that is in a cluster now: owned or seen in the last week; resting: its life keeps work off it.
WITH owned AS (
    SELECT card_id, any_value(life ORDER BY valid_from DESC) AS life
    FROM inventory
    WHERE known_to IS NULL AND valid_from <= $now AND (valid_to IS NULL OR valid_to > $now)
    GROUP BY card_id
)
SELECT n.cluster_id, n.node_id, c.card_id, coalesce(o.life IN ('maintenance', 'rma'), false) AS resting
FROM card c JOIN node n USING (node_key) LEFT JOIN owned o USING (card_id)
WHERE (o.life IS NOT NULL OR c.last_seen >= $now - INTERVAL 7 DAY)
  AND coalesce(o.life, 'in_service') IN ('in_service', 'maintenance', 'rma', 'lent', 'rented', 'commissioning');

-- name: node_domains
-- Racks and switches of the nodes as any source says now.
SELECT DISTINCT cluster_id, subject, relation, target FROM topology
WHERE family = 'node' AND relation IN ('rack', 'leaf_switch', 'switch') AND known_to IS NULL
  AND valid_from <= $now AND (valid_to IS NULL OR valid_to > $now);

-- name: window
-- A maintenance window that is on at a node: begun and not ended, or planned for now.
SELECT reason FROM maintenance_window
WHERE cluster_id = $cluster AND node_id = $node AND card_id IS NULL AND known_to IS NULL
  AND (state = 'started' OR (state = 'planned' AND valid_from <= $now AND valid_to > $now))
ORDER BY window_id LIMIT 1;

-- name: frozen
-- The last word about freezing.
SELECT frozen, actor, reason, said_at FROM isolation_freeze ORDER BY freeze_id DESC LIMIT 1;

-- name: put_freeze
-- Append-only.
INSERT INTO isolation_freeze (freeze_id, said_at, frozen, actor, reason) VALUES (nextval('freeze_number'), ?, ?, ?, ?);

-- name: breakers
-- Rules that are stopped.
SELECT rule, tripped_at, until FROM isolation_breaker WHERE until > ? ORDER BY rule;

-- name: put_breaker
-- A rule is stopped.
INSERT INTO isolation_breaker (rule, tripped_at, until, nodes) VALUES (?, ?, ?, ?);

-- name: intents
-- For the API and the console: live ones oldest first, then the newest ended.
SELECT i.intent_id, i.state, i.mode, i.family, i.subject, i.cluster_id, i.node_id, i.rule, i.action, i.follow, i.drain,
       i.incident_id, i.parent_id, i.reason, i.held_back, i.requested_by, i.approved_by, i.actuator, i.whole_node,
       i.isolation_id, i.calls, i.digest, i.decided_at, i.changed_at, i.placed_at, i.expires_at, i.closed_at,
       c.model, (SELECT list(x.incident_id ORDER BY x.incident_id) FROM intent_cause x
                 WHERE x.intent_id = i.intent_id AND x.ended_at IS NULL) AS open_incidents
FROM isolation_intent i LEFT JOIN card c ON i.family = 'card' AND c.card_id = i.subject
WHERE i.closed_at IS NULL OR ?1
ORDER BY i.closed_at IS NOT NULL, i.closed_at DESC, i.decided_at, i.intent_id
LIMIT ?2;

-- name: intents_of
-- The intents of one incident, newest first.
SELECT DISTINCT i.intent_id FROM isolation_intent i
WHERE i.incident_id = ?1 OR EXISTS (SELECT 1 FROM intent_cause c WHERE c.intent_id = i.intent_id AND c.incident_id = ?1)
ORDER BY i.intent_id DESC;

-- name: counts
-- Live intents by mode and state, for /metrics.
SELECT mode, state, count(*) FROM isolation_intent WHERE closed_at IS NULL GROUP BY mode, state ORDER BY mode, state;
