/* The outbox that outbox-relay(1) reads. In the transaction that changes your own rows,
   insert a row with event_type and payload (JSON) and, where you have them, event_id,
   aggregate_id and headers. The relay uses the other columns. */
CREATE TABLE {table}(
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id     TEXT,
    aggregate_id TEXT,
    event_type   TEXT,
    payload      TEXT,
    headers      TEXT,
    created_at   TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    published    INTEGER NOT NULL DEFAULT 0,
    published_at TEXT,
    attempts     INTEGER NOT NULL DEFAULT 0,
    retry_at     TEXT,
    error        TEXT
);
CREATE INDEX {index} ON {table}(id) WHERE published = 0;
