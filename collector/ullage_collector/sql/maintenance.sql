-- Windows of maintenance, and what stands in the way of one.

-- name: believed
-- Windows as believed now, newest first; of one number or all.
SELECT window_id, cluster_id, node_id, card_id, valid_from, valid_to, state, reason, actor, isolation_id, known_from
FROM maintenance_window WHERE known_to IS NULL AND (?1 IS NULL OR window_id = ?1)
ORDER BY valid_from DESC, window_id DESC, cluster_id, node_id;

-- name: covers
-- Whether an instant is in a window: from its beginning to its planned end, and longer while it was begun and not ended.
SELECT count(*) > 0 FROM maintenance_window
WHERE known_to IS NULL AND cluster_id = $cluster AND node_id = $node AND (card_id IS NULL OR card_id = $card)
  AND (state = 'started' AND valid_from <= $at OR state = 'planned' AND valid_from <= $at AND valid_to > $at);

-- name: next_window
SELECT nextval('maintenance_number');

-- name: insert_window
INSERT INTO maintenance_window (window_id, cluster_id, node_id, card_id, valid_from, valid_to, known_from, known_to, state, reason,
                                actor, isolation_id)
VALUES (?, ?, ?, NULL, ?, ?, ?, NULL, ?, ?, ?, ?);

-- name: no_longer_believed
UPDATE maintenance_window SET known_to = ? WHERE window_id = ? AND cluster_id = ? AND node_id = ? AND known_to IS NULL;

-- name: nodes
-- Every node there is.
SELECT cluster_id, node_id FROM node ORDER BY cluster_id, node_id;

-- name: held
-- Who holds what of the nodes now, as is believed. cards: nano-shares of cards on that node. planned: when it is to end, in
-- seconds since the epoch, where its scheduler says so.
SELECT n.cluster_id, n.node_id, w.workload_id, w.kind, w.name, w.user_name, coalesce(c.model, m.model, 'unknown') AS model,
       coalesce(a."rank", 'work') AS "rank", sum(a.share_nano)::BIGINT AS share_nano, min(epoch_us(a.valid_from)) AS since_us,
       max(TRY_CAST(coalesce(json_extract_string(a.attributes, '$.planned_end'), json_extract_string(w.attributes, '$.planned_end'))
                    AS DOUBLE)) AS planned
FROM allocation a
JOIN workload w USING (workload_key)
LEFT JOIN card c ON c.card_key = a.card_key
JOIN node n ON n.node_key = coalesce(c.node_key, a.node_key)
LEFT JOIN (SELECT node_key, any_value(model) AS model FROM card GROUP BY node_key) m ON m.node_key = n.node_key
WHERE a.known_to IS NULL AND a.share_nano > 0 AND coalesce(a."rank", 'work') <> 'completing'
  AND a.valid_from <= $now AND (a.valid_to IS NULL OR a.valid_to > $now)
GROUP BY ALL ORDER BY n.cluster_id, n.node_id, w.workload_id, model;
