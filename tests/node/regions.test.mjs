// A client and a receiver that are configured for several regions; the server says which one it is.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Client, Receiver as OfficialReceiver } from "@upstash/qstash";
import { verifySignatureAppRouter } from "@upstash/qstash/nextjs";

import { Receiver, story, users } from "./support.mjs";

let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

test("address, token and keys of the region are used", async () => {
  const endpoint = receiver.endpoint();
  const client = new Client({ retry: false }); // Finds all it needs in EU_CENTRAL_1_QSTASH_*.
  const handler = verifySignatureAppRouter(async (request) => new Response(await request.text()));
  endpoint.answerBy(async ({ method, headers, body }) => {
    const answer = await handler(new Request(endpoint.url, { method, headers, body }));
    return { status: answer.status };
  });

  const { messageId } = await client.publish({ url: endpoint.url, body: "regional", retries: 0 });

  assert.equal((await story(client, messageId)).at(-1), "DELIVERED");
  const { headers, text } = await endpoint.one();
  assert.equal(headers["upstash-region"], "EU-CENTRAL-1");
  const official = new OfficialReceiver();
  const request = { signature: headers["upstash-signature"], body: text, url: endpoint.url };
  assert.ok(await official.verify({ ...request, upstashRegion: headers["upstash-region"] }));
  await assert.rejects(official.verify({ ...request, upstashRegion: "US-EAST-1" }));
  assert.notEqual(process.env.US_EAST_1_QSTASH_CURRENT_SIGNING_KEY, users[0].current);
});
