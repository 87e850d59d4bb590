-- accounts: the balance of each account, from account.* events, in SQLite or PostgreSQL; see balances, man project.

-- @init
CREATE TABLE account(
    id      TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    cents   BIGINT NOT NULL CHECK (cents >= 0),
    updated TEXT NOT NULL
);
CREATE TABLE statement(
    seq     BIGINT PRIMARY KEY,
    account TEXT NOT NULL,
    time    TEXT NOT NULL,
    cents   BIGINT NOT NULL
);
CREATE INDEX statement_account ON statement(account, seq);

-- @on account.opened
INSERT INTO account VALUES(:subject, :data ->> 'owner', 0, :time);

-- @on account.credited
UPDATE account SET cents = cents + CAST(:data ->> 'cents' AS BIGINT), updated = :time WHERE id = :subject;
INSERT INTO statement VALUES(:seq, :subject, :time, CAST(:data ->> 'cents' AS BIGINT));

-- @on account.debited
UPDATE account SET cents = cents - CAST(:data ->> 'cents' AS BIGINT), updated = :time WHERE id = :subject;
INSERT INTO statement VALUES(:seq, :subject, :time, -CAST(:data ->> 'cents' AS BIGINT));
