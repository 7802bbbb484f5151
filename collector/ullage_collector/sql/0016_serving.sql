-- Store version 16: requests of serving systems, by workload.

-- What a serving process answered in five minutes, as one source tells it. Retention as of minutes.
CREATE TABLE serving (
    workload_key INTEGER NOT NULL,
    source      VARCHAR NOT NULL,        -- <[[serving]] name or otlp>/<system>
    target      VARCHAR NOT NULL,        -- tells the processes of a workload apart
    start       TIMESTAMP NOT NULL,      -- of the five minutes
    requests    DOUBLE,                  -- that came to an end; NULL: not known
    prompt_tokens DOUBLE,
    generated_tokens DOUBLE,
    running     DOUBLE,                  -- the most at once that was seen; NULL: not told
    waiting     DOUBLE,
    covered_us  BIGINT NOT NULL,         -- of which requests are known
    resets      INTEGER NOT NULL,        -- counters that began anew
    PRIMARY KEY (workload_key, source, target, start)
);

-- The same by hour and workload, of the source that knows most of the hour: what money stands on, kept as hours are.
CREATE TABLE serving_hour (
    workload_key INTEGER NOT NULL,
    hour        TIMESTAMP NOT NULL,
    source      VARCHAR NOT NULL,
    requests    DOUBLE,
    prompt_tokens DOUBLE,
    generated_tokens DOUBLE,
    running     DOUBLE,
    waiting     DOUBLE,
    replicas    INTEGER NOT NULL,        -- processes that told anything
    covered_seconds DOUBLE NOT NULL,     -- of the one of them that is known least
    PRIMARY KEY (workload_key, hour)
);

-- The newest reading of each series: what the next one is compared with.
CREATE TABLE serving_series (
    workload_key INTEGER NOT NULL,
    source      VARCHAR NOT NULL,
    target      VARCHAR NOT NULL,
    kind        VARCHAR NOT NULL,        -- requests, prompt_tokens, generated_tokens, running, waiting; any: of the process
    series      VARCHAR NOT NULL,
    at_us       BIGINT NOT NULL,
    value       DOUBLE NOT NULL,
    PRIMARY KEY (workload_key, source, target, kind, series)
);

-- How far each Prometheus was asked.
CREATE TABLE serving_asked (
    source      VARCHAR PRIMARY KEY,
    through     TIMESTAMP NOT NULL
);
