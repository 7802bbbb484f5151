-- Telemetry days as Parquet: text identities, no keys of this store, sorted by subject and time.

-- name: minute_days
-- Days with minutes of any family.
SELECT DISTINCT strptime(right(table_name, 8), '%Y%m%d')::DATE AS day FROM duckdb_tables()
WHERE database_name = current_database() AND table_name SIMILAR TO '[a-z]+_minute_[0-9]{8}' ORDER BY day;

-- name: due
-- Days that are not published, not sealed, or changed since: the status and time of the newest revision.
SELECT p.day, arg_max(p.status, p.revision), max(coalesce(p.checked_at, p.published_at)), any_value(t.touched_at)
FROM published p LEFT JOIN touched_day t ON t.day = p.day WHERE p.what = 'telemetry' GROUP BY p.day;

-- name: waiting
-- Streams that were heard since the day began and have not sent a row from after it.
SELECT count(*) FROM stream WHERE lane = 'samples' AND last_seen >= $from AND coalesce(newest_time, last_seen) < $to;

-- name: cards
-- A day's rows of cards.
SELECT s.{time}, c.card_id, n.node_id, n.cluster_id, c.vendor, c.model, s.covered_seconds, s.samples, s.origin{columns}
FROM ({source}) s JOIN card c USING (card_key) JOIN node n ON n.node_key = s.node_key
WHERE s.{time} >= make_timestamp({from_us}) AND s.{time} < make_timestamp({to_us})

-- name: slices
-- A day's rows of slices.
SELECT s.{time}, l.slice_id, c.card_id, n.node_id, n.cluster_id, c.vendor, c.model, s.covered_seconds, s.samples,
       s.origin{columns}
FROM ({source}) s JOIN slice l USING (slice_key) JOIN card c USING (card_key) JOIN node n ON n.node_key = s.node_key
WHERE s.{time} >= make_timestamp({from_us}) AND s.{time} < make_timestamp({to_us})

-- name: ports
-- A day's rows of ports.
SELECT s.{time}, p.port_id, n.node_id, n.cluster_id, p.device, p.port, s.covered_seconds, s.samples, s.origin{columns}
FROM ({source}) s JOIN port p USING (port_key) JOIN node n ON n.node_key = s.node_key
WHERE s.{time} >= make_timestamp({from_us}) AND s.{time} < make_timestamp({to_us})

-- name: nodes
-- A day's rows of nodes.
SELECT s.{time}, n.node_id, n.cluster_id, s.covered_seconds, s.samples, s.origin{columns}
FROM ({source}) s JOIN node n USING (node_key)
WHERE s.{time} >= make_timestamp({from_us}) AND s.{time} < make_timestamp({to_us})

-- name: merged
-- Rows of the store, and rows of the last revision that the store has dropped.
SELECT * FROM ({rows}) UNION ALL BY NAME
SELECT o.* FROM read_parquet({file}) o ANTI JOIN ({rows}) r ON o.{time} = r.{time} AND o.{subject} = r.{subject}

-- name: copy
-- Sorted, so that one card's day stands together: a tenth fewer bytes than in the order they came (measured).
COPY (SELECT * FROM ({rows}) ORDER BY {subject}, {time}) TO {file}
(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880);

-- name: counted
-- What a file holds: rows, subjects and covered seconds.
SELECT count(*), count(DISTINCT {subject}), coalesce(sum(covered_seconds), 0) FROM read_parquet({file});

-- name: dropped
-- Whether the day's minutes were dropped from the store.
SELECT count(*) FROM dropped_day WHERE day = ?;

-- name: drop_day
-- A minute day that leaves the store.
INSERT INTO dropped_day (kind, day, dropped_at) VALUES (?, ?, ?) ON CONFLICT (kind, day) DO NOTHING;

-- name: sealed_days
-- Days whose newest telemetry revision is sealed and no older than the last change.
SELECT p.day FROM published p LEFT JOIN touched_day t ON t.day = p.day WHERE p.what = 'telemetry'
GROUP BY p.day HAVING arg_max(p.status, p.revision) = 'sealed'
    AND max(coalesce(p.checked_at, p.published_at)) >= coalesce(max(t.touched_at), max(p.published_at));

-- name: old_hours
-- Hours older than the retention.
DELETE FROM {table} WHERE hour < ?;

-- name: span_of_work
-- First and last instants anybody is known to have held a card, ends that are open left out.
SELECT min(valid_from)::DATE, max(coalesce(valid_to, valid_from))::DATE FROM allocation WHERE known_to IS NULL;

-- name: owned_days
-- Of these days, those on which some card was owned.
SELECT d.range::DATE FROM range($first::TIMESTAMP, $last::TIMESTAMP + INTERVAL 1 DAY, INTERVAL 1 DAY) d
WHERE EXISTS (SELECT 1 FROM inventory i WHERE i.known_to IS NULL AND i.valid_from < d.range + INTERVAL 1 DAY
              AND (i.valid_to IS NULL OR i.valid_to > d.range))
   OR EXISTS (SELECT 1 FROM card c WHERE c.first_seen < d.range + INTERVAL 1 DAY
              AND NOT EXISTS (SELECT 1 FROM inventory i WHERE i.card_id = c.card_id))
ORDER BY 1;

-- name: first_published
-- The first day with published facts.
SELECT min(day) FROM published WHERE what = 'facts';
