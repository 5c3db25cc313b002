// The log of events with the official JavaScript SDK: filters and pages.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, story } from "./support.mjs";

const client = connect();
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

test("filters choose events: OR inside one, AND between", async () => {
  const [good, bad] = [receiver.endpoint(), receiver.endpoint()];
  bad.answers({ status: 500 });
  const label = good.path.slice(1);
  const began = Date.now() - 1;
  const one = await client.publish({ url: good.url, label: ["first", label] });
  const two = await client.publish({ url: bad.url, label, retries: 0, flowControl: { key: label, parallelism: 9 } });
  await story(client, one.messageId);
  await story(client, two.messageId);
  const chosen = async (filter) =>
    (await client.logs({ filter: { label, ...filter } })).logs.map((log) => `${log.messageId} ${log.state}`).sort();
  const ofOne = ["ACTIVE", "CREATED", "DELIVERED"].map((state) => `${one.messageId} ${state}`);
  const ofTwo = ["ACTIVE", "CREATED", "ERROR", "FAILED"].map((state) => `${two.messageId} ${state}`);
  const all = [...ofOne, ...ofTwo].sort();

  assert.deepEqual(await chosen({}), all);
  assert.deepEqual(await chosen({ label: [label, "nobody"] }), all);
  assert.deepEqual(await chosen({ label: "first" }), ofOne);
  assert.deepEqual(await chosen({ state: "FAILED" }), [`${two.messageId} FAILED`]);
  assert.deepEqual(await chosen({ url: bad.url }), ofTwo);
  assert.deepEqual(await chosen({ url: [bad.url, good.url] }), all);
  assert.deepEqual(await chosen({ host: "127.0.0.1", path: good.path }), ofOne);
  assert.deepEqual(await chosen({ host: ["a.test", "b.test"] }), []);
  assert.deepEqual(await chosen({ flowControlKey: label }), ofTwo);
  assert.deepEqual(await chosen({ callerIp: ["127.0.0.1"] }), all);
  assert.deepEqual(await chosen({ callerIp: "10.9.8.7" }), []);
  assert.deepEqual(await chosen({ messageId: one.messageId }), ofOne);
  assert.deepEqual(await chosen({ fromDate: new Date(began), toDate: Date.now() + 1000 }), all);
  assert.deepEqual(await chosen({ toDate: began }), []);
  for (const none of [{ urlGroup: "g" }, { queueName: "q" }, { scheduleId: "s" }]) assert.deepEqual(await chosen(none), []);
  const { logs } = await client.logs({ messageIds: [one.messageId, two.messageId] });
  assert.deepEqual(logs.map((log) => `${log.messageId} ${log.state}`).sort(), all);
});

test("pages show each event once, newest first, and the last has no cursor", async () => {
  const endpoint = receiver.endpoint();
  const filter = { label: endpoint.path };
  for (let number = 0; number < 3; number += 1) {
    const { messageId } = await client.publish({ url: endpoint.url, label: endpoint.path });
    await story(client, messageId);
  }

  const seen = [];
  let cursor;
  do {
    const page = await client.logs({ count: 2, filter, cursor });
    assert.ok(page.logs.length <= 2);
    seen.push(...page.logs);
    ({ cursor } = page);
  } while (cursor);
  assert.equal(new Set(seen.map((log) => `${log.messageId} ${log.state}`)).size, 9);
  assert.equal(seen.length, 9);
  const times = seen.map((log) => log.time);
  assert.deepEqual(times, [...times].sort((a, b) => b - a));
});

test("the older name gives the same", async () => {
  const endpoint = receiver.endpoint();
  const { messageId } = await client.publish({ url: endpoint.url, body: "b" });
  await story(client, messageId);

  const { events } = await client.events({ filter: { messageId } });
  assert.deepEqual(events.map((event) => event.state), ["DELIVERED", "ACTIVE", "CREATED"]);
  assert.equal(atob(events[0].body), "b");
});
