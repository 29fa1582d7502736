CREATE TABLE IF NOT EXISTS campaigns (
    id        TEXT   NOT NULL PRIMARY KEY,
    revision  BIGINT NOT NULL CHECK (revision >= 0),
    step      BIGINT NOT NULL CHECK (step > 0),
    state     TEXT   NOT NULL,
    content   TEXT   NOT NULL,
    digest    TEXT   NOT NULL,
    kept      TEXT   NOT NULL,
    at        BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS campaign_entries (
    result    TEXT   NOT NULL PRIMARY KEY,
    campaign  TEXT   NOT NULL REFERENCES campaigns (id),
    step      BIGINT,
    entry     TEXT   NOT NULL,
    log_index BIGINT,
    at        BIGINT NOT NULL,
    UNIQUE (campaign, step)
);
CREATE INDEX IF NOT EXISTS campaign_entries_open ON campaign_entries (log_index);
CREATE TABLE IF NOT EXISTS admissions (
    buyer    TEXT   NOT NULL,
    period   BIGINT NOT NULL,
    attempt  BIGINT NOT NULL CHECK (attempt > 0),
    segment  TEXT   NOT NULL,
    content  TEXT   NOT NULL,
    campaign TEXT   NOT NULL REFERENCES campaigns (id),
    outcome  TEXT   NOT NULL CHECK (outcome IN ('admitted', 'too-similar')),
    result   TEXT   NOT NULL REFERENCES campaign_entries (result),
    at       BIGINT NOT NULL,
    PRIMARY KEY (buyer, period, attempt)
);
CREATE TABLE IF NOT EXISTS audiences (
    id          TEXT   NOT NULL PRIMARY KEY,
    campaign    TEXT   NOT NULL REFERENCES campaigns (id),
    content     TEXT   NOT NULL,
    destination TEXT   NOT NULL,
    buyer       TEXT   NOT NULL,
    segment     TEXT   NOT NULL,
    version     BIGINT NOT NULL CHECK (version > 0),
    opened      BIGINT NOT NULL,
    closed      BIGINT,
    period      BIGINT,
    sealed      BLOB   NOT NULL,
    UNIQUE (campaign, content, destination)
);
CREATE INDEX IF NOT EXISTS audiences_of_buyer ON audiences (buyer, opened);
