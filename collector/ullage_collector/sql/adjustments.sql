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
-- Everything, with what became of it; optionally of one kind, status or department. $own: of these departments alone, NULL: of all.
SELECT a.*, coalesce(a.posted_at, d.posted_at) AS carried_at,
       coalesce(d.status, CASE WHEN a.posted_at IS NULL THEN 'requested' ELSE 'posted' END) AS status,
       d.decided_at, d.decided_by AS approver, d.reason AS decision
FROM adjustment a LEFT JOIN adjustment_decision d USING (adjustment_id)
WHERE ($kind IS NULL OR a.kind = $kind) AND ($department IS NULL OR a.department_id = $department)
  AND ($status IS NULL OR coalesce(d.status, CASE WHEN a.posted_at IS NULL THEN 'requested' ELSE 'posted' END) = $status)
  AND ($own IS NULL OR list_contains($own::VARCHAR[], a.department_id))
ORDER BY a.adjustment_id DESC LIMIT $most;

-- name: departments
-- Whose there are any.
SELECT DISTINCT department_id FROM adjustment;

-- name: one
-- One that was asked for, and what was said to it.
SELECT a.kind, a.requester, a.recorded_by, a.period_from, d.status, d.decided_by, a.department_id, a.reason
FROM adjustment a LEFT JOIN adjustment_decision d USING (adjustment_id) WHERE a.adjustment_id = $id;

-- name: decide
INSERT INTO adjustment_decision VALUES ($id, $status, $now, $by, $reason, $posted_at);

-- name: known
-- Whether anything names a department: the organisation, a rule, a line.
SELECT EXISTS (SELECT 1 FROM department WHERE department_id = $department)
    OR EXISTS (SELECT 1 FROM mapping_rule WHERE department_id = $department)
    OR EXISTS (SELECT 1 FROM segment WHERE department_id = $department);

-- name: contested
-- What disputes that stand, asked for or posted, contest of a line, or of any of a department's time: atoms, and their numbers.
SELECT coalesce(-sum(a.cost_atoms::HUGEINT), 0), list(a.adjustment_id ORDER BY a.adjustment_id)
FROM adjustment a LEFT JOIN adjustment_decision d USING (adjustment_id)
WHERE a.kind = 'dispute' AND coalesce(d.status, 'requested') IN ('requested', 'posted')
  AND a.department_id = $department AND a.currency = $currency AND a.period_from < $to AND a.period_to > $from
  AND ($line IS NULL OR a.line_id IS NULL OR a.line_id = $line);

-- name: line
-- One line of a published day, of capacity or of energy.
SELECT 'capacity' AS cost_class, line_id, department_id, business, scenario, vendor, model, pool, cluster_id, state, from_us, to_us, currency, cost_atoms,
       source_rows
FROM raw_segment WHERE line_id = $line
UNION ALL
SELECT 'energy', line_id, department_id, business, scenario, vendor, model, pool, cluster_id, state, from_us, to_us,
       CASE WHEN tariff_micro IS NOT NULL THEN currency END, cost_atoms, source_rows
FROM raw_energy WHERE line_id = $line;

-- name: department_cost
-- What a department's own lines of capacity and energy cost in the open span, by currency.
SELECT currency, sum(atoms)
FROM (SELECT currency, atoms FROM segment WHERE department_id = $department AND price_micro IS NOT NULL
      UNION ALL
      SELECT currency, cost_atoms::HUGEINT FROM energy WHERE department_id = $department AND tariff_micro IS NOT NULL)
GROUP BY currency HAVING sum(atoms) > 0 ORDER BY currency;
