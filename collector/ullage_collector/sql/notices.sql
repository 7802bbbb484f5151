-- News and notices: what happened that somebody wants to hear (notify/sources.py), and what is told of it (outbox.py).

-- name: positions
-- How far each source has been seen; none before the first look.
SELECT source, id FROM news_position;

-- name: move_position
INSERT INTO news_position (source, id) VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET id = excluded.id;

-- name: see
-- How something is now.
INSERT INTO news_seen (source, id, mark, standing, news) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, id) DO UPDATE SET mark = excluded.mark, standing = excluded.standing, news = excluded.news;

-- name: thaw
-- No freeze stands any more.
UPDATE news_seen SET standing = false, news = NULL WHERE source = 'audit' AND standing;

-- name: forget
-- Rows that can change no more and are so far back that no slow transaction can still bring a smaller number.
DELETE FROM news_seen WHERE source = ? AND id <= ? AND NOT standing;

-- name: incidents
-- Incidents that are new or not as they were seen. quiet: a record of history, a rule in shadow, or a part of another
-- incident: nobody is told. told: somebody was, so that its end is news.
WITH now AS (
    SELECT *, history OR coalesce("mode", '') = 'shadow' OR parent_id IS NOT NULL AS quiet,
           concat_ws('|', severity, action, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'ended' END,
                     CASE WHEN history OR coalesce("mode", '') = 'shadow' OR parent_id IS NOT NULL THEN 'quiet' END) AS mark
    FROM incident
)
SELECT i.incident_id, i.mark, s.mark AS seen, s.news IS NOT NULL AS told, i.quiet, i.closed_at IS NULL AS standing, i.family,
       i.subject, i.cause, i.severity, i.action, i.code, i.onset, i.opened_at, i.closed_at, i.closed_by, i.confirmed, i.origin,
       s.news, coalesce(i.node_id, c.node_id, n.node_id) AS node_id, coalesce(i.cluster_id, c.cluster_id, n.cluster_id) AS cluster_id,
       c.model
FROM now i
LEFT JOIN news_seen s ON s.source = 'incident' AND s.id = i.incident_id
LEFT JOIN (SELECT card_id, node_id, cluster_id, model FROM card JOIN node USING (node_key)) c
       ON i.family = 'card' AND c.card_id = i.subject
LEFT JOIN named_node n ON i.family = 'node' AND n.node_id = i.subject AND n.told IS NOT DISTINCT FROM i.cluster_id
WHERE (i.incident_id > $after AND s.id IS NULL) OR (s.standing AND s.mark <> i.mark)
ORDER BY i.incident_id LIMIT $most;

-- name: isolations
-- Isolations that began or ended since they were looked at.
SELECT i.isolation_id, CASE WHEN i.released_at IS NULL THEN 'in force' ELSE 'ended' END AS mark, s.mark AS seen,
       i.released_at IS NULL AS standing, i.family, i.subject, i.incident_id, i.reason, i.actuator, i.requested_by, i.isolated_at,
       i.expires_at, i.released_at, i.released_by, s.news,
       coalesce(i.node_id, c.node_id, n.node_id) AS node_id, coalesce(i.cluster_id, c.cluster_id, n.cluster_id) AS cluster_id, c.model
FROM isolation i
LEFT JOIN news_seen s ON s.source = 'isolation' AND s.id = i.isolation_id
LEFT JOIN (SELECT card_id, node_id, cluster_id, model FROM card JOIN node USING (node_key)) c
       ON i.family = 'card' AND c.card_id = i.subject
LEFT JOIN named_node n ON i.family = 'node' AND n.node_id = i.subject AND n.told IS NOT DISTINCT FROM i.cluster_id
WHERE (i.isolation_id > $after AND s.id IS NULL)
   OR (s.standing AND s.mark <> CASE WHEN i.released_at IS NULL THEN 'in force' ELSE 'ended' END)
ORDER BY i.isolation_id LIMIT $most;

-- name: audits
-- Rows of the audit that were not looked at.
SELECT a.audit_id, a.time, a.actor, a.action, a.subject, a.reason, a.result, n.node_id, n.cluster_id
FROM audit a LEFT JOIN news_seen s ON s.source = 'audit' AND s.id = a.audit_id
LEFT JOIN (SELECT card_id, node_id, cluster_id FROM card JOIN node USING (node_key)) n ON n.card_id = a.subject
WHERE a.audit_id > $after AND s.id IS NULL ORDER BY a.audit_id LIMIT $most;

-- name: findings
-- Findings that are new or ended since they were looked at.
SELECT f.finding_id, CASE WHEN f.until IS NULL THEN 'open' ELSE 'ended' END AS mark, s.mark AS seen, f.until IS NULL AS standing,
       f.kind, f.family, f.subject, f.since, f.until, f.confidence, f.owner, f.action, s.news, n.node_id, n.cluster_id
FROM finding f LEFT JOIN news_seen s ON s.source = 'finding' AND s.id = f.finding_id
LEFT JOIN (SELECT card_id, node_id, cluster_id FROM card JOIN node USING (node_key)) n
       ON f.family = 'card' AND n.card_id = f.subject
WHERE (f.finding_id > $after AND s.id IS NULL)
   OR (s.standing AND s.mark <> CASE WHEN f.until IS NULL THEN 'open' ELSE 'ended' END)
ORDER BY f.finding_id LIMIT $most;

-- name: first_day
-- From which UTC day on facts can be expected: the first that was published, else the day this store was made.
SELECT coalesce((SELECT min(day) FROM published WHERE what = 'facts'), (SELECT min(applied_at)::DATE FROM schema_version));

-- name: published_days
-- Days of facts that are out.
SELECT DISTINCT day FROM published WHERE what = 'facts' AND day BETWEEN ? AND ?;

-- name: seen_reports
SELECT id, mark, news FROM news_seen WHERE source = 'report' AND standing;

-- name: known_reports
-- Late days that were looked at, on and after one.
SELECT id FROM news_seen WHERE source = 'report' AND id >= ?;

-- name: highest
-- Where a source stands at the first look: what is there by then is told to nobody.
SELECT coalesce((SELECT max(incident_id) FROM incident), 0), coalesce((SELECT max(isolation_id) FROM isolation), 0),
       coalesce((SELECT max(audit_id) FROM audit), 0), coalesce((SELECT max(finding_id) FROM finding), 0);

-- name: standing
-- What is open and was told, for receivers that forget what they do not hear again.
SELECT news FROM news_seen WHERE standing AND news IS NOT NULL ORDER BY source, id;

-- name: next_notice
SELECT nextval('notice_number');

-- name: gathering
-- The message of a group that still takes news.
SELECT notice_id, news, due_at FROM notice
WHERE target = ? AND group_key = ? AND state = 'gathering' AND due_at > ? ORDER BY notice_id DESC LIMIT 1;

-- name: insert_notice
INSERT INTO notice (notice_id, target, key, group_key, state, created_at, due_at, tried, news, doubtful)
VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, false);

-- name: add_news
UPDATE notice SET news = ?, due_at = ? WHERE notice_id = ?;

-- name: due
-- What a target is to be told now, oldest first.
SELECT notice_id, key, state, created_at, tried, news, doubtful FROM notice
WHERE target = ? AND state IN ('gathering', 'waiting') AND due_at <= ? ORDER BY due_at, notice_id LIMIT ?;

-- name: next_due
-- When the next message of a target is due; NULL: none waits.
SELECT min(due_at) FROM notice WHERE target = ? AND state IN ('gathering', 'waiting');

-- name: sent_since
-- How many messages a target got between two instants, whether it took them or not.
SELECT count(*) FROM notice WHERE target = ? AND sent_at > ? AND sent_at <= ?;

-- name: merge_into
-- News of messages that would be too many, in one of them.
UPDATE notice SET news = ? WHERE notice_id = ?;

-- name: merged
UPDATE notice SET state = 'merged', problem = ? WHERE notice_id = ?;

-- name: begin
-- Before the message goes out: after a crash it is known that it may have gone.
UPDATE notice SET state = 'sending', tried = tried + 1, sent_at = ? WHERE notice_id = ?;

-- name: told
UPDATE notice SET state = 'sent', sent_at = ?, problem = ? WHERE notice_id = ?;

-- name: again
UPDATE notice SET state = 'waiting', due_at = ?, problem = ? WHERE notice_id = ?;

-- name: give_up
UPDATE notice SET state = 'dead', problem = ? WHERE notice_id = ?;

-- name: in_doubt
-- Messages whose sending a crash cut off.
SELECT notice_id FROM notice WHERE target = ? AND state = 'sending';

-- name: doubt
UPDATE notice SET state = 'waiting', doubtful = true, problem = ? WHERE notice_id = ?;

-- name: raise_dead
-- Given up messages are tried again, as a person asks.
UPDATE notice SET state = 'waiting', tried = 0, due_at = ?, created_at = ? WHERE target = ? AND state = 'dead';

-- name: prune
-- What was told, merged or given up long ago.
DELETE FROM notice WHERE state IN ('sent', 'merged', 'dead') AND created_at < ?;

-- name: counts
-- Messages by target and state, and since when the oldest of them is there.
SELECT target, state, count(*) AS notices, min(created_at) AS oldest, max(sent_at) AS newest_sent FROM notice
GROUP BY target, state ORDER BY target, state;

-- name: list_notices
-- Newest first; of one state or all, of one target or all.
SELECT notice_id, target, key, state, created_at, due_at, tried, sent_at, doubtful, problem, news FROM notice
WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR target = ?2) ORDER BY notice_id DESC LIMIT ?3;
