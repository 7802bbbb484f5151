-- What the receiver asks the store at start.

-- name: streams
-- Every stream's watermark, oldest use first, so that the newest are remembered longest.
SELECT s.stream, s.lane, n.cluster_id, n.node_id, s.applied_through
FROM stream s JOIN node n USING (node_key)
ORDER BY s.last_seen;

-- name: alive
-- Answers while the database does: after a fatal error DuckDB refuses everything.
SELECT count(*) FROM journal_position;
