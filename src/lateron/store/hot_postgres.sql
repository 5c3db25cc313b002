-- The statements of every message's way, for PostgreSQL. `@rows` and `@ids` as in the SQLite file; values in a
-- FROM list carry their types, because PostgreSQL would take them for text.

-- insert_messages
INSERT INTO message (id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started,
  ended, cancel, kind, parent, queue, seq, slot, root, bucket)
VALUES @rows(22);

-- insert_requests
INSERT INTO request (id, digest, body, tenant, url, method, headers, options, bucket) VALUES @rows(9);

-- insert_attempts
INSERT INTO attempt (message, outcome, number, node, started, ended, retried, bucket) VALUES @rows(8);

-- insert_events
INSERT INTO event (message, tenant, time, attempt, kind, next_due, note, bucket) VALUES @rows(8);

-- insert_dedup
INSERT INTO dedup (tenant, key, message, created, until, bucket) VALUES @rows(6)
ON CONFLICT (tenant, key) DO UPDATE
  SET message = excluded.message, created = excluded.created, until = excluded.until
  WHERE dedup.until <= excluded.created
RETURNING tenant, key;

-- load_messages: locked in the order of their ids
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE id IN (@ids) ORDER BY id FOR UPDATE;

-- load_requests
SELECT id, url, method, headers, options, digest, body, tenant FROM request WHERE id IN (@ids);

-- save_messages
UPDATE message SET state = v.state, due = v.due, retried = v.retried, attempt = v.attempt, rescues = v.rescues,
  version = v.version, node = v.node, started = v.started, ended = v.ended, cancel = v.cancel, slot = v.slot
FROM (VALUES @rows(12: bytea smallint bigint integer integer integer bigint bigint bigint bigint bigint smallint))
  AS v (id, state, due, retried, attempt, rescues, version, node, started, ended, cancel, slot)
WHERE message.id = v.id;

-- load_lanes: locked in the order of their ids, before any message
SELECT id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active, waiting,
  period_start, rate_count, next_due, earliest
FROM lane WHERE id IN (@ids) ORDER BY id FOR UPDATE;

-- save_lanes
INSERT INTO lane (id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active,
  waiting, period_start, rate_count, next_due, earliest, bucket)
VALUES @rows(17)
ON CONFLICT (id) DO UPDATE SET parallelism = excluded.parallelism, rate = excluded.rate, period_ms = excluded.period_ms,
  pinned_parallelism = excluded.pinned_parallelism, pinned_rate = excluded.pinned_rate, paused = excluded.paused,
  active = excluded.active, waiting = excluded.waiting, period_start = excluded.period_start,
  rate_count = excluded.rate_count, next_due = excluded.next_due, earliest = excluded.earliest;

-- due_lanes: a lane that another node holds is passed over, never waited for
SELECT id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active, waiting,
  period_start, rate_count, next_due, earliest
FROM lane WHERE tenant = ? AND next_due <= ? ORDER BY next_due, id LIMIT ? FOR UPDATE SKIP LOCKED;

-- take
SELECT v.lane, m.id, m.due FROM (VALUES @rows(2: bigint integer)) AS v (lane, n) CROSS JOIN LATERAL
  (SELECT id, due FROM message WHERE lane = v.lane AND state = 0 ORDER BY due, id LIMIT v.n) AS m;
