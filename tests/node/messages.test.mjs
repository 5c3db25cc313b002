// Looking up and cancelling messages with the official JavaScript SDK, by every way it has to choose them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, refused, states, story, users } from "./support.mjs";

const client = connect();
const UNKNOWN = `msg_${"0".repeat(32)}`;
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

/** Publish messages that wait, and return their ids. */
const waiting = (endpoint, number, options = {}) =>
  Promise.all(
    Array.from({ length: number }, async () => {
      const { messageId } = await client.publish({ url: endpoint.url, delay: "1h", ...options });
      return messageId;
    }),
  );

const ends = (ids) => Promise.all(ids.map(async (id) => (await states(client, id)).at(-1)));

test("a message is readable at once and after its end", async () => {
  const endpoint = receiver.endpoint();
  const { messageId } = await client.publish({ url: endpoint.url, body: "x" });

  assert.equal((await client.messages.get(messageId)).messageId, messageId);
  await story(client, messageId);
  assert.equal((await client.messages.get(messageId)).body, "x");
});

test("an unknown message is not found", async () => {
  await refused(client.messages.get(UNKNOWN), 404);
  await refused(client.messages.cancel(UNKNOWN), 404);
  await refused(client.messages.delete(UNKNOWN), 404);
});

test("one message is cancelled, by the new name and the old", async () => {
  const [first, second] = await waiting(receiver.endpoint(), 2);

  assert.deepEqual(await client.messages.cancel(first), { cancelled: 1 });
  await client.messages.delete(second);

  assert.deepEqual(await ends([first, second]), ["CANCELED", "CANCELED"]);
  await refused(client.messages.cancel(first), 404);
});

test("many are cancelled by their ids, unknown ones skipped", async () => {
  const ids = await waiting(receiver.endpoint(), 4);

  assert.deepEqual(await client.messages.cancel([ids[0], UNKNOWN]), { cancelled: 1 });
  assert.deepEqual(await client.messages.cancel({ messageIds: [ids[0], ids[1]] }), { cancelled: 1 });
  assert.equal(await client.messages.deleteMany([ids[2], ids[3]]), 2);
  assert.deepEqual(await client.messages.cancel([]), { cancelled: 0 });
});

test("filters choose what is cancelled: OR inside one, AND between", async () => {
  const [here, there] = [receiver.endpoint(), receiver.endpoint()];
  const label = here.path.slice(1);
  const plain = await waiting(here, 1, { label });
  const keyed = await waiting(here, 1, { label, flowControl: { key: label, parallelism: 1 } });
  const other = await waiting(there, 1, { label: ["more", label] });
  const cancel = async (filter) => (await client.messages.cancel({ filter })).cancelled;

  assert.equal(await cancel({ label, urlGroup: "nosuchgroup" }), 0);
  assert.equal(await cancel({ label, queueName: "nosuchqueue" }), 0);
  assert.equal(await cancel({ label, scheduleId: "nosuchschedule" }), 0);
  assert.equal(await cancel({ label, callerIp: "10.9.8.7" }), 0);
  assert.equal(await cancel({ label, host: "example.com" }), 0);
  assert.equal(await cancel({ label, toDate: new Date(1000) }), 0);
  assert.equal(await cancel({ label: [label, "none"], flowControlKey: label, host: "127.0.0.1" }), 1);
  assert.equal(await cancel({ label, path: here.path, callerIp: "127.0.0.1", fromDate: 1000 }), 1);
  assert.equal(await cancel({ label, url: [here.url, there.url] }), 1);
  assert.deepEqual(await ends([...plain, ...keyed, ...other]), ["CANCELED", "CANCELED", "CANCELED"]);
});

test("a count limits how many are cancelled", async () => {
  const endpoint = receiver.endpoint();
  const ids = await waiting(endpoint, 3, { label: endpoint.path });
  const filter = { label: endpoint.path };

  assert.deepEqual(await client.messages.cancel({ filter, count: 1 }), { cancelled: 1 });
  assert.deepEqual(await client.messages.cancel({ filter }), { cancelled: 2 });
  assert.deepEqual(await ends(ids), ["CANCELED", "CANCELED", "CANCELED"]);
});

test("an unknown filter is an error and cancels nothing", async () => {
  const [id] = await waiting(receiver.endpoint(), 1);

  await refused(client.messages.cancel({ filter: { colour: "red" } }), 400, /colour/);

  assert.deepEqual(await ends([id]), ["CREATED"]);
  await client.messages.cancel(id);
});

test("all of one user are cancelled, in every state, and nobody else's", async () => {
  const alone = connect(users[2]);
  const [later, failing] = [receiver.endpoint(), receiver.endpoint()];
  failing.answers({ status: 500 });
  const [theirs] = await waiting(later, 1);
  await alone.publish({ url: later.url, delay: "1h" });
  await alone.publish({ url: failing.url, retryDelay: "3600000" });
  await failing.waitFor(1);

  assert.deepEqual(await alone.messages.cancel({ all: true }), { cancelled: 2 });

  assert.equal(await alone.messages.deleteAll(), 0);
  assert.deepEqual(await ends([theirs]), ["CREATED"]);
  await client.messages.cancel(theirs);
});
