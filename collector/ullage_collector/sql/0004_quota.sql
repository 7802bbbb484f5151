-- Store version 4: logical pools of cards, the quota tree, who waits for cards, sprints, and what came of them an hour.

-- Which cards are in which pool. match: conditions that must all hold, 'KIND:GLOB' or 'KIND=TEXT' joined by ' & ';
-- KIND one of cluster, node, label, vendor, model, card, pool (the inventory's). Higher priority wins.
CREATE TABLE pool_rule (
    pool_rule_id BIGINT NOT NULL,
    pool_set    VARCHAR NOT NULL,        -- a card is in one pool of each set at one instant
    pool        VARCHAR NOT NULL,
    match       VARCHAR NOT NULL,
    priority    INTEGER NOT NULL,
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL
);

-- One node of a quota tree, and what it may have of one kind of cards. A node has a row for each kind of cards it
-- has a limit on, and one row without a limit where it has none.
CREATE TABLE quota (
    quota_id    BIGINT NOT NULL,
    tree        VARCHAR NOT NULL,        -- e.g. kueue/dc1, slurm/mini
    quota       VARCHAR NOT NULL,        -- the node's name, unique in its tree
    parent      VARCHAR,                 -- a name of the same tree; NULL: a root
    cluster_id  VARCHAR,                 -- whose work binds here; NULL: any cluster's
    pool        VARCHAR NOT NULL,        -- '*': cards of every pool
    resource    VARCHAR NOT NULL,        -- cards, card_shares
    vendor      VARCHAR,                 -- NULL: every maker's
    model       VARCHAR,                 -- glob over the model, case does not count; NULL: every model
    min_nano    BIGINT,                  -- guaranteed, 1e9 a card; NULL: it states none
    max_nano    BIGINT,                  -- ceiling; NULL: none
    lend_nano   BIGINT,                  -- most of the guarantee that others may use; NULL: all of it
    weight      DOUBLE,
    owner       VARCHAR,
    department_id VARCHAR,
    binds       JSON,                    -- list of conditions over workloads, any of which binds
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    source      VARCHAR NOT NULL,
    attributes  JSON                     -- what else its source says: budgets, limits of one job
);

CREATE SEQUENCE sprint_number START 1;

-- All cards of a pool for one department for a time. Cancelled after it began: a second row that ends then.
CREATE TABLE sprint (
    sprint_id   BIGINT NOT NULL,
    pool        VARCHAR NOT NULL,
    department_id VARCHAR NOT NULL,
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP NOT NULL,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,
    reason      VARCHAR NOT NULL,
    actor       VARCHAR NOT NULL
);

CREATE SEQUENCE request_number START 1;

-- Who asked for cards and did not run, over [valid_from, valid_to), as its scheduler said.
CREATE TABLE request (
    request_id  BIGINT NOT NULL,
    source      VARCHAR NOT NULL,
    cluster_id  VARCHAR NOT NULL,
    workload_id VARCHAR NOT NULL,
    kind        VARCHAR NOT NULL,
    asked_at    TIMESTAMP NOT NULL,      -- when it began to wait
    cards_nano  BIGINT NOT NULL,         -- 1e9 a card
    resource    VARCHAR,                 -- as asked for: nvidia.com/gpu, gres/gpu:h200; NULL: not said
    queue       VARCHAR,
    user_name   VARCHAR,
    namespace   VARCHAR,
    partition   VARCHAR,
    labels      JSON,
    reason      VARCHAR,                 -- why it waits, as its scheduler says
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP,
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP
);

-- What came of the quotas in one UTC hour: integrals of nano-shares over microseconds. Made again while its day's
-- money is open. borrowed and lent are NULL where the tree guarantees nobody anything.
CREATE TABLE quota_hour (
    hour        TIMESTAMP NOT NULL,
    tree        VARCHAR NOT NULL,
    pool        VARCHAR NOT NULL,
    resource    VARCHAR NOT NULL,
    vendor      VARCHAR,
    model       VARCHAR,
    quota       VARCHAR NOT NULL,        -- '__pool__': the cards themselves; '__none__': work no quota binds
    parent      VARCHAR,
    department_id VARCHAR,
    seconds     DOUBLE NOT NULL,         -- of the hour during which the node stood in its tree
    min         HUGEINT,                 -- NULL: it states none
    max         HUGEINT,                 -- NULL: none
    used        HUGEINT NOT NULL,
    guaranteed_used HUGEINT,
    borrowed    HUGEINT,
    lent        HUGEINT,
    waiting     HUGEINT NOT NULL,
    headroom    HUGEINT,
    sprint      BOOLEAN NOT NULL,
    made_at     TIMESTAMP NOT NULL
);

-- Which hours are made, and from what belief.
CREATE TABLE quota_made (
    hour        TIMESTAMP PRIMARY KEY,
    known_at    TIMESTAMP NOT NULL
);
