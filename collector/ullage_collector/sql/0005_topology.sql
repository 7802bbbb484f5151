-- Store version 5: an asset that outlives a swapped card; where things stand and what hangs together, dated twice.

-- asset_id: one owned thing, whatever serial it has now. NULL: the card_id itself. replaces: card_id or serial of the
-- card this one came for (RMA), as the file says.
ALTER TABLE inventory ADD COLUMN asset_id VARCHAR;
ALTER TABLE inventory ADD COLUMN replaces VARCHAR;

-- One relation as one source says it. family: node, card, port, switch, hca (an RDMA adapter's node GUID and port),
-- netdev (node/interface). relation: site, room, rack, power_feed, block, link_domain, leaf_switch, parent_switch, ...
CREATE TABLE topology (
    topology_id BIGINT PRIMARY KEY,
    source      VARCHAR NOT NULL,        -- kind:name, e.g. slurm:topology.conf
    cluster_id  VARCHAR NOT NULL,        -- whose names the subjects are
    family      VARCHAR NOT NULL,
    subject     VARCHAR NOT NULL,
    relation    VARCHAR NOT NULL,
    target      VARCHAR NOT NULL,
    attributes  JSON,                    -- switch port, link speed, what a person reads
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP
);

-- Each time a source said everything it knows: what it no longer says ends there.
CREATE TABLE topology_statement (
    source      VARCHAR NOT NULL,
    cluster_id  VARCHAR NOT NULL,
    said_at     TIMESTAMP NOT NULL,      -- from when it holds, until the source's next statement
    confirmed_at TIMESTAMP NOT NULL,     -- when it last said the very same
    known_from  TIMESTAMP NOT NULL,
    relations   BIGINT NOT NULL,
    digest      VARCHAR                  -- SHA-256 of the file; NULL: no file
);
