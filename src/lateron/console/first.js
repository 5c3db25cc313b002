// The first minute: a test message to the catcher, from any empty list.

import { BASE, post } from "./api.js";
import { html } from "./lib.js";
import { info } from "./live.js";
import { go, route } from "./router.js";
import { Button, Code, Empty, toast } from "./ui.js";

/** Where the catcher listens, as the server itself can reach it. */
export const catcherUrl = (name) => `${location.origin}${BASE}_catch/${name}`;

/** Send a message to the catcher and go and look at it. */
export async function sendTest() {
  const sent = await post(`v2/publish/${catcherUrl("hello")}`, { body: { hello: "world", sentAt: new Date().toISOString() }, headers: { "Upstash-Label": "first-message" } });
  toast("Sent. This is its page; the catcher has what arrived.", "good", ["Open the catcher", () => go("catcher/hello")]);
  go(`messages/${sent.messageId}`);
}

/** Send one that fails at once, so that there is a dead letter to look at. */
export async function sendFailing() {
  const sent = await post(`v2/publish/${catcherUrl("broken")}?status=503`, { body: { order: 17 }, headers: { "Upstash-Retries": "0", "Upstash-Label": "broken" } });
  go(`messages/${sent.messageId}`);
}

/** The call that creates what a list would show. */
export const example = (path = `v2/publish/${catcherUrl("hello")}`, more = "") =>
  `curl -X POST ${location.origin}${BASE}${path} \\\n  -H "Authorization: Bearer $QSTASH_TOKEN" \\\n  -H "Content-Type: application/json"${more} \\\n  -d '{"hello": "world"}'`;

export function FirstRun({ title = "Nothing has been sent yet" }) {
  const canCatch = info.value?.catcher !== false;
  return html`<${Empty} title=${title} icon="messages">
    <p>Publish a message with its destination in the path: it is stored before it is answered, then delivered with retries. ${canCatch ? "Try it without any other service: the catcher on this server takes whatever is sent to it." : ""}</p>
    <div class="row">
      ${canCatch && html`<${Button} changes kind="primary" icon="play" act=${sendTest}>Send a test message to the catcher<//>`}
      <${Button} icon="builder" act=${() => go("builder")}>Build a request<//>
    </div>
    <${Code} text=${example()} />
  <//>`;
}

/** A filter that nothing fits: says which part to drop. */
export const NothingFits = ({ text, drop }) => html`<${Empty} title="Nothing fits this filter" icon="search"><p>${text ? html`The filter is <span class="mono">${text}</span>. ` : ""}${route.value.query.range ? "There is a time range, at the top. " : ""}Drop a part of it, or all.</p><div class="row"><${Button} act=${drop}>Drop the filter<//></div><//>`;

