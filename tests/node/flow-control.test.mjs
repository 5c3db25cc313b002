/** Flow control: every call of the SDK, and what it does to deliveries. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { Receiver, connect, refused, story } from "./support.mjs";

describe("flow control", () => {
  const client = connect();
  let receiver;
  before(async () => {
    receiver = await Receiver.start();
  });
  after(() => receiver.close());

  it("shows all figures as numbers and booleans, and an unknown key is not found", async () => {
    const key = "js-figures";
    await refused(client.flowControl.get(key), 404, /js-figures/);
    const flowControl = { key, parallelism: 2, rate: 10, period: "1m" };
    const { messageId } = await client.publish({ url: receiver.endpoint().url, flowControl });
    await story(client, messageId);
    const shown = await client.flowControl.get(key);
    assert.ok(shown.ratePeriodStart > 1_700_000_000);
    assert.deepEqual(
      { ...shown, ratePeriodStart: 0 },
      {
        flowControlKey: key,
        waitListSize: 0,
        parallelismMax: 2,
        parallelismCount: 0,
        rateMax: 10,
        rateCount: 1,
        ratePeriod: 60,
        ratePeriodStart: 0,
        isPaused: false,
        isPinnedParallelism: false,
        isPinnedRate: false,
        isSmooth: false,
      },
    );
  });

  it("pauses and resumes a key", async () => {
    const key = "js-pause";
    const endpoint = receiver.endpoint();
    await client.flowControl.pause(key);
    const { messageId } = await client.publish({ url: endpoint.url, flowControl: { key, parallelism: 1 } });
    const shown = await client.flowControl.get(key);
    assert.equal(shown.isPaused, true);
    assert.equal(shown.waitListSize, 1);
    assert.equal(endpoint.requests.length, 0);
    await client.flowControl.resume(key);
    await story(client, messageId);
    assert.equal((await client.flowControl.get(key)).isPaused, false);
  });

  it("pins and unpins each part on its own", async () => {
    const key = "js-pin";
    await client.flowControl.pin(key, { parallelism: 3, rate: 20, period: 120 });
    let shown = await client.flowControl.get(key);
    assert.deepEqual([shown.parallelismMax, shown.rateMax, shown.ratePeriod], [3, 20, 120]);
    assert.deepEqual([shown.isPinnedParallelism, shown.isPinnedRate], [true, true]);
    await client.flowControl.unpin(key, { parallelism: true });
    shown = await client.flowControl.get(key);
    assert.deepEqual([shown.isPinnedParallelism, shown.isPinnedRate], [false, true]);
    await client.flowControl.unpin(key, { rate: true });
    shown = await client.flowControl.get(key);
    assert.deepEqual([shown.isPinnedParallelism, shown.isPinnedRate], [false, false]);
    assert.deepEqual([shown.parallelismMax, shown.rateMax, shown.ratePeriod], [3, 20, 120]);
  });

  it("resets the rate beside an open attempt", async () => {
    const key = "js-reset";
    const endpoint = receiver.endpoint();
    let answer;
    endpoint.answerBy(() => new Promise((resolve) => (answer = () => resolve({ status: 200 }))));
    const flowControl = { key, rate: 5, period: "7d" };
    const { messageId } = await client.publish({ url: endpoint.url, flowControl });
    await endpoint.waitFor(1);
    assert.equal((await client.flowControl.get(key)).rateCount, 1);
    await client.flowControl.resetRate(key);
    const shown = await client.flowControl.get(key);
    assert.deepEqual([shown.rateCount, shown.parallelismCount], [0, 1]);
    answer();
    await story(client, messageId);
  });

  it("shows the limit of the server", async () => {
    const { parallelismMax, parallelismCount } = await client.flowControl.getGlobalParallelism();
    assert.equal(parallelismMax, 256);
    assert.equal(typeof parallelismCount, "number");
  });
});
