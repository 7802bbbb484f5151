-- Opening the store, and what the writer keeps beside the rows.

-- name: tables
-- Whether anything is there yet, and whether it is ours.
SELECT table_name FROM duckdb_tables() WHERE database_name = current_database();

-- name: versions
-- Migrations that ran here.
SELECT version, file FROM schema_version ORDER BY version;

-- name: add_version
-- A migration that just ran, in its own transaction.
INSERT INTO schema_version (version, file, applied_at) VALUES (?, ?, ?);

-- name: position
-- How far a consumer has read its journal.
SELECT segment, "offset" FROM journal_position WHERE consumer = ?;

-- name: move_position
-- Moved in the transaction that holds the rows.
INSERT INTO journal_position (consumer, segment, "offset", updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (consumer) DO UPDATE SET
    segment = excluded.segment, "offset" = excluded."offset", updated_at = excluded.updated_at;

-- name: streams
-- Watermarks of every stream.
SELECT stream, applied_through, gaps, epoch_us(newest_time) FROM stream;

-- name: put_streams
-- New watermarks; a stream seen for the first time gets its row.
INSERT INTO stream (stream, lane, node_key, boot_id, applied_through, gaps, newest_time, first_seen, last_seen)
SELECT stream, lane, node_key, boot_id, applied_through, gaps, newest_time, seen, seen FROM incoming
ON CONFLICT (stream) DO UPDATE SET
    node_key = excluded.node_key, boot_id = excluded.boot_id, applied_through = excluded.applied_through,
    gaps = excluded.gaps, newest_time = excluded.newest_time, last_seen = excluded.last_seen;

-- name: put_rows
-- Rows of one family and day, as columns.
INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming;

-- name: put_events
-- Events as they came.
INSERT INTO event (event_id, time, received_at, node_key, family, subject, kind, severity, code, vendor,
                   source, message, attributes, origin, stream, sequence)
SELECT nextval('event_number'), time, received_at, node_key, family, subject, kind, severity, code, vendor,
       source, message, attributes, origin, stream, sequence
FROM incoming;

-- name: put_dirty_hours
-- Hours of nodes that are rolled up already and got late rows.
INSERT INTO rollup_dirty (hour, node_key) SELECT hour, node_key FROM incoming
ON CONFLICT DO NOTHING;

-- name: touch_day
-- A day whose published telemetry is no longer the newest.
INSERT INTO touched_day (day, touched_at) VALUES (?, ?)
ON CONFLICT (day) DO UPDATE SET touched_at = excluded.touched_at;

-- name: put_quarantine
-- A batch that could not be stored.
INSERT INTO quarantine (received_at, node, stream, sequence, reason, file) VALUES (?, ?, ?, ?, ?, ?);
