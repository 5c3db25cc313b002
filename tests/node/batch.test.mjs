// Batches with the official JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, story, verify } from "./support.mjs";

const client = connect();
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

test("each item goes its own way, and the answers stand in order", async () => {
  const [first, second, third] = [receiver.endpoint(), receiver.endpoint(), receiver.endpoint()];
  const answers = await client.batch([
    { url: first.url, body: "one", headers: { "Content-Type": "text/plain", "X-Item": "1" } },
    { url: second.url, method: "PUT", retries: 0, label: ["a", "b"] },
    { url: third.url, body: "three", delay: "1h", flowControl: { key: "k", rate: 1 } },
  ]);

  assert.equal(answers.length, 3);
  const request = await first.one();
  assert.equal(request.text, "one");
  assert.equal(request.headers["content-type"], "text/plain");
  assert.equal(request.headers["x-item"], "1");
  assert.ok(await verify(request, first.url));
  assert.equal((await second.one()).method, "PUT");
  const messages = await Promise.all(answers.map(({ messageId }) => client.messages.get(messageId)));
  assert.deepEqual(messages.map(({ url }) => url), [first.url, second.url, third.url]);
  assert.deepEqual(messages[1].labels, ["a", "b"]);
  assert.equal(messages[1].body || undefined, undefined);
  assert.equal(messages[2].flowControlKey, "k");
  await client.messages.cancel(answers[2].messageId);
});

test("a batch of JSON is sent as JSON", async () => {
  const [first, second] = [receiver.endpoint(), receiver.endpoint()];
  const answers = await client.batchJSON([
    { url: first.url, body: { n: 1 }, deduplicationId: first.path },
    { url: second.url, body: [2] },
    { url: first.url, body: { n: 3 }, deduplicationId: first.path },
  ]);

  assert.deepEqual(answers.map(({ deduplicated }) => Boolean(deduplicated)), [false, false, true]);
  assert.equal(answers[2].messageId, answers[0].messageId);
  const request = await first.one();
  assert.deepEqual(JSON.parse(request.text), { n: 1 });
  assert.equal(request.headers["content-type"], "application/json");
  assert.deepEqual(JSON.parse((await second.one()).text), [2]);
});

test("a batch of one is answered by a list of one", async () => {
  const endpoint = receiver.endpoint();
  const answers = await client.http.request({
    method: "POST",
    path: ["v2", "batch"],
    body: JSON.stringify([{ destination: endpoint.url }]),
  });

  assert.ok(Array.isArray(answers));
  assert.deepEqual(await story(client, answers[0].messageId), ["CREATED", "ACTIVE", "DELIVERED"]);
});

test("a bad item does not touch the others", async () => {
  const [first, third] = [receiver.endpoint(), receiver.endpoint()];
  const answers = await client.batch([
    { url: first.url, body: "1" },
    { url: first.url, body: "2", delay: "soon" },
    { url: third.url, body: "3" },
  ]);

  assert.equal(answers.length, 3);
  assert.match(answers[1].error, /upstash-delay/i);
  assert.equal(answers[1].messageId, undefined);
  assert.equal((await first.one()).text, "1");
  assert.equal((await third.one()).text, "3");
});
