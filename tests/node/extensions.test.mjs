// Options of ours through the JavaScript SDK: the same list of retry delays in every spelling it can send.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver, connect, refused, story, until, verify } from "./support.mjs";

const client = connect();
const NAME = "Lateron-Retry-Delays";
const AT_ONCE = "0s, 0s"; // Two retries without a wait.
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

const ways = {
  "plainly": async ({ url }) =>
    client.http.request({ method: "POST", path: ["v2", "publish", url], headers: { [NAME]: AT_ONCE } }),
  "as a header of the message": ({ url }) => client.publish({ url, headers: { [NAME]: AT_ONCE } }),
  "as a header of JSON": ({ url }) => client.publishJSON({ url, body: {}, headers: { [NAME]: AT_ONCE } }),
  "behind the prefix": ({ url }) => client.publish({ url, headers: { [`Upstash-Forward-${NAME}`]: AT_ONCE } }),
  "in the query": ({ url }) => client.publish({ url: `${url}?${NAME.toLowerCase()}=0s,0s` }),
  "as a header of the client": ({ url }) => connect(undefined, { headers: { [NAME]: AT_ONCE } }).publish({ url }),
  "in a batch": async ({ url }) => (await client.batch([{ url, headers: { [NAME]: AT_ONCE } }]))[0],
  "in a batch of JSON": async ({ url }) =>
    (await client.batchJSON([{ url, body: {}, headers: { [`Upstash-Forward-${NAME}`]: AT_ONCE } }]))[0],
};

for (const [way, send] of Object.entries(ways)) {
  test(`a list of delays works ${way}`, async () => {
    const endpoint = receiver.endpoint();
    endpoint.answers({ status: 500 });
    const { messageId } = await send(endpoint);

    assert.equal((await story(client, messageId)).at(-1), "FAILED");
    assert.equal(endpoint.requests.length, 3);
    assert.equal((await client.messages.get(messageId)).maxRetries, 2);
    for (const request of endpoint.requests) {
      assert.equal(JSON.stringify([request.target, request.rawHeaders]).toLowerCase().includes("lateron-retry"), false);
      assert.ok(await verify(request, endpoint.url));
    }
  });
}

for (const kind of ["Callback", "Failure-Callback"]) {
  test(`a ${kind} has a list of delays of its own`, async () => {
    const [source, back] = [receiver.endpoint(), receiver.endpoint()];
    source.answers({ status: 500 });
    back.answers({ status: 500 }, { status: 500 }, { status: 200 });
    await client.publish({
      url: source.url,
      retries: 0,
      ...(kind === "Callback" ? { callback: back.url } : { failureCallback: back.url }),
      headers: { [`Upstash-${kind}-Forward-${NAME}`]: AT_ONCE, [`Upstash-${kind}-Forward-X-Kept`]: "k" },
    });

    const requests = await back.waitFor(3);
    assert.deepEqual(requests.map(({ headers }) => headers["upstash-retried"]), ["0", "1", "2"]);
    for (const { headers } of requests) {
      assert.equal(headers["x-kept"], "k");
      assert.equal(headers[NAME.toLowerCase()], undefined);
    }
  });
}

test("a table of delays is followed", async () => {
  const endpoint = receiver.endpoint();
  endpoint.answers({ status: 500 });
  const { messageId } = await client.publish({ url: endpoint.url, headers: { [NAME]: "10s, 1m, 10m, 1h" } });

  const planned = await until(async () => {
    const { logs } = await client.logs({ messageIds: [messageId] });
    return logs.find((log) => log.state === "RETRY");
  }, "the retry to be planned");
  assert.equal(planned.nextDeliveryTime - planned.time, 10_000);
  assert.equal((await client.messages.get(messageId)).maxRetries, 4);
  await client.messages.cancel(messageId);
});

test("a broken list is refused by name", async () => {
  const { url } = receiver.endpoint();
  await refused(client.publish({ url, headers: { [NAME]: "soon" } }), 400, /lateron-retry-delays/i);
});
