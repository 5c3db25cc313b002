// Receivers in JavaScript, official and written by hand, before and after the signing keys are rotated.

import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";

import { verifySignature, verifySignatureAppRouter, verifySignatureEdge } from "@upstash/qstash/nextjs";

import { verifyAsLambdaInNode } from "./lambda-verifier.mjs";
import { Receiver, connect, story, users, verify } from "./support.mjs";

const client = connect();
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

const keys = (user) => ({ currentSigningKey: user.current, nextSigningKey: user.next });

/** Publish and return the request that arrives. */
async function delivered(endpoint, user = users[0], body = "signed") {
  const number = endpoint.requests.length + 1;
  await connect(user).publish({ url: endpoint.url, body });
  return (await endpoint.waitFor(number)).at(-1);
}

/** The request as the web platform has it. */
const asRequest = ({ method, headers, body }, url) => new Request(url, { method, headers, body });

/** Run a handler of the pages router on a recorded request; resolves to status and text. */
async function onPagesRouter(handler, { method, headers, body }) {
  const answer = { code: 200, text: "" };
  const response = {
    status: (code) => void (answer.code = code),
    send: (text) => void (answer.text = text),
    end: () => {},
  };
  await handler(Object.assign(Readable.from([body]), { method, headers }), response);
  return answer;
}

test("the official receiver accepts the request and nothing that was changed", async () => {
  const endpoint = receiver.endpoint();
  const request = await delivered(endpoint);

  assert.ok(await verify(request, endpoint.url));
  await assert.rejects(verify(request, `${endpoint.url}/`), /invalid subject/);
  await assert.rejects(verify(request, endpoint.url, users[0], "changed"), /body hash does not match/);
  await assert.rejects(verify(request, endpoint.url, users[1]), /signature/);
});

test("each documented user signs with keys of its own", async () => {
  for (const user of users) {
    const endpoint = receiver.endpoint();
    assert.ok(await verify(await delivered(endpoint, user), endpoint.url, user));
  }
});

for (const [name, wrap] of Object.entries({ verifySignatureAppRouter, verifySignatureEdge })) {
  test(`a handler behind ${name} is called for a genuine delivery only`, async () => {
    const endpoint = receiver.endpoint();
    const bodies = [];
    const handler = wrap(async (request) => {
      bodies.push(await request.text());
      return new Response("handled");
    }, keys(users[0]));
    endpoint.answerBy(async (request) => {
      const answer = await handler(asRequest(request, endpoint.url));
      return { status: answer.status, body: await answer.text() };
    });
    const { messageId } = await client.publish({ url: endpoint.url, body: "grüße", retries: 0 });

    assert.equal((await story(client, messageId)).at(-1), "DELIVERED");
    assert.deepEqual(bodies, ["grüße"]);
    const bare = new Request(endpoint.url, { method: "POST", body: "x" });
    assert.equal((await handler(bare)).status, 403);
    const forged = asRequest({ ...endpoint.requests[0], body: "forged" }, endpoint.url);
    await assert.rejects(handler(forged), /body hash does not match/);
    assert.equal(bodies.length, 1);
  });
}

test("a handler behind verifySignature is called for a genuine delivery only", async () => {
  const endpoint = receiver.endpoint();
  const bodies = [];
  const handler = verifySignature((request, response) => {
    bodies.push(request.body);
    response.status(202);
  }, keys(users[0]));
  endpoint.answerBy(async (request) => ({ status: (await onPagesRouter(handler, request)).code }));
  const { messageId } = await client.publishJSON({ url: endpoint.url, body: { n: 1 }, retries: 0 });

  assert.equal((await story(client, messageId)).at(-1), "DELIVERED");
  assert.deepEqual(bodies, [{ n: 1 }]);
  assert.equal((await onPagesRouter(handler, { headers: {}, body: "x" })).code, 400);
  const forged = { ...endpoint.requests[0], body: Buffer.from("forged") };
  await assert.rejects(onPagesRouter(handler, forged), /body hash does not match/);
  assert.equal(bodies.length, 1);
});

test("the verifier written by hand for AWS Lambda accepts, at the root of a host too", async () => {
  // A function's URL has no path and no slash: it must be signed exactly so.
  const root = receiver.endpoint("/");
  root.url = receiver.origin;
  for (const endpoint of [root, receiver.endpoint()]) {
    const { url } = endpoint;
    const request = await delivered(endpoint, users[0], '{"a": "ü"}');
    const token = request.headers["upstash-signature"];

    verifyAsLambdaInNode(token, users[0].current, request.text, url);
    verifyAsLambdaInNode(token, users[0].current, null, url);
    assert.throws(() => verifyAsLambdaInNode(token, users[0].current, request.text, `${url}/`), /subject/);
    assert.throws(() => verifyAsLambdaInNode(token, users[0].current, "{}", url), /body/);
    assert.throws(() => verifyAsLambdaInNode(token, users[0].next, request.text, url), /signature/);
  }
});

test("receivers survive one rotation and not two", async () => {
  const user = users[3];
  const rotating = connect(user);
  const ask = (method, ...path) => rotating.http.request({ method, path: ["v2", "keys", ...path] });
  const endpoint = receiver.endpoint();

  const old = await ask("GET");
  const first = await delivered(endpoint, user);
  const once = await ask("POST", "rotate");
  const second = await delivered(endpoint, user);
  const twice = await ask("POST", "rotate");
  const third = await delivered(endpoint, user);

  assert.equal(once.current, old.next);
  assert.equal(twice.current, once.next);
  assert.deepEqual(await ask("GET"), twice);
  const onRouter = async (pair, request) => {
    const handler = verifySignatureAppRouter(() => new Response("handled"), keys(pair));
    return (await handler(asRequest(request, endpoint.url))).status;
  };
  const onPages = async (pair, request) => {
    const handler = verifySignature((_, response) => response.status(202), keys(pair));
    return (await onPagesRouter(handler, request)).code;
  };
  for (const [pair, request] of [[old, first], [old, second], [once, second], [once, third], [twice, third]]) {
    assert.ok(await verify(request, endpoint.url, pair));
    assert.equal(await onRouter(pair, request), 200);
    assert.equal(await onPages(pair, request), 202);
  }
  for (const [pair, request] of [[old, third], [once, first], [twice, second]]) {
    await assert.rejects(verify(request, endpoint.url, pair));
    await assert.rejects(onRouter(pair, request));
    await assert.rejects(onPages(pair, request));
  }
  verifyAsLambdaInNode(third.headers["upstash-signature"], twice.current, "signed", endpoint.url);
});
