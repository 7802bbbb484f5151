-- What the sizing detectors read (detect/sizing/reading.py). {names} are texts the code made.

-- name: busy
-- Cards of which more than {spare} minutes have to lie above the limit for their hours to have the means they have.
SELECT s."row" FROM straggler_subject s JOIN {source} m ON m.card_key = s.subject_key
WHERE m.hour >= make_timestamp({from_us}) AND m.hour < make_timestamp({to_us}) AND m.sm_active_ratio > {limit}
GROUP BY s."row"
HAVING sum((m.sm_active_ratio - {limit}) / (1 - {limit}) * m.covered_seconds / 60) > {spare};

-- name: needs
-- Of each wanted card: what it cannot give, minutes with work, its memory, its power limit, and of each figure how many minutes know it and the
-- largest values, the greatest first.
SELECT s."row", any_value(c.vendor), any_value(c.model),
       any_value(CAST(json_extract(c.facts, '$.unsupported') AS VARCHAR)), count(*) FILTER (v.activity >= {active}),
       coalesce(any_value(c.memory_total_bytes)::DOUBLE, max(v.total)), max(v."limit"),
       count(v.activity), max(v.activity, {kept}), count(v.bandwidth), max(v.bandwidth, {kept}),
       count(v.memory), max(v.memory, {kept_memory}), count(v.watts), max(v.watts, {kept})
FROM straggler_subject s
JOIN card c ON c.card_key = s.subject_key
JOIN (SELECT m.card_key, {activity} AS activity, {bandwidth} AS bandwidth, {memory} AS memory, {watts} AS watts,
             {limit} AS "limit", {total} AS total
      FROM {source} m
      WHERE m.minute >= make_timestamp({from_us}) AND m.minute < make_timestamp({to_us})
        AND m.card_key IN (SELECT subject_key FROM straggler_subject)) v ON v.card_key = s.subject_key
GROUP BY s."row" ORDER BY s."row";

-- name: models
-- Models owned now, what their cards call them, the pools they are in, and the memory of the smallest of them that says.
SELECT i.vendor, i.model, min(c.model), list_sort(list(DISTINCT coalesce(i.pool, ''))), min(c.memory_total_bytes)
FROM inventory i LEFT JOIN card c USING (card_id)
WHERE i.known_to IS NULL AND i.valid_from <= $now AND (i.valid_to IS NULL OR i.valid_to > $now) AND i.life = 'in_service'
GROUP BY i.vendor, i.model ORDER BY i.vendor, i.model;

-- name: running
-- Works that hold something at an instant, as believed now.
SELECT DISTINCT w.workload_id FROM allocation a JOIN workload w USING (workload_key)
WHERE a.known_to IS NULL AND coalesce(a."rank", 'work') = 'work' AND a.valid_from <= $at AND (a.valid_to IS NULL OR a.valid_to > $at);
