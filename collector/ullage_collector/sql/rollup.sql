-- Minutes and hours. Lists of columns come from the metric catalogue (store/rollup.py).

-- name: through
-- How far a grain is rolled up, in microseconds.
SELECT epoch_us(through) FROM rollup_through WHERE name = ?;

-- name: set_through
-- Moved in the transaction that holds the rolled rows.
INSERT INTO rollup_through (name, through) VALUES (?, make_timestamp(?))
ON CONFLICT (name) DO UPDATE SET through = excluded.through;

-- name: next_time
-- The first raw row at or after an instant, so that an empty stretch is stepped over at once.
SELECT epoch_us(min(time)) FROM ({source}) WHERE time >= make_timestamp(?);

-- name: filled
-- How many rows there are in a stretch and how many of them fill each column.
SELECT count(*), {counts} FROM ({source}) WHERE {time} >= make_timestamp($1) AND {time} < make_timestamp($2);

-- name: minutes
-- Minute rows of one family out of raw rows. A row stands from its time for its interval, at most until the
-- next row of its subject, and is cut at minutes: covered seconds are exact, a mean is weighted by the time
-- each value stood. A counter's growth is counted in the minute of the later reading.
-- $1, $2: the stretch; $3: from where rows are read, so that the first reading in it has one before it.
CREATE OR REPLACE TEMP TABLE fresh AS
WITH reading AS MATERIALIZED (
    SELECT epoch_us(time) AS t, {subject}, node_key AS sender, boot_key,
           least(CAST(round(interval_seconds * 1e6) AS BIGINT), {longest},
                 coalesce(lead(epoch_us(time)) OVER w - epoch_us(time), {longest})) AS span{values}
    FROM ({source})
    WHERE time >= make_timestamp($3) AND time < make_timestamp($2){restriction}
    WINDOW w AS (PARTITION BY {subject} ORDER BY time)
),
piece AS (
    SELECT t - t % 60000000 AS minute_us, least(span, 60000000 - t % 60000000) AS stood, true AS begins, *
    FROM reading WHERE t >= $1
    UNION ALL
    SELECT minute_us, least(t + span - minute_us, 60000000) AS stood, false AS begins, * EXCLUDE (minute_us)
    FROM (SELECT t - t % 60000000 + 60000000 * k.range AS minute_us, r.*
          FROM reading r JOIN range(1, {pieces}) k ON t - t % 60000000 + 60000000 * k.range < t + span)
    WHERE minute_us >= $1 AND minute_us < $2
)
SELECT make_timestamp(minute_us) AS minute, {subject}{sender},
       CAST(least(sum(stood) / 1e6, 60) AS FLOAT) AS covered_seconds,
       CAST(count(*) FILTER (begins) AS INTEGER) AS samples,
       arg_max(boot_key, t) AS boot_key{aggregates}
FROM piece GROUP BY minute_us, {subject};

-- name: hours
-- Hour rows of one family out of its minutes.
CREATE OR REPLACE TEMP TABLE fresh AS
SELECT date_trunc('hour', minute) AS hour, {subject}{sender},
       CAST(least(sum(covered_seconds), 3600) AS FLOAT) AS covered_seconds,
       CAST(sum(samples) AS INTEGER) AS samples,
       arg_max(origin, minute) AS origin{aggregates}
FROM ({source})
WHERE minute >= make_timestamp($1) AND minute < make_timestamp($2){restriction}
GROUP BY date_trunc('hour', minute), {subject};

-- name: forget
-- Rows that are about to be replaced. What is there and covers more stays: late rows whose first ones were
-- dropped with their day take nothing away, and neither does half a minute from an agent beside a whole imported one.
DELETE FROM {table} USING fresh
WHERE {table}.{time} = fresh.{time} AND {same_subject} AND fresh.covered_seconds >= {table}.covered_seconds;

-- name: keep_minutes
-- The new minutes, with the origin their boot says.
INSERT INTO {table} (minute, {subject}{sender}, covered_seconds, samples, origin{columns})
SELECT minute, {subject}{sender}, covered_seconds, samples, b.origin{columns}
FROM (SELECT * FROM fresh ANTI JOIN {table} USING (minute, {subject})) f LEFT JOIN boot b USING (boot_key)
ORDER BY minute, {subject};

-- name: keep_hours
-- The new hours.
INSERT INTO {table} (hour, {subject}{sender}, covered_seconds, samples, origin{columns})
SELECT hour, {subject}{sender}, covered_seconds, samples, origin{columns}
FROM (SELECT * FROM fresh ANTI JOIN {table} USING (hour, {subject})) f ORDER BY hour, {subject};

-- name: dirty
-- Hours with late rows, and the nodes they are of; those before an instant, oldest first.
SELECT epoch_us(hour), list(node_key ORDER BY node_key) FROM rollup_dirty
WHERE hour < make_timestamp(?) GROUP BY hour ORDER BY hour LIMIT ?;

-- name: clean
-- An hour of these nodes is rolled up again.
DELETE FROM rollup_dirty WHERE hour = make_timestamp($1) AND node_key IN (SELECT unnest($2));
