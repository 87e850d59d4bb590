-- The spool on PostgreSQL: what share/schema.sql has, in this engine's words; see there for what the
-- columns mean. It runs in a schema of its own, which is first on the search path.
--
-- Text is COLLATE "C": its order is that of bytes, whatever the database's locale is. Lines are
-- bytes: jsonb would rewrite them. Tables of which every claim changes rows leave room in their
-- pages, so that a change of a row stays in its page and touches no index.

CREATE TABLE event(seq bigint PRIMARY KEY, recorded bigint NOT NULL, priority bigint NOT NULL,
  due bigint, expires bigint, version bigint, sums bigint NOT NULL, id text COLLATE "C" NOT NULL,
  source text COLLATE "C" NOT NULL, type text COLLATE "C" NOT NULL, subject text COLLATE "C",
  line bytea NOT NULL);
ALTER TABLE event ALTER line SET STORAGE MAIN;
CREATE UNIQUE INDEX event_id ON event(id, source);
CREATE INDEX event_priority ON event(priority, seq) WHERE priority <> 5;
CREATE UNIQUE INDEX event_version ON event(subject, version) WHERE version IS NOT NULL;

CREATE TABLE segment(seq bigint PRIMARY KEY, recorded bigint NOT NULL);

CREATE TABLE groups(grp bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE, patterns text NOT NULL, ordered bigint NOT NULL,
  rev bigint NOT NULL, paused bigint NOT NULL, hold bigint NOT NULL, paced bigint NOT NULL,
  created bigint NOT NULL, seen bigint NOT NULL) WITH (fillfactor = 50);

CREATE TABLE cursor(grp bigint NOT NULL, priority bigint NOT NULL, seq bigint NOT NULL,
  PRIMARY KEY(grp, priority)) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000);

-- owner: the key of the advisory lock that the consumer's session holds. boot: when the server of
-- that session started: locks of another life are over.
CREATE TABLE consumer(owner bigint PRIMARY KEY, pid bigint NOT NULL, started bigint NOT NULL,
  boot text COLLATE "C" NOT NULL, grp bigint NOT NULL);
CREATE INDEX consumer_group ON consumer(grp);

CREATE TABLE claim(claim bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, grp bigint NOT NULL,
  owner bigint NOT NULL, first bigint NOT NULL, open bytea NOT NULL, lease bigint, term bigint,
  boot text COLLATE "C", made bigint) WITH (fillfactor = 30, autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000);
ALTER TABLE claim ALTER open SET STORAGE MAIN;
CREATE INDEX claim_owner ON claim(grp, owner);
CREATE INDEX claim_lease ON claim(grp, boot, lease) WHERE lease IS NOT NULL;

CREATE TABLE item(grp bigint NOT NULL, seq bigint NOT NULL, state bigint NOT NULL,
  due bigint NOT NULL, attempts bigint NOT NULL, deaths bigint NOT NULL, subject text COLLATE "C",
  PRIMARY KEY(grp, seq)) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX item_due ON item(grp, due, seq) WHERE state = 0;
CREATE INDEX item_subject ON item(grp, subject, seq) WHERE subject IS NOT NULL AND state <> 3;
CREATE INDEX item_dead ON item(grp, seq) WHERE state = 3;

CREATE TABLE attempt(grp bigint NOT NULL, seq bigint NOT NULL, n bigint NOT NULL,
  time bigint NOT NULL, took bigint NOT NULL, status bigint NOT NULL, reason text NOT NULL,
  tail bytea NOT NULL);
CREATE INDEX attempt_of ON attempt(grp, seq, n);

CREATE TABLE tally(grp bigint NOT NULL, type text COLLATE "C" NOT NULL, done bigint NOT NULL,
  retried bigint NOT NULL, dead bigint NOT NULL, deferred bigint NOT NULL, took bigint NOT NULL,
  PRIMARY KEY(grp, type)) WITH (fillfactor = 30);

CREATE TABLE duration(grp bigint NOT NULL, type text COLLATE "C" NOT NULL, le bigint NOT NULL,
  n bigint NOT NULL, PRIMARY KEY(grp, type, le)) WITH (fillfactor = 30);

CREATE TABLE document(kind text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL,
  rev bigint NOT NULL, expires bigint, value bytea NOT NULL, PRIMARY KEY(kind, name))
  WITH (fillfactor = 50);
CREATE INDEX document_expires ON document(expires) WHERE expires IS NOT NULL;

CREATE TABLE meta(key text PRIMARY KEY, value text NOT NULL);
INSERT INTO meta(key, value) VALUES('schema', '1');
