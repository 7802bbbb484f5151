-- Store version 10: the fault engine judges nodes that have news before others' history, so that a node's stream may have
-- been judged beyond the position of the events' journal.
CREATE TABLE fault_ahead (
    stream      VARCHAR NOT NULL,
    cluster_id  VARCHAR NOT NULL,
    node_id     VARCHAR NOT NULL,
    sequence    BIGINT NOT NULL,         -- the last one judged
    segment     BIGINT NOT NULL,         -- where its record ends in the journal
    "offset"    BIGINT NOT NULL,
    PRIMARY KEY (stream, cluster_id, node_id)
);
