-- Schema 1 for SQLite. Times are milliseconds since 1970, ids 16 bytes, states the numbers of core.values.
-- `bucket` is in no index: it is there so that a table can be partitioned or sharded later.

CREATE TABLE store (schema INTEGER NOT NULL, oldest_reader INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;

CREATE TABLE tenant (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL) STRICT;

CREATE TABLE message (
  id BLOB PRIMARY KEY, tenant INTEGER NOT NULL, lane INTEGER NOT NULL, state INTEGER NOT NULL,
  due INTEGER NOT NULL, created INTEGER NOT NULL, retries INTEGER NOT NULL, retried INTEGER NOT NULL,
  attempt INTEGER NOT NULL, rescues INTEGER NOT NULL, version INTEGER NOT NULL, node INTEGER,
  started INTEGER, ended INTEGER, cancel INTEGER, kind INTEGER NOT NULL, parent BLOB, bucket INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX message_lane ON message (lane, due, id) WHERE state = 0;
CREATE INDEX message_node ON message (node, id) WHERE state = 1;
CREATE INDEX message_open ON message (tenant, id) WHERE state < 5;
CREATE INDEX message_ended ON message (state, ended, id) WHERE state >= 5;

CREATE TABLE request (
  id BLOB PRIMARY KEY, tenant INTEGER NOT NULL, url TEXT NOT NULL, method TEXT NOT NULL, headers BLOB NOT NULL,
  options BLOB NOT NULL, digest BLOB NOT NULL, bucket INTEGER NOT NULL, body BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
  message BLOB NOT NULL, number INTEGER NOT NULL, node INTEGER NOT NULL, started INTEGER NOT NULL,
  ended INTEGER NOT NULL, outcome BLOB NOT NULL, retried INTEGER NOT NULL, bucket INTEGER NOT NULL,
  PRIMARY KEY (message, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  tenant INTEGER NOT NULL, time INTEGER NOT NULL, message BLOB NOT NULL, attempt INTEGER NOT NULL,
  kind INTEGER NOT NULL, next_due INTEGER, note TEXT, bucket INTEGER NOT NULL,
  PRIMARY KEY (tenant, time, message, attempt, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letter (
  tenant INTEGER NOT NULL, time INTEGER NOT NULL, message BLOB NOT NULL, attempt INTEGER NOT NULL,
  bucket INTEGER NOT NULL, PRIMARY KEY (tenant, time, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE dedup (
  tenant INTEGER NOT NULL, key BLOB NOT NULL, message BLOB NOT NULL, created INTEGER NOT NULL,
  until INTEGER NOT NULL, bucket INTEGER NOT NULL, PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedup_until ON dedup (until);

CREATE TABLE lane (
  id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL,
  parallelism INTEGER, rate INTEGER, period_ms INTEGER NOT NULL, pinned_parallelism INTEGER NOT NULL,
  pinned_rate INTEGER NOT NULL, paused INTEGER NOT NULL, active INTEGER NOT NULL, waiting INTEGER NOT NULL,
  period_start INTEGER NOT NULL, rate_count INTEGER NOT NULL, next_due INTEGER, bucket INTEGER NOT NULL
) STRICT;
CREATE INDEX lane_due ON lane (tenant, next_due) WHERE next_due IS NOT NULL;

CREATE TABLE node (
  id INTEGER PRIMARY KEY, label TEXT NOT NULL, started INTEGER NOT NULL, beat INTEGER NOT NULL, dead INTEGER NOT NULL
) STRICT;

CREATE TABLE token (
  hash BLOB PRIMARY KEY, tenant INTEGER NOT NULL, name TEXT NOT NULL, scope TEXT NOT NULL, created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_key (
  tenant INTEGER PRIMARY KEY, current TEXT NOT NULL, next TEXT NOT NULL, rotated INTEGER NOT NULL
) STRICT;

CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
