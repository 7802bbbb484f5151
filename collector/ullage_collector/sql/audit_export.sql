-- name: rows
-- The audit in the order it was written.
SELECT audit_id, time, actor, action, subject, reason, CAST(evidence AS VARCHAR), CAST(command AS VARCHAR), result, CAST(undo AS VARCHAR)
FROM audit WHERE audit_id > ? ORDER BY audit_id LIMIT ?;
