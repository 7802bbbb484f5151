-- Store version 18: the price book (who a price is for, list, contract and owned, what it is made of), exchange rates, tariffs,
-- PUE, what a card's energy cost, and what of a price no share of a card carries. Dated twice, like prices.

ALTER TABLE price ADD COLUMN kind VARCHAR;        -- list, contract, owned; NULL: list
ALTER TABLE price ADD COLUMN node VARCHAR;        -- glob over the node's name; NULL: every node
ALTER TABLE price ADD COLUMN label VARCHAR;       -- key=glob over a label of the node; NULL: whatever its labels
ALTER TABLE price ADD COLUMN card VARCHAR;        -- a card_id; NULL: every card
ALTER TABLE price ADD COLUMN list_micro BIGINT;   -- list price of the same card-hour; NULL: the best list entry's
ALTER TABLE price ADD COLUMN terms JSON;          -- how it was worked out (pricing/terms.py); NULL: it is price_micro and no more

ALTER TABLE segment ADD COLUMN list_micro BIGINT; -- NULL: nobody gave a list price
ALTER TABLE segment ADD COLUMN rate_id BIGINT;    -- the exchange rate it was converted at; NULL: it was not

-- One unit of from_currency is rate_nano / 1e9 of to_currency.
CREATE TABLE exchange_rate (
    rate_id     BIGINT NOT NULL,
    from_currency VARCHAR NOT NULL,      -- ISO 4217
    to_currency VARCHAR NOT NULL,
    rate_nano   BIGINT NOT NULL,
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL
);

CREATE TABLE tariff (
    tariff_id   BIGINT NOT NULL,
    cluster     VARCHAR,                 -- glob; NULL: every cluster
    currency    VARCHAR NOT NULL,
    tariff_micro BIGINT NOT NULL,        -- micro-units of the currency per kWh
    zone        VARCHAR NOT NULL,        -- IANA, of hours and weekdays
    hours       VARCHAR,                 -- 23:00-07:00 local; NULL: all day
    weekdays    VARCHAR,                 -- digits, 1 Monday to 7 Sunday; NULL: every day
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL
);

CREATE TABLE pue (
    pue_id      BIGINT NOT NULL,
    cluster     VARCHAR,                 -- glob; NULL: every cluster
    pue_milli   BIGINT NOT NULL,         -- thousandths; 1000: what the cards draw and no more
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL
);

-- What money is told in, and how holes in what was measured are filled. NULL: as shipped.
CREATE TABLE money_policy (
    policy_id   BIGINT NOT NULL,
    currency    VARCHAR,                 -- what prices and tariffs are converted to; NULL: nothing is converted
    gap_energy  VARCHAR,                 -- mean_of_neighbours, energy_counter
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL
);

-- Energy of a day, a line a card, stretch and payer.
CREATE TABLE energy_line (
    day         DATE NOT NULL,           -- UTC
    card_key    INTEGER NOT NULL,
    inventory_id BIGINT NOT NULL,
    from_us     BIGINT NOT NULL,
    to_us       BIGINT NOT NULL,
    state       VARCHAR NOT NULL,
    workload_key INTEGER,
    allocation_id BIGINT,
    department_id VARCHAR NOT NULL,
    business    VARCHAR,
    scenario    VARCHAR,
    energy_mj   BIGINT NOT NULL,         -- millijoules before the PUE
    pue_milli   BIGINT NOT NULL,
    tariff_micro BIGINT,                 -- NULL: no tariff is known
    currency    VARCHAR,
    tariff_id   BIGINT,
    pue_id      BIGINT,                  -- NULL: none is known, 1000 was taken
    rate_id     BIGINT,
    estimated   BOOLEAN NOT NULL
);

-- What of a day's prices no share of a card carries; the platform's.
CREATE TABLE remainder_line (
    day         DATE NOT NULL,           -- UTC
    card_key    INTEGER NOT NULL,
    inventory_id BIGINT NOT NULL,
    kind        VARCHAR NOT NULL,        -- rounding, host
    from_us     BIGINT NOT NULL,
    to_us       BIGINT NOT NULL,
    price_id    BIGINT NOT NULL,
    rate_id     BIGINT,
    currency    VARCHAR NOT NULL,
    cost_atoms  DECIMAL(38, 0) NOT NULL
);
