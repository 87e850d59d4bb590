-- accounts: the balance of each account, built from account.* events; see balances, and man project.

-- @init
CREATE TABLE account(
    id      TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    cents   INTEGER NOT NULL CHECK (cents >= 0),
    updated TEXT NOT NULL
);
CREATE TABLE statement(
    seq     INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    time    TEXT NOT NULL,
    cents   INTEGER NOT NULL
);
CREATE INDEX statement_account ON statement(account, seq);

-- @on account.opened
INSERT INTO account VALUES(:subject, :data ->> '$.owner', 0, :time);

-- @on account.credited
UPDATE account SET cents = cents + (:data ->> '$.cents'), updated = :time WHERE id = :subject;
INSERT INTO statement VALUES(:seq, :subject, :time, :data ->> '$.cents');

-- @on account.debited
UPDATE account SET cents = cents - (:data ->> '$.cents'), updated = :time WHERE id = :subject;
INSERT INTO statement VALUES(:seq, :subject, :time, -(:data ->> '$.cents'));
