-- What the idle watch reads (detect/idle_watch.py), on the temp tables of states.sql that States.observe left: the same
-- minutes, thresholds and learned idle power as the money's. {names} are texts the code made.

-- name: workloads
-- Everybody who holds something at the end of the span, with what says who pays and what the work is for.
SELECT DISTINCT w.workload_key, w.kind, w.workload_id, w.cluster_id, w.namespace, w.user_name, w.partition, w.labels,
       w.scenario, w.attributes
FROM workload w JOIN states_allocation a USING (workload_key)
WHERE a."rank" = 'work' AND a.to_us = $to_us ORDER BY w.workload_key;

-- name: gangs
-- Which workload is of which gang, as Python made it out.
CREATE OR REPLACE TEMP TABLE idle_gang AS SELECT * FROM idle_given;

-- name: held
-- What each workload holds at the end of the span. card_id NULL: of the node's cards nobody knows which. incident: an open
-- confirmed one of the card. The share is the one that is paid for: of a card handed out more than once, divided as in the ledger.
SELECT a.workload_key, a.card_key, a.subject_key, c.card_id, a.node_key, n.node_id,
       CASE WHEN a.card_key IS NULL THEN a.share_nano
            ELSE (a.share_nano::HUGEINT * 1000000000
                  // greatest(1000000000, sum(a.share_nano) OVER (PARTITION BY a.card_key)))::BIGINT END AS share_nano,
       a.begun_us, k.model, k.pool, f.incident_id
FROM states_allocation a
LEFT JOIN card c USING (card_key)
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, a.node_key)
LEFT JOIN states_capacity k ON k.card_key = a.card_key AND k.to_us = $to_us
LEFT JOIN (SELECT card_key, min(incident_id) AS incident_id FROM states_fault WHERE to_us = $to_us GROUP BY card_key) f
       ON f.card_key = a.card_key
WHERE a."rank" = 'work' AND a.to_us = $to_us ORDER BY a.workload_key, c.card_id;

-- name: looks
-- Each gang's minutes: busy when one of its cards was active, quiet when all it held were seen and none was, else unknown.
-- Of minutes that say the same one in three is enough; the last column counts the known ones so far, so that those that are
-- left out and those that nobody saw can be told apart.
WITH held AS (
    SELECT g.gang, a.allocation_id, a.subject_key, a.from_us // 60000000 AS first,
           (a.to_us + 59999999) // 60000000 AS past
    FROM states_allocation a JOIN idle_gang g USING (workload_key) WHERE a."rank" = 'work'
), seen AS (
    SELECT h.gang, j.minute, bool_or(coalesce(j.active, false)) AS busy, count(*) FILTER (NOT j.active) AS quiet
    FROM held h JOIN states_judged j ON j.subject_key = h.subject_key AND j.minute >= h.first AND j.minute < h.past
    GROUP BY h.gang, j.minute
), whole AS (
    SELECT s.gang, s.minute, any_value(s.busy) AS busy, any_value(s.quiet) AS quiet, count(*) AS held
    FROM seen s JOIN held h ON h.gang = s.gang AND h.first <= s.minute AND s.minute < h.past
    GROUP BY s.gang, s.minute
), looked AS (
    SELECT gang, minute, CASE WHEN busy THEN 'busy' WHEN quiet >= held THEN 'quiet' ELSE 'unknown' END AS look FROM whole
)
SELECT gang, minute, look, count(*) FILTER (look <> 'unknown') OVER w AS known FROM looked
WINDOW w AS (PARTITION BY gang ORDER BY minute)
QUALIFY look IS DISTINCT FROM lag(look) OVER w OR minute % 3 = 0 OR lead(minute) OVER w IS NULL
ORDER BY minute, gang;

-- name: hosts
-- Nodes by when their host was last at work, and last seen at all, within the span; minutes since the epoch.
SELECT node_key, epoch_us(max(minute) FILTER ({busy})) // 60000000, epoch_us(max(minute)) // 60000000
FROM {source} WHERE minute >= make_timestamp({from_us}) AND minute < make_timestamp({to_us}) GROUP BY node_key;

-- name: node_views
-- Whether hosts are measured at all.
SELECT count(*) FROM duckdb_columns() WHERE schema_name = 'main' AND database_name = current_database()
  AND table_name = 'node_minute';

-- name: at_most
-- The greatest of each signal since a gang fell quiet, over all its cards: what a person can check by hand.
SELECT s.gang, {columns}
FROM idle_since s JOIN {source} m ON m.{subject} = s.subject_key AND epoch_us(m.minute) >= s.from_us
WHERE m.minute >= make_timestamp({from_us}) AND m.minute < make_timestamp({to_us})
GROUP BY s.gang;

-- name: history
-- Hours of the past of these gangs, as the bill has them: of everything that was the same work, also under pods that are gone
-- (one controller in one namespace is one work). Hours in which nothing was held are not there.
WITH place AS (
    SELECT DISTINCT w.cluster_id, w.namespace FROM incoming i JOIN workload w USING (workload_key)
), near AS MATERIALIZED (
    SELECT w.workload_key, w.cluster_id, w.namespace, w.attributes FROM workload w SEMI JOIN place USING (cluster_id, namespace)
), owned AS (
    SELECT workload_key, cluster_id, namespace, json_extract_string(attributes, '$.owner') AS owner,
           json_extract_string(attributes, '$.owner_kind') AS kind
    FROM near WHERE attributes IS NOT NULL
), same AS (
    SELECT gang, workload_key FROM incoming
    UNION
    SELECT i.gang, o.workload_key FROM incoming i JOIN owned w USING (workload_key)
    JOIN owned o ON o.cluster_id = w.cluster_id AND o.namespace = w.namespace AND o.owner = w.owner AND o.kind = w.kind
)
SELECT m.gang, s.from_us // 3600000000 * 3600000000 AS hour_us,
       min(s.from_us) FILTER (s.state = 'used') AS first_us, max(s.to_us) FILTER (s.state = 'used') AS last_us,
       bool_or(s.state = 'allocated_idle') AS idle
FROM segment s JOIN same m USING (workload_key)
WHERE s.day >= $from_day AND s.state IN ('used', 'allocated_idle', 'unknown')
GROUP BY m.gang, hour_us ORDER BY m.gang, hour_us;

-- name: tides
-- What earlier days say of each kind of work: quiet minutes of an hour, and how often work came back in it.
WITH hour AS (
    SELECT w.cluster_id, w.kind, s.scenario, s.workload_key, s.from_us // 3600000000 AS hour,
           min(s.from_us) FILTER (s.state = 'used') AS first_us, max(s.to_us) FILTER (s.state = 'used') AS last_us,
           bool_or(s.state = 'allocated_idle') AS idle
    FROM segment s JOIN workload w USING (workload_key)
    WHERE s.day >= $from_day AND s.state IN ('used', 'allocated_idle') GROUP BY ALL
), quiet AS (
    SELECT *, idle AND (first_us IS NULL OR first_us - hour * 3600000000 >= 600000000) AS begins_quiet,
           idle AND (last_us IS NULL OR (hour + 1) * 3600000000 - last_us >= 600000000) AS ends_quiet
    FROM hour
), woken AS (
    SELECT *, first_us IS NOT NULL AND (begins_quiet OR coalesce(lag(ends_quiet) OVER w, false)
                                                       AND coalesce(lag(hour) OVER w, 0) = hour - 1) AS woke
    FROM quiet WINDOW w AS (PARTITION BY workload_key, scenario ORDER BY hour)
)
SELECT cluster_id, kind, scenario, hour * 3600 AS at_seconds, count(*) FILTER (woke) AS wakes,
       sum(CASE WHEN NOT idle THEN 0 WHEN first_us IS NULL THEN 60
                ELSE CASE WHEN begins_quiet THEN (first_us - hour * 3600000000) / 6e7 ELSE 0 END
                   + CASE WHEN ends_quiet THEN ((hour + 1) * 3600000000 - last_us) / 6e7 ELSE 0 END END)::DOUBLE AS minutes
FROM woken GROUP BY ALL HAVING minutes > 0 OR wakes > 0 ORDER BY at_seconds, cluster_id, kind, scenario;
