-- What the placement detector reads (detect/placement/reading.py). {names} are texts the code made.

-- name: port_growth
-- What the counters of the wanted ports grew by over a stretch; NULL: none of its minutes knows.
SELECT s."row", s.gang, sum(m.covered_seconds){columns}
FROM straggler_subject s JOIN {source} m ON m.port_key = s.subject_key
WHERE m.minute >= make_timestamp({from_us}) AND m.minute < make_timestamp({to_us}) AND epoch_us(m.minute) >= s.begun_us
GROUP BY s."row", s.gang ORDER BY s."row";
