-- The cold statements, the same for both databases.

-- next_due: when to look at the lanes of a tenant again
SELECT next_due FROM lane WHERE tenant = ? AND next_due IS NOT NULL ORDER BY next_due LIMIT 1;

-- dedup_holders: which message holds a key (tenant, key)
SELECT tenant, key, message FROM dedup WHERE tenant = ? AND key = ?;

-- expire_dedup
DELETE FROM dedup WHERE (tenant, key) IN (SELECT tenant, key FROM dedup WHERE until <= ? ORDER BY until LIMIT ?);

-- open_after: messages of a tenant that do not rest, oldest first; those with an attempt open have an index of their own
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE tenant = ? AND state = 1 AND id > ?
UNION ALL
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE tenant = ? AND state < 5 AND state <> 1 AND id > ?
ORDER BY id LIMIT ?;

-- open_before: the same, newest first
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE tenant = ? AND state = 1 AND id < ?
UNION ALL
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE tenant = ? AND state < 5 AND state <> 1 AND id < ?
ORDER BY id DESC LIMIT ?;

-- owned: what a node holds
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE state = 1 AND node = ? ORDER BY tenant, id LIMIT ?;

-- ended_before: messages that came to rest in a state before a time, oldest first; one that still holds the slot of its
-- queue, because a callback of it does not rest, is needed
SELECT id FROM message WHERE state = ? AND ended < ? AND state >= 5 AND slot = 0 ORDER BY ended, id LIMIT ?;

-- read_message: without a lock, and only for its tenant
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE id = ? AND tenant = ?;

-- read_messages
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE id IN (@ids);

-- load_fences
SELECT id, state, version, node, cancel FROM message WHERE id IN (@ids) ORDER BY id {lock};

-- read_lanes
SELECT id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active, waiting,
  period_start, rate_count, next_due, earliest
FROM lane WHERE id IN (@ids);

-- lanes_named: lanes of a tenant and kind whose name holds a text, behind a name (tenant, kind, after, text, text, most)
SELECT id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active, waiting,
  period_start, rate_count, next_due, earliest
FROM lane WHERE tenant = ? AND kind = ? AND name > ? AND (? = '' OR replace(name, ?, '') <> name)
ORDER BY name LIMIT ?;

-- sleeping_lanes: behind a number, those of which nothing of their own keeps the head from starting
SELECT id, tenant, kind, name, parallelism, rate, period_ms, pinned_parallelism, pinned_rate, paused, active, waiting,
  period_start, rate_count, next_due, earliest
FROM lane WHERE id > ? AND next_due IS NULL AND waiting > 0 AND paused = 0
  AND (kind = 0 OR parallelism IS NULL OR active < parallelism) ORDER BY id LIMIT ? {skip};

-- wake_lanes: those of a tenant whose time was reckoned by a clock that has been set back since (now, tenant, now, most)
UPDATE lane SET next_due = ? WHERE id IN
  (SELECT id FROM lane WHERE tenant = ? AND next_due > ? ORDER BY next_due DESC LIMIT ?)
RETURNING id;

-- urls: where messages go
SELECT id, url FROM request WHERE id IN (@ids);

-- ahead: how many wait in a lane before (due, message), counted no further than a bound (lane, due, message, most)
SELECT count(*) FROM
  (SELECT 1 FROM message WHERE lane = ? AND state = 0 AND (due, id) < (?, ?) LIMIT ?) AS before;

-- waiting_due: messages of a lane whose time has come
SELECT count(*) FROM message WHERE lane = ? AND state = 0 AND due <= ?;

-- open_attempts: of the whole server, and of one tenant
SELECT count(*), count(CASE WHEN tenant = ? THEN 1 END) FROM message WHERE state = 1;

-- delete_messages
DELETE FROM message WHERE id IN (@ids);

-- delete_requests
DELETE FROM request WHERE id IN (@ids);

-- delete_attempts
DELETE FROM attempt WHERE message IN (@ids);

-- delete_events: those of a tenant before a time, in pieces
DELETE FROM event WHERE (tenant, time, message, attempt, kind) IN
  (SELECT tenant, time, message, attempt, kind FROM event WHERE tenant = ? AND time < ?
   ORDER BY tenant, time, message, attempt, kind LIMIT ?);

-- attempts_of
SELECT message, number, node, started, ended, outcome, retried FROM attempt WHERE message = ? ORDER BY number;

-- attempt_of
SELECT message, number, node, started, ended, outcome, retried FROM attempt WHERE message = ? AND number = ?;

-- events_of: all events of a message at one instant
SELECT tenant, time, message, attempt, kind, next_due, note FROM event WHERE tenant = ? AND time = ? AND message = ?
ORDER BY attempt, kind;

-- events_before: newest first
SELECT tenant, time, message, attempt, kind, next_due, note FROM event
WHERE tenant = ? AND (time, message, attempt, kind) < (?, ?, ?, ?) AND time >= ?
ORDER BY time DESC, message DESC, attempt DESC, kind DESC LIMIT ?;

-- events_after: oldest first
SELECT tenant, time, message, attempt, kind, next_due, note FROM event
WHERE tenant = ? AND (time, message, attempt, kind) > (?, ?, ?, ?) AND time <= ?
ORDER BY time, message, attempt, kind LIMIT ?;

-- insert_dead_letters
INSERT INTO dead_letter (tenant, time, message, attempt, bucket) VALUES @rows(5);

-- dead_letter
SELECT tenant, time, message, attempt FROM dead_letter WHERE tenant = ? AND time = ? AND message = ?;

-- dead_letters_before: newest first
SELECT tenant, time, message, attempt FROM dead_letter WHERE tenant = ? AND (time, message) < (?, ?) AND time >= ?
ORDER BY time DESC, message DESC LIMIT ?;

-- delete_dead_letter
DELETE FROM dead_letter WHERE tenant = ? AND time = ? AND message = ? RETURNING message;

-- expire_dead_letters
DELETE FROM dead_letter WHERE (tenant, time, message) IN
  (SELECT tenant, time, message FROM dead_letter WHERE tenant = ? AND time < ? ORDER BY tenant, time, message LIMIT ?)
RETURNING message;

-- count_waiting: by the second in which they are due, a piece of those behind a place (lane, due, id, how many)
SELECT counted.second, count(*) FROM (SELECT due / 1000 AS second FROM message
  WHERE state = 0 AND (lane, due, id) > (?, ?, ?) ORDER BY lane, due, id LIMIT ?) AS counted
GROUP BY counted.second;

-- waiting_behind: the place so many places behind another (lane, due, id, places)
SELECT lane, due, id FROM message WHERE state = 0 AND (lane, due, id) > (?, ?, ?) ORDER BY lane, due, id LIMIT 1 OFFSET ?;

-- count_parked: no further than a bound; asked once, at a start
SELECT count(*) FROM (SELECT 1 FROM message WHERE state IN (2, 4) LIMIT ?) AS counted;

-- count_active: as above
SELECT count(*) FROM (SELECT 1 FROM message WHERE state = 1 LIMIT ?) AS counted;

-- count_dead_letters: as above
SELECT count(*) FROM (SELECT 1 FROM dead_letter LIMIT ?) AS counted;

-- count_open_of: of one tenant, as above
SELECT count(*) FROM
  (SELECT 1 FROM message WHERE tenant = ? AND state = 1
   UNION ALL
   SELECT 1 FROM message WHERE tenant = ? AND state < 5 AND state <> 1
   LIMIT ?) AS counted;

-- count_letters_of: of one tenant, as above
SELECT count(*) FROM (SELECT 1 FROM dead_letter WHERE tenant = ? LIMIT ?) AS counted;

-- lane_behind: the number of the lane so many places behind a number (after, places)
SELECT id FROM lane WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?;

-- collect_lanes: lanes between two numbers (the second included) that nobody is in or will come to from a queue, and
-- that remember nothing (after, last, now)
DELETE FROM lane WHERE id IN (SELECT id FROM lane WHERE id > ? AND id <= ? AND active = 0 AND waiting = 0 AND paused = 0
  AND pinned_parallelism = 0 AND pinned_rate = 0 AND period_start + period_ms < ?
  AND NOT EXISTS (SELECT 1 FROM message WHERE message.lane = lane.id AND message.state IN (2, 4)));

-- load_queues: to change them
SELECT id, tenant, kind, name, parallelism, paused, deleted, held, lag, next_seq, created, updated
FROM queue WHERE id IN (@ids) ORDER BY id {lock};

-- read_queues
SELECT id, tenant, kind, name, parallelism, paused, deleted, held, lag, next_seq, created, updated
FROM queue WHERE id IN (@ids) ORDER BY id;

-- find_queue: by tenant, kind and name
SELECT id, tenant, kind, name, parallelism, paused, deleted, held, lag, next_seq, created, updated
FROM queue WHERE tenant = ? AND kind = ? AND name = ? AND deleted = 0;

-- list_queues: of one kind, by name
SELECT id, tenant, kind, name, parallelism, paused, deleted, held, lag, next_seq, created, updated
FROM queue WHERE tenant = ? AND kind = ? AND deleted = 0 ORDER BY name;

-- count_queues
SELECT count(*) FROM queue WHERE tenant = ? AND kind = ? AND deleted = 0;

-- deleted_queues: those of which messages may be left
SELECT id FROM queue WHERE deleted = 1 ORDER BY id LIMIT ?;

-- save_queues: absolute values, each row once per transaction
INSERT INTO queue (id, tenant, kind, name, parallelism, paused, deleted, held, lag, next_seq, created, updated, bucket)
VALUES @rows(13)
ON CONFLICT (id) DO UPDATE SET parallelism = excluded.parallelism, paused = excluded.paused, deleted = excluded.deleted,
  held = excluded.held, lag = excluded.lag, next_seq = excluded.next_seq, updated = excluded.updated;

-- drop_queues
DELETE FROM queue WHERE id IN (@ids);

-- queue_heads: the first messages that wait for a slot, in their order
SELECT id, lane, seq FROM message WHERE queue = ? AND state = 2 ORDER BY seq LIMIT ?;

-- slot_holders: the messages of a queue that hold a slot, in their order
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE queue = ? AND slot = 1 ORDER BY seq LIMIT ?;

-- slots_after: those of all queues that hold one, behind a place (queue, seq, most)
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE slot = 1 AND (queue, seq) > (?, ?) ORDER BY queue, seq LIMIT ?;

-- release_slots: those of messages at rest, all of whose callbacks rest too
UPDATE message SET slot = 0 WHERE id IN (@ids) AND slot = 1 AND state >= 5 AND NOT EXISTS
  (SELECT 1 FROM message AS child WHERE child.root = message.id AND child.root IS NOT NULL AND child.state < 5)
RETURNING queue;

-- save_group
INSERT INTO url_group (tenant, name, created, updated, endpoints, headers, bucket) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, name) DO UPDATE SET updated = excluded.updated, endpoints = excluded.endpoints,
  headers = excluded.headers;

-- group: the URL group of a name
SELECT tenant, name, created, updated, endpoints, headers FROM url_group WHERE tenant = ? AND name = ?;

-- groups: all URL groups of a tenant
SELECT tenant, name, created, updated, endpoints, headers FROM url_group WHERE tenant = ? ORDER BY name;

-- count_groups
SELECT count(*) FROM url_group WHERE tenant = ?;

-- delete_group
DELETE FROM url_group WHERE tenant = ? AND name = ? RETURNING name;

-- insert_node
INSERT INTO node (id, label, started, beat, dead) VALUES (?, ?, ?, ?, 0);

-- other_nodes: incarnations not yet known to be dead
SELECT id FROM node WHERE dead = 0 AND id <> ? ORDER BY id;

-- bury_node
UPDATE node SET dead = 1 WHERE id = ? AND dead = 0 RETURNING id;

-- forget_nodes: dead ones, of which nothing is held any more
DELETE FROM node WHERE dead = 1 AND beat < ?;

-- insert_tenant
INSERT INTO tenant (id, name, created) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING;

-- tenants
SELECT id, name FROM tenant ORDER BY id;

-- insert_token
INSERT INTO token (hash, tenant, name, scope, created, expires) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING;

-- tokens
SELECT hash, tenant, name, scope, created, expires, used FROM token ORDER BY created, hash;

-- delete_token
DELETE FROM token WHERE hash = ?;

-- use_token: when it was last used (used, hash)
UPDATE token SET used = ? WHERE hash = ?;

-- save_user: new or changed
INSERT INTO account (name, tenant, scope, password, proof, created, changed) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET scope = excluded.scope, password = excluded.password, proof = excluded.proof,
  changed = excluded.changed;

-- users
SELECT name, tenant, scope, password, proof, created, changed, used FROM account ORDER BY name;

-- delete_user
DELETE FROM account WHERE name = ?;

-- use_user: when whose proof this is was last there (used, proof)
UPDATE account SET used = ? WHERE proof = ?;

-- save_keys
INSERT INTO signing_key (tenant, current, next, rotated) VALUES (?, ?, ?, ?)
ON CONFLICT (tenant) DO UPDATE SET current = excluded.current, next = excluded.next, rotated = excluded.rotated;

-- keys
SELECT tenant, current, next FROM signing_key ORDER BY tenant;

-- save_setting
INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- delete_setting
DELETE FROM setting WHERE name = ?;

-- setting
SELECT value FROM setting WHERE name = ?;

-- schema
SELECT schema, oldest_reader FROM store;

-- stamp
INSERT INTO store (schema, oldest_reader, created) VALUES (?, ?, ?);

-- restamp
UPDATE store SET schema = ?, oldest_reader = ?;

-- save_schedules: new ones too
INSERT INTO schedule (key, tenant, id, cron, created, paused, due, rules, runs, missed, skipped, last, bucket)
VALUES @rows(13)
ON CONFLICT (key) DO UPDATE SET cron = excluded.cron, created = excluded.created, paused = excluded.paused,
  due = excluded.due, rules = excluded.rules, runs = excluded.runs, missed = excluded.missed,
  skipped = excluded.skipped, last = excluded.last;

-- save_schedule_request
INSERT INTO schedule_request (id, url, method, headers, options, digest, bucket, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET url = excluded.url, method = excluded.method, headers = excluded.headers,
  options = excluded.options, digest = excluded.digest, body = excluded.body;

-- schedule
SELECT key, tenant, id, cron, created, paused, due, rules, runs, missed, skipped, last FROM schedule
WHERE tenant = ? AND id = ?;

-- schedules: of a tenant, by id
SELECT key, tenant, id, cron, created, paused, due, rules, runs, missed, skipped, last FROM schedule
WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?;

-- due_schedules: those due longest first
SELECT key, tenant, id, cron, created, paused, due, rules, runs, missed, skipped, last FROM schedule
WHERE due IS NOT NULL AND due <= ? ORDER BY due, key LIMIT ?;

-- next_schedule: when the first one is due
SELECT due FROM schedule WHERE due IS NOT NULL ORDER BY due LIMIT 1;

-- count_schedules
SELECT count(*) FROM schedule WHERE tenant = ?;

-- schedule_requests
SELECT id, url, method, headers, options, digest, body FROM schedule_request WHERE id IN (@ids);

-- delete_schedule
DELETE FROM schedule WHERE key = ?;

-- delete_schedule_request
DELETE FROM schedule_request WHERE id = ?;

-- insert_ticks: each instant of a schedule once
INSERT INTO tick (schedule, time, bucket) VALUES @rows(3) ON CONFLICT (schedule, time) DO NOTHING
RETURNING schedule, time;

-- count_ticks: of a schedule, at most so many
SELECT count(*) FROM (SELECT time FROM tick WHERE schedule = ? AND time BETWEEN ? AND ? LIMIT ?) AS taken;

-- look_again: whose time was reckoned by a clock that has been set back since
UPDATE schedule SET due = ? WHERE key IN (SELECT key FROM schedule WHERE due > ? ORDER BY due DESC LIMIT ?)
RETURNING key;

-- expire_ticks
DELETE FROM tick WHERE (schedule, time) IN (SELECT schedule, time FROM tick WHERE time < ? ORDER BY time LIMIT ?);

-- data_keys: what values are sealed with, wrapped
SELECT id, master, wrapped, created FROM data_key ORDER BY id;

-- save_data_key: new, or wrapped anew (id, master, wrapped, created)
INSERT INTO data_key (id, master, wrapped, created) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET master = excluded.master, wrapped = excluded.wrapped;

-- delete_data_keys: all of them
DELETE FROM data_key;

-- request_starts: how requests behind an id begin, which tells what they are sealed with (after, how many)
SELECT id, substr(headers, 1, 7) FROM request WHERE id > ? ORDER BY id LIMIT ?;

-- reseal_request: (headers, options, digest, body, id)
UPDATE request SET headers = ?, options = ?, digest = ?, body = ? WHERE id = ?;

-- attempt_starts: as requests (message, number, how many)
SELECT message, number, substr(outcome, 1, 7) FROM attempt WHERE (message, number) > (?, ?)
ORDER BY message, number LIMIT ?;

-- reseal_attempt: (outcome, message, number)
UPDATE attempt SET outcome = ? WHERE message = ? AND number = ?;

-- schedule_tenant: whose a schedule is (key)
SELECT tenant FROM schedule WHERE key = ?;

-- schedule_starts: as requests (after, how many)
SELECT s.key, substr(r.headers, 1, 7) FROM schedule AS s JOIN schedule_request AS r ON r.id = s.key
WHERE s.key > ? ORDER BY s.key LIMIT ?;

-- group_starts: as requests (tenant, name, how many)
SELECT tenant, name, substr(headers, 1, 7) FROM url_group WHERE (tenant, name) > (?, ?) ORDER BY tenant, name LIMIT ?;

-- job_starts: as requests (after, how many)
SELECT id, substr(asked, 1, 7) FROM bulk_job WHERE id > ? ORDER BY id LIMIT ?;

-- job_order: what a job was asked to do (id)
SELECT id, asked FROM bulk_job WHERE id = ?;

-- reseal_job: (asked, id)
UPDATE bulk_job SET asked = ? WHERE id = ?;

-- reseal_keys: (current, next, tenant)
UPDATE signing_key SET current = ?, next = ? WHERE tenant = ?;

-- sign: one record for a call, whatever number of transactions it takes; what they touch is added up
INSERT INTO audit (tenant, time, request, kind, who, address, action, object, filter, count, status)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, time, request) DO UPDATE SET status = excluded.status, object = excluded.object,
  count = coalesce(audit.count + excluded.count, audit.count, excluded.count);

-- records: newest first (tenant, before, since, who twice, action twice, most); an empty text means any
SELECT tenant, time, request, kind, who, address, action, object, filter, count, status FROM audit
WHERE tenant = ? AND (time, request) < (?, ?) AND time >= ? AND (? = '' OR who = ?) AND (? = '' OR action = ?)
ORDER BY time DESC, request DESC LIMIT ?;

-- expire_records: those of all tenants before a time, in pieces
DELETE FROM audit WHERE (tenant, time, request) IN
  (SELECT tenant, time, request FROM audit WHERE time < ? ORDER BY time LIMIT ?) RETURNING time;

-- save_job: a new one too
INSERT INTO bulk_job (id, tenant, state, asked, author, created, bound, place_time, place, due, total, done, failed,
  put_off, ended, bucket)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, asked = excluded.asked, place_time = excluded.place_time,
  place = excluded.place, due = excluded.due, done = excluded.done, failed = excluded.failed,
  put_off = excluded.put_off, ended = excluded.ended;

-- job
SELECT id, tenant, state, asked, author, created, bound, place_time, place, due, total, done, failed, put_off, ended
FROM bulk_job WHERE id = ? AND tenant = ?;

-- load_job: to change it
SELECT id, tenant, state, asked, author, created, bound, place_time, place, due, total, done, failed, put_off, ended
FROM bulk_job WHERE id = ? AND tenant = ? {lock};

-- jobs_before: of a tenant, newest first
SELECT id, tenant, state, asked, author, created, bound, place_time, place, due, total, done, failed, put_off, ended
FROM bulk_job WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- open_jobs: of all tenants; what each asks for is read when it is its turn
SELECT id, tenant, due, done FROM bulk_job WHERE state = 0;

-- count_open_jobs: of one tenant
SELECT count(*) FROM bulk_job WHERE tenant = ? AND state = 0;

-- expire_jobs
DELETE FROM bulk_job WHERE id IN (SELECT id FROM bulk_job WHERE ended < ? AND ended IS NOT NULL ORDER BY ended LIMIT ?);

-- messages_before: of all tenants, newest first
SELECT id, tenant, lane, state, due, created, retries, retried, attempt, rescues, version, node, started, ended, cancel,
  kind, parent, queue, seq, slot, root
FROM message WHERE id < ? ORDER BY id DESC LIMIT ?;

-- children: what was made from messages
SELECT id FROM message WHERE parent IN (@ids) AND parent IS NOT NULL;

-- outlines: requests without their bodies
SELECT id, url, options, coalesce(length(body), 0) FROM request WHERE id IN (@ids);

-- delete_events_at: those of a message at one instant
DELETE FROM event WHERE tenant = ? AND time = ? AND message = ?;
