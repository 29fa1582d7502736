-- The consent registry. Plain SQL: PostgreSQL takes it with BYTEA for BLOB and BIGINT for INTEGER.
-- A shopper is 32 bytes of keyed pseudonym; nothing here can be read back to a card without the vault's key.

-- One row per change that happened as a whole; its epoch numbers the states. `pending` until its entry is in the log.
CREATE TABLE IF NOT EXISTS consent_changes (
    epoch       INTEGER NOT NULL PRIMARY KEY,
    operation   TEXT    NOT NULL CHECK (operation IN ('record', 'import', 'sweep', 'erase')),
    events      INTEGER NOT NULL,
    digest      TEXT    NOT NULL UNIQUE,
    entry       TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'logged')),
    log_index   INTEGER,
    at          INTEGER NOT NULL
);

-- What shoppers were told: notices, controllers, recipients. The same for many, so it stands here once.
CREATE TABLE IF NOT EXISTS consent_terms (
    digest      TEXT    NOT NULL PRIMARY KEY,
    body        TEXT    NOT NULL
);

-- Every event there ever was, but for those of erased shoppers. Rows are added, never changed.
CREATE TABLE IF NOT EXISTS consent_events (
    sequence    INTEGER NOT NULL PRIMARY KEY,
    record_id   TEXT    NOT NULL UNIQUE,
    subject     BLOB    NOT NULL,
    purpose     TEXT    NOT NULL,
    event       TEXT    NOT NULL CHECK (event IN ('given', 'withdrawn', 'expired')),
    at          INTEGER NOT NULL,
    valid_until INTEGER,
    method      TEXT    NOT NULL,
    evidence    TEXT,
    terms       TEXT    REFERENCES consent_terms (digest),
    party       TEXT    NOT NULL,
    operator    TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL,
    epoch       INTEGER NOT NULL REFERENCES consent_changes (epoch)
);
CREATE INDEX IF NOT EXISTS consent_events_of_subject ON consent_events (subject, sequence);

-- What the events come to: the latest of each shopper and purpose.
CREATE TABLE IF NOT EXISTS consent_state (
    subject     BLOB    NOT NULL,
    purpose     TEXT    NOT NULL,
    event       TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    valid_until INTEGER,
    PRIMARY KEY (subject, purpose)
);
CREATE INDEX IF NOT EXISTS consent_state_by_end ON consent_state (valid_until) WHERE event = 'given';

-- Who was erased: a digest of the pseudonym, and when. Nothing else is kept of them.
CREATE TABLE IF NOT EXISTS consent_erased (
    subject     TEXT    NOT NULL PRIMARY KEY,
    erased_at   INTEGER NOT NULL
);
