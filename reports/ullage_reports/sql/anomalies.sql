-- What is looked at for unusual days, and what moved on one. Quantities are nano-share microseconds, atoms exact money.

-- name: days
-- By local day ($cuts: its midnights), department, scenario and model: money in $currency, hours, and hours without such a price.
SELECT e.begins, s.department_id, coalesce(s.scenario, ''), s.vendor, s.model,
       coalesce(sum((least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano * s.price_micro)
                FILTER (s.currency = $currency), 0),
       sum((least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano),
       coalesce(sum((least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano)
                FILTER (s.currency IS DISTINCT FROM $currency), 0)
FROM segment s JOIN (SELECT unnest(list_slice($cuts, 1, len($cuts) - 1))::BIGINT AS begins,
                            unnest(list_slice($cuts, 2, len($cuts)))::BIGINT AS ends) e
  ON s.from_us < e.ends AND s.to_us > e.begins
GROUP BY ALL ORDER BY ALL;

-- name: keep
-- The finest parts of some local days, in memory: whoever asks about one reads no file again. $begins, $ends: the days.
-- work: workloads that differ in numbers alone are one, as a daily job has another number each day.
CREATE OR REPLACE TEMP TABLE odd_part AS
WITH named AS (
    SELECT workload_id, coalesce(nullif(namespace, '') || '/', '')
               || regexp_replace(coalesce(name, workload_id), '[0-9a-f]*[0-9][0-9a-f]*', '#', 'g') AS work FROM workload
), line AS (
    SELECT e.begins, s.department_id, coalesce(s.scenario, '') AS scenario, s.vendor, s.model, coalesce(s.pool, '') AS pool, s.state,
           s.workload_id, coalesce(s.price_micro, -1) AS price_micro, s.card_id, s.currency = $currency AS ours,
           coalesce(TRY_CAST(regexp_extract(s.source_rows, '(^| )incident=(\d+)', 2) AS BIGINT), -1) AS incident_id,
           (least(s.to_us, e.ends) - greatest(s.from_us, e.begins))::HUGEINT * s.share_nano AS q
    FROM segment s JOIN (SELECT unnest($begins)::BIGINT AS begins, unnest($ends)::BIGINT AS ends) e
      ON s.from_us < e.ends AND s.to_us > e.begins
)
SELECT l.begins, l.department_id, l.scenario, l.vendor, l.model, l.pool, l.state, coalesce(n.work, l.workload_id, '') AS work,
       l.workload_id, l.price_micro, l.card_id, l.incident_id, sum(l.q) AS q,
       coalesce(sum(l.q * l.price_micro) FILTER (l.ours), 0) AS atoms
FROM line l LEFT JOIN named n USING (workload_id) GROUP BY ALL;

-- name: moved
-- One local day of what is asked about. alone: the card is not there on the other day. example: the workload that held most.
SELECT department_id, scenario, vendor, model, pool, state, work, price_micro,
       $other IS NOT NULL AND card_id NOT IN (SELECT card_id FROM odd_part WHERE begins = $other) AS alone, incident_id, arg_max(workload_id, q), sum(q),
       sum(atoms)
FROM odd_part
WHERE begins = $begins AND ($department IS NULL OR department_id = $department) AND ($scenario IS NULL OR scenario = $scenario)
  AND ($model IS NULL OR vendor || '/' || model = $model)
GROUP BY ALL ORDER BY ALL;
