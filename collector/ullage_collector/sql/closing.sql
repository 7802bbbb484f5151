-- Periods whose money no longer changes. Bounds and instants are UTC.

-- name: closings
-- Every closed period, the earliest first.
SELECT zone, valid_from, valid_to, closed_at, closed_by, reason, "rule", dimensions_revision FROM period_close ORDER BY valid_from;

-- name: spans
-- Closed stretches of [from, to), in microseconds, when each was closed, and the period each is of.
SELECT greatest(epoch_us(valid_from), epoch_us($from::TIMESTAMP)), least(epoch_us(valid_to), epoch_us($to::TIMESTAMP)), closed_at,
       valid_from, valid_to, zone
FROM period_close WHERE valid_from < $to AND valid_to > $from ORDER BY valid_from;

-- name: at
-- When the period was closed that holds an instant.
SELECT closed_at FROM period_close WHERE valid_from <= $at AND valid_to > $at;

-- name: overlapping
-- A closed period that shares any time with [from, to).
SELECT zone, valid_from, valid_to FROM period_close WHERE valid_from < $to AND valid_to > $from ORDER BY valid_from LIMIT 1;

-- name: put
INSERT INTO period_close (zone, valid_from, valid_to, closed_at, closed_by, reason, "rule", dimensions_revision, revisions)
VALUES ($zone, $from, $to, $now, $actor, $reason, $rule, $dimensions, $revisions);

-- name: posted
-- What was asked for, posted or decided so far: another answer means that something was added.
SELECT (SELECT max(adjustment_id) FROM adjustment), (SELECT count(*) FROM adjustment_decision);

-- name: revisions
-- The newest published revision of each day's facts.
SELECT day, max(revision) FROM published WHERE what = 'facts' AND day BETWEEN $first AND $last GROUP BY day ORDER BY day;

-- name: unpublished
-- Days on which a card was owned, after the first that was ever published, without published facts.
SELECT d.range::DATE AS day FROM range($first::TIMESTAMP, $last::TIMESTAMP + INTERVAL 1 DAY, INTERVAL 1 DAY) d
WHERE d.range >= (SELECT min(day) FROM published WHERE what = 'facts')
  AND d.range::DATE NOT IN (SELECT day FROM published WHERE what = 'facts')
  AND EXISTS (SELECT 1 FROM inventory i WHERE i.known_to IS NULL AND i.valid_from < d.range + INTERVAL 1 DAY
              AND (i.valid_to IS NULL OR i.valid_to > d.range))
ORDER BY day;

-- name: kept
-- A day's lines as they are kept.
SELECT * EXCLUDE (day, revision) FROM segment WHERE day = $day;

-- name: sums
-- Quantity by state, and what of it has no price, of lines just put together.
SELECT state, sum((to_us - from_us)::HUGEINT * share_nano),
       sum((to_us - from_us)::HUGEINT * share_nano) FILTER (price_micro IS NULL)
FROM lines_given GROUP BY state;

-- name: unequal
-- Instants of lines just put together whose shares are not a whole card: must give no row.
SELECT card_key, from_us, sum(share_nano) FROM lines_given GROUP BY card_key, from_us, to_us
HAVING sum(share_nano) <> 1000000000 LIMIT 1;

-- name: first_published
SELECT min(day) FROM published WHERE what = 'facts';

-- name: unsealed
-- Published days whose newest facts may still change by themselves.
SELECT day FROM published WHERE what = 'facts' AND day BETWEEN $first AND $last
GROUP BY day HAVING arg_max(status, revision) <> 'sealed' ORDER BY day;

-- name: coverage
-- Of the lines within the period: quantity, what of it is held, what of that has a known use, and what has no price.
SELECT sum(q), sum(q) FILTER (state IN ('used', 'allocated_idle', 'unknown')), sum(q) FILTER (state IN ('used', 'allocated_idle')),
       sum(q) FILTER (price_micro IS NULL)
FROM (SELECT state, price_micro, (least(to_us, $to_us) - greatest(from_us, $from_us))::HUGEINT * share_nano AS q
      FROM segment WHERE day BETWEEN $first AND $last AND from_us < $to_us AND to_us > $from_us);

-- name: pinned_names
-- Revisions of the dimensions that closed periods stand on.
SELECT DISTINCT dimensions_revision FROM period_close WHERE dimensions_revision IS NOT NULL;
