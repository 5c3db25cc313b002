// What two guides to QStash tell their readers to write, word for word but for addresses and times.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Receiver as OfficialReceiver } from "@upstash/qstash";

import { Receiver, connect, story, until, users } from "./support.mjs";

const qstash = connect();
const qstashReceiver = new OfficialReceiver({ currentSigningKey: users[0].current, nextSigningKey: users[0].next });
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

/** The guide's route: verify first, then handle the job. */
const guarded = (endpoint, handle) => async (request) => {
  const signature = request.headers["upstash-signature"];
  if (!signature) return { status: 401, body: "Missing signature" };
  const isValid = await qstashReceiver.verify({ body: request.text, signature, url: endpoint.url });
  if (!isValid) return { status: 401, body: "Invalid signature" };
  await handle(JSON.parse(request.text));
  return { status: 200, body: "OK" };
};

test("an order is processed once, a follow-up waits for days, a task for its time", async () => {
  const processOrder = receiver.endpoint();
  const jobs = [];
  processOrder.answerBy(guarded(processOrder, (job) => jobs.push(job)));
  const deliverAt = new Date(Date.now() + 60 * 60 * 1000);

  const order = await qstash.publishJSON({
    url: processOrder.url,
    body: { orderId: "o-1", action: "process" },
    retries: 3,
  });
  const followUp = await qstash.publishJSON({
    url: receiver.endpoint().url,
    body: { userId: "u-1" },
    delay: 3 * 24 * 60 * 60, // 3 days in seconds
  });
  const task = await qstash.publishJSON({
    url: receiver.endpoint().url,
    body: { task: 1 },
    notBefore: Math.floor(deliverAt.getTime() / 1000), // Unix timestamp
  });

  assert.equal((await story(qstash, order.messageId)).at(-1), "DELIVERED");
  assert.deepEqual(jobs, [{ orderId: "o-1", action: "process" }]);
  const { notBefore, createdAt } = await qstash.messages.get(followUp.messageId);
  assert.equal(notBefore - createdAt, 3 * 24 * 60 * 60 * 1000);
  const shown = await qstash.messages.get(task.messageId);
  assert.ok(shown.notBefore - Math.floor(deliverAt.getTime() / 1000) * 1000 <= 1000);
  await qstash.messages.cancel([followUp.messageId, task.messageId]);
});

test("a digest every morning is created, listed and deleted", async () => {
  const schedule = await qstash.schedules.create({
    destination: "https://example.com/api/qstash/daily-digest",
    cron: "0 9 * * *", // Daily at 9 AM UTC
    body: JSON.stringify({ type: "daily-digest" }),
    headers: { "Content-Type": "application/json" },
    retries: 3,
  });

  const schedules = await qstash.schedules.list();
  const mine = schedules.find(({ scheduleId }) => scheduleId === schedule.scheduleId);
  assert.deepEqual([mine.cron, mine.destination], ["0 9 * * *", "https://example.com/api/qstash/daily-digest"]);
  await qstash.schedules.delete(schedule.scheduleId);
});

test("a topic fans out, and each endpoint checks its own signature", async () => {
  const name = `order-events-${Date.now()}`;
  const heard = [];
  const endpoints = ["inventory", "notification", "analytics", "partner"].map((service) => {
    const endpoint = receiver.endpoint();
    endpoint.answerBy(guarded(endpoint, ({ orderId }) => heard.push(`${service} ${orderId}`)));
    return endpoint;
  });
  await qstash.topics.addEndpoints({ name, endpoints: endpoints.map(({ url }) => ({ url })) });

  const answers = await qstash.publishJSON({
    topic: name,
    body: { orderId: "o-2", event: "paid", timestamp: Date.now() },
    retries: 3,
  });

  for (const { messageId } of answers) assert.deepEqual(await story(qstash, messageId), ["CREATED", "ACTIVE", "DELIVERED"]);
  assert.deepEqual(heard.sort(), ["analytics o-2", "inventory o-2", "notification o-2", "partner o-2"]);
  await qstash.topics.delete(name);
});

test("success and failure are told, and a dead letter is reviewed, deleted and published again", async () => {
  const [order, success, failure] = [receiver.endpoint(), receiver.endpoint(), receiver.endpoint()];
  order.answers({ status: 500, body: "out of stock" });
  const { messageId } = await qstash.publishJSON({
    url: order.url,
    body: { orderId: "o-3" },
    retries: 0,
    callback: success.url,
    failureCallback: failure.url,
    deduplicationId: `process-${order.path}`,
  });

  const [told] = await failure.waitFor(1);
  assert.equal(JSON.parse(told.text).sourceMessageId, messageId);
  await success.waitFor(1);
  const mine = await until(async () => {
    const { messages } = await qstash.dlq.listMessages();
    return messages.find((message) => message.messageId === messageId);
  }, "the dead letter");
  assert.deepEqual(
    [mine.url, mine.responseStatus, mine.responseBody, mine.maxRetries],
    [order.url, 500, "out of stock", 0],
  );
  await qstash.dlq.delete(mine.dlqId);
  order.answers({ status: 200 });
  const again = await qstash.publishJSON({ url: order.url, body: { orderId: "o-3" } });
  assert.equal((await story(qstash, again.messageId)).at(-1), "DELIVERED");
});

test("a call is scheduled now and in a day, looked up, and tried again by the table", async () => {
  const handler = receiver.endpoint();
  handler.answerBy(guarded(handler, () => {}));
  const scheduleCallExecution = ({ caseId, callType, executeAt }) =>
    qstash.publishJSON({
      url: handler.url,
      body: { action: "execute_call", caseId, callType, attempt: 1 },
      notBefore: Math.floor(executeAt.getTime() / 1000),
      headers: { "Lateron-Retry-Delays": "10s, 1m, 10m, 1h" },
    });

  const now = await scheduleCallExecution({ caseId: "case_1", callType: "discharge", executeAt: new Date() });
  const executeAt = new Date(Date.now() + 24 * 60 * 60 * 1000);
  const later = await scheduleCallExecution({ caseId: "case_1", callType: "discharge", executeAt });

  assert.deepEqual(await story(qstash, now.messageId), ["CREATED", "ACTIVE", "DELIVERED"]);
  const status = await qstash.messages.get(later.messageId);
  assert.equal(status.maxRetries, 4);
  assert.equal(JSON.parse(status.body).callType, "discharge");
  await qstash.messages.cancel(later.messageId);
});
