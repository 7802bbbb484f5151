-- Store version 1. Forward only: a later version adds a file, it never edits this one.
-- Raw and minute day tables and the hour rollups are not here: their columns come from the metric
-- catalogue (store/columns.py). All times are UTC. `*_key` are small integers for joins and wide
-- tables; text identities live in the dimension tables only.

CREATE TABLE schema_version (
    version     INTEGER PRIMARY KEY,
    file        VARCHAR NOT NULL,
    applied_at  TIMESTAMP NOT NULL
);

-- ---------------------------------------------------------------- identities, ever seen or owned
CREATE SEQUENCE subject_key START 1;

CREATE TABLE node (
    node_key    INTEGER PRIMARY KEY,
    cluster_id  VARCHAR NOT NULL,
    node_id     VARCHAR NOT NULL,
    machine_id  VARCHAR,                 -- newest; two at once are an identity_conflict event
    boot_id     VARCHAR,
    first_seen  TIMESTAMP,               -- NULL: owned, never seen
    last_seen   TIMESTAMP,
    clock_skew_seconds DOUBLE,           -- newest; NULL: not known
    clock_wrong BOOLEAN NOT NULL DEFAULT false,
    origin      VARCHAR NOT NULL,        -- real, imported, simulated
    facts       JSON,                    -- newest value of every fact
    facts_at    TIMESTAMP,               -- from when they hold; NULL: none came yet
    UNIQUE (cluster_id, node_id)
);

CREATE TABLE card (
    card_key    INTEGER PRIMARY KEY,
    card_id     VARCHAR NOT NULL UNIQUE,
    node_key    INTEGER NOT NULL,        -- where it is now
    vendor      VARCHAR NOT NULL,        -- 'unknown' until its facts come
    model       VARCHAR,
    uuid        VARCHAR,
    serial      VARCHAR,
    board_id    VARCHAR,
    pci_address VARCHAR,
    card_index  INTEGER,                 -- for people only
    minor       INTEGER,                 -- device node minor, for schedulers that count by it
    memory_total_bytes UBIGINT,
    first_seen  TIMESTAMP,
    last_seen   TIMESTAMP,
    origin      VARCHAR NOT NULL,
    facts       JSON,
    facts_at    TIMESTAMP
);

CREATE TABLE slice (
    slice_key   INTEGER PRIMARY KEY,
    slice_id    VARCHAR NOT NULL UNIQUE,
    card_key    INTEGER NOT NULL,
    profile     VARCHAR,
    compute_share DOUBLE,                -- 0..1 of the card
    memory_share DOUBLE,
    first_seen  TIMESTAMP,
    last_seen   TIMESTAMP,
    facts       JSON,
    facts_at    TIMESTAMP
);

CREATE TABLE port (
    port_key    INTEGER PRIMARY KEY,
    port_id     VARCHAR NOT NULL UNIQUE,
    node_key    INTEGER NOT NULL,
    device      VARCHAR NOT NULL,
    port        INTEGER NOT NULL,
    link_layer  VARCHAR,
    first_seen  TIMESTAMP,
    last_seen   TIMESTAMP,
    origin      VARCHAR NOT NULL,
    facts       JSON,
    facts_at    TIMESTAMP
);

-- What raw rows point to instead of repeating it: one boot of one node, and where its rows are from.
CREATE TABLE boot (
    boot_key    INTEGER PRIMARY KEY,
    boot_id     VARCHAR,                 -- NULL: the sender did not say
    origin      VARCHAR NOT NULL
);

-- One life of a driver's counters; a change means they began anew.
CREATE TABLE epoch (
    epoch_key   INTEGER PRIMARY KEY,
    counters_epoch VARCHAR NOT NULL UNIQUE
);

-- One dated fact: it holds from valid_from until the next row of the same subject and name.
CREATE TABLE fact (
    family      VARCHAR NOT NULL,
    subject     VARCHAR NOT NULL,
    name        VARCHAR NOT NULL,
    value       JSON,
    valid_from  TIMESTAMP NOT NULL,
    received_at TIMESTAMP NOT NULL
);

-- ---------------------------------------------------------------- streams and exactly once
CREATE TABLE stream (
    stream      VARCHAR PRIMARY KEY,
    lane        VARCHAR NOT NULL,
    node_key    INTEGER NOT NULL,
    boot_id     VARCHAR,
    applied_through BIGINT NOT NULL,     -- highest sequence whose rows are in the tables
    gaps        BIGINT NOT NULL DEFAULT 0, -- sequences that never came
    newest_time TIMESTAMP,               -- of its newest row or event; NULL: none yet
    first_seen  TIMESTAMP NOT NULL,
    last_seen   TIMESTAMP NOT NULL
);

CREATE TABLE journal_position (
    consumer    VARCHAR PRIMARY KEY,     -- store-samples, store-events, faults-events
    segment     BIGINT NOT NULL,
    "offset"    BIGINT NOT NULL,
    updated_at  TIMESTAMP NOT NULL
);

-- How far rollups have gone: everything before it is rolled up, but for the hours in rollup_dirty.
CREATE TABLE rollup_through (
    name        VARCHAR PRIMARY KEY,     -- minute, hour
    through     TIMESTAMP NOT NULL
);

-- Hours of one node that got late rows and are rolled up again.
CREATE TABLE rollup_dirty (
    hour        TIMESTAMP NOT NULL,
    node_key    INTEGER NOT NULL,
    PRIMARY KEY (hour, node_key)
);

-- Days whose telemetry changed after it was last published: they get a new revision.
CREATE TABLE touched_day (
    day         DATE PRIMARY KEY,        -- UTC
    touched_at  TIMESTAMP NOT NULL
);

-- Minute days the retention has dropped from here: their published revision is the only copy.
CREATE TABLE dropped_day (
    kind        VARCHAR NOT NULL,        -- card_minute, ...
    day         DATE NOT NULL,           -- UTC
    dropped_at  TIMESTAMP NOT NULL,
    PRIMARY KEY (kind, day)
);

CREATE TABLE quarantine (
    received_at TIMESTAMP NOT NULL,
    node        VARCHAR,
    stream      VARCHAR,
    sequence    BIGINT,
    reason      VARCHAR NOT NULL,
    file        VARCHAR                  -- below DIR/collector/quarantine, NULL when over its bound
);

CREATE TABLE import (
    import_id   BIGINT PRIMARY KEY,
    kind        VARCHAR NOT NULL,
    digest      VARCHAR NOT NULL,        -- SHA-256 of the file and the map
    file        VARCHAR NOT NULL,
    map         VARCHAR,
    rows_read   BIGINT NOT NULL,
    rows_added  BIGINT NOT NULL,
    rows_refused BIGINT NOT NULL,
    imported_at TIMESTAMP NOT NULL,
    UNIQUE (kind, digest)
);

-- ---------------------------------------------------------------- what happened
CREATE SEQUENCE event_number START 1;

CREATE TABLE event (
    event_id    BIGINT PRIMARY KEY,
    time        TIMESTAMP NOT NULL,      -- when it happened
    received_at TIMESTAMP NOT NULL,
    node_key    INTEGER,
    family      VARCHAR NOT NULL,
    subject     VARCHAR NOT NULL,
    kind        VARCHAR NOT NULL,
    severity    VARCHAR NOT NULL,
    code        VARCHAR,
    vendor      VARCHAR,
    source      VARCHAR NOT NULL,
    message     VARCHAR NOT NULL,
    attributes  JSON,
    origin      VARCHAR NOT NULL,
    stream      VARCHAR,                 -- NULL: made by the collector or imported
    sequence    BIGINT
);

CREATE SEQUENCE incident_number START 1;

CREATE TABLE incident (
    incident_id BIGINT PRIMARY KEY,
    family      VARCHAR NOT NULL,
    subject     VARCHAR NOT NULL,        -- card_id, node_id, port_id
    cause       VARCHAR NOT NULL,        -- rule name; one open incident per (subject, cause)
    severity    VARCHAR NOT NULL,
    vendor      VARCHAR,
    code        VARCHAR,
    onset       TIMESTAMP NOT NULL,      -- first evidence
    opened_at   TIMESTAMP NOT NULL,
    closed_at   TIMESTAMP,
    closed_by   VARCHAR,
    confirmed   BOOLEAN NOT NULL,        -- a hardware fault whose action is isolate or stronger: money
    action      VARCHAR NOT NULL,        -- observe, isolate_card, isolate_node, reset, reboot, replace
    proposal    JSON,                    -- the exact calls proposed
    evidence    JSON NOT NULL,           -- event ids and values
    history     BOOLEAN NOT NULL,        -- from backlog or import: a record, never an action
    origin      VARCHAR NOT NULL
);

CREATE SEQUENCE isolation_number START 1;

CREATE TABLE isolation (
    isolation_id BIGINT PRIMARY KEY,
    family      VARCHAR NOT NULL,
    subject     VARCHAR NOT NULL,
    incident_id BIGINT,
    reason      VARCHAR NOT NULL,
    actuator    VARCHAR NOT NULL,
    requested_by VARCHAR NOT NULL,
    isolated_at TIMESTAMP NOT NULL,
    expires_at  TIMESTAMP,
    released_at TIMESTAMP,
    released_by VARCHAR,
    placed      JSON NOT NULL,           -- what we placed, so that only that is removed
    undo        JSON NOT NULL
);

CREATE TABLE finding (
    finding_id  BIGINT PRIMARY KEY,
    kind        VARCHAR NOT NULL,
    family      VARCHAR NOT NULL,
    subject     VARCHAR NOT NULL,
    since       TIMESTAMP NOT NULL,
    until       TIMESTAMP,               -- NULL: still so
    evidence    JSON NOT NULL,
    confidence  DOUBLE NOT NULL,         -- 0..1
    owner       VARCHAR,
    action      VARCHAR
);

CREATE SEQUENCE audit_number START 1;

-- Append-only: nothing in the code updates or deletes it.
CREATE TABLE audit (
    audit_id    BIGINT PRIMARY KEY,
    time        TIMESTAMP NOT NULL,
    actor       VARCHAR NOT NULL,        -- token name, user, or rule
    action      VARCHAR NOT NULL,
    subject     VARCHAR,
    reason      VARCHAR,
    evidence    JSON,
    command     JSON,                    -- the exact calls, secrets removed
    result      VARCHAR NOT NULL,
    undo        JSON
);

-- ---------------------------------------------------------------- who holds and who pays
CREATE SEQUENCE workload_number START 1;

CREATE TABLE workload (
    workload_key INTEGER PRIMARY KEY,
    workload_id VARCHAR NOT NULL UNIQUE, -- slurm/<cluster>/<jobid>, k8s/<cluster>/<namespace>/<pod>/<uid>, ...
    kind        VARCHAR NOT NULL,        -- slurm_job, kubernetes_pod, notebook, process
    cluster_id  VARCHAR NOT NULL,
    name        VARCHAR,
    user_name   VARCHAR,
    namespace   VARCHAR,                 -- Kubernetes namespace or Slurm account
    partition   VARCHAR,
    labels      JSON,
    scenario    VARCHAR,                 -- as its source says, if it says
    origin      VARCHAR NOT NULL
);

CREATE SEQUENCE allocation_number START 1;

CREATE TABLE allocation (
    allocation_id BIGINT PRIMARY KEY,
    workload_key INTEGER NOT NULL,
    card_key    INTEGER,                 -- NULL: on the node, card unknown
    slice_key   INTEGER,
    node_key    INTEGER,
    share_nano  BIGINT NOT NULL,         -- 1e9: the whole card
    memory_share_nano BIGINT,
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,               -- NULL: still held
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,               -- NULL: what we believe now
    source      VARCHAR NOT NULL,
    attributes  JSON
);

CREATE SEQUENCE record_number START 1;   -- inventory, mapping_rule, price, import

-- Owned capacity; the ledger's denominator. life: ordered, stock, commissioning, in_service,
-- maintenance, rma, lent, rented, retired.
CREATE TABLE inventory (
    inventory_id BIGINT PRIMARY KEY,
    card_id     VARCHAR NOT NULL,
    cluster_id  VARCHAR NOT NULL,
    node_id     VARCHAR NOT NULL,
    vendor      VARCHAR NOT NULL,
    model       VARCHAR NOT NULL,
    serial      VARCHAR,
    board_id    VARCHAR,
    pool        VARCHAR,
    life        VARCHAR NOT NULL,
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL,        -- a file, or 'seen' for cards nobody listed
    purchase    JSON
);

CREATE TABLE department (
    department_id VARCHAR NOT NULL,      -- path, e.g. rd/nlp
    name        VARCHAR NOT NULL,        -- as people write it
    parent_id   VARCHAR,
    owner       VARCHAR,
    cost_center VARCHAR,
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP
);

-- match: glob over "slurm:<account>", "k8s:<namespace>", "user:<name>", "label:<key>=<value>",
-- "partition:<name>", "workload:<id>". Higher priority wins, then the longer pattern.
CREATE TABLE mapping_rule (
    rule_id     BIGINT NOT NULL,
    match       VARCHAR NOT NULL,
    priority    INTEGER NOT NULL,
    department_id VARCHAR,
    business    VARCHAR,
    scenario    VARCHAR,
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL
);

CREATE TABLE price (
    price_id    BIGINT NOT NULL,
    model       VARCHAR NOT NULL,        -- glob over the model name
    pool        VARCHAR,                 -- NULL: every pool
    currency    VARCHAR NOT NULL,        -- ISO 4217
    price_micro BIGINT NOT NULL,         -- micro-units of the currency per card-hour
    assumed     BOOLEAN NOT NULL,        -- true: a page that shows it says so
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL
);

-- ---------------------------------------------------------------- states and publishing
CREATE TABLE segment (
    day         DATE NOT NULL,           -- UTC
    revision    INTEGER NOT NULL,
    card_key    INTEGER NOT NULL,
    from_us     BIGINT NOT NULL,         -- microseconds since the epoch
    to_us       BIGINT NOT NULL,
    state       VARCHAR NOT NULL,
    share_nano  BIGINT NOT NULL,
    workload_key INTEGER,
    department_id VARCHAR NOT NULL,
    business    VARCHAR,
    scenario    VARCHAR,
    rule_id     BIGINT,
    price_id    BIGINT,
    price_micro BIGINT,
    currency    VARCHAR,
    reason      VARCHAR,
    inventory_id BIGINT NOT NULL,        -- the rows this one stands on
    allocation_id BIGINT,
    incident_id BIGINT,
    isolation_id BIGINT
);

CREATE TABLE published (
    what        VARCHAR NOT NULL,        -- telemetry, facts, dimensions
    day         DATE,
    revision    INTEGER NOT NULL,
    status      VARCHAR NOT NULL,        -- provisional, sealed
    digest      VARCHAR NOT NULL,        -- SHA-256 of the manifest
    published_at TIMESTAMP NOT NULL,
    checked_at  TIMESTAMP                -- when it was last made again and found the same; NULL: never
);
