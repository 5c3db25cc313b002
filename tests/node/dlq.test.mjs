// The dead letter queue with the official JavaScript SDK: list, delete and retry in every form it has.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, fail, refused, story, users, verify } from "./support.mjs";

const client = connect();
const UNKNOWN = `1700000000000-${"0".repeat(32)}`;
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

const ids = async (filter) => (await client.dlq.listMessages({ filter })).messages.map((dead) => dead.dlqId).sort();

test("a dead letter has the message and the last answer", async () => {
  const endpoint = receiver.endpoint();
  const dead = await fail(client, endpoint, { body: "b", headers: { "X-One": "1" }, label: ["a", "b"] });

  assert.equal(dead.url, endpoint.url);
  assert.equal(dead.body, "b");
  assert.equal(dead.responseStatus, 500);
  assert.equal(dead.responseBody, "broken");
  assert.deepEqual(dead.header["X-One"], ["1"]);
  assert.deepEqual(dead.labels, ["a", "b"]);
  assert.match(dead.dlqId, /^\d+-\w+$/);
});

test("filters choose dead letters", async () => {
  const [first, second] = [receiver.endpoint(), receiver.endpoint()];
  const label = first.path.slice(1);
  const one = await fail(client, first, { label, flowControl: { key: label, parallelism: 9 } });
  const two = await fail(client, second, { label: [label, "more"] });
  const both = [one.dlqId, two.dlqId].sort();

  assert.deepEqual(await ids({ label }), both);
  assert.deepEqual(await ids({ label: "more", url: [first.url, second.url] }), [two.dlqId]);
  assert.deepEqual(await ids({ label, flowControlKey: label }), [one.dlqId]);
  assert.deepEqual(await ids({ label, responseStatus: [500, 404] }), both);
  assert.deepEqual(await ids({ label, responseStatus: 404 }), []);
  assert.deepEqual(await ids({ label, messageId: one.messageId }), [one.dlqId]);
  assert.deepEqual(await ids({ label, callerIp: "127.0.0.1", fromDate: new Date(1000), toDate: Date.now() + 1000 }), both);
  assert.deepEqual(await ids({ label, toDate: 1000 }), []);
  for (const none of [{ urlGroup: "g" }, { queueName: "q" }, { scheduleId: "s" }]) {
    assert.deepEqual(await ids({ label, ...none }), []);
  }
  const { messages } = await client.dlq.listMessages({ dlqIds: both });
  assert.deepEqual(messages.map((dead) => dead.dlqId).sort(), both);
  await refused(client.dlq.listMessages({ filter: { colour: "red" } }), 400, /colour/);
});

test("pages show each dead letter once", async () => {
  const endpoint = receiver.endpoint();
  const filter = { label: endpoint.path };
  for (let number = 0; number < 3; number += 1) await fail(client, endpoint, { label: endpoint.path });

  const seen = [];
  let cursor;
  do {
    const page = await client.dlq.listMessages({ count: 2, filter, cursor });
    seen.push(...page.messages.map((dead) => dead.dlqId));
    ({ cursor } = page);
  } while (cursor);
  assert.equal(seen.length, 3);
  assert.equal(new Set(seen).size, 3);
});

test("delete takes an id, ids, a filter, or all", async () => {
  const alone = connect(users[2]);
  const endpoint = receiver.endpoint();
  const dead = [];
  for (let number = 0; number < 6; number += 1) dead.push(await fail(alone, endpoint, { label: `${endpoint.path}${number}` }));

  assert.deepEqual(await alone.dlq.delete(dead[0].dlqId), { deleted: 1 });
  await refused(alone.dlq.delete(dead[0].dlqId), 404);
  assert.equal((await alone.dlq.delete([dead[0].dlqId, dead[1].dlqId, UNKNOWN])).deleted, 1);
  assert.equal((await alone.dlq.deleteMany({ dlqIds: [dead[2].dlqId] })).deleted, 1);
  assert.equal((await alone.dlq.delete({ filter: { label: `${endpoint.path}3` } })).deleted, 1);
  const nothing = await alone.dlq.delete({ filter: { label: `${endpoint.path}3` } });
  assert.deepEqual(nothing, { deleted: 0 });
  await refused(alone.dlq.delete({ filter: { colour: "red" } }), 400, /colour/);
  const once = await alone.dlq.delete({ all: true, count: 1 });
  assert.equal(once.deleted, 1);
  assert.equal((await alone.dlq.delete({ all: true })).deleted, 1);
  assert.deepEqual((await alone.dlq.listMessages()).messages, []);
});

test("retry takes an id, ids, a filter, or all, and sends the original as a new message", async () => {
  const alone = connect(users[2]);
  const endpoint = receiver.endpoint();
  const dead = [];
  for (let number = 0; number < 5; number += 1) {
    dead.push(await fail(alone, endpoint, { body: `body ${number}`, label: `${endpoint.path}${number}` }));
  }
  endpoint.answers({ status: 200 });
  const before = endpoint.requests.length;

  const answers = [
    await alone.dlq.retry(dead[0].dlqId),
    await alone.dlq.retry([dead[1].dlqId, UNKNOWN]),
    await alone.dlq.retry({ filter: { label: `${endpoint.path}2` } }),
    await alone.dlq.retry({ all: true, count: 1 }),
    await alone.dlq.retry({ all: true }),
  ];

  assert.deepEqual(answers.map(({ responses }) => responses.length), [1, 1, 1, 1, 1]);
  assert.equal(answers.at(-1).cursor, undefined);
  for (const { responses } of answers) assert.equal((await story(alone, responses[0].messageId)).at(-1), "DELIVERED");
  const again = endpoint.requests.slice(before);
  assert.deepEqual(again.map((request) => request.text).sort(), [0, 1, 2, 3, 4].map((number) => `body ${number}`));
  for (const request of again) assert.ok(await verify(request, endpoint.url, users[2]));
  assert.deepEqual((await alone.dlq.listMessages()).messages, []);
  await refused(alone.dlq.delete(dead[0].dlqId), 404);
  assert.deepEqual(await alone.dlq.delete(dead.map(({ dlqId }) => dlqId)), { deleted: 0 });
  assert.deepEqual((await alone.dlq.retry(dead[0].dlqId)).responses, []);
});

test("a retry can bring options of its own", async () => {
  const endpoint = receiver.endpoint();
  const dead = await fail(client, endpoint, { body: "b" });

  const { responses } = await client.http.request({
    method: "POST",
    path: ["v2", "dlq", "retry"],
    query: { dlqIds: [dead.dlqId] },
    headers: { "Upstash-Retries": "7", "Upstash-Delay": "1h", "Upstash-Label": "again" },
  });

  const message = await client.messages.get(responses[0].messageId);
  assert.deepEqual([message.maxRetries, message.label, message.body], [7, "again", "b"]);
  assert.equal(message.notBefore - message.createdAt, 3_600_000);
  await client.messages.cancel(message.messageId);
});
