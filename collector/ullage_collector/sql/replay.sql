-- A detector over a series file (detect/series.py). {time} is an expression of ours by the column's type.

-- name: columns
-- What the file has.
SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet($file));

-- name: nameless
-- Rows that nobody can place.
SELECT count(*) FROM read_parquet($file) WHERE pod IS NULL OR ts IS NULL;

-- name: rows
-- The series in time order; two rows of one pod and instant are one, of which the greatest known values count.
SELECT CAST(pod AS VARCHAR) AS pod, {time} AS seen_at, max({duty}) AS duty, max({held}) AS held, count(*) AS said
FROM read_parquet($file)
WHERE pod IS NOT NULL AND ts IS NOT NULL
GROUP BY ALL
ORDER BY seen_at, pod;
