-- What a bill is made from besides the tables of a statement. Money in atoms of $currency; lines in another are in no sum.

-- name: charged
-- The capacity of [$from_us, $to_us) as it is charged before anything is shared out, with what prices it.
SELECT department_id, coalesce(business, ''), coalesce(scenario, ''), vendor, model, cluster_id, price_id, price_micro, state,
       sum(q), sum(q::HUGEINT * price_micro)
FROM (SELECT *, (least(to_us, $to_us) - greatest(from_us, $from_us)) * share_nano AS q
      FROM segment WHERE currency = $currency AND from_us < $to_us AND to_us > $from_us)
GROUP BY ALL ORDER BY ALL;

-- name: held_faulty
-- Who held a card that was out of order: the same, of the platform's faulty lines whose holder is known.
SELECT holder_department, coalesce(holder_business, ''), coalesce(holder_scenario, ''), vendor, model, cluster_id, price_id,
       price_micro, state, sum(q), sum(q::HUGEINT * price_micro)
FROM (SELECT *, (least(to_us, $to_us) - greatest(from_us, $from_us)) * share_nano AS q
      FROM segment WHERE currency = $currency AND from_us < $to_us AND to_us > $from_us
                     AND state = 'faulty' AND holder_department IS NOT NULL)
GROUP BY ALL ORDER BY ALL;

-- name: columns
-- Which columns segments have: an older Ullage may not have published all.
SELECT column_name FROM (DESCRIBE segment);

-- name: charged_hours
-- What departments held, and what was free, by UTC hour: for guarantees, which are kept by the hour.
SELECT from_us // 3600000000 * 3600000000 AS hour_us, department_id, vendor, model, cluster_id, price_id, price_micro, state, sum(q),
       sum(q::HUGEINT * price_micro)
FROM (SELECT *, (least(to_us, $to_us) - greatest(from_us, $from_us)) * share_nano AS q
      FROM segment WHERE currency = $currency AND from_us < $to_us AND to_us > $from_us
                     AND ((state IN ('used', 'allocated_idle', 'unknown') AND department_id <> 'platform')
                          OR (state = 'unallocated_idle' AND department_id = 'platform')))
GROUP BY ALL ORDER BY ALL;

-- name: quota_trees
-- Trees that guarantee anybody anything in the period.
SELECT DISTINCT tree FROM quota_hour WHERE "min" > 0 AND hour_us < $to_us AND hour_us + 3600000000 > $from_us ORDER BY tree;

-- name: quota_hours
-- What came of a tree's quotas: nano-share microseconds of whole UTC hours.
SELECT hour_us, pool, resource, vendor, model, quota, parent, department_id, "min"::VARCHAR, guaranteed_used::VARCHAR,
       borrowed::VARCHAR, lent::VARCHAR
FROM quota_hour WHERE tree = $tree AND hour_us < $to_us AND hour_us + 3600000000 > $from_us AND quota <> '__pool__'
ORDER BY ALL;

-- name: energy
-- Energy by who pays: money, millijoules with the PUE in them times a thousand, and what of those has no tariff.
SELECT department_id, coalesce(business, ''), coalesce(scenario, ''),
       coalesce(sum(cost_atoms::HUGEINT) FILTER (currency = $currency), 0), sum(energy_mj::HUGEINT * pue_milli),
       coalesce(sum(energy_mj::HUGEINT * pue_milli) FILTER (tariff_micro IS NULL), 0),
       coalesce(sum(energy_mj::HUGEINT * pue_milli) FILTER (estimated), 0)
FROM energy GROUP BY ALL ORDER BY ALL;

-- name: remainder
-- What of a price no share of a card carries: the platform's.
SELECT coalesce(sum(cost_atoms::HUGEINT), 0) FROM remainder WHERE currency = $currency;

-- name: adjustments
-- What is posted in the period, each for itself.
SELECT adjustment_id, kind, department_id, coalesce(business, ''), coalesce(scenario, ''), cost_class, epoch_us(period_from),
       epoch_us(period_to), epoch_us(posted_at), cost_atoms::VARCHAR, reason, requester, approver,
       model, state, quantity::VARCHAR
FROM adjustment
WHERE status = 'posted' AND currency = $currency AND epoch_us(posted_at) >= $from_us AND epoch_us(posted_at) < $to_us
ORDER BY posted_at, adjustment_id;
