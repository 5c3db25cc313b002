-- Schema 1 for PostgreSQL. Times are milliseconds since 1970, ids 16 bytes, states the numbers of core.values.
-- `bucket` is in no index: it is there so that a table can be partitioned or sharded later.

CREATE TABLE store (schema bigint NOT NULL, oldest_reader bigint NOT NULL, created bigint NOT NULL);

CREATE TABLE tenant (id bigint PRIMARY KEY, name text NOT NULL UNIQUE, created bigint NOT NULL);

CREATE TABLE message (
  id bytea PRIMARY KEY, tenant bigint NOT NULL, lane bigint NOT NULL, state smallint NOT NULL,
  due bigint NOT NULL, created bigint NOT NULL, retries integer NOT NULL, retried integer NOT NULL,
  attempt integer NOT NULL, rescues integer NOT NULL, version bigint NOT NULL, node bigint,
  started bigint, ended bigint, cancel bigint, kind smallint NOT NULL, parent bytea, bucket smallint NOT NULL
) WITH (fillfactor = 90);
CREATE INDEX message_lane ON message (lane, due, id) WHERE state = 0;
CREATE INDEX message_node ON message (node, id) WHERE state = 1;
CREATE INDEX message_open ON message (tenant, id) WHERE state < 5;
CREATE INDEX message_ended ON message (state, ended, id) WHERE state >= 5;

CREATE TABLE request (
  id bytea PRIMARY KEY, tenant bigint NOT NULL, url text NOT NULL, method text NOT NULL, headers bytea NOT NULL,
  options bytea NOT NULL, digest bytea NOT NULL, bucket smallint NOT NULL, body bytea
);

CREATE TABLE attempt (
  message bytea NOT NULL, number integer NOT NULL, node bigint NOT NULL, started bigint NOT NULL,
  ended bigint NOT NULL, outcome bytea NOT NULL, retried integer NOT NULL, bucket smallint NOT NULL,
  PRIMARY KEY (message, number)
);

CREATE TABLE event (
  tenant bigint NOT NULL, time bigint NOT NULL, message bytea NOT NULL, attempt integer NOT NULL,
  kind smallint NOT NULL, next_due bigint, note text, bucket smallint NOT NULL,
  PRIMARY KEY (tenant, time, message, attempt, kind)
);

CREATE TABLE dead_letter (
  tenant bigint NOT NULL, time bigint NOT NULL, message bytea NOT NULL, attempt integer NOT NULL,
  bucket smallint NOT NULL, PRIMARY KEY (tenant, time, message)
);

CREATE TABLE dedup (
  tenant bigint NOT NULL, key bytea NOT NULL, message bytea NOT NULL, created bigint NOT NULL,
  until bigint NOT NULL, bucket smallint NOT NULL, PRIMARY KEY (tenant, key)
);
CREATE INDEX dedup_until ON dedup (until);

CREATE TABLE lane (
  id bigint PRIMARY KEY, tenant bigint NOT NULL, kind smallint NOT NULL, name text NOT NULL,
  parallelism bigint, rate bigint, period_ms bigint NOT NULL, pinned_parallelism bigint NOT NULL,
  pinned_rate bigint NOT NULL, paused bigint NOT NULL, active bigint NOT NULL, waiting bigint NOT NULL,
  period_start bigint NOT NULL, rate_count bigint NOT NULL, next_due bigint, bucket smallint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX lane_due ON lane (tenant, next_due) WHERE next_due IS NOT NULL;

CREATE TABLE node (
  id bigint PRIMARY KEY, label text NOT NULL, started bigint NOT NULL, beat bigint NOT NULL, dead bigint NOT NULL
);

CREATE TABLE token (
  hash bytea PRIMARY KEY, tenant bigint NOT NULL, name text NOT NULL, scope text NOT NULL, created bigint NOT NULL
);

CREATE TABLE signing_key (
  tenant bigint PRIMARY KEY, current text NOT NULL, next text NOT NULL, rotated bigint NOT NULL
);

CREATE TABLE setting (name text PRIMARY KEY, value text NOT NULL);
