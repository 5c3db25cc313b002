-- The audit log: one record for each call that changed something. Its own retention goes by time.

CREATE TABLE audit (
  tenant bigint NOT NULL, time bigint NOT NULL, request text NOT NULL, kind text NOT NULL, who text NOT NULL,
  address text NOT NULL, action text NOT NULL, object text NOT NULL, filter text NOT NULL, count bigint,
  status bigint NOT NULL, PRIMARY KEY (tenant, time, request)
);
CREATE INDEX audit_time ON audit (time);
