-- Store version 17: looks at closed days whose corrections are posted together, at the end of a round of publishing.

CREATE TABLE correction_look (
    period_from   TIMESTAMP NOT NULL,    -- of the closed period
    day           DATE NOT NULL,         -- UTC
    news          VARCHAR NOT NULL,      -- what became known since its facts were made before: "mapping price"
    waiting       BOOLEAN NOT NULL,      -- what it found is not posted yet
    PRIMARY KEY (period_from, day)
);
