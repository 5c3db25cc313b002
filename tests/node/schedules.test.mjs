// Schedules with the official JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, refused, story, until, verify } from "./support.mjs";

const client = connect();
const schedules = client.schedules;
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

test("a schedule is what was asked for, and nothing more", async () => {
  const { scheduleId } = await schedules.create({
    destination: "https://example.com/report",
    cron: "0 4 * * * ",
    body: JSON.stringify({ a: 1 }),
    headers: { "test-header": "test-value", "Bypass-Tunnel-Reminder": "client-test" },
  });

  const schedule = await schedules.get(scheduleId);
  assert.match(scheduleId, /^scd_/);
  assert.equal(schedule.cron, "0 4 * * *");
  assert.equal(schedule.destination, "https://example.com/report");
  assert.equal(schedule.isPaused, false);
  assert.equal(schedule.retries, 3);
  assert.deepEqual(schedule.header, {
    "Bypass-Tunnel-Reminder": ["client-test"],
    "Content-Type": ["application/json"],
    "Test-Header": ["test-value"],
  });
  assert.ok((await schedules.list()).some((each) => each.scheduleId === scheduleId));

  await schedules.delete(scheduleId);
  await refused(schedules.get(scheduleId), 404, /not found/);
});

test("the same id overwrites body and headers", async () => {
  const scheduleId = "from-node";
  const common = { destination: "https://example.com", scheduleId };
  await schedules.create({ ...common, cron: "1 1 1 1 1", body: "old", headers: { old: "1" } });
  await schedules.create({ ...common, cron: "2 2 2 2 2" });

  const schedule = await schedules.get(scheduleId);
  assert.equal(schedule.cron, "2 2 2 2 2");
  assert.equal(schedule.body, undefined);
  assert.deepEqual(Object.keys(schedule.header ?? {}), ["Content-Type"]);
  await schedules.delete(scheduleId);
});

test("pause and resume", async () => {
  const { scheduleId } = await schedules.create({ destination: "https://example.com", cron: "0 4 * * *" });

  await schedules.pause({ schedule: scheduleId });
  assert.equal((await schedules.get(scheduleId)).isPaused, true);
  await schedules.resume({ schedule: scheduleId });
  assert.equal((await schedules.get(scheduleId)).isPaused, false);
  await schedules.delete(scheduleId);
});

test("ticks are signed messages that name their schedule", async () => {
  const endpoint = receiver.endpoint();
  const { scheduleId } = await schedules.create({ destination: endpoint.url, cron: "@every 1s", body: "tick" });
  const [request] = await endpoint.waitFor(1);
  await schedules.delete(scheduleId);

  assert.equal(request.text, "tick");
  assert.equal(request.headers["upstash-schedule-id"], scheduleId);
  assert.ok(await verify(request, endpoint.url));
  assert.equal((await story(client, request.headers["upstash-message-id"])).at(-1), "DELIVERED");
  const { logs } = await client.logs({ filter: { scheduleId } });
  assert.ok(logs.length > 0);
});

test("states of the last tick", async () => {
  const endpoint = receiver.endpoint();
  const { scheduleId } = await schedules.create({ destination: endpoint.url, cron: "@every 1s" });
  await until(async () => {
    const { lastScheduleStates } = await schedules.get(scheduleId);
    return Object.values(lastScheduleStates ?? {}).includes("SUCCESS");
  }, "a tick to succeed");
  await schedules.delete(scheduleId);
});

test("a batch makes schedules, and a schedule calls a URL group", async () => {
  const name = `node-${Date.now()}`;
  const [first, second] = [receiver.endpoint(), receiver.endpoint()];
  await client.urlGroups.addEndpoints({ name, endpoints: [{ url: first.url }, { url: second.url }] });
  const [message, made] = await client.batch([
    { url: receiver.endpoint().url, body: "message" },
    { urlGroup: name, body: "run", headers: { "Upstash-Cron": "@every 1s", "Upstash-Schedule-Id": name } },
  ]);
  assert.match(message.messageId, /^msg_/);
  assert.equal(made.scheduleId, name);

  const states = await until(async () => {
    const { lastScheduleStates } = await schedules.get(name);
    return Object.keys(lastScheduleStates ?? {}).length === 2 && lastScheduleStates;
  }, "a run with two messages");
  for (const endpoint of [first, second]) assert.equal((await endpoint.waitFor(1))[0].text, "run");
  assert.ok(Object.keys(states).every((id) => id.startsWith("msg_")));
  assert.equal((await schedules.get(name)).destination, name);
  await schedules.delete(name);
  await client.urlGroups.delete(name);
});

test("a publish with a cron is a schedule", async () => {
  const endpoint = receiver.endpoint();
  const { scheduleId } = await client.publishJSON({
    url: endpoint.url,
    body: { published: true },
    headers: { "Upstash-Cron": "@every 1s", "Upstash-Schedule-Id": `published-${Date.now()}` },
    retries: 1,
  });

  const schedule = await schedules.get(scheduleId);
  assert.deepEqual([schedule.cron, schedule.destination, schedule.retries], ["@every 1s", endpoint.url, 1]);
  const [request] = await endpoint.waitFor(1);
  await schedules.delete(scheduleId);
  assert.equal(request.text, '{"published":true}');
  assert.equal(request.headers["upstash-schedule-id"], scheduleId);
});

test("a schedule feeds a queue, with every limit of its messages", async () => {
  const name = `scheduled-${Date.now()}`;
  const endpoint = receiver.endpoint();
  const { scheduleId } = await schedules.create({
    destination: endpoint.url,
    cron: "@every 1s",
    queueName: name,
    flowControl: { key: name, parallelism: 2, rate: 100, period: "1h" },
    label: "tick",
    retryDelay: "1000",
    timeout: 5,
  });

  const schedule = await schedules.get(scheduleId);
  assert.deepEqual(
    [schedule.queueName, schedule.flowControlKey, schedule.parallelism, schedule.rate, schedule.period],
    [name, name, 2, 100, 3600],
  );
  const [request] = await endpoint.waitFor(1);
  await schedules.delete(scheduleId);
  const message = await client.messages.get(request.headers["upstash-message-id"]);
  assert.deepEqual(
    [message.queueName, message.scheduleId, message.label, message.flowControlKey],
    [name, scheduleId, "tick", name],
  );
  await client.queue({ queueName: name }).delete();
});

test("a schedule reaches a group, through a queue", async () => {
  const name = `scheduled-group-${Date.now()}`;
  const [one, two] = [receiver.endpoint(), receiver.endpoint()];
  await client.urlGroups.addEndpoints({ name, endpoints: [{ url: one.url, name: "one" }, { url: two.url }] });
  const { scheduleId } = await schedules.create({ destination: name, cron: "@every 1s", queueName: name, body: "b" });

  assert.equal((await schedules.get(scheduleId)).destination, name);
  for (const endpoint of [one, two]) {
    const [request] = await endpoint.waitFor(1);
    const message = await client.messages.get(request.headers["upstash-message-id"]);
    assert.deepEqual([message.urlGroup, message.queueName, message.scheduleId], [name, name, scheduleId]);
    assert.equal(message.endpointName, endpoint === one ? "one" : undefined);
    assert.equal(request.headers["upstash-topic-name"], name);
    assert.ok(await verify(request, endpoint.url));
  }
  await schedules.delete(scheduleId);
  await client.queue({ queueName: name }).delete();
  await client.urlGroups.delete(name);
});
