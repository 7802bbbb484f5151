-- A period's bill as FOCUS 1.2 rows, from the views of ullage_collector.published.
--
-- Quantities are card-hours cut down to nine decimals, so that quantity x price is the cost exactly, in fifteen decimals.
-- What the cuts leave is a charge of the platform's own, one a model and price.

-- name: named
-- Table named: departments as believed now and valid last within the span.
CREATE TEMP TABLE named AS
SELECT department_id, name FROM department
WHERE known_to IS NULL AND epoch_us(valid_from) < $to_us
QUALIFY row_number() OVER (PARTITION BY department_id ORDER BY valid_from DESC, known_from DESC) = 1;

-- name: charges
-- Table charge: what is written, in that order: first the lines with whole 10^-9 card-hours. A line of another currency, or without a
-- price, is none. kind: capacity, energy, shared, adjustment, residue. units: of unit, 10^-9 each, NULL where a charge has no quantity; then
-- its cost is money, in 10^-15 units of the currency. list_micro: what the list says, where it says another price than what is paid.
-- charged_from, charged_to: the charge period; NULL: the whole seconds around the charge. lines: how many are in it.
CREATE TEMP TABLE charge (
    kind VARCHAR, line_id VARCHAR, card_id VARCHAR, node_id VARCHAR, cluster_id VARCHAR, vendor VARCHAR, model VARCHAR, pool VARCHAR,
    from_us BIGINT, to_us BIGINT, cost_class VARCHAR, share_nano BIGINT, workload_id VARCHAR, department_id VARCHAR, department VARCHAR,
    business VARCHAR, scenario VARCHAR, price_micro BIGINT, list_micro BIGINT, price_id BIGINT, origin VARCHAR, reason VARCHAR,
    unit VARCHAR, units BIGINT, left_over BIGINT, money HUGEINT, category VARCHAR, class VARCHAR, said VARCHAR, method VARCHAR,
    ratio_nano BIGINT, policy VARCHAR, charged_from BIGINT, charged_to BIGINT, lines BIGINT
);

-- name: lines_hour
-- Every line as it stands.
INSERT INTO charge BY NAME
SELECT 'capacity' AS kind, line_id, card_id, node_id, cluster_id, vendor, model, pool, from_us, to_us, state AS cost_class, share_nano,
       workload_id, s.department_id, n.name AS department, business, scenario, price_micro, {list_micro} AS list_micro, price_id,
       s.origin, reason, 'GPU-Hours' AS unit, quantity // 3600000000 AS units, quantity % 3600000000 AS left_over, 'Usage' AS category,
       1 AS lines
FROM segment s LEFT JOIN named n ON n.department_id = s.department_id
WHERE currency = $currency
ORDER BY from_us, line_id;

-- name: lines_day
-- The lines of a local day, $begins to $ends, that are alike but for their time, as one charge: what they cost is linear in time, so it
-- is the same money. A line over a local midnight is cut there. Named by the first of them.
INSERT INTO charge BY NAME
SELECT 'capacity' AS kind, line_id, card_id, node_id, cluster_id, vendor, model, pool, from_us, to_us, state AS cost_class, share_nano,
       workload_id, s.department_id, n.name AS department, business, scenario, price_micro, list_micro, price_id,
       s.origin, reason, 'GPU-Hours' AS unit, (lasted::HUGEINT * share_nano // 3600000000)::BIGINT AS units,
       (lasted::HUGEINT * share_nano % 3600000000)::BIGINT AS left_over, 'Usage' AS category, $begins::BIGINT AS charged_from, $ends::BIGINT AS charged_to, lines
FROM (SELECT card_id, node_id, cluster_id, vendor, model, pool, state, share_nano, workload_id, department_id, business, scenario,
             price_micro, {list_micro} AS list_micro, price_id, origin, reason, arg_min(line_id, from_us) AS line_id, greatest(min(from_us), $begins) AS from_us,
             least(max(to_us), $ends) AS to_us, count(*) AS lines,
             sum(least(to_us, $ends) - greatest(from_us, $begins)) AS lasted
      FROM segment WHERE currency = $currency AND from_us < $ends AND to_us > $begins GROUP BY ALL) s
LEFT JOIN named n ON n.department_id = s.department_id
ORDER BY s.card_id, from_us, line_id, cost_class;

-- name: energy_hour
-- Behind them the energy, line by line: kilowatt-hours with the PUE in them, at the tariff.
INSERT INTO charge BY NAME
SELECT 'energy' AS kind, line_id, card_id, node_id, cluster_id, vendor, model, pool, from_us, to_us, 'energy' AS cost_class, workload_id,
       e.department_id, n.name AS department, business, scenario, tariff_micro AS price_micro, tariff_micro AS list_micro, tariff_id AS price_id, origin,
       CASE WHEN estimated THEN 'estimated' END AS reason, 'kWh' AS unit,
       (energy_mj::HUGEINT * pue_milli // 3600)::BIGINT AS units, (energy_mj::HUGEINT * pue_milli % 3600)::BIGINT AS left_over,
       'Usage' AS category, 1 AS lines
FROM energy e LEFT JOIN named n ON n.department_id = e.department_id
WHERE currency = $currency AND tariff_micro IS NOT NULL AND energy_mj > 0
ORDER BY from_us, line_id;

-- name: energy_day
-- The same, a charge a local day. Energy is no cut line: one over a local midnight is of the day in which it begins.
INSERT INTO charge BY NAME
SELECT 'energy' AS kind, line_id, card_id, node_id, cluster_id, vendor, model, pool, from_us, to_us, 'energy' AS cost_class, workload_id,
       e.department_id, n.name AS department, business, scenario, tariff_micro AS price_micro, tariff_micro AS list_micro, tariff_id AS price_id, origin,
       CASE WHEN estimated THEN 'estimated' END AS reason, 'kWh' AS unit,
       (spent // 3600)::BIGINT AS units, (spent % 3600)::BIGINT AS left_over, 'Usage' AS category, $begins::BIGINT AS charged_from,
       greatest(to_us, $ends)::BIGINT AS charged_to, lines
FROM (SELECT card_id, node_id, cluster_id, vendor, model, pool, workload_id, department_id, business, scenario, tariff_micro, tariff_id,
             origin, estimated, arg_min(line_id, (from_us, line_id)) AS line_id, min(from_us) AS from_us, max(to_us) AS to_us, count(*) AS lines,
             sum(energy_mj::HUGEINT * pue_milli) AS spent
      FROM energy
      WHERE currency = $currency AND tariff_micro IS NOT NULL AND energy_mj > 0 AND from_us >= $begins AND from_us < $ends GROUP BY ALL) e
LEFT JOIN named n ON n.department_id = e.department_id
ORDER BY e.card_id, from_us, line_id;

-- name: residues
-- Behind them what the cuts left of each price, in whole 10^-9 units: the platform's.
INSERT INTO charge BY NAME
SELECT 'residue' AS kind, concat_ws('/', CASE unit WHEN 'kWh' THEN 'residue/energy' ELSE 'residue' END, cluster_id, vendor, model, price_id) AS line_id,
       cluster_id, vendor, model, $from_us::BIGINT AS from_us, $to_us::BIGINT AS to_us, CASE unit WHEN 'kWh' THEN 'energy' END AS cost_class,
       $platform AS department_id, price_micro, list_micro, price_id, min(origin) AS origin, 'rounding' AS reason, unit,
       (sum(left_over)::HUGEINT // CASE unit WHEN 'kWh' THEN 3600 ELSE 3600000000 END)::BIGINT AS units, 0 AS left_over, 'Usage' AS category
FROM charge GROUP BY unit, cluster_id, vendor, model, price_id, price_micro, list_micro
HAVING sum(left_over)::HUGEINT >= CASE unit WHEN 'kWh' THEN 3600 ELSE 3600000000 END
ORDER BY line_id;

-- name: shared
-- Behind them what policy moves: what was taken from a payer, then what each payer was given of it.
INSERT INTO charge BY NAME
SELECT s.*, n.name AS department FROM (
SELECT 'shared' AS kind, unnest($line_id) AS line_id, unnest($cluster_id) AS cluster_id, unnest($vendor) AS vendor, unnest($model) AS model,
       unnest($from_us) AS from_us, unnest($to_us) AS to_us, 'shared' AS cost_class, unnest($department_id) AS department_id,
       nullif(unnest($business), '') AS business, nullif(unnest($scenario), '') AS scenario, unnest($price_micro) AS price_micro,
       unnest($price_micro) AS list_micro, unnest($price_id)::BIGINT AS price_id, unnest($reason) AS reason, 'GPU-Hours' AS unit,
       unnest($units) AS units, 0 AS left_over, 'Usage' AS category, unnest($said) AS said, unnest($method) AS method,
       unnest($ratio_nano)::BIGINT AS ratio_nano, unnest($policy) AS policy
) s LEFT JOIN named n ON n.department_id = s.department_id
ORDER BY line_id;

-- name: adjustments
-- Behind them what is posted in the month: corrections of closed periods, in whose time they stand, credits, and what else was decided.
INSERT INTO charge BY NAME
SELECT 'adjustment' AS kind, 'adjustment/' || adjustment_id AS line_id, cluster_id, vendor, model, pool,
       CASE WHEN kind <> 'credit' AND period_from IS NOT NULL THEN epoch_us(period_from)
            ELSE epoch_us(posted_at) // 1000000 * 1000000 END AS from_us,
       CASE WHEN kind <> 'credit' AND period_to IS NOT NULL THEN epoch_us(period_to)
            ELSE epoch_us(posted_at) // 1000000 * 1000000 + 1000000 END AS to_us,
       CASE WHEN kind = 'credit' THEN 'credit' ELSE 'correction' END AS cost_class, a.department_id, n.name AS department, business,
       scenario, kind AS reason,
       (cost_atoms::HUGEINT // 3600000000) AS money,
       CASE WHEN kind <> 'credit' THEN 'Usage' WHEN cost_atoms < 0 THEN 'Credit' ELSE 'Adjustment' END AS category,
       CASE WHEN kind <> 'credit' THEN 'Correction' END AS class,
       CASE WHEN kind = 'credit' THEN 'Credit ' ELSE 'Correction of a closed period, ' || cost_class || ', ' END || adjustment_id || ': ' || reason AS said
FROM adjustment a LEFT JOIN named n ON n.department_id = a.department_id
WHERE status = 'posted' AND currency = $currency AND epoch_us(posted_at) >= $from_us AND epoch_us(posted_at) < $to_us
ORDER BY posted_at, adjustment_id;

-- name: remainders
-- Behind them what of a price no share of a card carries, line by line: the platform's.
INSERT INTO charge BY NAME
SELECT 'remainder' AS kind, line_id, cluster_id, vendor, model, pool, from_us, to_us, 'remainder' AS cost_class, department_id, origin,
       kind AS reason, (cost_atoms::HUGEINT // 3600000000) AS money, 'Adjustment' AS category,
       CASE kind WHEN 'host' THEN 'Processors and memory of a price of a whole node, ' ELSE 'Rounding of a price per hour, ' END || model AS said
FROM remainder WHERE currency = $currency
ORDER BY from_us, line_id;

-- name: plain
-- A text in the characters FOCUS allows in names and descriptions: printable ASCII, others as question marks.
CREATE TEMP MACRO plain(said) AS regexp_replace(said, '[^\x20-\x7E]', '?', 'g');

-- name: exact
-- Money from 10^-15 units as a decimal. Whole units and the rest apart: together they are too long for one factor where a charge is
-- of ten million units and more.
CREATE TEMP MACRO exact(money) AS
    CAST(CAST(money // 1000000000000000 AS DECIMAL(22, 0)) * CAST(1 AS DECIMAL(16, 15))
         + CAST(money % 1000000000000000 AS DECIMAL(22, 0)) * CAST(0.000000000000001 AS DECIMAL(16, 15)) AS DECIMAL(38, 15));

-- name: rows
-- View focus: all columns of FOCUS 1.2, then our own. One row a line and residue, in the table's order: no join, no sort. What every
-- row says alike is in variables.
CREATE TEMP VIEW focus AS
WITH priced AS (
    SELECT *, CAST(units AS DECIMAL(28, 0)) * CAST(0.000000001 AS DECIMAL(10, 9)) AS hours,
           CAST(price_micro AS DECIMAL(18, 0)) * CAST(0.000001 AS DECIMAL(7, 6)) AS price,
           CAST(list_micro AS DECIMAL(18, 0)) * CAST(0.000001 AS DECIMAL(7, 6)) AS list_price,
           exact(coalesce(money, units::HUGEINT * price_micro)) AS cost,
           exact(coalesce(money, units::HUGEINT * list_micro)) AS list_cost
    FROM charge
)
SELECT NULL::VARCHAR AS AvailabilityZone,
       p.cost AS BilledCost,
       getvariable('account_id') AS BillingAccountId,
       getvariable('account_name') AS BillingAccountName,
       'Cost Pool' AS BillingAccountType,
       getvariable('currency') AS BillingCurrency,
       getvariable('ends') AS BillingPeriodEnd,
       getvariable('starts') AS BillingPeriodStart,
       NULL::VARCHAR AS CapacityReservationId,
       NULL::VARCHAR AS CapacityReservationStatus,
       p.category AS ChargeCategory,
       p.class AS ChargeClass,
       plain(CASE WHEN p.said IS NOT NULL THEN p.said
                  WHEN p.kind = 'residue' THEN 'Rounding of quantities to nine decimals, ' || coalesce(p.model, p.unit)
                  WHEN p.kind = 'energy' THEN concat('Energy of a ', p.model, ' card', ' held by ' || p.workload_id)
                  WHEN p.workload_id IS NOT NULL THEN concat(p.model, ' card held by ', p.workload_id, ', ', replace(p.cost_class, '_', ' '))
                  ELSE concat(p.model, ' card of the platform, ', replace(p.cost_class, '_', ' ')) END) AS ChargeDescription,
       CASE WHEN p.units IS NULL THEN 'One-Time' ELSE 'Usage-Based' END AS ChargeFrequency,
       strftime(make_timestamp((coalesce(p.charged_to, p.to_us) + 999999) // 1000000 * 1000000), '%Y-%m-%dT%H:%M:%SZ') AS ChargePeriodEnd,
       strftime(make_timestamp(coalesce(p.charged_from, p.from_us)), '%Y-%m-%dT%H:%M:%SZ') AS ChargePeriodStart,
       NULL::VARCHAR AS CommitmentDiscountCategory,
       NULL::VARCHAR AS CommitmentDiscountId,
       NULL::VARCHAR AS CommitmentDiscountName,
       NULL::DECIMAL(38, 9) AS CommitmentDiscountQuantity,
       NULL::VARCHAR AS CommitmentDiscountStatus,
       NULL::VARCHAR AS CommitmentDiscountType,
       NULL::VARCHAR AS CommitmentDiscountUnit,
       p.hours AS ConsumedQuantity,
       p.unit AS ConsumedUnit,
       p.cost AS ContractedCost,
       p.price AS ContractedUnitPrice,
       p.cost AS EffectiveCost,
       getvariable('invoice') AS InvoiceId,
       getvariable('provider') AS InvoiceIssuerName,
       p.list_cost AS ListCost,
       p.list_price AS ListUnitPrice,
       CASE WHEN p.units IS NOT NULL THEN 'Standard' END AS PricingCategory,
       getvariable('currency') AS PricingCurrency,
       p.price AS PricingCurrencyContractedUnitPrice,
       p.cost AS PricingCurrencyEffectiveCost,
       p.list_price AS PricingCurrencyListUnitPrice,
       p.hours AS PricingQuantity,
       p.unit AS PricingUnit,
       getvariable('provider') AS ProviderName,
       getvariable('provider') AS PublisherName,
       p.cluster_id AS RegionId,
       p.cluster_id AS RegionName,
       CASE WHEN p.card_id IS NOT NULL THEN concat_ws('/', p.cluster_id, p.node_id, p.card_id) END AS ResourceId,
       CASE WHEN p.card_id IS NOT NULL THEN concat_ws(' ', p.node_id, p.model) END AS ResourceName,
       CASE WHEN p.card_id IS NOT NULL THEN 'Accelerator' END AS ResourceType,
       'AI and Machine Learning' AS ServiceCategory,
       'Accelerator Pool' AS ServiceName,
       'AI Platforms' AS ServiceSubcategory,
       CASE WHEN p.units IS NOT NULL THEN concat_ws('/', CASE p.unit WHEN 'kWh' THEN 'energy' END, p.vendor, p.model) END AS SkuId,
       CASE WHEN p.units IS NOT NULL THEN CASE p.unit WHEN 'kWh' THEN 'Energy' ELSE 'Card-hours' END END AS SkuMeter,
       CASE WHEN p.units IS NOT NULL THEN json_object('x_Vendor', p.vendor, 'x_Model', p.model)::VARCHAR END AS SkuPriceDetails,
       CASE WHEN p.units IS NOT NULL
            THEN concat_ws('/', CASE p.unit WHEN 'kWh' THEN 'energy' END, p.vendor, p.model, p.price_id) END AS SkuPriceId,
       p.department_id AS SubAccountId,
       CASE WHEN p.department_id = getvariable('platform') THEN 'Platform' WHEN p.department_id = getvariable('unmapped') THEN 'Unmapped'
            WHEN p.department = plain(p.department) THEN p.department ELSE plain(p.department_id) END AS SubAccountName,
       'Department' AS SubAccountType,
       json_object('business', coalesce(p.business, ''), 'scenario', coalesce(p.scenario, ''))::VARCHAR AS Tags,
       p.department AS x_SubAccountName,
       p.cost_class AS x_CostClass,
       p.business AS x_Business,
       p.scenario AS x_Scenario,
       p.workload_id AS x_JobId,
       p.pool AS x_Pool,
       coalesce(p.method, CASE WHEN p.share_nano IS NOT NULL THEN 'share-of-card' END) AS x_AllocatedMethodId,
       CAST(coalesce(p.ratio_nano, p.share_nano) AS DECIMAL(10, 0)) * CAST(0.000000001 AS DECIMAL(10, 9)) AS x_AllocatedRatio,
       p.policy AS x_PolicyVersion,
       strftime(make_timestamp(p.from_us), '%Y-%m-%dT%H:%M:%S.%fZ') AS x_ChargeFrom,
       strftime(make_timestamp(p.to_us), '%Y-%m-%dT%H:%M:%S.%fZ') AS x_ChargeTo,
       p.price_id AS x_PriceVersion,
       p.reason AS x_Reason,
       p.origin AS x_Origin,
       p.line_id AS x_LineId,
       p.lines AS x_Lines,
       getvariable('run') AS x_RunId
FROM priced p;

-- name: write
-- In the order of table charge, so that the same days give the same bytes; sorting whole rows would cost more than all the rest.
COPY (SELECT * FROM {source}) TO '{file}' ({options});

-- name: sums
-- What was written: rows, 10^-9 card-hours, 10^-15 units of money.
SELECT count(*), coalesce(sum(units) FILTER (unit = 'GPU-Hours'), 0)::VARCHAR,
       coalesce(sum(coalesce(money, units::HUGEINT * price_micro)), 0)::VARCHAR FROM charge;
