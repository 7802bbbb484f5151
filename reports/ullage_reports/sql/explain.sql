-- One line of a published day, and the rows it was made from.

-- name: line
SELECT * FROM raw_segment WHERE line_id = $line;

-- name: near
-- Lines of the same card around the same instant: what a line may have become in another revision.
SELECT line_id FROM raw_segment WHERE card_id = $card AND from_us <= $at AND to_us > $at ORDER BY line_id LIMIT 5;

-- name: price
SELECT * FROM price WHERE price_id = $id;

-- name: rate
SELECT * FROM exchange_rate WHERE rate_id = $id;

-- name: energy
SELECT * FROM raw_energy WHERE line_id = $line;

-- name: tariff
SELECT * FROM tariff WHERE tariff_id = $id;

-- name: pue
SELECT * FROM pue WHERE pue_id = $id;

-- name: workload
SELECT * FROM workload WHERE workload_id = $id;

-- name: department
-- As believed now and valid at the line's beginning, else the newest.
SELECT * FROM department WHERE department_id = $id AND known_to IS NULL
ORDER BY coalesce(epoch_us(valid_from) <= $at AND (valid_to IS NULL OR epoch_us(valid_to) > $at), false) DESC, valid_from DESC
LIMIT 1;

-- name: incident
SELECT incident_id, subject, cause, severity, code, onset, closed_at, origin FROM incident WHERE incident_id = $id;
