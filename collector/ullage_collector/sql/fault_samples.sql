-- New samples that a fault rule may want to see (detect/fault_reading.py).

-- name: begin
-- The newest reading of each counter and of each limit before an instant, by subject: where growth is reckoned from.
CREATE OR REPLACE TEMP TABLE {last} AS
SELECT s.{key} AS subject_key, max(s."time") AS "time"{lasts}
FROM {view} s
WHERE s."time" >= make_timestamp($after) AND s.received_at <= make_timestamp($until)
GROUP BY s.{key};

-- name: new
-- Rows received since an instant; very late ones are left in the store.
CREATE OR REPLACE TEMP TABLE {new} AS
SELECT s.{key} AS subject_key, s.node_key AS sender, s."time", s.received_at, s.monotonic, s.epoch_key, s.boot_key{columns}
FROM {view} s
WHERE s.received_at > make_timestamp($after) AND s."time" >= make_timestamp($oldest);

-- name: reached
-- When the newest of them was received.
SELECT epoch_us(max(received_at)) FROM {new};

-- name: worth
-- Of subjects that show something bad, or of which something is open or half seen: all their new rows, oldest first.
WITH r AS (
    SELECT n.*{known}
    FROM {new} n LEFT JOIN {last} l USING (subject_key)
    WHERE l."time" IS NULL OR n."time" > l."time"
    WINDOW before AS (
        PARTITION BY n.subject_key ORDER BY n."time" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
), remembered AS (
    SELECT subject, "scope", bool_or(watched) AS watched{bases} FROM fault_state WHERE family = $family GROUP BY ALL
), owned AS (
    SELECT cluster_id, node_id, count(DISTINCT card_id) AS cards FROM inventory
    WHERE known_to IS NULL AND source <> 'seen' AND life = 'in_service'
      AND valid_from <= make_timestamp($now) AND (valid_to IS NULL OR valid_to > make_timestamp($now))
    GROUP BY ALL
), named AS (
    SELECT {subject} AS subject, {vendor} AS vendor, o.cluster_id, o.node_id, b.origin, {expected} AS expected, r.*{growths}
    FROM r JOIN node o ON o.node_key = r.sender JOIN boot b USING (boot_key) {joins}
), marked AS (
    SELECT v.*, coalesce(m.watched, false) AS watched, coalesce({hot}, false) AS hot
    FROM named v LEFT JOIN remembered m ON m.subject = v.subject AND m."scope" IN ('', v.cluster_id)
)
SELECT subject, cluster_id, node_id, vendor, epoch_us("time"), epoch_us(received_at), monotonic, origin, expected{wanted}
FROM marked
QUALIFY watched OR bool_or(hot) OVER (PARTITION BY subject_key)
ORDER BY "time", subject;

-- name: keep
-- The newest reading of each, these rows included.
CREATE OR REPLACE TEMP TABLE {last} AS
SELECT subject_key, greatest(n."time", l."time") AS "time"{kept}
FROM (SELECT subject_key, max("time") AS "time"{lasts} FROM {new} GROUP BY subject_key) n
FULL JOIN {last} l USING (subject_key);

-- name: booted
-- Nodes that were up for a short while only when they last told of themselves, and when they booted.
SELECT n.cluster_id, n.node_id, max(epoch_us(s."time") - CAST(s.monotonic * 1000000 AS BIGINT))
FROM node_sample s JOIN node n USING (node_key)
WHERE s.received_at > make_timestamp($after) AND s.monotonic < $young
GROUP BY ALL;
