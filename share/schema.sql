-- The spool, schema 2. This text is compiled in, runs when a spool is created, and is compared
-- with the text in a spool each time a spool is opened: a foreign trigger or table is refused.
--
-- To change the schema, see CONTRIBUTING.md. State what a new index costs on the publish path: the
-- id index is most of an insert; an index on type would cost a quarter of all publishing, and
-- reading through it is slower than a scan.
--
-- All times are milliseconds since 1970, of the wall clock.

-- The log. line is the event as it was accepted; sums holds the checksums of line and of the rest
-- of the row (lib/store/sql/sum.c). due and expires are notbefore and expirytime; priority is 0 to 9
-- (default 5).
CREATE TABLE event(seq INTEGER PRIMARY KEY, recorded INTEGER NOT NULL, priority INTEGER NOT NULL,
  due INTEGER, expires INTEGER, version INTEGER, sums INTEGER NOT NULL, id TEXT NOT NULL,
  source TEXT NOT NULL, type TEXT NOT NULL, subject TEXT, line BLOB NOT NULL) STRICT;

-- The deduplication key. id comes first, so that the index also serves a lookup by id alone.
CREATE UNIQUE INDEX event_id ON event(id, source);

-- Only events with a priority other than 5 have an entry here: the others cost nothing.
CREATE INDEX event_priority ON event(priority, seq) WHERE priority <> 5;

-- Only events with a version have an entry here.
CREATE UNIQUE INDEX event_version ON event(subject, version) WHERE version IS NOT NULL;

-- A segment begins where the clock went back: recorded does not decrease from seq to the next
-- segment.
CREATE TABLE segment(seq INTEGER PRIMARY KEY, recorded INTEGER NOT NULL) STRICT;

-- patterns is a JSON array. rev increases with each change, so that a claim prepared outside the
-- write lock notices the change. No event is claimed while the group is paused, or before hold.
-- paced: with --rate, the time from which the next event may be claimed. seen: when a consumer last
-- started or ended. ordered: 2 until the rows of an ordered group are in order, then 1.
CREATE TABLE groups(grp INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
  patterns TEXT NOT NULL, ordered INTEGER NOT NULL, rev INTEGER NOT NULL,
  paused INTEGER NOT NULL, hold INTEGER NOT NULL, paced INTEGER NOT NULL,
  created INTEGER NOT NULL, seen INTEGER NOT NULL) STRICT;

-- Ten rows per group: for each priority, the position up to which its events were passed.
CREATE TABLE cursor(grp INTEGER NOT NULL, priority INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY(grp, priority)) STRICT, WITHOUT ROWID;

-- A consumer that has or had claims. owner is also the offset of the byte that it keeps locked in
-- SPOOL-lock; if that file was replaced, pid, started (clock ticks since boot) and boot decide
-- whether the consumer lives.
CREATE TABLE consumer(owner INTEGER PRIMARY KEY, pid INTEGER NOT NULL, started INTEGER NOT NULL,
  boot TEXT NOT NULL, grp INTEGER NOT NULL) STRICT;
CREATE INDEX consumer_group ON consumer(grp);

-- Events handed out together. open: the positions not yet settled, as LEB128 differences, the first
-- of them to 0; first is the smallest of them. An even owner is a pipe, not a consumer: its events
-- are handed out until lease, on the clock that counts from boot; each settle renews the lease for
-- term milliseconds. made: when the events were handed out.
CREATE TABLE claim(claim INTEGER PRIMARY KEY, grp INTEGER NOT NULL, owner INTEGER NOT NULL,
  first INTEGER NOT NULL, open BLOB NOT NULL, lease INTEGER, term INTEGER, boot TEXT,
  made INTEGER) STRICT;
CREATE INDEX claim_owner ON claim(grp, owner);
CREATE INDEX claim_lease ON claim(grp, boot, lease) WHERE lease IS NOT NULL;

-- Events that a group has to remember one by one. state: 0 waiting until due, 1 claimed, 2 behind
-- an earlier event of its subject (due: its notbefore), 3 dead (due: since when). deaths: how many
-- consumers died while they held the event. subject: in ordered groups only. There may be
-- many dead events: they are in no index that a claim or a settle reads.
CREATE TABLE item(grp INTEGER NOT NULL, seq INTEGER NOT NULL, state INTEGER NOT NULL,
  due INTEGER NOT NULL, attempts INTEGER NOT NULL, deaths INTEGER NOT NULL, subject TEXT,
  PRIMARY KEY(grp, seq)) STRICT, WITHOUT ROWID;
CREATE INDEX item_due ON item(grp, due, seq) WHERE state = 0;
CREATE INDEX item_subject ON item(grp, subject, seq) WHERE subject IS NOT NULL AND state <> 3;
CREATE INDEX item_dead ON item(grp, seq) WHERE state = 3;

-- The attempts at an item's event; kept until the event is done or dropped. status: as the shell
-- shows it, 0 if there was none; tail: the end of what the attempt wrote to stderr.
CREATE TABLE attempt(grp INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL,
  time INTEGER NOT NULL, took INTEGER NOT NULL, status INTEGER NOT NULL, reason TEXT NOT NULL,
  tail BLOB NOT NULL) STRICT;
CREATE INDEX attempt_of ON attempt(grp, seq, n);

-- Outcomes per group and type, and milliseconds spent in handlers, counted in the transactions that
-- settle.
CREATE TABLE tally(grp INTEGER NOT NULL, type TEXT NOT NULL, done INTEGER NOT NULL,
  retried INTEGER NOT NULL, dead INTEGER NOT NULL, deferred INTEGER NOT NULL,
  took INTEGER NOT NULL, PRIMARY KEY(grp, type)) STRICT, WITHOUT ROWID;

-- The number of handlers that took up to le milliseconds, and longer than the next smaller le.
CREATE TABLE duration(grp INTEGER NOT NULL, type TEXT NOT NULL, le INTEGER NOT NULL,
  n INTEGER NOT NULL, PRIMARY KEY(grp, type, le)) STRICT, WITHOUT ROWID;

-- State that commands keep between runs, one value per name: of a breaker, a bucket, a key, a state
-- machine's subject, a saga, a snapshot. Each change sets a new rev; no number is used twice.
-- expires: from then on the document counts as missing.
CREATE TABLE document(kind TEXT NOT NULL, name TEXT NOT NULL, rev INTEGER NOT NULL,
  expires INTEGER, value BLOB NOT NULL, PRIMARY KEY(kind, name)) STRICT;
CREATE INDEX document_expires ON document(expires) WHERE expires IS NOT NULL;

-- lock: the token that SPOOL-lock holds, a space, and its inode number. sums: the last position
-- whose checksum is of the form of schema 1; absent if the spool had no events of schema 1.
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

PRAGMA application_id = 1702262132;
PRAGMA user_version = 2;
