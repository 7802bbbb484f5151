-- Corrections, credits and disputes: rows are added, never changed.

-- name: put
INSERT INTO adjustment (adjustment_id, kind, department_id, business, scenario, vendor, model, pool, cluster_id, state, cost_class,
    zone, period_from, period_to, posted_at, known_at, quantity, currency, cost_atoms, reason, requester, recorded_by, line_id,
    source_rows)
VALUES (nextval('adjustment_number'), $kind, $department_id, $business, $scenario, $vendor, $model, $pool, $cluster_id, $state,
    $cost_class, $zone, $period_from, $period_to, $posted_at, $known_at, $quantity, $currency, $cost_atoms, $reason, $requester,
    $recorded_by, $line_id, $source_rows)
RETURNING adjustment_id;

-- name: all
-- Everything, with what became of it; optionally of one kind, status or department.
SELECT a.*, coalesce(a.posted_at, d.posted_at) AS carried_at,
       coalesce(d.status, CASE WHEN a.posted_at IS NULL THEN 'requested' ELSE 'posted' END) AS status,
       d.decided_at, d.decided_by AS approver, d.reason AS decision
FROM adjustment a LEFT JOIN adjustment_decision d USING (adjustment_id)
WHERE ($kind IS NULL OR a.kind = $kind) AND ($department IS NULL OR a.department_id = $department)
  AND ($status IS NULL OR coalesce(d.status, CASE WHEN a.posted_at IS NULL THEN 'requested' ELSE 'posted' END) = $status)
ORDER BY a.adjustment_id DESC LIMIT $most;

-- name: one
-- One that was asked for, and what was said to it.
SELECT a.kind, a.requester, a.recorded_by, a.posted_at, a.period_to, d.status, d.decided_by, a.department_id, a.reason
FROM adjustment a LEFT JOIN adjustment_decision d USING (adjustment_id) WHERE a.adjustment_id = $id;

-- name: decide
INSERT INTO adjustment_decision VALUES ($id, $status, $now, $by, $reason, $posted_at);
