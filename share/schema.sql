-- The spool, schema 2. This text is compiled in, runs when a spool is created, and is compared
-- with the text in a spool each time one is opened: a foreign trigger or table is refused.
--
-- To change it: raise SCHEMA in lib/sqlite_open.c and PRAGMA user_version here, add the statements
-- that lead from the old version there, keep an old spool under tests/data, and say what an index
-- costs on the publish path (the id index is most of an insert; one on type would cost a
-- quarter of all publishing, and reading through it is slower than a scan).
--
-- All times are wall milliseconds since 1970.

-- The log. line is the event as it was accepted, sums the checksums of it and of all else in the row
-- (lib/sqlite_sum.c).
-- due and expires are notbefore and expirytime, priority 0 to 9 (5 unless the event says).
CREATE TABLE event(seq INTEGER PRIMARY KEY, recorded INTEGER NOT NULL, priority INTEGER NOT NULL,
  due INTEGER, expires INTEGER, version INTEGER, sums INTEGER NOT NULL, id TEXT NOT NULL,
  source TEXT NOT NULL, type TEXT NOT NULL, subject TEXT, line BLOB NOT NULL) STRICT;

-- The deduplication key. id first, so that it also serves a bare id.
CREATE UNIQUE INDEX event_id ON event(id, source);

-- Only events with a priority of their own have a row here: none costs nothing.
CREATE INDEX event_priority ON event(priority, seq) WHERE priority <> 5;

-- Only events published with --expect-version have a row here.
CREATE UNIQUE INDEX event_version ON event(subject, version) WHERE version IS NOT NULL;

-- Where the clock went back: recorded does not decrease from seq to the next segment.
CREATE TABLE segment(seq INTEGER PRIMARY KEY, recorded INTEGER NOT NULL) STRICT;

-- patterns is a JSON array; rev goes up with each change, so that a claim prepared outside the
-- write lock notices; nothing is claimed while paused, or before hold. paced: with --rate, when the
-- next event may be claimed. seen: when a consumer last came or went. ordered: 2 until the rows of
-- a group are in order.
CREATE TABLE groups(grp INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
  patterns TEXT NOT NULL, ordered INTEGER NOT NULL, rev INTEGER NOT NULL,
  paused INTEGER NOT NULL, hold INTEGER NOT NULL, paced INTEGER NOT NULL,
  created INTEGER NOT NULL, seen INTEGER NOT NULL) STRICT;

-- Ten rows a group: what was passed of each priority.
CREATE TABLE cursor(grp INTEGER NOT NULL, priority INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY(grp, priority)) STRICT, WITHOUT ROWID;

-- A consumer that has claims, or had. owner is also the offset of the byte that it keeps locked in
-- SPOOL-lock; pid, started (clock ticks since boot) and boot judge when that file was replaced.
CREATE TABLE consumer(owner INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started INTEGER NOT NULL,
  boot TEXT NOT NULL, grp INTEGER NOT NULL) STRICT;
CREATE INDEX consumer_group ON consumer(grp);

-- Events handed out together. open: those not yet settled, as LEB128 differences, the first one
-- to 0; first is the smallest of them. An even owner is no consumer but a pipe: they are handed out
-- until lease, on the clock that counts from boot, which each settle renews for term milliseconds.
-- made: when they were handed out.
CREATE TABLE claim(claim INTEGER PRIMARY KEY, grp INTEGER NOT NULL, owner INTEGER NOT NULL,
  first INTEGER NOT NULL, open BLOB NOT NULL, lease INTEGER, term INTEGER, boot TEXT,
  made INTEGER) STRICT;
CREATE INDEX claim_owner ON claim(grp, owner);
CREATE INDEX claim_lease ON claim(grp, boot, lease) WHERE lease IS NOT NULL;

-- Events that a group has to remember one by one. state: 0 waiting until due, 1 claimed, 2 behind
-- an earlier event of its subject (due: its notbefore), 3 dead (due: since when). deaths: consumers
-- that died while they had it. subject: in ordered groups only. Of the dead there may be many: they
-- are in no index that a claim or a settle goes through.
CREATE TABLE item(grp INTEGER NOT NULL, seq INTEGER NOT NULL, state INTEGER NOT NULL,
  due INTEGER NOT NULL, attempts INTEGER NOT NULL, deaths INTEGER NOT NULL, subject TEXT,
  PRIMARY KEY(grp, seq)) STRICT, WITHOUT ROWID;
CREATE INDEX item_due ON item(grp, due, seq) WHERE state = 0;
CREATE INDEX item_subject ON item(grp, subject, seq) WHERE subject IS NOT NULL AND state <> 3;
CREATE INDEX item_dead ON item(grp, seq) WHERE state = 3;

-- What happened to an item's event, attempt by attempt; kept until it is done or dropped.
-- status as the shell shows it, 0 when there was none; tail: the last of what went to stderr.
CREATE TABLE attempt(grp INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL,
  time INTEGER NOT NULL, took INTEGER NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL,
  tail BLOB NOT NULL) STRICT;
CREATE INDEX attempt_of ON attempt(grp, seq, n);

-- What groups did, counted in the transactions that settle: outcomes, and milliseconds in handlers.
CREATE TABLE tally(grp INTEGER NOT NULL, type TEXT NOT NULL, done INTEGER NOT NULL,
  retried INTEGER NOT NULL, dead INTEGER NOT NULL, deferred INTEGER NOT NULL,
  took INTEGER NOT NULL, PRIMARY KEY(grp, type)) STRICT, WITHOUT ROWID;

-- How many handlers took up to le milliseconds, and longer than the next smaller le.
CREATE TABLE duration(grp INTEGER NOT NULL, type TEXT NOT NULL, le INTEGER NOT NULL,
  n INTEGER NOT NULL, PRIMARY KEY(grp, type, le)) STRICT, WITHOUT ROWID;

-- What wrappers keep between their runs, one value a name: the state of a breaker, of a bucket, of
-- a key. rev is another one after each change, and no number comes back. expires: from then on it
-- is as if it were not there.
CREATE TABLE document(kind TEXT NOT NULL, name TEXT NOT NULL, rev INTEGER NOT NULL,
  expires INTEGER, value BLOB NOT NULL, PRIMARY KEY(kind, name)) STRICT;
CREATE INDEX document_expires ON document(expires) WHERE expires IS NOT NULL;

-- lock: the token that SPOOL-lock holds, a space, and its inode number. sums: the last position whose
-- checksum is one of schema 1; absent when there was no such schema.
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

PRAGMA application_id = 1702262132;
PRAGMA user_version = 2;
