-- Queues: the order and the slots of messages that have one. A message without a queue is in none of these indexes.

ALTER TABLE message ADD COLUMN queue bigint;
ALTER TABLE message ADD COLUMN seq bigint;
ALTER TABLE message ADD COLUMN slot smallint NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN root bytea;
CREATE INDEX message_queue ON message (queue, seq) WHERE state = 2;
CREATE INDEX message_slot ON message (queue, seq) WHERE slot = 1;
CREATE INDEX message_root ON message (root) WHERE root IS NOT NULL AND state < 5;
CREATE INDEX message_parked ON message (lane) WHERE state IN (2, 4);

CREATE TABLE queue (
  id bigint PRIMARY KEY, tenant bigint NOT NULL, kind bigint NOT NULL, name text NOT NULL,
  parallelism bigint NOT NULL, paused bigint NOT NULL, deleted bigint NOT NULL, held bigint NOT NULL,
  lag bigint NOT NULL, next_seq bigint NOT NULL, created bigint NOT NULL, updated bigint NOT NULL,
  bucket smallint NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX queue_name ON queue (tenant, kind, name) WHERE deleted = 0;
CREATE INDEX queue_deleted ON queue (id) WHERE deleted = 1;
