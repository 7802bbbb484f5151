-- Store version 12: what schedulers say of a node beside its cards: processors and memory, and whether it takes work.

-- One row a node and source, as it last said; not dated, as only now matters. NULL: it does not say.
CREATE TABLE node_room (
    source      VARCHAR NOT NULL,        -- slurm, kubernetes
    cluster_id  VARCHAR NOT NULL,
    node_id     VARCHAR NOT NULL,
    cpu_milli   BIGINT,                  -- thousandths of a processor that work may take
    cpu_free_milli BIGINT,
    memory_mib  BIGINT,
    memory_free_mib BIGINT,
    takes_work  BOOLEAN NOT NULL,        -- false: drained, cordoned, down
    why         VARCHAR,                 -- it takes none
    told_at     TIMESTAMP NOT NULL,
    PRIMARY KEY (source, cluster_id, node_id)
);
