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
