// Publishing with the official JavaScript SDK: every option, and what the destination sees of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, refused, states, story, users, verify } from "./support.mjs";

const client = connect();
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

for (const body of ["", "hello", "grüße €", '{"a": [1, 2]}', "x".repeat(200_000)]) {
  test(`a text of ${body.length} characters arrives as published`, async () => {
    const endpoint = receiver.endpoint();
    const answer = await client.publish({ url: endpoint.url, body, headers: { "Content-Type": "text/plain" } });

    const request = await endpoint.one();
    assert.equal(request.method, "POST");
    assert.equal(request.text, body);
    assert.equal(request.headers["content-type"], "text/plain");
    assert.equal(request.headers["upstash-message-id"], answer.messageId);
    assert.equal(request.headers["upstash-retried"], "0");
    assert.equal(request.headers["user-agent"], "Upstash-QStash");
    assert.ok(await verify(request, endpoint.url));
    assert.deepEqual(await story(client, answer.messageId), ["CREATED", "ACTIVE", "DELIVERED"]);
  });
}

test("every byte arrives", async () => {
  const endpoint = receiver.endpoint();
  const body = Uint8Array.from({ length: 1024 }, (_, index) => index % 256);
  const { messageId } = await client.publish({ url: endpoint.url, body });

  assert.deepEqual(new Uint8Array((await endpoint.one()).body), body);
  const message = await client.messages.get(messageId);
  assert.equal(message.body, undefined);
  assert.deepEqual(new Uint8Array(Buffer.from(message.bodyBase64, "base64")), body);
});

test("JSON is sent as JSON", async () => {
  const endpoint = receiver.endpoint();
  await client.publishJSON({ url: endpoint.url, body: { hello: "wörld" }, headers: { "X-One": "1" } });

  const request = await endpoint.one();
  assert.deepEqual(JSON.parse(request.text), { hello: "wörld" });
  assert.equal(request.headers["content-type"], "application/json");
  assert.equal(request.headers["x-one"], "1");
});

for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
  test(`a message can be a ${method}`, async () => {
    const endpoint = receiver.endpoint();
    const { messageId } = await client.publish({ url: endpoint.url, method });

    assert.equal((await endpoint.one()).method, method);
    assert.equal((await client.messages.get(messageId)).method, method);
  });
}

test("headers arrive, joined if given twice, global ones too; options and telemetry do not", async () => {
  const endpoint = receiver.endpoint();
  const global = connect(users[0], { headers: { "X-Global": "g", "X-Both": "global" } });
  const { messageId } = await global.publish({
    url: endpoint.url,
    body: "x",
    headers: [
      ["X-Twice", "a"],
      ["x-twice", "b"],
      ["X-Both", "request"],
      ["Upstash-Forward-Upstash-Label", "kept"],
    ],
    retries: 1,
    label: "one",
    timeout: 30,
  });

  const request = await endpoint.one();
  const { headers } = request;
  assert.equal(headers["x-twice"], "a, b");
  assert.equal(headers["x-global"], "g");
  assert.equal(headers["x-both"], "request");
  assert.equal(headers["upstash-label"], "kept");
  const allowed = ["signature", "message-id", "retried", "caller-ip", "region", "label"].map((n) => `upstash-${n}`);
  assert.deepEqual(
    Object.keys(headers).filter((name) => /^(upstash-|authorization)/.test(name) && !allowed.includes(name)),
    [],
  );
  const shown = (await client.messages.get(messageId)).header;
  assert.deepEqual(shown["X-Twice"], ["a, b"]);
  assert.equal(Object.keys(shown).some((name) => /telemetry/i.test(name)), false);
});

test("every option is shown on the message", async () => {
  const endpoint = receiver.endpoint();
  const { messageId } = await client.publish({
    url: endpoint.url,
    body: "text",
    method: "PUT",
    delay: "1h",
    retries: 7,
    retryDelay: "1000 * (1 + retried)",
    timeout: "10s",
    callback: `${endpoint.url}/callback`,
    failureCallback: `${endpoint.url}/failure`,
    flowControl: { key: "orders", parallelism: 3, rate: 5, period: "1d" },
    label: ["one", "two"],
  });

  const message = await client.messages.get(messageId);
  assert.equal(message.messageId, messageId);
  assert.equal(message.url, endpoint.url);
  assert.equal(message.body, "text");
  assert.equal(message.maxRetries, 7);
  assert.equal(message.retryDelayExpression, "1000 * (1 + retried)");
  assert.equal(message.notBefore - message.createdAt, 3_600_000);
  assert.equal(message.callback, `${endpoint.url}/callback`);
  assert.equal(message.failureCallback, `${endpoint.url}/failure`);
  assert.equal(message.flowControlKey, "orders");
  assert.deepEqual([message.parallelism, message.rate, message.period], [3, 5, 86_400]);
  assert.equal(message.label, "one");
  assert.deepEqual(message.labels, ["one", "two"]);
  await client.messages.cancel(messageId);
});

test("a period is shown even if only parallelism was asked for", async () => {
  const endpoint = receiver.endpoint();
  const flowControl = { key: "k", parallelism: 1 };
  const { messageId } = await client.publish({ url: endpoint.url, delay: 3600, flowControl });

  const message = await client.messages.get(messageId);
  assert.deepEqual([message.parallelism, message.rate, message.period], [1, undefined, 1]);
  await client.messages.cancel(messageId);
});

test("notBefore wins over delay", async () => {
  const notBefore = Math.floor(Date.now() / 1000) + 7200;
  const { messageId } = await client.publish({ url: receiver.endpoint().url, delay: 10, notBefore });

  assert.equal((await client.messages.get(messageId)).notBefore, notBefore * 1000);
  assert.deepEqual(await states(client, messageId), ["CREATED"]);
  await client.messages.cancel(messageId);
});

test("an equal deduplication id is one message", async () => {
  const endpoint = receiver.endpoint();
  const { url } = endpoint;
  const first = await client.publish({ url, body: "1", deduplicationId: url });
  const second = await client.publish({ url, body: "2", deduplicationId: url });

  assert.equal(second.messageId, first.messageId);
  assert.equal(second.deduplicated, true);
  assert.ok(!first.deduplicated);
  await story(client, first.messageId);
  assert.deepEqual(endpoint.requests.map((request) => request.text), ["1"]);
});

test("equal content is one message if asked", async () => {
  const { url } = receiver.endpoint();
  const send = async (body) => Boolean((await client.publish({ url, body, contentBasedDeduplication: true })).deduplicated);

  assert.deepEqual([await send("a"), await send("a"), await send("b")], [false, true, false]);
});

test("a failing destination is tried again, with a hint of its own", async () => {
  const endpoint = receiver.endpoint();
  endpoint.answers({ status: 500 }, { status: 429, headers: { "Retry-After": "0" } }, { status: 200 });
  const { messageId } = await client.publish({ url: endpoint.url, body: "again", retries: 5, retryDelay: "0" });

  assert.equal((await story(client, messageId)).at(-1), "DELIVERED");
  assert.deepEqual(endpoint.requests.map((request) => request.headers["upstash-retried"]), ["0", "1", "2"]);
  for (const request of endpoint.requests) assert.ok(await verify(request, endpoint.url));
});

test("489 with its header ends the retries", async () => {
  const endpoint = receiver.endpoint();
  endpoint.answers({ status: 489, headers: { "Upstash-NonRetryable-Error": "true" } });
  const { messageId } = await client.publish({ url: endpoint.url, retries: 5, retryDelay: "0" });

  assert.deepEqual(await story(client, messageId), ["CREATED", "ACTIVE", "ERROR", "FAILED"]);
  assert.equal(endpoint.requests.length, 1);
});

test("a callback follows each attempt and a failure callback the last", async () => {
  const [source, back, failed] = [receiver.endpoint(), receiver.endpoint(), receiver.endpoint()];
  source.answers({ status: 503, body: "no" });
  const { messageId } = await client.publish({
    url: source.url,
    body: "ask",
    retries: 1,
    retryDelay: "0",
    callback: back.url,
    failureCallback: failed.url,
    headers: {
      "Upstash-Callback-Method": "PUT",
      "Upstash-Callback-Forward-X-Trace": "abc",
      "Upstash-Failure-Callback-Forward-X-Alarm": "red",
    },
  });

  const callbacks = (await back.waitFor(2)).map((request) => JSON.parse(request.text));
  assert.deepEqual(callbacks.map((body) => body.retried ?? 0).sort(), [0, 1]);
  for (const request of back.requests) {
    assert.equal(request.method, "PUT");
    assert.equal(request.headers["x-trace"], "abc");
    assert.ok(await verify(request, back.url));
  }
  for (const body of callbacks) {
    assert.equal(body.sourceMessageId, messageId);
    assert.equal(body.status, 503);
    assert.equal(atob(body.body), "no");
    assert.equal(atob(body.sourceBody), "ask");
    assert.equal(body.maxRetries, 1);
  }
  const request = await failed.one();
  assert.equal(request.headers["x-alarm"], "red");
  const { messages } = await client.dlq.listMessages({ dlqIds: [JSON.parse(request.text).dlqId] });
  assert.deepEqual(messages.map((dead) => dead.messageId), [messageId]);
});

test("a hidden body and header show nowhere", async () => {
  const endpoint = receiver.endpoint();
  endpoint.answers({ status: 500 });
  const secret = "the password is swordfish";
  const { messageId } = await client.publish({
    url: endpoint.url,
    body: secret,
    headers: { "X-Secret": secret, "X-Open": "seen" },
    retries: 0,
    redact: { body: true, header: ["X-Secret"] },
  });
  await story(client, messageId);

  const request = await endpoint.one();
  assert.equal(request.text, secret);
  assert.equal(request.headers["x-secret"], secret);
  const message = await client.messages.get(messageId);
  const { logs } = await client.logs({ messageIds: [messageId] });
  const { messages } = await client.dlq.listMessages({ filter: { messageId } });
  for (const shown of [message, ...logs, ...messages]) {
    const text = JSON.stringify(shown);
    assert.equal(text.includes(secret) || text.includes(btoa(secret)), false, text);
    assert.match(shown.header["X-Secret"][0], /^REDACTED:[0-9a-f]{64}$/);
    assert.deepEqual(shown.header["X-Open"], ["seen"]);
  }
  assert.match(message.body, /^REDACTED:[0-9a-f]{64}$/);
});

test("what cannot work is refused by name", async () => {
  const { url } = receiver.endpoint();
  await refused(client.publish({ url, delay: "soon" }), 400, /upstash-delay/i);
  await refused(client.publish({ url, retries: 1_000_000 }), 412, /upstash-retries/i);
  await refused(client.publish({ url, callback: "nowhere" }), 400, /upstash-callback/i);
  const broken = { "Upstash-Callback-Retries": "x" };
  await refused(client.publish({ url, callback: url, headers: broken }), 400, /upstash-callback-retries/i);
  await refused(client.publish({ urlGroup: "nosuchgroup" }), 404, /topic nosuchgroup not found/);
  await refused(connect({ token: "bm9ib2R5" }).publish({ url }), 401);
  await refused(client.publish({ url, headers: { "Upstash-Workflow-RunId": "wfr_1" } }), 501, /workflow/);
});

test("the retired hosted model is refused", async () => {
  const callback = receiver.endpoint().url;
  await assert.rejects(
    client.publishJSON({ api: { name: "llm" }, body: {}, callback }),
    (error) => error.status >= 400 && error.status < 500,
  );
});
