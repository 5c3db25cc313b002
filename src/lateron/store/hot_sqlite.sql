-- The statements of every message's way, for SQLite. `@rows` becomes a list of rows of the statement's own
-- width, `@ids` a list of values, both in fixed sizes so that prepared statements are found again. Rows that differ
-- in nothing but their first columns go into the statement `..._alike`, which names all others once, as ?1, ?2, ...

-- insert_messages: columns in the order of core.values.Message
INSERT INTO message (id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started,
  ended, cancel, kind, parent, queue, seq, slot, root, bucket)
VALUES @rows(22);

-- insert_messages_alike
INSERT INTO message (id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started,
  ended, cancel, kind, parent, queue, seq, slot, root, bucket)
SELECT v.column1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21
FROM (VALUES @rows(1)) AS v;

-- insert_requests
INSERT INTO request (id, digest, body, tenant, url, method, headers, options, bucket) VALUES @rows(9);

-- insert_requests_alike
INSERT INTO request (id, digest, body, tenant, url, method, headers, options, bucket)
SELECT v.column1, v.column2, v.column3, ?1, ?2, ?3, ?4, ?5, ?6 FROM (VALUES @rows(3)) AS v;

-- insert_attempts
INSERT INTO attempt (message, outcome, number, node, started, ended, retried, bucket) VALUES @rows(8);

-- insert_attempts_alike
INSERT INTO attempt (message, outcome, number, node, started, ended, retried, bucket)
SELECT v.column1, v.column2, ?1, ?2, ?3, ?4, ?5, ?6 FROM (VALUES @rows(2)) AS v;

-- insert_events
INSERT INTO event (message, tenant, time, attempt, kind, next_due, note, bucket) VALUES @rows(8);

-- insert_events_alike
INSERT INTO event (message, tenant, time, attempt, kind, next_due, note, bucket)
SELECT v.column1, ?1, ?2, ?3, ?4, ?5, ?6, ?7 FROM (VALUES @rows(1)) AS v;

-- insert_dedup: the returned keys are ours; a record that has run out is taken over
INSERT INTO dedup (tenant, key, message, created, until, bucket) VALUES @rows(6)
ON CONFLICT (tenant, key) DO UPDATE
  SET message = excluded.message, created = excluded.created, until = excluded.until
  WHERE dedup.until <= excluded.created
RETURNING tenant, key;

-- load_messages
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE id IN (@ids);

-- load_requests
SELECT id, url, method, headers, options, digest, body, tenant FROM request WHERE id IN (@ids);

-- save_messages: absolute values; the rows were read in this transaction
UPDATE message SET state = v.column2, due = v.column3, retried = v.column4, attempt = v.column5, rescues = v.column6,
  version = v.column7, node = v.column8, started = v.column9, ended = v.column10, cancel = v.column11,
  slot = v.column12
FROM (VALUES @rows(12)) AS v WHERE message.id = v.column1;

-- save_messages_alike
UPDATE message SET state = ?1, due = ?2, retried = ?3, attempt = ?4, rescues = ?5, version = ?6, node = ?7, started = ?8,
  ended = ?9, cancel = ?10, slot = ?11
WHERE id IN (@ids);

-- load_lanes
SELECT id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active, waiting,
  period_start, rate_count, next_due, earliest
FROM lane WHERE id IN (@ids);

-- save_lanes: absolute values, each row once per transaction
INSERT INTO lane (id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active,
  waiting, period_start, rate_count, next_due, earliest, bucket)
VALUES @rows(17)
ON CONFLICT (id) DO UPDATE SET parallelism = excluded.parallelism, rate = excluded.rate, period_ms = excluded.period_ms,
  pinned_parallelism = excluded.pinned_parallelism, pinned_rate = excluded.pinned_rate, paused = excluded.paused,
  active = excluded.active, waiting = excluded.waiting, period_start = excluded.period_start,
  rate_count = excluded.rate_count, next_due = excluded.next_due, earliest = excluded.earliest;

-- due_lanes: the lanes of one tenant that may start a message, those due longest first
SELECT id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active, waiting,
  period_start, rate_count, next_due, earliest
FROM lane WHERE tenant = ? AND next_due <= ? ORDER BY next_due, id LIMIT ?;

-- take: the first n waiting messages of each lane (lane, n); a walk over the index, one seek for each row
WITH RECURSIVE v (lane, n) AS (VALUES @rows(2)), heads (lane, n, id, due) AS (
  SELECT v.lane, v.n, m.id, m.due FROM v CROSS JOIN message AS m
  ON m.id = (SELECT id FROM message WHERE lane = v.lane AND state = 0 ORDER BY due, id LIMIT 1)
  UNION ALL
  SELECT heads.lane, heads.n - 1, m.id, m.due FROM heads CROSS JOIN message AS m
  ON m.id = (SELECT id FROM message WHERE lane = heads.lane AND state = 0 AND (due, id) > (heads.due, heads.id)
             ORDER BY due, id LIMIT 1)
  WHERE heads.n > 1)
SELECT lane, id, due FROM heads;
