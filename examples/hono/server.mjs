// A receiver with Hono: verified, on Node; the same application runs on Bun, Deno and Cloudflare Workers.

import { serve } from "@hono/node-server";
import { Client, Receiver } from "@upstash/qstash";
import { Hono } from "hono";

const receiver = new Receiver({
  currentSigningKey: process.env.QSTASH_CURRENT_SIGNING_KEY,
  nextSigningKey: process.env.QSTASH_NEXT_SIGNING_KEY,
});
const client = new Client({ baseUrl: process.env.QSTASH_URL, token: process.env.QSTASH_TOKEN });
const app = new Hono();
const done = [];

// Only what the server signed gets further. The body is verified as it came, before anybody parses it.
const verified = async (context, next) => {
  const body = await context.req.text();
  const signature = context.req.header("upstash-signature") ?? "";
  const genuine = await receiver
    .verify({ signature, body, url: process.env.APP_URL + context.req.path })
    .catch(() => false);
  if (!genuine) return context.json({ error: "not signed by the queue" }, 401);
  await next();
};

app.post("/jobs/:name", async (context) => {
  const { messageId } = await client.publishJSON({
    url: `${process.env.APP_URL}/work`,
    body: { job: context.req.param("name"), payload: await context.req.json() },
    retries: 3,
  });
  return context.json({ messageId }, 202);
});

app.post("/work", verified, async (context) => {
  const { job, payload } = await context.req.json();
  if (typeof payload?.size !== "number") {
    // This will never work: no retries, a dead letter at once.
    return context.json({ error: "a job needs a size" }, 489, { "Upstash-NonRetryable-Error": "true" });
  }
  if (payload.size > 100 && context.req.header("upstash-retried") === "0") {
    return context.json({ error: "too busy for large jobs" }, 503, { "Retry-After": "60" });
  }
  done.push({ job, size: payload.size, retried: Number(context.req.header("upstash-retried")) });
  return context.json({ done: job });
});

app.get("/done", (context) => context.json(done));

serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 0), hostname: "127.0.0.1" }, ({ port }) => {
  process.env.APP_URL ??= `http://127.0.0.1:${port}`;
  console.log(process.env.APP_URL);
});
