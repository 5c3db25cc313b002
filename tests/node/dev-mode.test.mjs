// With QSTASH_DEV=true the JavaScript SDK takes a running `lateron dev` as its own server and downloads nothing.

import { outside } from "./loopback-only.mjs"; // First, so that nothing can connect before it.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { test } from "node:test";

import { Client, Receiver as OfficialReceiver, startDevServer } from "@upstash/qstash";
import { verifySignatureAppRouter } from "@upstash/qstash/nextjs";

import { Receiver, story } from "./support.mjs";

const port = process.env.QSTASH_DEV_PORT;
const cache = `${homedir()}/.cache/upstash`;

test("without a server the SDK does try to download one", async () => {
  // The control: if the trap saw nothing here, its silence below would mean nothing.
  process.env.QSTASH_DEV_PORT = "1";
  const lonely = new Client({ retry: false });
  await assert.rejects(lonely.publish({ url: "http://127.0.0.1:1", body: "x" }));
  process.env.QSTASH_DEV_PORT = port;

  assert.ok(outside.length > 0);
  assert.ok(outside.every((host) => host.endsWith("amazonaws.com") || host.endsWith("upstash.com")), String(outside));
  outside.length = 0;
});

test("with one it publishes there, as the first documented user", async () => {
  const receiver = await Receiver.start();
  const endpoint = receiver.endpoint();
  const before = existsSync(`${cache}/qstash-dev/qstash`);
  const client = new Client({ retry: false });
  const handler = verifySignatureAppRouter(async (request) => new Response(await request.text()));
  endpoint.answerBy(async ({ method, headers, body }) => {
    const answer = await handler(new Request(endpoint.url, { method, headers, body }));
    return { status: answer.status };
  });

  await startDevServer();
  const { messageId } = await client.publish({ url: endpoint.url, body: "local", retries: 0 });

  const request = await endpoint.one();
  assert.ok(
    await new OfficialReceiver().verify({
      signature: request.headers["upstash-signature"],
      body: request.text,
      url: endpoint.url,
    }),
  );
  assert.deepEqual(await story(client, messageId), ["CREATED", "ACTIVE", "DELIVERED"]);
  assert.deepEqual(outside, []);
  assert.equal(existsSync(`${cache}/qstash-dev/qstash`), before);
  await receiver.close();
});
