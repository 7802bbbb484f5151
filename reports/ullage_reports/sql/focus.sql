-- A period's lines as FOCUS 1.2 rows, from the views of ullage_collector.published.
--
-- Quantities are card-hours cut down to nine decimals, so that quantity x price is the cost exactly, in fifteen decimals.
-- What the cuts leave is a charge of the platform's own, one a model and price.

-- name: charges
-- Table charge: the lines with whole 10^-9 card-hours, in the order they are written. A line of another currency, or without a price,
-- is none. Departments are named as believed now and valid last within the span.
CREATE TEMP TABLE charge AS
WITH named AS (
    SELECT department_id, name FROM department
    WHERE known_to IS NULL AND epoch_us(valid_from) < $to_us
    QUALIFY row_number() OVER (PARTITION BY department_id ORDER BY valid_from DESC, known_from DESC) = 1
)
SELECT line_id, card_id, node_id, cluster_id, vendor, model, pool, from_us, to_us, state, share_nano, workload_id,
       s.department_id, n.name AS department, business, scenario, price_micro, price_id, origin, reason,
       quantity // 3600000000 AS nano_hours, quantity % 3600000000 AS left_over
FROM segment s LEFT JOIN named n ON n.department_id = s.department_id
WHERE currency = $currency
ORDER BY from_us, line_id;

-- name: residues
-- Behind them what the cuts left of each model and price, in whole 10^-9 card-hours: the platform's.
INSERT INTO charge
SELECT concat_ws('/', 'residue', cluster_id, vendor, model, price_id) AS line_id, NULL, NULL, cluster_id, vendor, model, NULL,
       $from_us, $to_us, NULL, NULL, NULL, $platform, NULL, NULL, NULL, price_micro, price_id, min(origin), 'rounding',
       sum(left_over)::HUGEINT // 3600000000, 0
FROM charge GROUP BY cluster_id, vendor, model, price_id, price_micro
HAVING sum(left_over)::HUGEINT >= 3600000000
ORDER BY line_id;

-- name: plain
-- A text in the characters FOCUS allows in names and descriptions: printable ASCII, others as question marks.
CREATE TEMP MACRO plain(said) AS regexp_replace(said, '[^\x20-\x7E]', '?', 'g');

-- name: rows
-- View focus: all columns of FOCUS 1.2, then our own. One row a line and residue, in the table's order: no join, no sort. What every
-- row says alike is in variables.
CREATE TEMP VIEW focus AS
WITH priced AS (
    SELECT *, CAST(nano_hours AS DECIMAL(28, 0)) * CAST(0.000000001 AS DECIMAL(10, 9)) AS hours,
           CAST(price_micro AS DECIMAL(18, 0)) * CAST(0.000001 AS DECIMAL(7, 6)) AS price,
           CAST(nano_hours::HUGEINT * price_micro AS DECIMAL(22, 0)) * CAST(0.000000000000001 AS DECIMAL(16, 15)) AS cost
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
       'Usage' AS ChargeCategory,
       NULL::VARCHAR AS ChargeClass,
       plain(CASE WHEN p.card_id IS NULL THEN 'Rounding of quantities to nine decimals, ' || p.model
                  WHEN p.workload_id IS NOT NULL THEN concat(p.model, ' card held by ', p.workload_id, ', ', replace(p.state, '_', ' '))
                  ELSE concat(p.model, ' card of the platform, ', replace(p.state, '_', ' ')) END) AS ChargeDescription,
       'Usage-Based' AS ChargeFrequency,
       strftime(make_timestamp((p.to_us + 999999) // 1000000 * 1000000), '%Y-%m-%dT%H:%M:%SZ') AS ChargePeriodEnd,
       strftime(make_timestamp(p.from_us), '%Y-%m-%dT%H:%M:%SZ') AS ChargePeriodStart,
       NULL::VARCHAR AS CommitmentDiscountCategory,
       NULL::VARCHAR AS CommitmentDiscountId,
       NULL::VARCHAR AS CommitmentDiscountName,
       NULL::DECIMAL(38, 9) AS CommitmentDiscountQuantity,
       NULL::VARCHAR AS CommitmentDiscountStatus,
       NULL::VARCHAR AS CommitmentDiscountType,
       NULL::VARCHAR AS CommitmentDiscountUnit,
       p.hours AS ConsumedQuantity,
       'GPU-Hours' AS ConsumedUnit,
       p.cost AS ContractedCost,
       p.price AS ContractedUnitPrice,
       p.cost AS EffectiveCost,
       getvariable('invoice') AS InvoiceId,
       getvariable('provider') AS InvoiceIssuerName,
       p.cost AS ListCost,
       p.price AS ListUnitPrice,
       'Standard' AS PricingCategory,
       getvariable('currency') AS PricingCurrency,
       p.price AS PricingCurrencyContractedUnitPrice,
       p.cost AS PricingCurrencyEffectiveCost,
       p.price AS PricingCurrencyListUnitPrice,
       p.hours AS PricingQuantity,
       'GPU-Hours' AS PricingUnit,
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
       concat_ws('/', p.vendor, p.model) AS SkuId,
       'Card-hours' AS SkuMeter,
       json_object('x_Vendor', p.vendor, 'x_Model', p.model)::VARCHAR AS SkuPriceDetails,
       concat_ws('/', p.vendor, p.model, p.price_id) AS SkuPriceId,
       p.department_id AS SubAccountId,
       CASE WHEN p.department_id = getvariable('platform') THEN 'Platform' WHEN p.department_id = getvariable('unmapped') THEN 'Unmapped'
            WHEN p.department = plain(p.department) THEN p.department ELSE plain(p.department_id) END AS SubAccountName,
       'Department' AS SubAccountType,
       json_object('business', coalesce(p.business, ''), 'scenario', coalesce(p.scenario, ''))::VARCHAR AS Tags,
       p.department AS x_SubAccountName,
       p.state AS x_CostClass,
       p.business AS x_Business,
       p.scenario AS x_Scenario,
       p.workload_id AS x_JobId,
       p.pool AS x_Pool,
       CASE WHEN p.share_nano IS NOT NULL THEN 'share-of-card' END AS x_AllocatedMethodId,
       CAST(p.share_nano AS DECIMAL(10, 0)) * CAST(0.000000001 AS DECIMAL(10, 9)) AS x_AllocatedRatio,
       strftime(make_timestamp(p.from_us), '%Y-%m-%dT%H:%M:%S.%fZ') AS x_ChargeFrom,
       strftime(make_timestamp(p.to_us), '%Y-%m-%dT%H:%M:%S.%fZ') AS x_ChargeTo,
       p.price_id AS x_PriceVersion,
       p.reason AS x_Reason,
       p.origin AS x_Origin,
       p.line_id AS x_LineId,
       getvariable('run') AS x_RunId
FROM priced p;

-- name: write
-- In the order of table charge, so that the same days give the same bytes; sorting whole rows would cost more than all the rest.
COPY (SELECT * FROM focus) TO '{file}' ({options});

-- name: sums
-- What was written: rows, card-hours, money.
SELECT count(*), coalesce(sum(PricingQuantity), 0), coalesce(sum(BilledCost), 0) FROM focus;
