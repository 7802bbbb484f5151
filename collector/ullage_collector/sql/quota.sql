-- Pools and quotas: what is known of them at an instant of belief ($as_of), over [$from, $to). Times are UTC.

-- name: lives
-- Every owned card's lives, one at a time: a listed one beats one merely seen, then the one valid from later. In microseconds.
WITH believed AS (
    SELECT i.*, greatest(epoch_us(i.valid_from), $from_us) AS from_us,
           least(coalesce(epoch_us(i.valid_to), $to_us), $to_us) AS to_us
    FROM inventory i WHERE i.known_from <= $as_of AND (i.known_to IS NULL OR i.known_to > $as_of)
), clipped AS (
    SELECT * FROM believed WHERE from_us < to_us
), edge AS (
    SELECT card_id, from_us AS us FROM clipped UNION SELECT card_id, to_us FROM clipped
), piece AS (
    SELECT card_id, us AS from_us, lead(us) OVER (PARTITION BY card_id ORDER BY us) AS to_us FROM edge QUALIFY to_us IS NOT NULL
)
SELECT p.card_id, c.cluster_id, c.node_id, c.vendor, c.model, p.from_us, p.to_us, c.pool, c.life
FROM piece p JOIN clipped c ON c.card_id = p.card_id AND c.from_us <= p.from_us AND p.to_us <= c.to_us
QUALIFY row_number() OVER (PARTITION BY p.card_id, p.from_us
                           ORDER BY c.source = 'seen', c.valid_from DESC, c.known_from DESC, c.inventory_id DESC) = 1
ORDER BY ALL;

-- name: node_labels
-- Facts of nodes as heard of until then: name, JSON value, from when; each holds until the next of its name.
SELECT subject, name, CAST(value AS VARCHAR), epoch_us(valid_from) FROM fact
WHERE family = 'node' AND received_at <= $as_of AND valid_from < $to
ORDER BY subject, name, valid_from, received_at;

-- name: pool_rules
SELECT pool_rule_id, pool_set, pool, match, priority, epoch_us(valid_from), epoch_us(valid_to) FROM pool_rule
WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of) ORDER BY pool_rule_id;

-- name: quotas
-- Every node of every tree that is valid at any time of the stretch.
SELECT tree, quota, parent, cluster_id, pool, resource, vendor, model, min_nano, max_nano, lend_nano, weight, owner,
       department_id, binds, epoch_us(valid_from), epoch_us(valid_to), attributes
FROM quota WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of)
  AND valid_from < $to AND (valid_to IS NULL OR valid_to > $from)
ORDER BY tree, quota, quota_id;

-- name: said_before
-- What a file is believed to say.
SELECT {columns} FROM quota WHERE known_to IS NULL AND source = ? ORDER BY quota_id;

-- name: sprints
SELECT sprint_id, pool, department_id, epoch_us(valid_from), epoch_us(valid_to), reason, actor FROM sprint
WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of) AND valid_from < $to AND valid_to > $from
ORDER BY valid_from, sprint_id;

-- name: held
-- Who held what, in microseconds. Reservations without work and cleaning up are nobody's use of a quota.
SELECT a.workload_key, c.card_id, n.cluster_id, n.node_id, a.share_nano::BIGINT,
       greatest(epoch_us(a.valid_from), $from_us), least(coalesce(epoch_us(a.valid_to), $to_us), $to_us)
FROM allocation a LEFT JOIN card c USING (card_key) LEFT JOIN node n ON n.node_key = a.node_key
WHERE a.known_from <= $as_of AND (a.known_to IS NULL OR a.known_to > $as_of)
  AND a.share_nano > 0 AND coalesce(a."rank", 'work') = 'work'
  AND a.valid_from < $to AND (a.valid_to IS NULL OR a.valid_to > $from)
ORDER BY a.allocation_id;

-- name: workloads
-- Whoever held anything in the stretch.
SELECT w.workload_key, w.workload_id, w.cluster_id, w.namespace, w.user_name, w.partition, w.labels, w.scenario, w.attributes
FROM workload w WHERE w.workload_key IN (
    SELECT workload_key FROM allocation a
    WHERE a.known_from <= $as_of AND (a.known_to IS NULL OR a.known_to > $as_of)
      AND a.valid_from < $to AND (a.valid_to IS NULL OR a.valid_to > $from))
ORDER BY w.workload_key;

-- name: requests
-- Who waited, in microseconds.
SELECT workload_id, cluster_id, namespace, user_name, partition, labels, queue, cards_nano, resource,
       greatest(epoch_us(valid_from), $from_us), least(coalesce(epoch_us(valid_to), $to_us), $to_us)
FROM request WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of)
  AND valid_from < $to AND (valid_to IS NULL OR valid_to > $from) AND cards_nano > 0
ORDER BY request_id;

-- name: mapping_rules
SELECT rule_id, match, priority, department_id, business, scenario, epoch_us(valid_from), epoch_us(valid_to),
       epoch_us(known_from), epoch_us(known_to) FROM mapping_rule ORDER BY rule_id;

-- ------------------------------------------------------------------ sprints
-- name: next_sprint
SELECT nextval('sprint_number');

-- name: put_sprint
INSERT INTO sprint (sprint_id, pool, department_id, valid_from, valid_to, known_from, reason, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: end_sprint
UPDATE sprint SET known_to = ? WHERE sprint_id = ? AND known_to IS NULL;

-- name: sprint
-- One sprint as believed now.
SELECT pool, department_id, epoch_us(valid_from), epoch_us(valid_to), reason, actor FROM sprint
WHERE sprint_id = ? AND known_to IS NULL;

-- name: sprints_between
-- Sprints on a pool that overlap a stretch, as believed now.
SELECT sprint_id, department_id, valid_from, valid_to FROM sprint
WHERE pool = $pool AND known_to IS NULL AND valid_from < $to AND valid_to > $from ORDER BY valid_from LIMIT 1;

-- name: pool_known
-- Whether a rule or a quota names the pool, or it is the pool of cards without one.
SELECT $pool = '__none__' OR EXISTS (SELECT 1 FROM pool_rule WHERE pool = $pool AND known_to IS NULL)
    OR EXISTS (SELECT 1 FROM quota WHERE pool = $pool AND known_to IS NULL);

-- name: department_known
-- Whether the organisation, a mapping rule or a quota names the department.
SELECT EXISTS (SELECT 1 FROM department WHERE department_id = $department AND known_to IS NULL)
    OR EXISTS (SELECT 1 FROM mapping_rule WHERE department_id = $department AND known_to IS NULL)
    OR EXISTS (SELECT 1 FROM quota WHERE department_id = $department AND known_to IS NULL);

-- ------------------------------------------------------------------ who waits
-- name: waiting
-- Open requests of one source and cluster, as believed now.
SELECT request_id, workload_id, kind, epoch_us(asked_at), cards_nano, resource, queue, user_name, namespace, partition,
       labels, reason, epoch_us(valid_from)
FROM request WHERE source = ? AND cluster_id = ? AND known_to IS NULL AND valid_to IS NULL ORDER BY request_id;

-- name: waited
-- Which requests of these names waited before and had ended to: told, not told, and told again.
SELECT DISTINCT r.workload_id, r.resource, epoch_us(r.asked_at) FROM request r
JOIN incoming i ON r.workload_id = i.workload_id AND r.asked_at = i.asked_at AND r.resource IS NOT DISTINCT FROM i.resource
    AND r.source = i.source AND r.cluster_id = i.cluster_id
WHERE r.known_to IS NULL AND r.valid_to IS NOT NULL;

-- name: end_request
-- It waits no more: what was believed without an end is retired, and said again with one.
INSERT INTO request BY NAME
SELECT nextval('request_number') AS request_id, r.* EXCLUDE (request_id, valid_to, known_from),
       i.ended AS valid_to, i.known AS known_from
FROM request r JOIN incoming i USING (request_id);

-- name: retire_request
UPDATE request AS r SET known_to = i.known FROM incoming i WHERE r.request_id = i.request_id;

-- name: put_request
INSERT INTO request (request_id, source, cluster_id, workload_id, kind, asked_at, cards_nano, resource, queue, user_name,
                     namespace, partition, labels, reason, valid_from, known_from)
SELECT nextval('request_number'), source, cluster_id, workload_id, kind, asked_at, cards_nano, resource, queue, user_name,
       namespace, partition, labels, reason, valid_from, known_from
FROM incoming;

-- name: renew_reason
-- It waits on, for another reason; no new fact.
UPDATE request AS r SET reason = i.reason FROM incoming i WHERE r.request_id = i.request_id;

-- ------------------------------------------------------------------ hours
-- name: any_quota
-- Whether there ever was a quota.
SELECT EXISTS (SELECT 1 FROM quota);

-- name: any_rule
-- Whether any quota or pool is believed now.
SELECT EXISTS (SELECT 1 FROM quota WHERE known_to IS NULL) OR EXISTS (SELECT 1 FROM pool_rule WHERE known_to IS NULL);

-- name: first_work
-- Since when anybody held anything.
SELECT min(valid_from) FROM allocation WHERE known_to IS NULL;

-- name: watched
-- Until when changes were looked for.
SELECT through FROM rollup_through WHERE name = 'quota-hours';

-- name: put_watched
INSERT INTO rollup_through (name, through) VALUES ('quota-hours', $now)
ON CONFLICT (name) DO UPDATE SET through = excluded.through;

-- name: rules_learned
-- Whether anything that concerns every hour was learned since then.
SELECT EXISTS (SELECT 1 FROM quota WHERE known_from > $since OR known_to > $since)
    OR EXISTS (SELECT 1 FROM pool_rule WHERE known_from > $since OR known_to > $since)
    OR EXISTS (SELECT 1 FROM sprint WHERE known_from > $since OR known_to > $since)
    OR EXISTS (SELECT 1 FROM inventory WHERE known_from > $since OR known_to > $since)
    OR EXISTS (SELECT 1 FROM mapping_rule WHERE known_from > $since OR known_to > $since);

-- name: mark_all
-- Every hour is to be made again.
UPDATE quota_made SET known_at = TIMESTAMP '1970-01-01';

-- name: mark_hours
-- Hours in which somebody is now believed to have held or waited otherwise are to be made again. Of work that merely
-- got an end, those since then: a job of ten days that ends changes nothing of its first nine.
WITH learned AS (
    SELECT hash(workload_key, card_key, node_key, slice_key, share_nano, "rank") AS what, valid_from,
           coalesce(valid_to, TIMESTAMP '9999-01-01') AS valid_to, known_to IS NULL AS fresh
    FROM allocation WHERE known_from > $since OR known_to > $since
    UNION ALL
    SELECT hash(source, cluster_id, workload_id, resource, cards_nano, queue, namespace), valid_from,
           coalesce(valid_to, TIMESTAMP '9999-01-01'), known_to IS NULL
    FROM request WHERE known_from > $since OR known_to > $since
), changed AS (
    SELECT CASE WHEN bool_or(fresh) AND bool_or(NOT fresh) THEN min(valid_to) ELSE valid_from END AS from_time,
           max(valid_to) AS to_time
    FROM learned GROUP BY what, valid_from
)
UPDATE quota_made AS m SET known_at = TIMESTAMP '1970-01-01'
WHERE EXISTS (SELECT 1 FROM changed c WHERE c.from_time < m.hour + INTERVAL 1 HOUR AND c.to_time > m.hour);

-- name: due_hours
-- Hours of [$from, $to) whose money is open, and that were never made, or not since they were over, or are marked.
SELECT h.hour FROM (SELECT unnest(range($from::TIMESTAMP, $to::TIMESTAMP, INTERVAL 1 HOUR)) AS hour) h
LEFT JOIN quota_made m ON m.hour = h.hour
WHERE (m.known_at IS NULL OR m.known_at < h.hour + INTERVAL 1 HOUR)
  AND NOT EXISTS (SELECT 1 FROM period_close p WHERE p.valid_from <= h.hour AND h.hour < p.valid_to)
ORDER BY h.hour;

-- name: drop_hours
DELETE FROM quota_hour WHERE hour >= $from AND hour < $to;

-- name: put_hours
INSERT INTO quota_hour BY NAME SELECT * FROM incoming;

-- name: put_made
INSERT INTO quota_made SELECT hour, known_at FROM incoming
ON CONFLICT (hour) DO UPDATE SET known_at = excluded.known_at;

-- name: hours
-- What was made of [$from, $to).
SELECT * FROM quota_hour WHERE hour >= $from AND hour < $to ORDER BY hour, tree, pool, vendor, model, resource, quota LIMIT $limit;
