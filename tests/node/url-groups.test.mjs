// URL groups with the official JavaScript SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, refused, story, users, verify } from "./support.mjs";

const client = connect();
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

test("a group is made, shown, listed, changed and deleted", async () => {
  const name = `js-group.${Date.now()}_1`;
  await client.urlGroups.addEndpoints({
    name,
    endpoints: [{ url: "https://one.example/" }, { name: "the second", url: "https://two.example/" }],
  });

  const group = await client.urlGroups.get(name);
  assert.equal(group.name, name);
  assert.deepEqual(group.endpoints, [
    { url: "https://one.example/" },
    { name: "the second", url: "https://two.example/" },
  ]);
  assert.ok((await client.urlGroups.list()).some((listed) => listed.name === name));
  await client.urlGroups.removeEndpoints({ name, endpoints: [{ name: "the second" }] });
  assert.deepEqual((await client.urlGroups.get(name)).endpoints, [{ url: "https://one.example/" }]);
  await client.urlGroups.delete(name);
  await client.urlGroups.delete(name);
  await refused(client.urlGroups.get(name), 404, new RegExp(`topic ${name} not found`));
});

test("a publish reaches every endpoint, a batch answers arrays for groups", async () => {
  const name = `js-group.${Date.now()}_2`;
  const [one, two, alone] = [receiver.endpoint(), receiver.endpoint(), receiver.endpoint()];
  await client.urlGroups.addEndpoints({ name, endpoints: [{ url: one.url, name: "one" }, { url: two.url }] });

  const answer = await client.publishJSON({ urlGroup: name, body: { hello: "all" }, headers: { "X-Own": "1" } });
  assert.ok(Array.isArray(answer));
  assert.deepEqual(answer.map((entry) => entry.url), [one.url, two.url]);
  for (const [index, endpoint] of [one, two].entries()) {
    const request = await endpoint.one();
    assert.deepEqual(JSON.parse(request.text), { hello: "all" });
    assert.equal(request.headers["upstash-topic-name"], name);
    assert.equal(request.headers["x-own"], "1");
    assert.equal(request.headers["upstash-message-id"], answer[index].messageId);
    assert.ok(await verify(request, endpoint.url, users[0]));
    assert.deepEqual(await story(client, answer[index].messageId), ["CREATED", "ACTIVE", "DELIVERED"]);
  }
  const message = await client.messages.get(answer[0].messageId);
  assert.equal(message.urlGroup, name);
  assert.equal(message.endpointName, "one");
  const { logs } = await client.logs({ filter: { urlGroup: name } });
  assert.equal(logs.length, 6);
  assert.ok(logs.every((log) => log.urlGroup === name));

  const [group, single] = await client.batch([{ urlGroup: name, body: "b" }, { url: alone.url, body: "b" }]);
  assert.equal(group.length, 2);
  assert.equal(typeof single.messageId, "string");
  await alone.one();
  await client.urlGroups.delete(name);
});

test("the older name does the same", async () => {
  const name = `js-topic.${Date.now()}`;
  const endpoint = receiver.endpoint();
  await client.topics.addEndpoints({ name, endpoints: [{ url: endpoint.url }, { url: "https://two.example/" }] });
  await client.topics.removeEndpoints({ name, endpoints: [{ url: "https://two.example/" }] });
  assert.deepEqual((await client.topics.get(name)).endpoints, [{ url: endpoint.url }]);
  assert.ok((await client.topics.list()).some((listed) => listed.name === name));

  const answer = await client.publishJSON({ topic: name, body: { older: true } });

  assert.equal(answer.length, 1);
  assert.equal((await endpoint.one()).headers["upstash-topic-name"], name);
  await client.topics.delete(name);
  await refused(client.publishJSON({ topic: name, body: {} }), 404, new RegExp(`topic ${name} not found`));
});
