-- Schedules. What changes with every tick stands apart from the request, which may be large.

CREATE TABLE schedule (
  key bytea PRIMARY KEY, tenant bigint NOT NULL, id text NOT NULL, cron text NOT NULL, created bigint NOT NULL,
  paused bigint NOT NULL, due bigint, rules bytea NOT NULL, runs bigint NOT NULL, missed bigint NOT NULL,
  skipped bigint NOT NULL, last bytea, bucket smallint NOT NULL, UNIQUE (tenant, id)
);
CREATE INDEX schedule_due ON schedule (due, key) WHERE due IS NOT NULL;

CREATE TABLE schedule_request (
  id bytea PRIMARY KEY, url text NOT NULL, method text NOT NULL, headers bytea NOT NULL, options bytea NOT NULL,
  digest bytea NOT NULL, bucket smallint NOT NULL, body bytea
);

CREATE TABLE tick (
  schedule bytea NOT NULL, time bigint NOT NULL, bucket smallint NOT NULL, PRIMARY KEY (schedule, time)
);
CREATE INDEX tick_time ON tick (time);
