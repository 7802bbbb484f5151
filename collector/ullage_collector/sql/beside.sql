-- Money beside the segments of a day: energy, and what of a price no share carries. {table} is energy_line or remainder_line,
-- {amount} its column that is divided where a line is cut: from its beginning, rounded toward 0, so that parts are the whole.

-- name: kept
-- A day's lines as they are kept.
SELECT * EXCLUDE (day) FROM {table} WHERE day = $day;

-- name: changed
-- Lines that are new or gone against those kept.
SELECT (SELECT count(*) FROM (SELECT * FROM beside_given EXCEPT ALL SELECT * EXCLUDE (day) FROM {table} WHERE day = $day))
     + (SELECT count(*) FROM (SELECT * EXCLUDE (day) FROM {table} WHERE day = $day EXCEPT ALL SELECT * FROM beside_given));

-- name: drop_day
DELETE FROM {table} WHERE day = $day;

-- name: keep_day
INSERT INTO {table} BY NAME SELECT $day::DATE AS day, * FROM beside_given ORDER BY card_key, from_us;

-- name: same
-- Whether two sets of lines are the same.
SELECT (SELECT count(*) FROM (SELECT * FROM beside_kept EXCEPT ALL SELECT * FROM beside_present))
     + (SELECT count(*) FROM (SELECT * FROM beside_present EXCEPT ALL SELECT * FROM beside_kept));

-- name: combined
-- Inside the spans what is kept, outside them what is believed now, cut at their edges.
WITH inside AS (
    SELECT * FROM beside_span
), bound AS (
    SELECT to_us AS from_us, coalesce(lead(from_us) OVER (ORDER BY from_us), 4611686018427387904) AS to_us FROM inside
    UNION ALL SELECT -4611686018427387904, min(from_us) FROM inside
), part AS (
    SELECT k.*, greatest(k.from_us, s.from_us) AS a, least(k.to_us, s.to_us) AS b
    FROM beside_kept k JOIN inside s ON k.from_us < s.to_us AND k.to_us > s.from_us
    UNION ALL BY NAME
    SELECT p.*, greatest(p.from_us, s.from_us) AS a, least(p.to_us, s.to_us) AS b
    FROM beside_present p JOIN bound s ON p.from_us < s.to_us AND p.to_us > s.from_us
)
SELECT * EXCLUDE (a, b) REPLACE (a AS from_us, b AS to_us,
                  ({amount}::HUGEINT // (to_us - from_us) * (b - from_us) + {amount}::HUGEINT % (to_us - from_us) * (b - from_us) // (to_us - from_us)
                   - {amount}::HUGEINT // (to_us - from_us) * (a - from_us) - {amount}::HUGEINT % (to_us - from_us) * (a - from_us) // (to_us - from_us)
                  )::{type} AS {amount})
FROM part WHERE a < b;
