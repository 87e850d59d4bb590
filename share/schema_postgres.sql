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

-- Most rows come and go unchanged, so they leave little room: it is what the table takes that counts
-- until the next vacuum.
CREATE TABLE claim(claim bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, grp bigint NOT NULL,
  owner bigint NOT NULL, first bigint NOT NULL, open bytea NOT NULL, lease bigint, term bigint,
  boot text COLLATE "C", made bigint) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0,
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

-- Rows are only added, and the sum of them counts (lib/store/sql/tally.c): a changed row is slow to
-- read while somebody looks at the past.
CREATE TABLE tally(added bigint GENERATED ALWAYS AS IDENTITY, grp bigint NOT NULL,
  type text COLLATE "C" NOT NULL, done bigint NOT NULL, retried bigint NOT NULL, dead bigint NOT NULL,
  deferred bigint NOT NULL, took bigint NOT NULL, PRIMARY KEY(grp, added))
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE duration(added bigint GENERATED ALWAYS AS IDENTITY, grp bigint NOT NULL,
  type text COLLATE "C" NOT NULL, le bigint NOT NULL, n bigint NOT NULL, PRIMARY KEY(grp, added))
  WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE TABLE document(kind text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL,
  rev bigint NOT NULL, expires bigint, value bytea NOT NULL, PRIMARY KEY(kind, name))
  WITH (fillfactor = 50);
CREATE INDEX document_expires ON document(expires) WHERE expires IS NOT NULL;

CREATE TABLE meta(key text PRIMARY KEY, value text NOT NULL);
INSERT INTO meta(key, value) VALUES('schema', '1');

-- The views that spool sql reads, as spool(1) has them.
CREATE FUNCTION rfc3339(ms bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT
  to_char(to_timestamp(nullif(ms, 0) / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') $$;

-- Text that holds JSON, as in SQLite: what a key or a number leads to.
CREATE FUNCTION json_at(json text, key text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT
  json::json ->> key $$;
CREATE FUNCTION json_at(json text, n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT
  json::json ->> n $$;
CREATE FUNCTION json_in(json text, key text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT
  (json::json -> key)::text $$;
CREATE FUNCTION json_in(json text, n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT
  (json::json -> n)::text $$;
CREATE OPERATOR ->> (LEFTARG = text, RIGHTARG = text, FUNCTION = json_at);
CREATE OPERATOR ->> (LEFTARG = text, RIGHTARG = int, FUNCTION = json_at);
CREATE OPERATOR -> (LEFTARG = text, RIGHTARG = text, FUNCTION = json_in);
CREATE OPERATOR -> (LEFTARG = text, RIGHTARG = int, FUNCTION = json_in);

-- The positions in a claim: LEB128 differences.
CREATE FUNCTION open_list(open bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT
  coalesce('[' || string_agg(seq::text, ',' ORDER BY n) || ']', '[]') FROM (SELECT n,
  sum(sum(b::bigint << (7 * k))) OVER (ORDER BY n) AS seq FROM (SELECT n, b & 127 AS b,
  (row_number() OVER (PARTITION BY n ORDER BY i) - 1)::int AS k FROM (SELECT i, get_byte(open, i) AS b,
  count(*) FILTER (WHERE get_byte(open, i) < 128) OVER (ORDER BY i ROWS BETWEEN UNBOUNDED PRECEDING
  AND 1 PRECEDING) AS n FROM generate_series(0, length(open) - 1) i) bytes) numbered GROUP BY n) sums $$;

CREATE VIEW events AS SELECT seq, rfc3339(recorded) AS recorded, id, source, type, subject,
  convert_from(line, 'UTF8')::json ->> 'time' AS time, priority, rfc3339(due) AS notbefore,
  rfc3339(expires) AS expirytime, version,
  convert_from(line, 'UTF8')::json ->> 'correlationid' AS correlationid,
  convert_from(line, 'UTF8')::json ->> 'causationid' AS causationid,
  coalesce((convert_from(line, 'UTF8')::json -> 'data')::text,
    convert_from(line, 'UTF8')::json ->> 'data_base64') AS data,
  convert_from(line, 'UTF8') AS event FROM event;

CREATE VIEW group_list AS SELECT name AS group_name, CASE patterns WHEN '[]' THEN '["#"]' ELSE
  patterns END AS types, ordered, paused, rfc3339(hold) AS hold_until, (SELECT seq FROM cursor c
  WHERE c.grp = t.grp AND c.priority = 5) AS position, (SELECT count(*) FROM item i WHERE i.grp = t.grp
  AND i.state IN (0, 2)) AS waiting, (SELECT count(*) FROM item i WHERE i.grp = t.grp AND
  i.state = 3) AS dead, rfc3339(created) AS created, rfc3339(seen) AS seen FROM groups t;

CREATE VIEW waiting AS SELECT (SELECT name FROM groups g WHERE g.grp = t.grp) AS group_name, seq,
  CASE state WHEN 0 THEN 'waiting' WHEN 1 THEN 'claimed' ELSE 'behind' END AS state,
  rfc3339(due) AS due, attempts, deaths FROM item t WHERE state <> 3;

CREATE VIEW dead_letters AS SELECT (SELECT name FROM groups g WHERE g.grp = t.grp) AS group_name, seq,
  rfc3339(due) AS died, attempts, deaths FROM item t WHERE state = 3;

CREATE VIEW attempts AS SELECT (SELECT name FROM groups g WHERE g.grp = t.grp) AS group_name, seq, n,
  rfc3339(time) AS time, took AS took_ms, status, reason, convert_from(tail, 'UTF8') AS stderr
  FROM attempt t;

CREATE VIEW claims AS SELECT claim, (SELECT name FROM groups g WHERE g.grp = t.grp) AS group_name,
  (SELECT pid FROM consumer c WHERE c.owner = t.owner) AS pid, (lease IS NOT NULL)::int AS leased,
  first AS first_seq, open_list(open) AS open FROM claim t;

CREATE VIEW outcomes AS SELECT (SELECT name FROM groups g WHERE g.grp = t.grp) AS group_name, type,
  sum(done)::bigint AS done, sum(retried)::bigint AS retried, sum(dead)::bigint AS dead,
  sum(deferred)::bigint AS deferred, sum(took)::bigint AS took_ms FROM tally t GROUP BY grp, type;

CREATE VIEW durations AS SELECT (SELECT name FROM groups g WHERE g.grp = t.grp) AS group_name, type,
  le AS le_ms, sum(n)::bigint AS n FROM duration t GROUP BY grp, type, le;

CREATE VIEW documents AS SELECT kind, name, rev, rfc3339(expires) AS expires,
  convert_from(value, 'UTF8') AS value FROM document;
