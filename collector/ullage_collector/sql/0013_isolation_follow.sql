-- Store version 13: resets, reboots and replacements that an isolation asks for, persisted before anything is run.

-- One row an incident and what follows it: it is run once.
CREATE TABLE isolation_follow (
    incident_id  BIGINT NOT NULL,
    follow       VARCHAR NOT NULL,       -- reset, reboot, replace
    intent_id    BIGINT NOT NULL,
    isolation_id BIGINT,
    family       VARCHAR NOT NULL,       -- card, node
    subject      VARCHAR NOT NULL,
    cluster_id   VARCHAR NOT NULL,
    node_id      VARCHAR NOT NULL,
    state        VARCHAR NOT NULL,       -- shown, waiting, held, approved, running, done, accepted, failed, unknown
    call         JSON,                   -- what would be or was run, without secrets; NULL: it cannot be made
    result       VARCHAR,                -- why it is not run, or what it said
    actor        VARCHAR NOT NULL,       -- policy, or who asked for it
    changed_at   TIMESTAMP NOT NULL,
    begun_at     TIMESTAMP,
    ended_at     TIMESTAMP,
    PRIMARY KEY (incident_id, follow)
);
