-- Demand by hour, for tides: what each scenario held and needed in each pool.

-- name: hours
-- Nano-share microseconds held and needed in each UTC hour, and what the held time cost. Needed is what worked and what nobody
-- measured: unknown is never taken for idle.
SELECT coalesce(pool, ''), scenario, from_us // 3600000000 AS hour, sum(quantity),
       coalesce(sum(quantity) FILTER (state IN ('used', 'unknown')), 0), coalesce(sum(atoms) FILTER (currency = $currency), 0),
       coalesce(sum(quantity) FILTER (currency = $currency), 0)
FROM segment WHERE workload_id IS NOT NULL AND scenario IS NOT NULL
GROUP BY ALL ORDER BY ALL;

-- name: told
-- The UTC hours of which anything is published.
SELECT DISTINCT from_us // 3600000000 FROM segment ORDER BY 1;
