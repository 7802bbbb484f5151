-- Store version 15: what a closed period stands on, and lines of money that go forward: corrections, credits, disputes.

ALTER TABLE period_close ADD COLUMN "rule" VARCHAR;               -- which rule closed it; NULL: a person
ALTER TABLE period_close ADD COLUMN dimensions_revision INTEGER;  -- published names and prices it stands on; NULL: closed by an older Ullage
ALTER TABLE period_close ADD COLUMN revisions JSON;               -- {"2026-10-01": revision of its facts, ...}

CREATE SEQUENCE adjustment_number START 1;

-- Append-only: nothing updates or deletes a row. What became of one that was asked for is a row of adjustment_decision.
CREATE TABLE adjustment (
    adjustment_id BIGINT PRIMARY KEY,
    kind          VARCHAR NOT NULL,      -- correction, credit, dispute
    department_id VARCHAR NOT NULL,
    business      VARCHAR,
    scenario      VARCHAR,
    vendor        VARCHAR,
    model         VARCHAR,
    pool          VARCHAR,
    cluster_id    VARCHAR,
    state         VARCHAR,
    cost_class    VARCHAR NOT NULL,      -- capacity, energy, shared
    zone          VARCHAR,               -- whose midnights the period has; NULL: about no period
    period_from   TIMESTAMP,
    period_to     TIMESTAMP,
    posted_at     TIMESTAMP,             -- an instant of the open period whose statement carries it; NULL: asked for
    known_at      TIMESTAMP NOT NULL,    -- when it became known or was asked for
    quantity      DECIMAL(38, 0) NOT NULL,  -- signed; nano-share microseconds, of energy millijoules
    currency      VARCHAR,               -- NULL: quantity alone, without a price
    cost_atoms    DECIMAL(38, 0) NOT NULL,  -- signed
    reason        VARCHAR NOT NULL,
    requester     VARCHAR NOT NULL,
    recorded_by   VARCHAR NOT NULL,      -- token or user that entered it
    line_id       VARCHAR,               -- the disputed line
    source_rows   VARCHAR
);

-- What a person said to what was asked for; one row each, never changed.
CREATE TABLE adjustment_decision (
    adjustment_id BIGINT PRIMARY KEY,
    status        VARCHAR NOT NULL,      -- posted, rejected, withdrawn
    decided_at    TIMESTAMP NOT NULL,
    decided_by    VARCHAR NOT NULL,
    reason        VARCHAR NOT NULL,
    posted_at     TIMESTAMP              -- as in adjustment; NULL unless posted
);

-- What is believed now of a closed day less what stands: the newest look at each such day. The corrections posted for a
-- period add up to its rows.
CREATE TABLE correction_cell (
    period_from   TIMESTAMP NOT NULL,    -- of the closed period
    day           DATE NOT NULL,         -- UTC
    cost_class    VARCHAR NOT NULL,
    department_id VARCHAR NOT NULL,
    business      VARCHAR,
    scenario      VARCHAR,
    vendor        VARCHAR,
    model         VARCHAR,
    pool          VARCHAR,
    cluster_id    VARCHAR,
    state         VARCHAR,
    currency      VARCHAR,
    quantity      DECIMAL(38, 0) NOT NULL,
    cost_atoms    DECIMAL(38, 0) NOT NULL
);
