-- What incidents cost, by the ledger's own lines. Quantities are nano-share microseconds, costs atoms; both exact.
-- $from_us, $to_us: lines are clipped to this stretch.

-- name: lost
-- Faulty and isolated time by the incident that stands behind it. confirmed NULL: none does. A line whose incident is not
-- confirmed is isolation on suspicion: its time is lost, but not by that incident.
WITH line AS (
    SELECT s.incident_id, s.state, s.currency, s.price_micro,
           s.share_nano::HUGEINT * (least(s.to_us, $to_us) - greatest(s.from_us, $from_us)) AS quantity
    FROM segment s
    WHERE s.state IN ('faulty', 'isolated') AND s.from_us < $to_us AND s.to_us > $from_us
      AND s.day BETWEEN make_timestamp($from_us)::DATE AND make_timestamp($to_us)::DATE
)
SELECT CASE WHEN i.confirmed THEN l.incident_id END AS incident_id,
       CASE WHEN l.incident_id IS NULL OR i.incident_id IS NULL THEN 'without' WHEN i.confirmed THEN 'incident' ELSE 'unconfirmed' END
           AS bucket,
       l.state, l.currency, sum(l.quantity), sum(l.quantity * l.price_micro),
       sum(l.quantity) FILTER (l.price_micro IS NULL)
FROM line l LEFT JOIN incident i ON i.incident_id = l.incident_id
GROUP BY ALL ORDER BY ALL;

-- name: whole
-- All faulty and isolated time, whoever stands behind it: what the parts must add up to.
SELECT s.state, s.currency, sum(s.share_nano::HUGEINT * (least(s.to_us, $to_us) - greatest(s.from_us, $from_us))),
       sum(s.share_nano::HUGEINT * (least(s.to_us, $to_us) - greatest(s.from_us, $from_us)) * s.price_micro)
FROM segment s
WHERE s.state IN ('faulty', 'isolated') AND s.from_us < $to_us AND s.to_us > $from_us
  AND s.day BETWEEN make_timestamp($from_us)::DATE AND make_timestamp($to_us)::DATE
GROUP BY ALL ORDER BY ALL;

-- name: incidents
-- Confirmed incidents of the stretch, those that lines of it stand on (a card is kept away longer than its incident lasts),
-- and any that is asked for by number.
SELECT incident_id, family, subject, cause, severity, action, epoch_us(onset), epoch_us(closed_at), confirmed
FROM incident
WHERE ($only IS NULL AND confirmed
       AND ((epoch_us(onset) < $to_us AND (closed_at IS NULL OR epoch_us(closed_at) > $from_us))
            OR incident_id IN (SELECT s.incident_id FROM segment s
                               WHERE s.state IN ('faulty', 'isolated') AND s.from_us < $to_us AND s.to_us > $from_us
                                 AND s.day BETWEEN make_timestamp($from_us)::DATE AND make_timestamp($to_us)::DATE)))
   OR incident_id = $only
ORDER BY onset, incident_id;

-- name: runs
-- Work that held a card a confirmed incident took, at its onset or later, as is believed now. A run is a workload and its start.
WITH serious AS (
    SELECT i.*, epoch_us(i.onset) AS onset_us, epoch_us(i.closed_at) AS closed_us FROM incident i
    WHERE i.confirmed AND epoch_us(i.onset) < $to_us
), place AS (
    SELECT s.incident_id, s.onset_us, s.closed_us, n.node_key FROM serious s
    JOIN named_node n ON n.node_id = s.subject AND n.told IS NOT DISTINCT FROM s.cluster_id WHERE s.family = 'node'
    UNION
    SELECT s.incident_id, s.onset_us, s.closed_us, p.node_key FROM serious s JOIN port p ON p.port_id = s.subject
    WHERE s.family = 'port'
), hit AS (
    SELECT s.incident_id, s.onset_us, s.closed_us, c.card_key FROM serious s
    JOIN card c ON c.card_id = s.subject WHERE s.family = 'card'
    UNION
    SELECT s.incident_id, s.onset_us, s.closed_us, l.card_key FROM serious s JOIN slice l ON l.slice_id = s.subject
    WHERE s.family = 'slice'
    UNION
    SELECT p.incident_id, p.onset_us, p.closed_us, c.card_key FROM place p JOIN card c USING (node_key)
), work AS (
    SELECT * FROM allocation WHERE known_to IS NULL AND coalesce("rank", 'work') = 'work' AND share_nano > 0
      AND epoch_us(valid_from) < $to_us AND (valid_to IS NULL OR epoch_us(valid_to) > $from_us)
), held AS (
    SELECT h.incident_id, h.onset_us, h.closed_us, a.* FROM hit h JOIN work a ON a.card_key = h.card_key
    UNION ALL
    SELECT p.incident_id, p.onset_us, p.closed_us, a.* FROM place p JOIN work a ON a.card_key IS NULL AND a.node_key = p.node_key
)
SELECT h.incident_id, h.onset_us, h.closed_us, h.workload_key, epoch_us(h.valid_from) AS begun_us,
       max(coalesce(epoch_us(h.valid_to), $to_us)) AS ended_us, bool_and(h.valid_to IS NOT NULL) AS ended,
       any_value(coalesce(json_extract_string(h.attributes, '$.state'), json_extract_string(h.attributes, '$.reason'))) AS said,
       any_value(coalesce(json_extract_string(w.labels, '$."ullage-checkpoint-seconds"'),
                          json_extract_string(w.attributes, '$."ullage-checkpoint-seconds"'))) AS checkpoint
FROM held h JOIN workload w ON w.workload_key = h.workload_key
WHERE epoch_us(h.valid_from) < coalesce(h.closed_us, $to_us)
  AND (h.valid_to IS NULL OR epoch_us(h.valid_to) > h.onset_us - $slack_us)
GROUP BY h.incident_id, h.onset_us, h.closed_us, h.workload_key, h.valid_from
ORDER BY h.onset_us, h.incident_id, h.workload_key, begun_us;

-- name: spans
-- Lines of work within spans of time: what of it was used or held idle. Spans of one workload and kind do not overlap.
WITH span AS (
    SELECT unnest($incident) AS incident_id, unnest($kind) AS kind, unnest($workload) AS workload_key,
           unnest($begin) AS from_us, unnest($end) AS to_us
), line AS (
    SELECT p.incident_id, p.kind, s.currency, s.price_micro,
           s.share_nano::HUGEINT * (least(s.to_us, p.to_us, $to_us) - greatest(s.from_us, p.from_us, $from_us)) AS quantity
    FROM span p JOIN segment s
      ON s.workload_key = p.workload_key AND s.from_us < least(p.to_us, $to_us) AND s.to_us > greatest(p.from_us, $from_us)
     AND s.state = CASE p.kind WHEN 'idle' THEN 'allocated_idle' ELSE 'used' END
)
SELECT incident_id, kind, currency, sum(quantity), sum(quantity * price_micro), sum(quantity) FILTER (price_micro IS NULL)
FROM line GROUP BY ALL ORDER BY ALL;

-- name: days
-- UTC days of the stretch whose lines there are.
SELECT DISTINCT day FROM segment
WHERE day BETWEEN make_timestamp($from_us)::DATE AND make_timestamp($to_us - 1)::DATE ORDER BY day;

-- name: first_day
-- The first day there are lines of.
SELECT epoch_us(min(day)::TIMESTAMP) FROM segment;
