-- Store version 8: what is told to people and other systems, and windows of maintenance.

CREATE SEQUENCE notice_number START 1;

-- One message to one target, from its first news until it is told or given up.
CREATE TABLE notice (
    notice_id   BIGINT PRIMARY KEY,
    target      VARCHAR NOT NULL,        -- name of a [[notify]]
    key         VARCHAR NOT NULL,        -- says to the receiver which message it is, however often it comes
    group_key   VARCHAR NOT NULL,        -- what is gathered into one message
    state       VARCHAR NOT NULL,        -- gathering, waiting, sending, sent, dead, merged
    created_at  TIMESTAMP NOT NULL,
    due_at      TIMESTAMP NOT NULL,      -- not before
    tried       INTEGER NOT NULL,        -- attempts so far
    news        JSON NOT NULL,           -- the news in it, in the order they came
    doubtful    BOOLEAN NOT NULL,        -- it may have been told before a crash
    sent_at     TIMESTAMP,
    problem     VARCHAR                  -- of the newest attempt; no secret in it
);

-- What has been seen of everything that can become news; what stands open keeps its row.
CREATE TABLE news_seen (
    source      VARCHAR NOT NULL,        -- incident, isolation, audit, finding, report
    id          BIGINT NOT NULL,
    mark        VARCHAR NOT NULL,        -- how it was when it was seen
    standing    BOOLEAN NOT NULL,        -- it can still change
    news        JSON,                    -- what was told of it, for receivers that want to hear it again and again
    PRIMARY KEY (source, id)
);

CREATE TABLE news_position (
    source      VARCHAR PRIMARY KEY,
    id          BIGINT NOT NULL          -- the highest seen
);

CREATE SEQUENCE maintenance_number START 1;

-- Dated twice: a change closes known_to and adds a row of the same window and subject.
CREATE TABLE maintenance_window (
    window_id   BIGINT NOT NULL,
    cluster_id  VARCHAR NOT NULL,
    node_id     VARCHAR NOT NULL,
    card_id     VARCHAR,                 -- NULL: the whole node
    valid_from  TIMESTAMP NOT NULL,
    valid_to    TIMESTAMP NOT NULL,      -- as planned; a window that was begun lasts until it is ended
    known_from  TIMESTAMP NOT NULL,
    known_to    TIMESTAMP,               -- NULL: what is believed now
    state       VARCHAR NOT NULL,        -- planned, started, ended, cancelled
    reason      VARCHAR NOT NULL,
    actor       VARCHAR NOT NULL,
    isolation_id BIGINT
);
