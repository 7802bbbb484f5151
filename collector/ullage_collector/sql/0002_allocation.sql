-- Store version 2: what live schedulers say beyond a file: qos and the like of a workload, the rank of a holding,
-- periods whose money no longer changes.

ALTER TABLE workload ADD COLUMN attributes JSON;

-- work, reserved (what work leaves free, its account's) or completing (what both leave free, the platform's).
ALTER TABLE allocation ADD COLUMN "rank" VARCHAR DEFAULT 'work';

-- A period of money closed by somebody: its days stay as believed at closed_at.
CREATE TABLE period_close (
    zone        VARCHAR NOT NULL,        -- IANA; the bounds are its local midnights
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP NOT NULL,
    closed_at   TIMESTAMP NOT NULL,
    closed_by   VARCHAR NOT NULL,
    reason      VARCHAR
);
