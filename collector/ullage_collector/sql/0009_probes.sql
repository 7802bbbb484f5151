-- Store version 9: probes asked of nodes, and what they answered.

CREATE TABLE probe (
    probe_id    VARCHAR PRIMARY KEY,     -- 32 hex digits, random, never used twice
    probe       VARCHAR NOT NULL,        -- a name of the node's own allow-list
    cluster_id  VARCHAR NOT NULL,
    node_id     VARCHAR NOT NULL,
    card_id     VARCHAR NOT NULL,
    incident_id BIGINT,                  -- NULL: asked by a person without one
    asked_by    VARCHAR NOT NULL,        -- user, token name or rule
    asked_at    TIMESTAMP NOT NULL,
    expires_at  TIMESTAMP NOT NULL,      -- by the collector's clock: it has to begin before
    state       VARCHAR NOT NULL,        -- waiting, passed, failed, refused, expired
    reason      VARCHAR,                 -- one line; NULL while waiting
    figures     JSON,                    -- what the node measured, by name
    answered_at TIMESTAMP,               -- when the probe ended by the node's clock; expired: when we gave up
    event_id    BIGINT                   -- the event that answered; NULL: none did
);
