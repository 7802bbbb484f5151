-- What the actuator of NVIDIA's drain state reads of the store (isolate/nvidia_drain.py).

-- name: drained_by_us
-- Whether a card's isolation by this actuator stands: it is written before the first call.
SELECT isolation_id FROM isolation WHERE subject = ? AND actuator = ? AND released_at IS NULL LIMIT 1;
