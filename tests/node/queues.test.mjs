// Queues with the official JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, refused, story } from "./support.mjs";

const client = connect();
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

const named = (name) => `${name}-${Math.random().toString(36).slice(2)}_.x`;

test("a queue is made, configured, listed and deleted", async () => {
  const queueName = named("made");
  const queue = client.queue({ queueName });
  await queue.upsert({ parallelism: 2 });

  const made = await queue.get();
  assert.deepEqual([made.name, made.parallelism, made.lag, made.paused], [queueName, 2, 0, false]);
  assert.ok(made.createdAt <= made.updatedAt);
  assert.ok((await queue.list()).some(({ name }) => name === queueName));

  await queue.pause();
  assert.equal((await queue.get()).paused, true);
  await queue.upsert({ parallelism: 1 });
  assert.equal((await queue.get()).paused, false);
  await queue.delete();
  await refused(queue.get(), 404);
});

test("messages are enqueued in order, and a paused queue keeps them", async () => {
  const queueName = named("order");
  const queue = client.queue({ queueName });
  const endpoint = receiver.endpoint();
  await queue.upsert({ parallelism: 1, paused: true });

  const { messageId } = await queue.enqueue({ url: endpoint.url, body: "a" });
  await queue.enqueueJSON({ url: endpoint.url, body: { b: 1 } });
  await client.batch([{ queueName, url: endpoint.url, body: "c" }]);

  assert.equal((await client.messages.get(messageId)).queueName, queueName);
  assert.equal((await queue.get()).lag, 3);
  await queue.resume();
  await endpoint.waitFor(3);
  assert.deepEqual(
    endpoint.requests.map(({ body }) => String(body)),
    ["a", '{"b":1}', "c"],
  );
  await queue.delete();
});

test("more parallelism than the quota allows is refused", async () => {
  await refused(client.queue({ queueName: named("wide") }).upsert({ parallelism: 101 }), 412);
});

test("a group is enqueued as one message for each endpoint", async () => {
  const queueName = named("group");
  const queue = client.queue({ queueName });
  const [one, two] = [receiver.endpoint(), receiver.endpoint()];
  await client.urlGroups.addEndpoints({ name: queueName, endpoints: [{ url: one.url, name: "one" }, { url: two.url }] });
  await queue.upsert({ parallelism: 1, paused: true });

  const flowControl = { key: queueName, parallelism: 5, rate: 5, period: "1d" };
  const answers = await queue.enqueueJSON({ urlGroup: queueName, body: { n: 1 }, flowControl, label: ["a", "b"] });
  const [group, single] = await client.batchJSON([
    { queueName, urlGroup: queueName, body: { n: 2 } },
    { queueName, url: one.url, body: { n: 3 } },
  ]);
  assert.deepEqual([...answers, ...group].map(({ url }) => url), [one.url, two.url, one.url, two.url]);
  assert.equal((await queue.get()).lag, 5);
  const message = await client.messages.get(answers[0].messageId);
  assert.deepEqual(
    [message.queueName, message.urlGroup, message.endpointName, message.flowControlKey, message.labels],
    [queueName, queueName, "one", queueName, ["a", "b"]],
  );
  await queue.resume();
  await story(client, single.messageId);
  assert.deepEqual(one.requests.map(({ text }) => text), ['{"n":1}', '{"n":2}', '{"n":3}']);
  assert.deepEqual(two.requests.map(({ text }) => text), ['{"n":1}', '{"n":2}']);
  await queue.delete();
  await client.urlGroups.delete(queueName);
});
