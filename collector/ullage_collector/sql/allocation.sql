-- Who held what, as live sources say it (allocation/book.py).

-- name: workloads
-- Workloads of these ids that are known, with what may change in their life.
SELECT w.workload_id, w.workload_key, w.name, w.user_name, w.namespace, w.partition, w.labels, w.scenario, w.attributes
FROM incoming i JOIN workload w USING (workload_id);

-- name: put_workloads
-- Workloads met for the first time.
INSERT INTO workload (workload_key, workload_id, kind, cluster_id, name, user_name, namespace, partition, labels,
                      scenario, origin, attributes)
SELECT nextval('workload_number'), workload_id, kind, cluster_id, name, user_name, namespace, partition, labels,
       scenario, origin, attributes FROM incoming;

-- name: set_workloads
-- What a source says anew of a workload; what it does not say stays.
UPDATE workload AS w SET name = coalesce(i.name, w.name), user_name = coalesce(i.user_name, w.user_name),
       namespace = coalesce(i.namespace, w.namespace), partition = coalesce(i.partition, w.partition),
       labels = coalesce(i.labels, w.labels), scenario = coalesce(i.scenario, w.scenario), attributes = coalesce(i.attributes, w.attributes)
FROM incoming i WHERE i.workload_id = w.workload_id;

-- name: believed
-- What is believed now of these runs, place by place.
SELECT w.workload_id, epoch_us(a.valid_from), a.allocation_id, n.node_id, c.card_id, s.slice_id, a.share_nano,
       a.memory_share_nano, epoch_us(a.valid_to), a."rank", a.attributes
FROM incoming i
JOIN workload w USING (workload_id)
JOIN allocation a ON a.workload_key = w.workload_key AND a.valid_from = i.valid_from AND a.known_to IS NULL
LEFT JOIN node n ON n.node_key = a.node_key
LEFT JOIN card c ON c.card_key = a.card_key
LEFT JOIN slice s ON s.slice_key = a.slice_key
ORDER BY a.allocation_id;

-- name: standing
-- The runs a source believes still open in a cluster.
SELECT w.workload_id, w.kind, epoch_us(a.valid_from), a."rank", bool_and(a.card_key IS NOT NULL),
       list(DISTINCT n.node_id ORDER BY n.node_id), any_value(a.attributes)
FROM allocation a JOIN workload w USING (workload_key) LEFT JOIN node n ON n.node_key = a.node_key
WHERE a.known_to IS NULL AND a.valid_to IS NULL AND a.source = ? AND w.cluster_id = ?
GROUP BY w.workload_id, w.kind, a.valid_from, a."rank" ORDER BY w.workload_id, a.valid_from;

-- name: retire
-- No longer believed from now on.
UPDATE allocation AS a SET known_to = make_timestamp($1) FROM incoming i
WHERE a.allocation_id = i.allocation_id AND a.known_to IS NULL;

-- name: annotate
-- Extras of a run that change neither time nor place nor money.
UPDATE allocation AS a SET attributes = i.attributes FROM incoming i WHERE a.allocation_id = i.allocation_id;

-- name: put
-- What is believed from now on.
INSERT INTO allocation (allocation_id, workload_key, card_key, slice_key, node_key, share_nano, memory_share_nano,
                        valid_from, valid_to, known_from, source, attributes, "rank")
SELECT nextval('allocation_number'), workload_key, card_key, slice_key, node_key, share_nano, memory_share_nano,
       valid_from, valid_to, make_timestamp($1), $2, attributes, "rank" FROM incoming;

-- name: held_at
-- What work holds of known cards at an instant, as believed now.
SELECT c.card_id, w.workload_id, a.share_nano, a.memory_share_nano, epoch_us(a.valid_from)
FROM allocation a JOIN card c USING (card_key) JOIN workload w USING (workload_key)
WHERE a.known_to IS NULL AND coalesce(a."rank", 'work') = 'work'
  AND a.valid_from <= $at AND (a.valid_to IS NULL OR a.valid_to > $at)
ORDER BY c.card_id, a.valid_from, w.workload_id;
