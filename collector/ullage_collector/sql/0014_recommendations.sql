-- Store version 14: what detectors propose, in money, and what became of it (docs/recommendations.md).

-- One row a proposal: at most one that is open, accepted or done for a kind and subject. Nothing is deleted.
CREATE TABLE recommendation (
    recommendation_id BIGINT PRIMARY KEY,
    kind           VARCHAR NOT NULL,        -- reclaim_idle, defragment, ...: recommendations.toml
    family         VARCHAR NOT NULL,        -- of the subject, as in finding
    subject        VARCHAR NOT NULL,
    cluster_id     VARCHAR,
    "state"        VARCHAR NOT NULL,        -- open, accepted, done, saved, rejected, lapsed
    department_id  VARCHAR,                 -- whose it is; NULL: nobody says
    "owner"        VARCHAR,                 -- whom the finding concerns
    risk           VARCHAR NOT NULL,        -- low, medium, high
    effort         VARCHAR NOT NULL,        -- low, medium, high
    confidence     DOUBLE NOT NULL,         -- 0..1, the finding's
    currency       VARCHAR,                 -- NULL: nothing of it has a price
    month_atoms    DECIMAL(38, 0),          -- what it saves a month, alone; NULL: not known
    counted_atoms  DECIMAL(38, 0),          -- of that, what no other counted recommendation saves already
    formula        VARCHAR NOT NULL,        -- how month_atoms comes about
    unpriced       BIGINT NOT NULL,         -- cards in none of the money
    shared_with    JSON NOT NULL,           -- recommendations that count card-hours of this one
    evidence       JSON NOT NULL,           -- {"findings": [id], "incidents": [id]}
    opened_at      TIMESTAMP NOT NULL,
    due            DATE NOT NULL,
    changed_at     TIMESTAMP NOT NULL,
    accepted_at    TIMESTAMP,
    accepted_by    VARCHAR,
    done_at        TIMESTAMP,
    done_by        VARCHAR,
    ended_at       TIMESTAMP,               -- rejected or lapsed
    ended_by       VARCHAR,
    reason         VARCHAR,                 -- of the last change, where somebody gave one
    measured_at    TIMESTAMP,
    window_days    INTEGER,                 -- length of both windows, UTC days
    before_from    DATE,                    -- first day of the window before it was done
    after_from     DATE,                    -- first day of the window after
    before_atoms   DECIMAL(38, 0),
    after_atoms    DECIMAL(38, 0),
    saved_atoms    DECIMAL(38, 0),          -- before less after; below 0: it cost more
    method         VARCHAR
);
