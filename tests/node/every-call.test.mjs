// Every call that the official JavaScript SDK offers is driven by a test, and this page says by which.
//
// The calls are read from the installed package, so a version with a new one fails here until somebody has
// thought about it. A test drives a call if its own text makes it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { connect, refused } from "./support.mjs";

const client = connect();

// Call -> file and test. `http` is what the others are made of; `topics` is the older name of `urlGroups`.
const DRIVEN = {
  "client.publish": "publish: every byte arrives",
  "client.publishJSON": "publish: JSON is sent as JSON",
  "client.batch": "url-groups: a publish reaches every endpoint, a batch answers arrays for groups",
  "client.batchJSON": "batch: a batch of JSON is sent as JSON",
  "client.logs": "logs: pages show each event once, newest first, and the last has no cursor",
  "client.events": "logs: the older name gives the same",
  "client.chat": "every-call: what is not built is refused",
  "client.queue": "queues: a queue is made, configured, listed and deleted",
  "queue.upsert": "queues: a queue is made, configured, listed and deleted",
  "queue.get": "queues: a queue is made, configured, listed and deleted",
  "queue.list": "queues: a queue is made, configured, listed and deleted",
  "queue.delete": "queues: a queue is made, configured, listed and deleted",
  "queue.enqueue": "queues: messages are enqueued in order, and a paused queue keeps them",
  "queue.enqueueJSON": "queues: a group is enqueued as one message for each endpoint",
  "queue.pause": "queues: a queue is made, configured, listed and deleted",
  "queue.resume": "queues: messages are enqueued in order, and a paused queue keeps them",
  "messages.get": "messages: a message is readable at once and after its end",
  "messages.cancel": "messages: many are cancelled by their ids, unknown ones skipped",
  "messages.delete": "messages: one message is cancelled, by the new name and the old",
  "messages.deleteMany": "messages: many are cancelled by their ids, unknown ones skipped",
  "messages.deleteAll": "messages: all of one user are cancelled, in every state, and nobody else's",
  "dlq.listMessages": "dlq: filters choose dead letters",
  "dlq.delete": "dlq: delete takes an id, ids, a filter, or all",
  "dlq.deleteMany": "dlq: delete takes an id, ids, a filter, or all",
  "dlq.retry": "dlq: retry takes an id, ids, a filter, or all, and sends the original as a new message",
  "schedules.create": "schedules: a schedule is what was asked for, and nothing more",
  "schedules.get": "schedules: a schedule is what was asked for, and nothing more",
  "schedules.list": "schedules: a schedule is what was asked for, and nothing more",
  "schedules.delete": "schedules: a schedule is what was asked for, and nothing more",
  "schedules.pause": "schedules: pause and resume",
  "schedules.resume": "schedules: pause and resume",
  "urlGroups.addEndpoints": "url-groups: a group is made, shown, listed, changed and deleted",
  "urlGroups.removeEndpoints": "url-groups: a group is made, shown, listed, changed and deleted",
  "urlGroups.list": "url-groups: a group is made, shown, listed, changed and deleted",
  "urlGroups.get": "url-groups: a group is made, shown, listed, changed and deleted",
  "urlGroups.delete": "url-groups: a group is made, shown, listed, changed and deleted",
  "topics.addEndpoints": "url-groups: the older name does the same",
  "topics.removeEndpoints": "url-groups: the older name does the same",
  "topics.list": "url-groups: the older name does the same",
  "topics.get": "url-groups: the older name does the same",
  "topics.delete": "url-groups: the older name does the same",
  "flowControl.get": "flow-control: shows all figures as numbers and booleans, and an unknown key is not found",
  "flowControl.getGlobalParallelism": "flow-control: shows the limit of the server",
  "flowControl.pause": "flow-control: pauses and resumes a key",
  "flowControl.resume": "flow-control: pauses and resumes a key",
  "flowControl.pin": "flow-control: pins and unpins each part on its own",
  "flowControl.unpin": "flow-control: pins and unpins each part on its own",
  "flowControl.resetRate": "flow-control: resets the rate beside an open attempt",
  "workflow.cancel": "every-call: what is not built is refused",
  "chat.create": "every-call: what is not built is refused",
  "chat.prompt": "every-call: what is not built is refused",
};
// Made of `create`, with a provider that is called directly and not through us.
const ELSEWHERE = new Set(["chat.createThirdParty", "chat.getAuthorizationToken"]);

/** The names of an object's methods, with those that are set on the object itself. */
function methods(object) {
  const prototype = Object.getPrototypeOf(object);
  const own = Object.keys(object).filter((name) => typeof object[name] === "function");
  const shared = Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor");
  return [...own, ...shared];
}

function callsOf() {
  const calls = new Set();
  for (const name of methods(client)) {
    const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(client), name);
    if (!get) calls.add(`client.${name}`);
    const resource = get?.call(client) ?? { queue: client.queue({ queueName: "q" }), chat: client.chat() }[name];
    if (resource) methods(resource).forEach((method) => calls.add(`${name}.${method}`));
  }
  return [...calls].filter((call) => !ELSEWHERE.has(call)).sort();
}

test("each call of the SDK is in the table", () => {
  assert.deepEqual(callsOf(), Object.keys(DRIVEN).sort());
});

for (const [call, place] of Object.entries(DRIVEN)) {
  test(`the test of ${call} makes it`, () => {
    const [file, name] = place.split(/: (.*)/s);
    const text = readFileSync(new URL(`${file}.test.mjs`, import.meta.url), "utf-8");
    const found = text.split(/^ *(?:test|it)\(/m).filter((block) => block.startsWith(JSON.stringify(name)));
    assert.equal(found.length, 1, `${place} is not there, or twice`);
    assert.ok(found[0].includes(`${call}(`), found[0]);
  });
}

test("what is not built is refused", async () => {
  await refused(client.workflow.cancel("wfr_1"), 501, /workflow/);
  const chat = client.chat();
  const provider = { owner: "upstash", baseUrl: "https://example.com", token: "" };
  await refused(chat.create({ provider, model: "m", messages: [] }), 404, /no such path/);
  await refused(chat.prompt({ provider, model: "m", system: "s", user: "u" }), 404, /no such path/);
});
