-- Which days need their facts made, and made again.

-- name: first_day
-- The first day anybody owned a card, as believed now.
SELECT min(valid_from)::DATE FROM inventory WHERE known_to IS NULL AND life <> 'ordered';

-- name: stale_days
-- Published days about which something became known after they were published: they get a new revision.
WITH newest AS (
    SELECT day, max(coalesce(checked_at, published_at)) AS made_at FROM published
    WHERE what = 'facts' AND day BETWEEN $first AND $last GROUP BY day
), change AS (
    SELECT valid_from AS a, valid_to AS b, greatest(known_from, coalesce(known_to, known_from)) AS seen_at FROM allocation
    UNION ALL SELECT valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM inventory
    UNION ALL SELECT valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM price
    UNION ALL SELECT valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM exchange_rate
    UNION ALL SELECT valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM tariff
    UNION ALL SELECT valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM pue
    UNION ALL SELECT valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM money_policy
    UNION ALL SELECT valid_from, valid_to, greatest(known_from, coalesce(known_to, known_from)) FROM mapping_rule
    UNION ALL SELECT onset, closed_at, greatest(opened_at, coalesce(closed_at, opened_at)) FROM incident
    UNION ALL SELECT isolated_at, released_at, greatest(isolated_at, coalesce(released_at, isolated_at)) FROM isolation
), late AS (
    SELECT * FROM change WHERE seen_at > (SELECT min(made_at) FROM newest)
)
SELECT day FROM newest n
WHERE EXISTS (SELECT 1 FROM late l WHERE l.seen_at > n.made_at AND l.a < n.day + 1 AND (l.b IS NULL OR l.b > n.day))
   OR EXISTS (SELECT 1 FROM touched_day t WHERE t.day = n.day AND t.touched_at > n.made_at)
   OR EXISTS (SELECT 1 FROM quota_hour q WHERE q.hour >= n.day AND q.hour < n.day + 1 AND q.made_at > n.made_at)
ORDER BY day;

-- name: published_days
-- Days with facts, and whether their newest revision is sealed.
SELECT day, arg_max(status, revision) FROM published WHERE what = 'facts' AND day BETWEEN $first AND $last GROUP BY day;

-- name: noted
-- Whether a revision is noted already.
SELECT count(*) FROM published WHERE what = $what AND day IS NOT DISTINCT FROM $day AND revision = $revision;

-- name: checked
-- A revision that was made again and is still what it was.
UPDATE published SET checked_at = $now WHERE what = $what AND day IS NOT DISTINCT FROM $day AND revision = $revision;
