-- What the detector of uneven use reads (detect/uneven/reading.py). Instants are microseconds since the epoch.

-- name: last_day
-- The newest day whose states are known, its beginning; NULL: none is.
SELECT epoch_us(max(day)::TIMESTAMP) FROM segment;

-- name: days
-- How many days of a stretch have states.
SELECT count(DISTINCT day) FROM segment
WHERE day >= make_timestamp($from_us)::DATE AND day < (make_timestamp($to_us - 1)::DATE + 1);

-- name: kinds
-- Which kinds of cards each cluster owned in a stretch.
SELECT DISTINCT i.cluster_id, i.vendor, i.model FROM segment s JOIN inventory i USING (inventory_id)
WHERE s.day >= make_timestamp($from_us)::DATE AND s.from_us < $to_us AND s.to_us > $from_us ORDER BY ALL;

-- name: scenarios
-- What work that held idle cards in a stretch was for.
SELECT DISTINCT scenario FROM segment
WHERE day >= make_timestamp($from_us)::DATE AND day < make_timestamp($to_us - 1)::DATE + 1 AND state = 'allocated_idle'
  AND scenario IS NOT NULL ORDER BY ALL;

-- name: idle
-- Free cards and those held and idle, or of which that is not known, in the hours asked for, by pool and holder, at their
-- prices; newest revision of each day. A department NULL: free. Cards of work that serves wait for requests: not known either.
WITH newest AS (
    SELECT day, max(revision) AS revision FROM segment
    WHERE day >= make_timestamp($from_us)::DATE AND day < make_timestamp($to_us - 1)::DATE + 1 GROUP BY day
)
SELECT s.from_us // 3600000000 * 3600000000 AS hour_us, i.cluster_id, i.vendor, i.model, i.pool,
       CASE WHEN s.state <> 'unallocated_idle' THEN s.department_id END AS department, s.price_micro, s.currency,
       s.state <> 'unknown' AND NOT (s.state = 'allocated_idle' AND coalesce(list_contains($serving, s.scenario), false)) AS known, sum((s.to_us - s.from_us)::HUGEINT * s.share_nano) AS quantity
FROM segment s JOIN newest USING (day, revision) JOIN inventory i USING (inventory_id)
WHERE s.state IN ('unallocated_idle', 'allocated_idle', 'unknown')
  AND NOT (s.state = 'unknown' AND s.department_id = 'platform')
  AND s.from_us >= $from_us AND s.to_us <= $to_us AND s.from_us // 3600000000 * 3600000000 IN (SELECT unnest($hours))
GROUP BY ALL ORDER BY ALL;

-- name: places
-- Where each idle side idled in those hours: the five nodes with most of it, and at most 200 works that held the cards.
WITH newest AS (
    SELECT day, max(revision) AS revision FROM segment
    WHERE day >= make_timestamp($from_us)::DATE AND day < make_timestamp($to_us - 1)::DATE + 1 GROUP BY day
), idle AS (
    SELECT i.cluster_id, i.vendor, i.model, i.pool, CASE WHEN s.state = 'allocated_idle' THEN s.department_id END AS department,
           i.node_id, s.workload_key, sum((s.to_us - s.from_us)::HUGEINT * s.share_nano) AS quantity
    FROM segment s JOIN newest USING (day, revision) JOIN inventory i USING (inventory_id)
    WHERE s.state IN ('unallocated_idle', 'allocated_idle') AND s.from_us >= $from_us AND s.to_us <= $to_us
      AND NOT (s.state = 'allocated_idle' AND coalesce(list_contains($serving, s.scenario), false))
      AND s.from_us // 3600000000 * 3600000000 IN (SELECT unnest($hours))
    GROUP BY ALL
), node AS (
    SELECT cluster_id, vendor, model, pool, department, node_id, sum(quantity) AS quantity FROM idle GROUP BY ALL
), named AS (
    SELECT cluster_id, vendor, model, pool, department,
           list({'node': node_id, 'quantity': quantity} ORDER BY quantity DESC, node_id)[:5] AS nodes
    FROM node GROUP BY ALL
), work AS (
    SELECT idle.cluster_id, vendor, model, pool, department, list_sort(list(DISTINCT w.workload_id))[:200] AS workloads
    FROM idle JOIN workload w USING (workload_key) GROUP BY ALL
)
SELECT n.cluster_id, n.vendor, n.model, n.pool, n.department, n.nodes, w.workloads
FROM named n LEFT JOIN work w ON w.cluster_id = n.cluster_id AND w.vendor = n.vendor AND w.model = n.model
    AND w.pool IS NOT DISTINCT FROM n.pool AND w.department IS NOT DISTINCT FROM n.department
ORDER BY ALL;

-- name: waiting_quotas
-- Quotas for which work waited, by hour, and whether they were at their ceiling.
SELECT epoch_us(hour), pool, vendor, model, department_id, "max" IS NOT NULL AND used >= "max" * $full::DOUBLE AS "full"
FROM quota_hour
WHERE hour >= $from AND hour < $to AND waiting > 0 AND department_id IS NOT NULL ORDER BY ALL;
