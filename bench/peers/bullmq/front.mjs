// The publisher's side: takes a message over HTTP and answers 201 once Redis has it on disk.
//
//   PEER_REDIS_PORT=... PEER_JOB=whole|less node front.mjs    prints its port; POST /publish/<destination>, GET /pending

import { Queue } from "bullmq";
import Fastify from "fastify";

const connection = { host: "127.0.0.1", port: Number(process.env.PEER_REDIS_PORT) };
const queue = new Queue("deliveries", {
  connection,
  // One that failed is tried as often as Lateron tries. What is done stays with its outcome, BullMQ's default; less: is gone.
  defaultJobOptions: {
    attempts: 4,
    backoff: { type: "exponential", delay: 1000 },
    removeOnComplete: process.env.PEER_JOB !== "whole",
  },
});
await queue.waitUntilReady();

const front = Fastify({ logger: false, bodyLimit: 1 << 20 });
// The body goes on as it came; parsing it would cost and gain nothing.
front.removeAllContentTypeParsers();
front.addContentTypeParser("*", { parseAs: "string" }, (_, body, done) => done(null, body));

front.post("/publish/*", async (request, reply) => {
  const job = await queue.add("deliver", {
    url: request.params["*"],
    type: request.headers["content-type"],
    body: request.body,
  });
  return reply.code(201).send({ messageId: job.id });
});
front.get("/pending", async () => ({ pending: await queue.getJobCountByTypes("waiting", "active", "delayed") }));

await front.listen({ host: "127.0.0.1", port: 0 });
console.log(front.server.address().port);
