CREATE TABLE IF NOT EXISTS received (
    id TEXT   NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS held (
    audience TEXT   NOT NULL,
    token    TEXT   NOT NULL,
    epoch    BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    held     BIGINT NOT NULL CHECK (held IN (0, 1)),
    expires  BIGINT NOT NULL,
    PRIMARY KEY (audience, token)
);
CREATE INDEX IF NOT EXISTS held_by_token ON held (token);
