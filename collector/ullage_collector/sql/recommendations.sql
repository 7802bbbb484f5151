-- The ledger of recommendations (recommendations/): what it is made of, its rows, and what was saved.

-- name: findings
-- Open findings of some kinds.
SELECT finding_id, kind, family, subject, evidence, confidence, "owner", "action" FROM finding
WHERE until IS NULL AND list_contains($kinds, kind) ORDER BY finding_id;

-- name: incidents
-- Open confirmed incidents that took a card or a node, with the node they are on.
SELECT i.incident_id, i.family, i.subject, coalesce(i.cluster_id, n.cluster_id), i.cause
FROM incident i LEFT JOIN card c ON i.family = 'card' AND c.card_id = i.subject LEFT JOIN node n USING (node_key)
WHERE i.closed_at IS NULL AND i.confirmed AND i."action" <> 'observe' AND i.family IN ('card', 'node') ORDER BY i.incident_id;

-- name: held
-- Shares of cards that work holds now, as is believed now. card_id NULL: on the node, nobody knows which card.
SELECT c.card_id, n.node_id, a.share_nano, w.workload_id, w.cluster_id, w.namespace, w.user_name, w.partition, w.labels,
       w.scenario, w.attributes
FROM allocation a
JOIN workload w USING (workload_key)
LEFT JOIN card c USING (card_key)
LEFT JOIN node n ON n.node_key = coalesce(c.node_key, a.node_key)
WHERE a.known_to IS NULL AND coalesce(a."rank", 'work') = 'work' AND a.share_nano > 0
  AND a.valid_from <= $now AND (a.valid_to IS NULL OR a.valid_to > $now)
ORDER BY a.allocation_id;

-- name: owned
-- Every card owned now, with what its price goes by.
SELECT card_id, cluster_id, node_id, model, pool FROM inventory
WHERE known_to IS NULL AND valid_from <= $now AND (valid_to IS NULL OR valid_to > $now)
QUALIFY row_number() OVER (PARTITION BY card_id ORDER BY source = 'seen', valid_from DESC, inventory_id DESC) = 1
ORDER BY card_id;

-- name: rows
-- All of them, or one, the newest first.
SELECT * FROM recommendation WHERE ($only IS NULL OR recommendation_id = $only) AND ($state IS NULL OR "state" = $state)
ORDER BY "state" NOT IN ('open', 'accepted'), counted_atoms DESC NULLS LAST, month_atoms DESC NULLS LAST, recommendation_id DESC
LIMIT $most;

-- name: standing
-- What bears on new proposals: rows that are open or accepted, with what they say now, and ended ones a finding or incident of
-- which is still open. The others, of which there are ever more, bear on nothing.
WITH open_one AS (
    SELECT 'findings' AS what, finding_id AS id FROM finding WHERE until IS NULL
    UNION ALL SELECT 'incidents', incident_id FROM incident WHERE closed_at IS NULL
), ended AS (
    SELECT recommendation_id, evidence FROM recommendation WHERE "state" NOT IN ('open', 'accepted')
), said AS (
    SELECT recommendation_id, 'findings' AS what, unnest(CAST(json_extract(evidence, '$.findings') AS BIGINT[])) AS id FROM ended
    UNION ALL
    SELECT recommendation_id, 'incidents', unnest(CAST(json_extract(evidence, '$.incidents') AS BIGINT[])) FROM ended
)
SELECT recommendation_id, kind, family, subject, cluster_id, "state", evidence, department_id, "owner", confidence, currency,
       month_atoms, counted_atoms, formula, unpriced, shared_with
FROM recommendation
WHERE "state" IN ('open', 'accepted') OR recommendation_id IN (SELECT recommendation_id FROM said SEMI JOIN open_one USING (what, id))
ORDER BY recommendation_id;

-- name: open_findings
-- Which of some findings are open.
SELECT finding_id FROM finding WHERE until IS NULL AND list_contains($ids, finding_id);

-- name: open_incidents
SELECT incident_id FROM incident WHERE closed_at IS NULL AND list_contains($ids, incident_id);

-- name: open
INSERT INTO recommendation (recommendation_id, kind, family, subject, cluster_id, "state", department_id, "owner", risk, effort,
    confidence, currency, month_atoms, counted_atoms, formula, unpriced, shared_with, evidence, opened_at, due, changed_at)
SELECT coalesce(max(recommendation_id), 0) + 1, $kind, $family, $subject, $cluster, 'open', $department, $owner, $risk, $effort,
    $confidence, $currency, $month, $counted, $formula, $unpriced, $shared, $evidence, $now, $due, $now
FROM recommendation;

-- name: renew
-- It goes on, at the money and with the evidence of now.
UPDATE recommendation SET department_id = $department, "owner" = $owner, confidence = $confidence, currency = $currency,
    month_atoms = $month, counted_atoms = $counted, formula = $formula, unpriced = $unpriced, shared_with = $shared,
    evidence = $evidence
WHERE recommendation_id = $id;

-- name: accept
UPDATE recommendation SET "state" = 'accepted', accepted_at = $now, accepted_by = $actor, reason = $reason, changed_at = $now
WHERE recommendation_id = $id;

-- name: done
UPDATE recommendation SET "state" = 'done', done_at = $now, done_by = $actor, reason = $reason, changed_at = $now
WHERE recommendation_id = $id;

-- name: end
-- state: rejected or lapsed.
UPDATE recommendation SET "state" = $state, ended_at = $now, ended_by = $actor, reason = $reason, changed_at = $now
WHERE recommendation_id = $id;

-- name: saved
UPDATE recommendation SET "state" = 'saved', measured_at = $now, changed_at = $now, window_days = $days, before_from = $before,
    after_from = $after, before_atoms = $before_atoms, after_atoms = $after_atoms, saved_atoms = $saved, method = $method
WHERE recommendation_id = $id;

-- name: counts
-- How many there are, and what they save, by state and currency.
SELECT "state", currency, count(*), sum(counted_atoms), sum(saved_atoms) FROM recommendation GROUP BY ALL ORDER BY ALL;

-- name: to_measure
SELECT recommendation_id, kind, family, subject, currency, done_at, evidence FROM recommendation
WHERE "state" = 'done' AND currency IS NOT NULL ORDER BY recommendation_id;

-- name: known_days
-- UTC days of a stretch whose facts are published.
SELECT DISTINCT "day" FROM published WHERE what = 'facts' AND "day" BETWEEN $first AND $last ORDER BY "day";

-- name: cost_of_work
-- What lines of some workloads in some states cost over [first, past), and how much of them has no price in the currency.
SELECT coalesce(sum((s.to_us - s.from_us)::HUGEINT * s.share_nano * s.price_micro) FILTER (s.currency = $currency), 0),
       coalesce(sum((s.to_us - s.from_us)::HUGEINT * s.share_nano) FILTER (s.currency IS DISTINCT FROM $currency), 0)
FROM segment s JOIN workload w USING (workload_key)
WHERE s."day" >= $first AND s."day" < $past AND list_contains($states, s.state) AND list_contains($names, w.workload_id);

-- name: cost_of_cards
SELECT coalesce(sum((s.to_us - s.from_us)::HUGEINT * s.share_nano * s.price_micro) FILTER (s.currency = $currency), 0),
       coalesce(sum((s.to_us - s.from_us)::HUGEINT * s.share_nano) FILTER (s.currency IS DISTINCT FROM $currency), 0)
FROM segment s JOIN card c USING (card_key)
WHERE s."day" >= $first AND s."day" < $past AND list_contains($states, s.state) AND list_contains($names, c.card_id);

-- name: cost_of_pool
-- names: a pool as findings name it, CLUSTER/POOL, or CLUSTER for its cards without one.
SELECT coalesce(sum((s.to_us - s.from_us)::HUGEINT * s.share_nano * s.price_micro) FILTER (s.currency = $currency), 0),
       coalesce(sum((s.to_us - s.from_us)::HUGEINT * s.share_nano) FILTER (s.currency IS DISTINCT FROM $currency), 0)
FROM segment s JOIN inventory i USING (inventory_id)
WHERE s."day" >= $first AND s."day" < $past AND list_contains($states, s.state)
  AND list_contains($names, CASE WHEN coalesce(i.pool, '') = '' THEN i.cluster_id ELSE i.cluster_id || '/' || i.pool END);
