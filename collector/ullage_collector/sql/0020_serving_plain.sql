-- Store version 20: requests without an index: it would grow with every process and day, and lie in memory.

CREATE TABLE serving_kept (
    workload_key INTEGER NOT NULL,
    source      VARCHAR NOT NULL,        -- <[[serving]] name or otlp>/<system>
    target      VARCHAR NOT NULL,        -- tells the processes of a workload apart
    start       TIMESTAMP NOT NULL,      -- of the five minutes; one row of each for a process and source
    requests    DOUBLE,                  -- that came to an end; NULL: not known
    prompt_tokens DOUBLE,
    generated_tokens DOUBLE,
    running     DOUBLE,                  -- the most at once that was seen; NULL: not told
    waiting     DOUBLE,
    covered_us  BIGINT NOT NULL,         -- of which requests are known
    resets      INTEGER NOT NULL         -- counters that began anew
);
INSERT INTO serving_kept SELECT * FROM serving;
DROP TABLE serving;
ALTER TABLE serving_kept RENAME TO serving;

CREATE TABLE serving_hour_kept (
    workload_key INTEGER NOT NULL,
    hour        TIMESTAMP NOT NULL,      -- one row of each for a workload
    source      VARCHAR NOT NULL,
    requests    DOUBLE,
    prompt_tokens DOUBLE,
    generated_tokens DOUBLE,
    running     DOUBLE,
    waiting     DOUBLE,
    replicas    INTEGER NOT NULL,        -- processes that told anything
    covered_seconds DOUBLE NOT NULL      -- of the one of them that is known least
);
INSERT INTO serving_hour_kept SELECT * FROM serving_hour;
DROP TABLE serving_hour;
ALTER TABLE serving_hour_kept RENAME TO serving_hour;
