-- Store version 6: what the policy decided about isolating, persisted before anything is called.

-- One decision about one target, from the first verdict to its end. docs/isolation.md has the states.
CREATE TABLE isolation_intent (
    intent_id    BIGINT PRIMARY KEY,
    state        VARCHAR NOT NULL,
    mode         VARCHAR NOT NULL,       -- shadow, advise, approve, automatic, person
    family       VARCHAR NOT NULL,       -- card, node
    subject      VARCHAR NOT NULL,
    cluster_id   VARCHAR NOT NULL,
    node_id      VARCHAR NOT NULL,
    rule         VARCHAR NOT NULL,
    action       VARCHAR NOT NULL,
    follow       VARCHAR NOT NULL,       -- none, reset, reboot, replace
    drain        VARCHAR NOT NULL,       -- finish, notify, end
    incident_id  BIGINT,                 -- the first cause; all of them: intent_cause
    parent_id    BIGINT,                 -- the intent this one is a level above of
    reason       VARCHAR NOT NULL,
    held_back    VARCHAR,                -- why it goes no further by itself; NULL: nothing holds it
    requested_by VARCHAR NOT NULL,       -- rule NAME, or a person
    approved_by  VARCHAR,
    actuator     VARCHAR,                -- NULL: not planned yet
    whole_node   BOOLEAN NOT NULL,       -- what stands or would stand takes every card of the node
    isolation_id BIGINT,                 -- the row of isolation; NULL: nothing was called
    calls        JSON,                   -- the exact calls as texts; NULL: not planned yet
    digest       VARCHAR,                -- SHA-256 of the calls a person approves
    domains      JSON NOT NULL,          -- rack, switch and the like by word, for limits
    evidence     JSON NOT NULL,
    attempts     INTEGER NOT NULL,       -- calls that failed since it was last well
    placed_again INTEGER NOT NULL,       -- times it was lost and placed again
    decided_at   TIMESTAMP NOT NULL,
    changed_at   TIMESTAMP NOT NULL,     -- when it came into its state
    placed_at    TIMESTAMP,              -- NULL: nothing was placed
    expires_at   TIMESTAMP,              -- when the approval, the isolation or the probation ends; by state
    closed_at    TIMESTAMP               -- NULL: live
);

-- The incidents an isolation stands for: it ends when all of them have ended.
CREATE TABLE intent_cause (
    intent_id   BIGINT NOT NULL,
    incident_id BIGINT NOT NULL,
    rule        VARCHAR NOT NULL,
    node_side   BOOLEAN NOT NULL,        -- a fault of the node's side of the card: two of them take the node
    added_at    TIMESTAMP NOT NULL,
    ended_at    TIMESTAMP
);

-- How far the verdicts of an incident were considered: the same one twice, or one that comes late, is none.
CREATE TABLE considered_verdict (
    incident_id   BIGINT PRIMARY KEY,
    weight        INTEGER NOT NULL,
    considered_at TIMESTAMP NOT NULL
);

-- Append-only; the last row says whether everything is frozen.
CREATE SEQUENCE freeze_number START 1;
CREATE TABLE isolation_freeze (
    freeze_id BIGINT NOT NULL,
    said_at   TIMESTAMP NOT NULL,
    frozen    BOOLEAN NOT NULL,
    actor     VARCHAR NOT NULL,
    reason    VARCHAR NOT NULL
);

-- Rules that were stopped because too many nodes showed the same at once.
CREATE TABLE isolation_breaker (
    rule       VARCHAR NOT NULL,
    tripped_at TIMESTAMP NOT NULL,
    until      TIMESTAMP NOT NULL,
    nodes      JSON NOT NULL
);
