-- What work cost: by job, by used hour, by what cards computed, by what was served. quantity: nano-share microseconds; atoms: exact money.

-- name: jobs
-- Table job: what each workload that held cards cost in the span, under each scenario. whole: all its hours are priced in $currency.
CREATE OR REPLACE TEMP TABLE job AS
SELECT workload_id, coalesce(scenario, '') AS scenario, min(department_id) AS department_id, count(DISTINCT card_id) AS cards,
       coalesce(sum(atoms) FILTER (currency = $currency), 0) AS atoms, sum(quantity) AS held_q,
       coalesce(sum(quantity) FILTER (state = 'used'), 0) AS used_q, bool_and(currency IS NOT DISTINCT FROM $currency) AS whole
FROM spent WHERE state IN ('used', 'allocated_idle', 'unknown') AND workload_id IS NOT NULL GROUP BY workload_id, coalesce(scenario, '');

-- name: scenarios
-- Jobs of each scenario: how many, how many without a price for all of their hours, what they cost, the middle one's cost (the lower of
-- two), and their hours.
SELECT scenario, count(*), count(*) FILTER (NOT whole), coalesce(sum(atoms) FILTER (whole), 0),
       quantile_disc(atoms, 0.5) FILTER (whole), sum(held_q), sum(used_q) FILTER (whole)
FROM job GROUP BY scenario ORDER BY 4 DESC, scenario;

-- name: dearest
SELECT j.workload_id, w.name, j.scenario, j.department_id, j.cards, j.atoms, j.held_q, j.used_q
FROM job j LEFT JOIN workload w USING (workload_id) WHERE j.whole
ORDER BY j.atoms DESC, j.workload_id, j.scenario LIMIT $top;

-- name: not_priced
-- Models with hours that have no price in $currency: what their hours cost is not known.
SELECT DISTINCT vendor, model FROM spent WHERE currency IS DISTINCT FROM $currency ORDER BY ALL;

-- name: price_known
-- By maker and model: hours, and those without a price in $currency.
SELECT vendor, model, sum(quantity), coalesce(sum(quantity) FILTER (currency IS DISTINCT FROM $currency), 0)
FROM spent GROUP BY ALL ORDER BY ALL;

-- name: computed
-- What was measured of each model's cards, in microseconds of a card: held and measured at all, with matrix units and with compute
-- units known, and active.
SELECT vendor, model, sum(round(covered_seconds * 1e6)::HUGEINT), coalesce(sum(round(tensor_seconds * 1e6)::HUGEINT), 0),
       coalesce(sum(round(tensor_active_seconds * 1e6)::HUGEINT), 0), coalesce(sum(round(sm_seconds * 1e6)::HUGEINT), 0),
       coalesce(sum(round(sm_active_seconds * 1e6)::HUGEINT), 0)
FROM activity GROUP BY vendor, model ORDER BY vendor, model;

-- name: served
-- What serving workloads cost in the hours of which their requests, and their tokens, are known, with those.
WITH known AS (
    SELECT workload_id, hour_us, requests, prompt_tokens, generated_tokens FROM serving WHERE covered_seconds >= $least
), spent AS (
    SELECT workload_id, from_us // 3600000000 * 3600000000 AS hour_us, min(department_id) AS department_id,
           min(business) AS business, sum(atoms) AS atoms, bool_and(currency IS NOT DISTINCT FROM $currency) AS whole
    FROM segment WHERE workload_id IN (SELECT workload_id FROM known) AND state IN ('used', 'allocated_idle', 'unknown')
    GROUP BY workload_id, from_us // 3600000000
)
SELECT workload_id, min(s.department_id), min(s.business), count(*), sum(s.atoms) FILTER (k.requests IS NOT NULL),
       sum(k.requests), sum(s.atoms) FILTER (k.prompt_tokens IS NOT NULL AND k.generated_tokens IS NOT NULL),
       sum(k.prompt_tokens) FILTER (k.generated_tokens IS NOT NULL), sum(k.generated_tokens) FILTER (k.prompt_tokens IS NOT NULL)
FROM known k JOIN spent s USING (workload_id, hour_us) WHERE s.whole
GROUP BY workload_id ORDER BY sum(s.atoms) DESC, workload_id;
