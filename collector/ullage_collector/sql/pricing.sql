-- The price book for people: what it says at an instant, and where it fails. $at is the instant, $as_of that of belief.

-- name: cards
-- Every card that is owned at the instant, as believed then; a listed row beats one merely seen.
SELECT c.card_key, i.card_id, i.inventory_id, n.node_key, i.cluster_id, i.node_id, i.model, i.pool, i.life
FROM inventory i JOIN card c USING (card_id) JOIN node n ON n.cluster_id = i.cluster_id AND n.node_id = i.node_id
WHERE i.known_from <= $as_of AND (i.known_to IS NULL OR i.known_to > $as_of)
  AND i.valid_from <= $at AND (i.valid_to IS NULL OR i.valid_to > $at)
QUALIFY row_number() OVER (PARTITION BY i.card_id ORDER BY i.source = 'seen', i.valid_from DESC, i.known_from DESC, i.inventory_id DESC) = 1
ORDER BY i.card_id;

-- name: prices
SELECT price_id, model, currency, price_micro, pool, assumed, epoch_us(valid_from), epoch_us(valid_to),
       epoch_us(known_from), epoch_us(known_to), kind, node, label, card, list_micro, terms::VARCHAR, source
FROM price WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of)
  AND valid_from <= $at AND (valid_to IS NULL OR valid_to > $at) ORDER BY price_id;

-- name: rates
SELECT rate_id, from_currency, to_currency, rate_nano, valid_from, valid_to, known_from, source FROM exchange_rate
WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of)
  AND valid_from <= $at AND (valid_to IS NULL OR valid_to > $at) ORDER BY from_currency, to_currency, valid_from DESC, rate_id DESC;

-- name: tariffs
SELECT tariff_id, cluster, currency, tariff_micro, zone, hours, weekdays, valid_from, valid_to, known_from, source FROM tariff
WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of)
  AND valid_from <= $at AND (valid_to IS NULL OR valid_to > $at) ORDER BY cluster NULLS LAST, hours NULLS LAST, tariff_id;

-- name: pues
SELECT pue_id, cluster, pue_milli, valid_from, valid_to, known_from, source FROM pue
WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of)
  AND valid_from <= $at AND (valid_to IS NULL OR valid_to > $at) ORDER BY cluster NULLS LAST, valid_from DESC, pue_id DESC;

-- name: policies
SELECT policy_id, currency, gap_energy, valid_from, valid_to, known_from, source FROM money_policy
WHERE known_from <= $as_of AND (known_to IS NULL OR known_to > $as_of)
  AND valid_from <= $at AND (valid_to IS NULL OR valid_to > $at) ORDER BY valid_from DESC, policy_id DESC;

-- name: measured
-- Whether any card's energy is kept.
SELECT count(*) > 0 FROM energy_line;
