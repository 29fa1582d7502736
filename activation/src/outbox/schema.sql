CREATE TABLE IF NOT EXISTS outbox_generation (
    one        BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    generation BIGINT NOT NULL CHECK (generation >= 0)
);
INSERT INTO outbox_generation (one, generation) VALUES (1, 0) ON CONFLICT (one) DO NOTHING;
CREATE TABLE IF NOT EXISTS outbox_lanes (
    destination TEXT   NOT NULL,
    audience    TEXT   NOT NULL,
    next_seq    BIGINT NOT NULL CHECK (next_seq > 0),
    closed      BIGINT NOT NULL CHECK (closed IN (0, 1)),
    PRIMARY KEY (destination, audience)
);
CREATE TABLE IF NOT EXISTS outbox_entries (
    id        TEXT   NOT NULL PRIMARY KEY,
    n         BIGINT NOT NULL UNIQUE,
    entry     TEXT   NOT NULL,
    body      BLOB   NOT NULL,
    log_index BIGINT
);
CREATE TABLE IF NOT EXISTS outbox_batches (
    id            TEXT   NOT NULL PRIMARY KEY,
    destination   TEXT   NOT NULL,
    audience      TEXT   NOT NULL,
    epoch         BIGINT NOT NULL,
    op            TEXT   NOT NULL CHECK (op IN ('add', 'remove')),
    seq           BIGINT NOT NULL CHECK (seq > 0),
    part          BIGINT NOT NULL CHECK (part >= 0),
    expires       BIGINT,
    members       BIGINT NOT NULL CHECK (members > 0),
    stage         TEXT   NOT NULL CHECK (stage IN ('queued', 'sending', 'accepted', 'settled', 'replaced')),
    reason        TEXT,
    attempts      BIGINT NOT NULL CHECK (attempts >= 0),
    polls         BIGINT NOT NULL CHECK (polls >= 0),
    doubt         BIGINT NOT NULL CHECK (doubt IN (0, 1)),
    next_at       BIGINT NOT NULL,
    entry         TEXT   NOT NULL REFERENCES outbox_entries (id),
    settled_entry TEXT   REFERENCES outbox_entries (id),
    alarm_at      BIGINT,
    queued_at     BIGINT NOT NULL,
    units         BLOB   NOT NULL,
    rejected      BLOB,
    kept          BLOB,
    UNIQUE (destination, audience, seq, part),
    FOREIGN KEY (destination, audience) REFERENCES outbox_lanes (destination, audience)
);
CREATE INDEX IF NOT EXISTS outbox_entries_owed ON outbox_entries (log_index);
