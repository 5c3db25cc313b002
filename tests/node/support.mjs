/**
 * What the Node suites share: a client of the official SDK for each user, a receiver that records what the
 * server delivers, and waiting by asking again. The server itself is started by test_node.py.
 */

import assert from "node:assert/strict";
import http from "node:http";

import { Client, Receiver as OfficialReceiver } from "@upstash/qstash";

const PATIENCE_MS = 30_000; // Longer than any wait of a green run on a busy machine.

export const baseUrl = process.env.TEST_URL;

/** The documented users: `{ token, current, next }`. */
export const users = JSON.parse(process.env.TEST_USERS ?? "[]");

/** A client that does not retry by itself, so that each call is seen as it is. */
export const connect = (user = users[0], options = {}) =>
  new Client({ baseUrl, token: user.token, retry: false, ...options });

/** Ask until the answer is truthy. */
export async function until(ask, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `waited in vain for ${what}; the last answer was ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** What the log says of a message so far, oldest first. */
export async function states(client, messageId) {
  const { logs } = await client.logs({ messageIds: [messageId] });
  return logs.map((log) => log.state).reverse();
}

/** What the log says of a message once it has come to rest, oldest first. */
export const story = (client, messageId) =>
  until(async () => {
    const seen = await states(client, messageId);
    return seen.some((state) => ["DELIVERED", "FAILED", "CANCELED"].includes(state)) && seen;
  }, `${messageId} to come to rest`);

/** Let a message end in the dead letter queue, and return its entry. */
export async function fail(client, endpoint, options = {}) {
  endpoint.answers({ status: 500, body: "broken" });
  const { messageId } = await client.publish({ url: endpoint.url, retries: 0, ...options });
  assert.equal((await story(client, messageId)).at(-1), "FAILED");
  const { messages } = await client.dlq.listMessages({ filter: { messageId } });
  assert.equal(messages.length, 1);
  return messages[0];
}

/** Ask the official receiver whether a request is signed for this URL and body, with the keys of a user. */
export const verify = (request, url, user = users[0], body = request.text) =>
  new OfficialReceiver({ currentSigningKey: user.current, nextSigningKey: user.next }).verify({
    signature: request.headers["upstash-signature"],
    body,
    url,
  });

/** Expect a call to be refused with a status and words. */
export const refused = (call, status, words = /./) =>
  assert.rejects(call, (error) => {
    assert.equal(error.status, status, `${error.status}: ${error.message}`);
    assert.match(error.message, words);
    return true;
  });

class Endpoint {
  #answer = () => ({ status: 200, body: "ok" });
  requests = [];

  constructor(url, path) {
    this.url = url;
    this.path = path;
  }

  /** Answer the following requests with these in turn, and with the last one from then on. */
  answers(...answers) {
    const left = [...answers];
    this.#answer = () => (left.length > 1 ? left.shift() : left[0]);
  }

  /** Answer each request with what a function makes of it. */
  answerBy(program) {
    this.#answer = program;
  }

  /** Record a request and return what to answer. */
  async take(request) {
    this.requests.push(request);
    return { status: 200, headers: {}, body: "", ...(await this.#answer(request)) };
  }

  /** The requests, once there are at least so many. */
  waitFor(number) {
    return until(() => this.requests.length >= number && this.requests, `${number} requests at ${this.url}`);
  }

  /** The first request, once it is there; it must be the only one. */
  async one() {
    const requests = await this.waitFor(1);
    assert.equal(requests.length, 1);
    return requests[0];
  }
}

/** A receiver on a loopback address; each test asks it for an endpoint of its own. */
export class Receiver {
  #endpoints = new Map();
  #server = http.createServer((request, response) => void this.#serve(request, response));

  static async start() {
    const receiver = new Receiver();
    await new Promise((resolve) => receiver.#server.listen(0, "127.0.0.1", resolve));
    return receiver;
  }

  get origin() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  endpoint(path = `/endpoint-${this.#endpoints.size + 1}`) {
    const endpoint = new Endpoint(this.origin + path, path);
    this.#endpoints.set(path, endpoint);
    return endpoint;
  }

  close() {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const { method, url: target, headers, rawHeaders } = request;
    const endpoint = this.#endpoints.get(target.split("?")[0]) ?? this.endpoint(target.split("?")[0]);
    try {
      const answer = await endpoint.take({ method, target, headers, rawHeaders, body, text: body.toString() });
      response.writeHead(answer.status, answer.headers).end(answer.body);
    } catch (error) {
      response.writeHead(599).end(String(error));
    }
  }
}
