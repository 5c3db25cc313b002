-- Bulk jobs; and what was made from a message (callbacks, retries of its dead letter), found from it.

CREATE TABLE bulk_job (
  id BLOB PRIMARY KEY, tenant INTEGER NOT NULL, state INTEGER NOT NULL, asked BLOB NOT NULL, author TEXT NOT NULL,
  created INTEGER NOT NULL, bound BLOB NOT NULL, place_time INTEGER, place BLOB, due INTEGER NOT NULL, total INTEGER,
  done INTEGER NOT NULL, failed INTEGER NOT NULL, put_off INTEGER NOT NULL, ended INTEGER, bucket INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX bulk_job_tenant ON bulk_job (tenant, id);
CREATE INDEX bulk_job_open ON bulk_job (tenant, id) WHERE state = 0;
CREATE INDEX bulk_job_ended ON bulk_job (ended) WHERE ended IS NOT NULL;
CREATE INDEX message_parent ON message (parent) WHERE parent IS NOT NULL;
