-- Findings as detectors leave them (detect/findings.py).

-- name: open_of
-- The open findings of a kind.
SELECT finding_id, family, subject, evidence FROM finding WHERE kind = ? AND until IS NULL ORDER BY finding_id;

-- name: open
-- A new one.
INSERT INTO finding (finding_id, kind, family, subject, since, until, evidence, confidence, owner, action)
SELECT coalesce(max(finding_id), 0) + 1, ?, ?, ?, ?, NULL, ?, ?, ?, ? FROM finding;

-- name: renew
-- It goes on, with newer evidence.
UPDATE finding SET evidence = ?, confidence = ?, owner = ?, action = ? WHERE finding_id = ?;

-- name: end
-- It is so no more.
UPDATE finding SET until = ? WHERE finding_id = ?;

-- name: owned_at
-- Every card of the inventory at an instant as believed now, with what its price hangs on.
SELECT card_id, cluster_id, node_id, model, pool, life FROM inventory
WHERE known_to IS NULL AND valid_from <= $at AND (valid_to IS NULL OR valid_to > $at);
