-- What the rules that say who pays are asked about. Instants are UTC; quantities nano-share microseconds.

-- name: rules
-- Every rule ever believed, and where it is from.
SELECT rule_id, match, priority, department_id, business, scenario, epoch_us(valid_from), epoch_us(valid_to),
       epoch_us(known_from), epoch_us(known_to), source FROM mapping_rule ORDER BY rule_id;

-- name: departments
-- Every row ever said about a department.
SELECT department_id, name, parent_id, owner, deputy, cost_center, source_key, epoch_us(valid_from), epoch_us(valid_to),
       epoch_us(known_from), epoch_us(known_to), source FROM department ORDER BY department_id, valid_from, known_from;

-- name: seen
-- What rules can see of those who held cards in [from, to), as believed at {known}: alike workloads are one row, with the one
-- that held most as the example. {each} tells workloads apart by their ids where a rule does.
WITH held AS (
    SELECT a.workload_key, i.pool,
           greatest(epoch_us(a.valid_from), $from_us) AS f, least(coalesce(epoch_us(a.valid_to), $to_us), $to_us) AS t, a.share_nano
    FROM allocation a
    LEFT JOIN card c USING (card_key)
    LEFT JOIN (SELECT card_id, arg_max(pool, valid_from) AS pool FROM inventory
               WHERE known_to IS NULL AND epoch_us(valid_from) < $to_us GROUP BY card_id) i USING (card_id)
    WHERE a.share_nano > 0 AND coalesce(a.rank, 'work') <> 'completing' AND {known}
      AND epoch_us(a.valid_from) < $to_us AND (a.valid_to IS NULL OR epoch_us(a.valid_to) > $from_us)
), workloads AS (
    SELECT workload_key, pool, min(f) AS f, max(t) AS t, sum((t - f)::HUGEINT * share_nano) AS q
    FROM held WHERE f < t GROUP BY workload_key, pool
)
SELECT arg_max(w.workload_id, (h.q, w.workload_id)), w.cluster_id, w.namespace, w.user_name, w.partition, w.labels::VARCHAR AS labels,
       w.scenario, w.attributes::VARCHAR AS attributes, h.pool, min(h.f), max(h.t), sum(h.q)::HUGEINT, count(*)
FROM workloads h JOIN workload w USING (workload_key)
GROUP BY split_part(w.workload_id, '/', 1), w.cluster_id, w.namespace, w.user_name, w.partition, w.labels::VARCHAR, w.scenario,
         w.attributes::VARCHAR, h.pool, {each}
ORDER BY 12 DESC, 1;

-- name: coverage
-- By UTC day, of the days whose money is worked out: what was held, and what of it maps to nothing.
SELECT day, coalesce(sum((to_us - from_us)::HUGEINT * share_nano), 0),
       coalesce(sum((to_us - from_us)::HUGEINT * share_nano) FILTER (department_id = '__unallocated__'), 0)
FROM segment WHERE day >= $first AND day <= $last AND workload_key IS NOT NULL AND department_id <> 'platform'
GROUP BY day ORDER BY day;

-- name: days
-- Days whose money is worked out.
SELECT DISTINCT day FROM segment WHERE day >= $first AND day <= $last ORDER BY day;

-- name: unmapped
-- Who held cards and maps to nothing, the most card-hours first.
SELECT w.workload_id, w.kind, w.cluster_id, w.namespace, w.user_name, w.partition, w.name,
       sum((s.to_us - s.from_us)::HUGEINT * s.share_nano) AS quantity
FROM segment s JOIN workload w USING (workload_key)
WHERE s.day >= $first AND s.day <= $last AND s.department_id = '__unallocated__'
GROUP BY ALL ORDER BY quantity DESC, w.workload_id LIMIT $top;

-- name: workload
-- The workloads an id, or the end of one behind a slash, can mean.
SELECT workload_id, cluster_id, namespace, user_name, partition, labels, scenario, attributes, workload_key
FROM workload WHERE workload_id = $id OR ends_with(workload_id, '/' || $id) ORDER BY workload_id = $id DESC, workload_id LIMIT 6;

-- name: times
-- When a workload held cards, as believed now: first and last instant (NULL: it still does), and the pools of its cards.
SELECT epoch_us(min(a.valid_from)), CASE WHEN bool_or(a.valid_to IS NULL) THEN NULL ELSE epoch_us(max(a.valid_to)) END,
       list(DISTINCT i.pool ORDER BY i.pool) FILTER (i.pool IS NOT NULL)
FROM allocation a LEFT JOIN card c USING (card_key)
LEFT JOIN inventory i ON i.card_id = c.card_id AND i.known_to IS NULL AND (a.valid_to IS NULL OR i.valid_from < a.valid_to)
     AND (i.valid_to IS NULL OR i.valid_to > a.valid_from)
WHERE a.workload_key = $workload_key AND a.known_to IS NULL;

-- name: amounts
-- Sums of [from, to) by department, state and currency, in stretches that begin at the instants of table ``stretches_given``.
SELECT s.department_id, s.state, s.currency, e.at_us,
       sum((least(s.to_us, e.until_us) - greatest(s.from_us, e.at_us))::HUGEINT * s.share_nano) AS quantity,
       sum((least(s.to_us, e.until_us) - greatest(s.from_us, e.at_us))::HUGEINT * s.share_nano * s.price_micro) AS atoms
FROM segment s JOIN stretches_given e ON s.from_us < e.until_us AND s.to_us > e.at_us
WHERE s.day >= $first AND s.day <= $last
GROUP BY ALL ORDER BY ALL;

-- name: end_departments
-- What is no longer believed.
UPDATE department AS d SET known_to = {now} FROM incoming i
WHERE d.known_to IS NULL AND d.department_id = i.department_id AND d.valid_from = i.valid_from
  AND d.known_from = i.known_from AND d.source IS NOT DISTINCT FROM i.source;

-- name: put_departments
-- What is believed from now on.
INSERT INTO department BY NAME SELECT *, {now} AS known_from FROM incoming;
