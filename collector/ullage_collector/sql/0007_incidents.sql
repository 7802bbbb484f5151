-- Store version 7: incidents say where they are, what they belong to and how far their rule may go; what the fault
-- evaluator remembers between two observations survives a restart.
ALTER TABLE incident ADD COLUMN cluster_id VARCHAR;   -- NULL: opened before version 7, or imported
ALTER TABLE incident ADD COLUMN node_id VARCHAR;
ALTER TABLE incident ADD COLUMN parent_id BIGINT;     -- the node's or the fleet's incident it is part of
ALTER TABLE incident ADD COLUMN "mode" VARCHAR;       -- shadow, advise, approve, automatic: of its rule when it opened
ALTER TABLE incident ADD COLUMN follow VARCHAR;       -- none, reset, reboot, replace: before it may come back
ALTER TABLE incident ADD COLUMN reason VARCHAR;       -- the rule and why it is at this level

-- One row a rule and subject about which something is half seen, open, or learned.
CREATE TABLE fault_state (
    rule        VARCHAR NOT NULL,
    family      VARCHAR NOT NULL,
    "scope"     VARCHAR NOT NULL,        -- the cluster of a node, whose id is unique there only; else empty
    subject     VARCHAR NOT NULL,
    cluster_id  VARCHAR NOT NULL,
    node_id     VARCHAR NOT NULL,
    vendor      VARCHAR,
    watched     BOOLEAN NOT NULL,        -- good samples matter too
    base        DOUBLE,                  -- the healthy baseline learned of a metric; NULL: none yet
    state       JSON NOT NULL,
    PRIMARY KEY (rule, family, "scope", subject)
);

-- How far samples have been judged, by when the collector received them.
CREATE TABLE fault_read (
    family      VARCHAR PRIMARY KEY,     -- card, port, node
    through     TIMESTAMP NOT NULL
);
