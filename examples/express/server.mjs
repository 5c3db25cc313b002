// A receiver with Express: the body is kept as bytes until its signature is known to be good.

import express from "express";
import { Client, Receiver } from "@upstash/qstash";

const receiver = new Receiver({
  currentSigningKey: process.env.QSTASH_CURRENT_SIGNING_KEY,
  nextSigningKey: process.env.QSTASH_NEXT_SIGNING_KEY,
});
const client = new Client({ baseUrl: process.env.QSTASH_URL, token: process.env.QSTASH_TOKEN });
const app = express();
const done = [];

// No express.json() before this: a body that was parsed and written anew is not the one that was signed.
const raw = express.raw({ type: () => true, limit: "10mb" });

const verified = async (request, response, next) => {
  const body = Buffer.isBuffer(request.body) ? request.body.toString("utf-8") : "";
  const signature = request.get("upstash-signature") ?? "";
  const genuine = await receiver
    .verify({ signature, body, url: process.env.APP_URL + request.originalUrl })
    .catch(() => false);
  if (!genuine) return response.status(401).json({ error: "not signed by the queue" });
  request.body = JSON.parse(body);
  next();
};

app.post("/jobs/:name", express.json(), async (request, response) => {
  const { messageId } = await client.publishJSON({
    url: `${process.env.APP_URL}/work`,
    body: { job: request.params.name, payload: request.body },
    retries: 3,
  });
  response.status(202).json({ messageId });
});

app.post("/work", raw, verified, (request, response) => {
  const { job, payload } = request.body;
  const retried = Number(request.get("upstash-retried"));
  if (typeof payload?.size !== "number") {
    // This will never work: no retries, a dead letter at once.
    return response.status(489).set("Upstash-NonRetryable-Error", "true").json({ error: "a job needs a size" });
  }
  if (payload.size > 100 && retried === 0) {
    return response.status(503).set("Retry-After", "60").json({ error: "too busy for large jobs" });
  }
  done.push({ job, size: payload.size, retried });
  response.json({ done: job });
});

app.get("/done", (_, response) => response.json(done));

const listening = app.listen(Number(process.env.PORT ?? 0), process.env.HOST ?? "127.0.0.1", () => {
  process.env.APP_URL ??= `http://127.0.0.1:${listening.address().port}`;
  console.log(process.env.APP_URL);
});
