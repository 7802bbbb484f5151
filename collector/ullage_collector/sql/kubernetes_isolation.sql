-- Who holds a card now, for the Kubernetes actuators.

-- name: card_holders
-- Workloads of pods that hold a card, or a slice of it, now, as far as is known.
SELECT DISTINCT w.workload_id
FROM allocation a JOIN workload w USING (workload_key) JOIN card c USING (card_key)
WHERE c.card_id = $card AND starts_with(w.workload_id, $prefix)
  AND a.known_to IS NULL AND a.valid_from <= $now AND (a.valid_to IS NULL OR a.valid_to > $now);

-- name: pods_known
-- Whether pods of this cluster are followed at all: without any, that nobody holds a card says nothing.
SELECT count(*) > 0 FROM (SELECT 1 FROM workload WHERE starts_with(workload_id, $prefix) LIMIT 1);
