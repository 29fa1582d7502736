CREATE TABLE IF NOT EXISTS inbox_loads (
    id        TEXT   NOT NULL PRIMARY KEY,
    stage     TEXT   NOT NULL CHECK (stage IN ('formed', 'appended', 'logged')),
    records   BIGINT NOT NULL CHECK (records > 0),
    snapshot  TEXT,
    log_index BIGINT,
    at        BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS inbox_records (
    record TEXT   NOT NULL PRIMARY KEY,
    mac    TEXT   NOT NULL,
    stage  TEXT   NOT NULL CHECK (stage IN ('received', 'loading', 'stored', 'nobody')),
    load   TEXT   REFERENCES inbox_loads (id),
    sealed BLOB,
    at     BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS inbox_records_by_stage ON inbox_records (stage, record);
CREATE INDEX IF NOT EXISTS inbox_records_by_load ON inbox_records (load, record);
CREATE TABLE IF NOT EXISTS inbox_conflicts (
    record TEXT   NOT NULL,
    mac    TEXT   NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (record, mac)
);
