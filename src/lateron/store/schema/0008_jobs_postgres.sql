-- Bulk jobs; and what was made from a message (callbacks, retries of its dead letter), found from it.

CREATE TABLE bulk_job (
  id bytea PRIMARY KEY, tenant bigint NOT NULL, state smallint NOT NULL, asked bytea NOT NULL, author text NOT NULL,
  created bigint NOT NULL, bound bytea NOT NULL, place_time bigint, place bytea, due bigint NOT NULL, total bigint,
  done bigint NOT NULL, failed bigint NOT NULL, put_off bigint NOT NULL, ended bigint, bucket smallint NOT NULL
);
CREATE INDEX bulk_job_tenant ON bulk_job (tenant, id);
CREATE INDEX bulk_job_open ON bulk_job (tenant, id) WHERE state = 0;
CREATE INDEX bulk_job_ended ON bulk_job (ended) WHERE ended IS NOT NULL;
CREATE INDEX message_parent ON message (parent) WHERE parent IS NOT NULL;
