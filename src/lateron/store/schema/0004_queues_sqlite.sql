-- Queues: the order and the slots of messages that have one. A message without a queue is in none of these indexes.

ALTER TABLE message ADD COLUMN queue INTEGER;
ALTER TABLE message ADD COLUMN seq INTEGER;
ALTER TABLE message ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE message ADD COLUMN root BLOB;
CREATE INDEX message_queue ON message (queue, seq) WHERE state = 2;
CREATE INDEX message_slot ON message (queue, seq) WHERE slot = 1;
CREATE INDEX message_root ON message (root) WHERE root IS NOT NULL AND state < 5;
CREATE INDEX message_parked ON message (lane) WHERE state IN (2, 4);

CREATE TABLE queue (
  id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL,
  parallelism INTEGER NOT NULL, paused INTEGER NOT NULL, deleted INTEGER NOT NULL, held INTEGER NOT NULL,
  lag INTEGER NOT NULL, next_seq INTEGER NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,
  bucket INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX queue_name ON queue (tenant, kind, name) WHERE deleted = 0;
CREATE INDEX queue_deleted ON queue (id) WHERE deleted = 1;
