-- Schedules. What changes with every tick stands apart from the request, which may be large.

CREATE TABLE schedule (
  key BLOB PRIMARY KEY, tenant INTEGER NOT NULL, id TEXT NOT NULL, cron TEXT NOT NULL, created INTEGER NOT NULL,
  paused INTEGER NOT NULL, due INTEGER, rules BLOB NOT NULL, runs INTEGER NOT NULL, missed INTEGER NOT NULL,
  skipped INTEGER NOT NULL, last BLOB, bucket INTEGER NOT NULL, UNIQUE (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX schedule_due ON schedule (due, key) WHERE due IS NOT NULL;

CREATE TABLE schedule_request (
  id BLOB PRIMARY KEY, url TEXT NOT NULL, method TEXT NOT NULL, headers BLOB NOT NULL, options BLOB NOT NULL,
  digest BLOB NOT NULL, bucket INTEGER NOT NULL, body BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE tick (
  schedule BLOB NOT NULL, time INTEGER NOT NULL, bucket INTEGER NOT NULL, PRIMARY KEY (schedule, time)
) STRICT, WITHOUT ROWID;
CREATE INDEX tick_time ON tick (time);
