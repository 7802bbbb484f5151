-- Requests of serving systems (serving/book.py): whose readings are, what they were compared with, and what they add.

-- name: holders
-- Who held cards in a span, with the id its readings may name: a pod's also without the uid. Of dated beliefs today's.
SELECT w.workload_key, w.workload_id, min(epoch_us(a.valid_from)), max(coalesce(epoch_us(a.valid_to), 9223372036854775807)),
       list(DISTINCT coalesce(c.node_key, a.node_key)) AS nodes
FROM allocation a JOIN workload w USING (workload_key) LEFT JOIN card c ON c.card_key = a.card_key
WHERE a.known_to IS NULL AND a."rank" = 'work' AND a.valid_from <= make_timestamp($to_us)
  AND (a.valid_to IS NULL OR a.valid_to > make_timestamp($from_us))
GROUP BY w.workload_key, w.workload_id ORDER BY w.workload_key;

-- name: known
-- The newest reading of each series of these processes.
SELECT s.workload_key, s.source, s.target, s.kind, s.series, s.at_us, s.value
FROM incoming i JOIN serving_series s USING (workload_key, source, target);

-- name: put_series
INSERT OR REPLACE INTO serving_series SELECT workload_key, source, target, kind, series, at_us, value FROM incoming;

-- name: merge_spans
-- What comes, together with what stands of the same five minutes; what is not known stays so where neither knows.
CREATE OR REPLACE TEMP TABLE serving_merged AS
SELECT workload_key, source, target, start, sum(requests) AS requests, sum(prompt_tokens) AS prompt_tokens,
       sum(generated_tokens) AS generated_tokens, max(running) AS running, max(waiting) AS waiting,
       sum(covered_us)::BIGINT AS covered_us, sum(resets)::INTEGER AS resets
FROM (SELECT workload_key, source, target, make_timestamp(start_us) AS start, requests, prompt_tokens, generated_tokens,
             running, waiting, covered_us, resets FROM incoming
      UNION ALL
      SELECT s.* FROM serving s SEMI JOIN incoming i ON s.workload_key = i.workload_key AND s.source = i.source
             AND s.target = i.target AND s.start = make_timestamp(i.start_us)
      WHERE s.start >= make_timestamp($from_us))
GROUP BY ALL;

-- name: drop_merged
DELETE FROM serving WHERE start >= make_timestamp($from_us) AND EXISTS (
    SELECT 1 FROM serving_merged m WHERE m.workload_key = serving.workload_key AND m.source = serving.source
        AND m.target = serving.target AND m.start = serving.start);

-- name: put_merged
INSERT INTO serving SELECT * FROM serving_merged;

-- name: merge_hours
-- Hours that got anything, of the source that knows most of them; of several that know as much the one that knows tokens.
CREATE OR REPLACE TEMP TABLE serving_hours AS
WITH touched AS (
    SELECT DISTINCT workload_key, time_bucket(INTERVAL 1 HOUR, start) AS hour FROM serving_merged
), process AS (
    SELECT t.workload_key, t.hour, s.source, s.target, sum(s.requests) AS requests, sum(s.prompt_tokens) AS prompt_tokens,
           sum(s.generated_tokens) AS generated_tokens, max(s.running) AS running, max(s.waiting) AS waiting,
           sum(s.covered_us) / 1e6 AS covered
    FROM touched t JOIN serving s ON s.workload_key = t.workload_key AND time_bucket(INTERVAL 1 HOUR, s.start) = t.hour
    WHERE s.start >= time_bucket(INTERVAL 1 HOUR, make_timestamp($from_us))
    GROUP BY ALL
)
SELECT workload_key, hour, source, sum(requests) AS requests, sum(prompt_tokens) AS prompt_tokens,
       sum(generated_tokens) AS generated_tokens, sum(running) AS running, sum(waiting) AS waiting, count(*)::INTEGER AS replicas,
       min(covered) AS covered_seconds
FROM process GROUP BY workload_key, hour, source
QUALIFY row_number() OVER (PARTITION BY workload_key, hour
                           ORDER BY min(covered) DESC, sum(generated_tokens) IS NULL, sum(requests) IS NULL, source) = 1;

-- name: drop_merged_hours
DELETE FROM serving_hour WHERE hour >= time_bucket(INTERVAL 1 HOUR, make_timestamp($from_us)) AND EXISTS (
    SELECT 1 FROM serving_hours m WHERE m.workload_key = serving_hour.workload_key AND m.hour = serving_hour.hour);

-- name: put_merged_hours
INSERT INTO serving_hour SELECT * FROM serving_hours;

-- name: touched_days
-- Days before today that got anything: they are published anew.
INSERT OR REPLACE INTO touched_day
SELECT DISTINCT start::DATE, $now FROM serving_merged WHERE start::DATE < $now::DATE;

-- name: asked
SELECT epoch_us(through) FROM serving_asked WHERE source = ?;

-- name: put_asked
INSERT OR REPLACE INTO serving_asked VALUES ($source, make_timestamp($through));

-- name: drop_spans
DELETE FROM serving WHERE start < $before;

-- name: drop_hours
DELETE FROM serving_hour WHERE hour < $before;

-- name: drop_series
-- A process of which nothing was heard for so long is another one when it is heard of again.
DELETE FROM serving_series WHERE at_us < epoch_us($before::TIMESTAMP);

-- name: window
-- Of each workload and source: requests that ended in a span, how much of it is known of the process that is known least, and
-- the most at once. last_us: end of the newest five minutes in which any ended, as far back as rows are kept.
WITH process AS (
    SELECT s.workload_key, s.source, s.target,
           sum(s.requests) FILTER (s.start >= make_timestamp($from_us)) AS requests,
           coalesce(sum(s.covered_us) FILTER (s.start >= make_timestamp($from_us)), 0) AS covered_us,
           max(s.running) FILTER (s.start >= make_timestamp($from_us)) AS running,
           max(s.waiting) FILTER (s.start >= make_timestamp($from_us)) AS waiting,
           max(epoch_us(s.start)) FILTER (s.requests > 0) + 300000000 AS last_us,
           max(s.start) AS newest
    FROM serving s JOIN serving_asked_of i USING (workload_key)
    WHERE s.start < make_timestamp($to_us)
    GROUP BY ALL
)
SELECT workload_key, source, sum(requests), min(covered_us), max(running), max(waiting), max(last_us)
FROM process WHERE newest >= make_timestamp($from_us) GROUP BY workload_key, source ORDER BY ALL;

-- name: list_hours
-- Hours of a span, of one workload or of all, the newest first.
SELECT w.workload_id, w.cluster_id, h.hour, h.source, h.requests, h.prompt_tokens, h.generated_tokens,
       h.running AS running_most, h.waiting AS waiting_most, h.replicas AS processes, h.covered_seconds
FROM serving_hour h JOIN workload w USING (workload_key)
WHERE h.hour >= time_bucket(INTERVAL 1 HOUR, $from::TIMESTAMP) AND h.hour < $to AND ($workload IS NULL OR w.workload_id = $workload)
ORDER BY h.hour DESC, w.workload_id LIMIT $limit;
