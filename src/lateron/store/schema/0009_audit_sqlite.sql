-- The audit log: one record for each call that changed something. Its own retention goes by time.

CREATE TABLE audit (
  tenant INTEGER NOT NULL, time INTEGER NOT NULL, request TEXT NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL,
  address TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL, filter TEXT NOT NULL, count INTEGER,
  status INTEGER NOT NULL, PRIMARY KEY (tenant, time, request)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_time ON audit (time);
