-- What departments cost by local day, for budgets.

-- name: days
-- Exact money by the local day in whose midnights ($cuts) a line lies, cut at them; and the hours without a price.
SELECT e.begins, s.department_id, coalesce(s.scenario, ''),
       coalesce(sum(((least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano * s.price_micro))
                FILTER (s.currency = $currency), 0),
       coalesce(sum((least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano)
                FILTER (s.currency IS DISTINCT FROM $currency), 0)
FROM segment s JOIN (SELECT unnest(list_slice($cuts, 1, len($cuts) - 1))::BIGINT AS begins,
                            unnest(list_slice($cuts, 2, len($cuts)))::BIGINT AS ends) e
  ON s.from_us < e.ends AND s.to_us > e.begins
GROUP BY ALL ORDER BY ALL;

-- name: departments
-- Every department that is published, whenever it is or was.
SELECT DISTINCT department_id FROM department;

-- name: energy
-- Exact money of energy, and of what of a price no card share carries, by the local day in which it begins.
SELECT e.begins, l.department_id, coalesce(l.scenario, ''), sum(l.cost_atoms::HUGEINT)
FROM (SELECT department_id, scenario, from_us, cost_atoms FROM energy WHERE currency = $currency AND cost_atoms IS NOT NULL
      UNION ALL SELECT department_id, NULL, from_us, cost_atoms FROM remainder WHERE currency = $currency) l
JOIN (SELECT unnest(list_slice($cuts, 1, len($cuts) - 1))::BIGINT AS begins,
             unnest(list_slice($cuts, 2, len($cuts)))::BIGINT AS ends) e ON l.from_us >= e.begins AND l.from_us < e.ends
GROUP BY ALL ORDER BY ALL;

-- name: energy_without_tariff
-- What of energy no tariff in $currency covers, in millijoules times thousandths of a PUE, by the local day in which it begins.
SELECT e.begins, l.department_id, coalesce(l.scenario, ''), sum(l.energy_mj::HUGEINT * l.pue_milli)
FROM energy l
JOIN (SELECT unnest(list_slice($cuts, 1, len($cuts) - 1))::BIGINT AS begins,
             unnest(list_slice($cuts, 2, len($cuts)))::BIGINT AS ends) e ON l.from_us >= e.begins AND l.from_us < e.ends
WHERE l.tariff_micro IS NULL OR l.currency IS DISTINCT FROM $currency
GROUP BY ALL ORDER BY ALL;

-- name: adjustments
-- What is posted, by the local day of its instant: once each, so that no forecast repeats it.
SELECT e.begins, a.department_id, coalesce(a.scenario, ''), sum(a.cost_atoms::HUGEINT)
FROM adjustment a
JOIN (SELECT unnest(list_slice($cuts, 1, len($cuts) - 1))::BIGINT AS begins,
             unnest(list_slice($cuts, 2, len($cuts)))::BIGINT AS ends) e
  ON epoch_us(a.posted_at) >= e.begins AND epoch_us(a.posted_at) < e.ends
WHERE a.status = 'posted' AND a.currency = $currency
GROUP BY ALL ORDER BY ALL;
