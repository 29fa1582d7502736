CREATE TABLE IF NOT EXISTS requests (
    party        TEXT   NOT NULL,
    request      TEXT   NOT NULL,
    fingerprint  TEXT   NOT NULL,
    state        TEXT   NOT NULL CHECK (state IN ('charged', 'pending', 'released', 'failed')),
    dataset      TEXT   NOT NULL,
    rho          BIGINT NOT NULL CHECK (rho >= 0),
    delta        BIGINT NOT NULL CHECK (delta >= 0),
    reuse        TEXT,
    log_size     BIGINT NOT NULL,
    charge_entry TEXT,
    charge_index BIGINT,
    release_id   TEXT   UNIQUE,
    body         TEXT,
    noisy        TEXT,
    result       TEXT,
    entry        TEXT,
    receipt      TEXT,
    tree_size    BIGINT,
    at           BIGINT NOT NULL,
    PRIMARY KEY (party, request)
);
CREATE INDEX IF NOT EXISTS requests_by_reuse ON requests (reuse, rho);
CREATE INDEX IF NOT EXISTS requests_by_state ON requests (state);
CREATE TABLE IF NOT EXISTS charges (
    party    TEXT   NOT NULL,
    request  TEXT   NOT NULL,
    dataset  TEXT   NOT NULL,
    block    TEXT   NOT NULL,
    rho      BIGINT NOT NULL CHECK (rho >= 0),
    delta    BIGINT NOT NULL CHECK (delta >= 0),
    PRIMARY KEY (party, request, dataset, block)
);
CREATE TABLE IF NOT EXISTS accounts (
    dataset  TEXT   NOT NULL,
    block    TEXT   NOT NULL,
    party    TEXT   NOT NULL,
    rho      BIGINT NOT NULL CHECK (rho >= 0),
    delta    BIGINT NOT NULL CHECK (delta >= 0),
    PRIMARY KEY (dataset, block, party)
);
