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

-- name: idle
-- Free cards and those held and idle, or of which that is not known, in the hours asked for, by node and holder, at their prices; newest revision of each
-- day. A department NULL: free.
WITH newest AS (
    SELECT day, max(revision) AS revision FROM segment
    WHERE day >= make_timestamp($from_us)::DATE AND day < make_timestamp($to_us - 1)::DATE + 1 GROUP BY day
)
SELECT s.from_us // 3600000000 * 3600000000 AS hour_us, i.cluster_id, i.vendor, i.model, i.node_id, i.pool,
       CASE WHEN s.state <> 'unallocated_idle' THEN s.department_id END AS department, s.price_micro, s.currency,
       s.state <> 'unknown' AS known,
       list_sort(list(DISTINCT w.workload_id)) AS workloads, sum((s.to_us - s.from_us)::HUGEINT * s.share_nano) AS quantity
FROM segment s JOIN newest USING (day, revision) JOIN inventory i USING (inventory_id) LEFT JOIN workload w USING (workload_key)
WHERE s.state IN ('unallocated_idle', 'allocated_idle', 'unknown') AND s.department_id <> CASE s.state WHEN 'unknown' THEN 'platform' ELSE '' END
  AND s.from_us >= $from_us AND s.to_us <= $to_us
  AND list_contains($hours, s.from_us // 3600000000 * 3600000000)
GROUP BY ALL ORDER BY ALL;

-- name: waiting_quotas
-- Quotas for which work waited, by hour, and whether they were at their ceiling.
SELECT epoch_us(hour), pool, vendor, model, department_id, "max" IS NOT NULL AND used >= "max" * $full::DOUBLE AS "full"
FROM quota_hour
WHERE hour >= $from AND hour < $to AND waiting > 0 AND department_id IS NOT NULL ORDER BY ALL;
