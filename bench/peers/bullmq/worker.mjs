// The receiver's side: takes jobs, POSTs each to its destination on kept connections, and acknowledges it.
//
//   PEER_REDIS_PORT=... PEER_CONCURRENCY=... node worker.mjs

import { Worker } from "bullmq";
import { Agent, request } from "undici";

const concurrency = Number(process.env.PEER_CONCURRENCY);
const dispatcher = new Agent({ connections: concurrency, pipelining: 1 });

async function deliver({ data }) {
  const { statusCode, body } = await request(data.url, {
    dispatcher,
    method: "POST",
    headers: { "content-type": data.type },
    body: data.body,
  });
  await body.dump();
  if (statusCode < 200 || statusCode > 299) throw new Error(`the destination answered ${statusCode}`);
}

const worker = new Worker("deliveries", deliver, {
  connection: { host: "127.0.0.1", port: Number(process.env.PEER_REDIS_PORT) },
  concurrency,
});
await worker.waitUntilReady();
console.log("ready");
