// Calls to providers of models and mail, as the JavaScript SDK makes them, against stand-ins with their names.
// A stand-in echoes what it got, and the callback brings that back.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { anthropic, custom, openai, resend } from "@upstash/qstash";

import { Receiver, connect, verify } from "./support.mjs";

const client = connect();
const chat = { model: "gpt-4", messages: [{ role: "user", content: "grüße" }] };
const mail = { from: "a@example.test", to: ["b@example.test"], subject: "Hello", html: "<p>Hi</p>" };
let receiver;
before(async () => void (receiver = await Receiver.start()));
after(() => receiver.close());

/** What the stand-in saw, as the callback tells it. */
async function seenBy(back) {
  const request = await back.one();
  assert.ok(await verify(request, back.url));
  const callback = JSON.parse(request.text);
  assert.equal(callback.status, 200);
  const seen = JSON.parse(Buffer.from(callback.body, "base64").toString());
  return { ...seen, url: callback.url, body: JSON.parse(Buffer.from(seen.body, "base64").toString()) };
}

async function called(options) {
  const back = receiver.endpoint();
  await client.publishJSON({ ...options, callback: back.url });
  return seenBy(back);
}

test("OpenAI", async () => {
  const provider = openai({ token: "sk-test", organization: "org-test" });
  const seen = await called({ api: { name: "llm", provider }, body: chat });

  assert.equal(seen.url, "https://api.openai.com/v1/chat/completions");
  assert.deepEqual([seen.method, seen.target, seen.headers.host], ["POST", "/v1/chat/completions", "api.openai.com"]);
  assert.equal(seen.headers.authorization, "Bearer sk-test");
  assert.equal(seen.headers["openai-organization"], "org-test");
  assert.equal(seen.headers["content-type"], "application/json");
  assert.deepEqual(seen.body, chat);
});

test("Anthropic", async () => {
  const seen = await called({ api: { name: "llm", provider: anthropic({ token: "ak-test" }) }, body: chat });

  assert.deepEqual([seen.target, seen.headers.host], ["/v1/messages", "api.anthropic.com"]);
  assert.deepEqual([seen.headers["x-api-key"], seen.headers["anthropic-version"]], ["ak-test", "2023-06-01"]);
  assert.equal(seen.headers.authorization, undefined);
});

test("a provider of one's own", async () => {
  const provider = custom({ baseUrl: "https://llm.example.test/v1/chat/completions", token: "theirs" });
  const seen = await called({ api: { name: "llm", provider }, body: chat });

  assert.deepEqual([seen.target, seen.headers.host], ["/v1/chat/completions", "llm.example.test"]);
  assert.equal(seen.headers.authorization, "Bearer theirs");
});

test("Resend", async () => {
  const seen = await called({ api: { name: "email", provider: resend({ token: "re_test" }) }, body: mail });

  assert.deepEqual([seen.target, seen.headers.host], ["/emails", "api.resend.com"]);
  assert.equal(seen.headers.authorization, "Bearer re_test");
  assert.deepEqual(seen.body, mail);
});

test("Resend, many mails at once", async () => {
  const provider = resend({ token: "re_test", batch: true });
  const seen = await called({ api: { name: "email", provider }, body: [mail, mail] });

  assert.equal(seen.target, "/emails/batch");
  assert.deepEqual(seen.body, [mail, mail]);
});

for (const [name, provider, target, base] of [
  ["OpenAI", openai({ token: "sk-test" }), "/v1/chat/completions", "https://api.openai.com"],
  ["Anthropic", anthropic({ token: "ak-test" }), "/v1/messages", "https://api.anthropic.com"],
  ["one's own", custom({ baseUrl: "https://llm.example.test", token: "t" }), "/v1/chat/completions", "https://llm.example.test"],
]) {
  test(`analytics by Helicone before ${name}`, async () => {
    const analytics = { name: "helicone", token: "h-test" };
    const seen = await called({ api: { name: "llm", provider, analytics }, body: chat });

    assert.deepEqual([seen.target, seen.headers.host], [target, "gateway.helicone.ai"]);
    assert.equal(seen.headers["helicone-auth"], "Bearer h-test");
    assert.equal(seen.headers["helicone-target-url"], base);
  });
}

test("calls in a batch", async () => {
  const [first, second] = [receiver.endpoint(), receiver.endpoint()];
  await client.batchJSON([
    { api: { name: "llm", provider: openai({ token: "one" }) }, body: chat, callback: first.url },
    { api: { name: "email", provider: resend({ token: "two", batch: true }) }, body: [mail], callback: second.url },
  ]);

  const [one, two] = [await seenBy(first), await seenBy(second)];
  assert.deepEqual([one.headers.host, one.headers.authorization], ["api.openai.com", "Bearer one"]);
  assert.deepEqual([two.headers.host, two.target, two.headers.authorization], ["api.resend.com", "/emails/batch", "Bearer two"]);
  assert.deepEqual(two.body, [mail]);
});
