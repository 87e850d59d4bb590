# project: shared by the tests of read models, in a file or on a server; db is a query of the model.

# The example's events: A-1 has 37.50, B-2 has 12.50.
accounts() {
    cp "$TOP/share/examples/accounts.sql" .
    publish <<'END'
{"type":"account.opened","id":"e1","subject":"A-1","data":{"owner":"Ann"}}
{"type":"account.opened","id":"e2","subject":"B-2","data":{"owner":"Bob"}}
{"type":"account.credited","id":"e3","subject":"A-1","data":{"cents":5000}}
{"type":"account.debited","id":"e4","subject":"A-1","data":{"cents":1250}}
{"type":"account.credited","id":"e5","subject":"B-2","data":{"cents":1250}}
END
}

balances() { db 'SELECT id, cents FROM account ORDER BY id' | paste -sd' '; }

# counter: a projection that would show each event that is skipped or applied twice.
counter() {
    cat >counter.sql <<'END'
-- @init
CREATE TABLE counter(one BIGINT PRIMARY KEY, n BIGINT, total BIGINT, last BIGINT);
INSERT INTO counter VALUES(1, 0, 0, 0);
-- @on n
UPDATE counter SET n = n + 1, total = total + CAST(CAST(:data AS TEXT) AS BIGINT), last = :seq;
END
}

member() { jq -c ".$1"; }
