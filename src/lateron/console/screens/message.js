// One message: why it is where it is, what happened, and what one can do about it.

import { get, mayChange, part, post, remove } from "../api.js";
import { openReplay } from "../replay.js";
import { PhaseKey, Phases } from "../charts.js";
import { messagesOf } from "../filter.js";
import { decode64, isRedacted, micros, place, span } from "../format.js";
import { Icon } from "../icons.js";
import { isCommand } from "../keys.js";
import { html, useLayoutEffect } from "../lib.js";
import { info, now, useLoaded } from "../live.js";
import { Body, HeaderTable } from "../payload.js";
import { go, Link } from "../router.js";
import { Difference } from "../difference.js";
import { canSign, claimsOf, sign } from "../signing.js";
import { curlOf } from "../snippets.js";
import { Button, Card, Chip, Code, confirm, Copy, Empty, Facts, Head, Loaded, putOnClipboard, State, Tabs, Time, toast } from "../ui.js";
import { FINAL, relations, STATES, why } from "../words.js";

export default function Message({ id }) {
  const hears = (kind, line) => kind === "message" && line.messageId === id;
  // Why: the first seconds of a message are what one has come to see.
  const every = (message) => (message && !FINAL.has(message.state) && now.value - message.createdAt <= 15_000 ? 700 : 0);
  const story = useLoaded(() => get(`lateron/v1/messages/${part(id)}`), [id], { hears, every });
  useMessageKeys(story.data, story.refresh);
  if (story.error?.status === 404) {
    return html`<${Head} title="Message" /><${Empty} title="This message is not kept any more" icon="search"><p class="mono break">${id}</p><p>Ended messages are kept for as long as the history is. Its id may also be mistyped.</p><div class="row"><${Button} act=${() => go("messages")}>All messages<//></div><//>`;
  }
  return html`<${Loaded} of=${story}>${(message) => html`<${Whole} message=${message} refresh=${story.refresh} />`}<//>`;
}

const isHasty = ({ waitingFor }) => waitingFor === "delay" || waitingFor === "retry";

async function retryNow({ messageId }, refresh) {
  await post(`lateron/v1/messages/${part(messageId)}/retry`);
  toast("Due now.", "good");
  refresh();
}

function useMessageKeys(message, refresh) {
  // Why before it is painted: a key that is pressed as soon as its button is there must do what the button does.
  useLayoutEffect(() => {
    const copy = (text, said) => Promise.resolve(text).then(putOnClipboard).then(() => toast(said)).catch((error) => toast(error.message, "bad"));
    const keys = (event) => {
      if (!message || !isCommand(event)) return;
      const steps = { "[": -1, "]": 1 }[event.key];
      if (steps) stepAttempt(steps);
      if (event.key === "c") copy(message.messageId, "Id copied.");
      if (event.key === "r" && isHasty(message) && mayChange()) retryNow(message, refresh).catch((error) => toast(error.message, "bad"));
      if (event.key === "y") copy(signedCurl(message), "Copied as cURL.");
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, [message]);
}

function stepAttempt(step) {
  const all = [...document.querySelectorAll(".attempt > summary")];
  const at = all.indexOf(document.activeElement?.closest(".attempt")?.firstElementChild);
  const to = all[Math.max(0, Math.min(all.length - 1, at < 0 ? all.length - 1 : at + step))];
  to?.focus();
  if (to) to.parentElement.open = true;
}

function Whole({ message, refresh }) {
  const { host, path } = place(message.url);
  const reason = why(message, now.value);
  const tone = STATES[message.state]?.tone ?? "off";
  return html`<${Head} title="Message" about=${html`<span class="mono break">${message.messageId}</span> <${Copy} text=${message.messageId} label="Copy id" />`}><${Actions} message=${message} refresh=${refresh} /><//>
    <${Card} tone=${tone}>
      <div class="why-state"><${State} of=${message.state} /><span class="mono break">${message.method} ${host}<span class="soft">${path}</span></span></div>
      <p class="why">${reason.text} ${reason.link && html`<${Link} to=${reason.link}>Look there<//>`}</p>
    <//>
    <div class="split">
      <${Card} title="What happened"><${Timeline} message=${message} /><//>
      <div><${About} message=${message} /><${Card} title="What is sent"><${Sent} message=${message} /><//></div>
    </div>`;
}

function Actions({ message, refresh }) {
  const cancel = async () => {
    if (!(await confirm({ title: "Cancel this message?", text: "It will not be sent any more. An attempt that is under way is allowed to end.", verb: "Cancel message" }))) return;
    await remove(`v2/messages/${part(message.messageId)}`);
    toast("Cancelled.", "good");
    refresh();
  };
  const replay = async () => {
    const { messages } = await get("v2/dlq", { messageIds: message.messageId });
    if (!messages.length) return toast("It is not among the dead letters any more; it may have been replayed already.", "retry");
    openReplay({ rows: messages, done: (sent) => sent[0] && go(`messages/${sent[0]}`) });
  };
  return html`
    ${isHasty(message) && html`<${Button} changes kind="primary" icon="loop" title="r" act=${() => retryNow(message, refresh)}>Retry now<//>`}
    ${!FINAL.has(message.state) && html`<${Button} changes icon="stop" kind="warns" act=${cancel}>Cancel<//>`}
    ${message.state === "FAILED" && html`<${Button} changes kind="primary" icon="loop" act=${replay}>Replay…<//>`}
    <${Button} changes icon="builder" act=${() => go(`builder?from=${message.messageId}`)}>${message.state === "FAILED" ? "Edit and replay" : "Clone"}<//>
    <${Copy} text=${() => bundle(message)} kind="" label="Copy for support: all of it but bodies and values of headers">For support<//>
    <${Copy} text=${() => signedCurl(message)} kind="" label="Copy the delivery as cURL">cURL<//>`;
}

/** The story as JSON for somebody who helps: names of headers without values, bodies as their size, URLs without query. */
export function bundle(message) {
  const hidden = (key, value) => {
    if (/body(base64)?$/i.test(key)) return `(${String(value).length} characters)`;
    if (/headers?$/i.test(key) && value && typeof value === "object") return Object.keys(value);
    if (key === "request") return undefined;
    return typeof value === "string" && /^https?:/.test(value) ? value.replace(/\?.*$/s, "?…") : value;
  };
  return JSON.stringify({ server: info.value?.version, message }, hidden, 2);
}

/** The delivery as a command, with a fresh signature where this browser may make one. */
async function signedCurl(message) {
  const { method, url, body, bodyBase64: base64 } = message;
  const headers = Object.entries(message.header ?? {}).flatMap(([name, values]) => values.map((value) => [name, value]));
  headers.push(["Upstash-Message-Id", message.messageId]);
  if (canSign() && mayChange()) {
    const { current } = await get("v2/keys");
    headers.push(["Upstash-Signature", await sign(current, url, base64 ? decode64(base64).raw : (body ?? ""))]);
  }
  if ([body, ...headers.map(([, value]) => value)].some(isRedacted)) toast("What is redacted stands in the command as its hash: it is not the delivery as it was.", "retry");
  return curlOf({ method, url, headers, body, base64 });
}

function About({ message }) {
  const relation = relations(message);
  return html`<${Card} title="About it">
    <${Facts} pairs=${[
      ["Created", html`<${Time} at=${message.createdAt} as="full" />`],
      ["Not before", message.notBefore > message.createdAt ? html`<${Time} at=${message.notBefore} as="full" />` : undefined],
      ["Retries", `${message.retried ?? 0} of ${message.maxRetries} used`],
      ["Retry delay", message.retryDelayExpression ?? message.retryDelays?.map(span).join(", ")],
      ["Timeout", message.timeout && span(message.timeout)],
      ["Belongs to", relation.length ? html`<span class="chips">${relation.map(({ kind, name, link }) => html`<${Link} key=${kind} class="chip" to=${link}><span class="faint">${kind}</span> ${name}<//>`)}</span>` : undefined],
      ["Labels", message.labels && html`<span class="chips">${message.labels.map((label) => html`<${Link} key=${label} class="chip" to=${messagesOf("label", label)}>${label}<//>`)}</span>`],
      ["Order key", message.orderKey],
      ["Callback", message.callback],
      ["Failure callback", message.failureCallback],
      ["Published from", message.callerIP],
    ]} />
  <//>`;
}

function Sent({ message }) {
  const token = message.header?.["Upstash-Signature"]?.[0];
  const tabs = [
    ["Body", () => html`<${Body} text=${message.body} base64=${message.bodyBase64} none="It has no body." />`],
    ["Headers", () => html`<${HeaderTable} of=${message.header} caption="Headers for the destination" />`],
    ["Related", () => html`<${Related} message=${message} />`],
    ["JSON", () => html`<${Code} text=${JSON.stringify(message, null, 2)} label="Copy JSON" />`],
  ];
  if (token) tabs.push(["Signature", () => html`<${Code} text=${JSON.stringify(claimsOf(token), null, 2)} />`]);
  return html`<${Tabs} label="What is sent" tabs=${tabs} />`;
}

/** What belongs together: callbacks and replays of it, siblings of a URL group, other runs of its schedule. */
function Related({ message }) {
  const links = [
    message.parentMessageId && ["What it comes from", `messages/${message.parentMessageId}`],
    ...(message.callback || message.failureCallback ? [message.callback, message.failureCallback].filter(Boolean).map((url) => [`Messages to its callback ${place(url).host}`, messagesOf("url", url)]) : []),
    message.topicName && [`Siblings in group ${message.topicName}`, `${messagesOf("group", message.topicName)}&range=${message.createdAt - 1_000}-${message.createdAt + 1_000}`],
    message.scheduleId && [`Runs of schedule ${message.scheduleId}`, messagesOf("schedule", message.scheduleId)],
    ["Messages to the same host", messagesOf("host", place(message.url).host.replace(/:\d+$/, ""))],
    ["Lines of the log about it", `messages?view=lines&filter=id:${message.messageId}`],
  ].filter(Boolean);
  return html`<ul class="list">${links.map(([word, to]) => html`<li key=${to}><${Link} to=${to}>${word}<//></li>`)}</ul>`;
}

// The timeline: what was, and dashed, what is to come.

function Timeline({ message }) {
  const most = Math.max(1, ...message.attempts.map((attempt) => attempt.phases?.total ?? 0));
  const attempts = new Map(message.attempts.map((attempt) => [attempt.attempt, attempt]));
  const last = message.attempts.at(-1)?.attempt;
  const lines = message.events.filter((event) => !(event.state === "ACTIVE" && attempts.has(event.attempt)));
  return html`<ol class="timeline">
    ${lines.map((event, at) => html`<${Line} key=${at} ...${{ event, most, attempt: endsAttempt(event) && attempts.get(event.attempt), open: event.attempt === last, before: attempts.get(event.attempt - 1) }} />`)}
    ${future(message)}
  </ol>`;
}

const endsAttempt = ({ state }) => state === "ERROR" || state === "DELIVERED";

function Line({ event, attempt, before, most, open }) {
  const { tone, icon, word } = STATES[event.state] ?? { tone: "off", icon: "clock", word: event.state };
  return html`<li>
    <span class=${`knot tone-${tone}`}><${Icon} name=${icon} size="10" /></span>
    <div class="timeline-line"><strong>${wordOf(event, word)}</strong>
      ${event.state === "RETRY" && event.nextDeliveryTime && html`<span class="soft">next attempt after ${span(event.nextDeliveryTime - event.time)}</span>`}
      ${event.note && html`<${Chip}>${event.note}<//>`}
      <span class="at"><${Time} at=${event.time} /></span></div>
    ${attempt && html`<${Attempt} ...${{ attempt, before, most, open }} />`}
  </li>`;
}

function wordOf(event, word) {
  const said = { CREATED: "Stored", ACTIVE: `Attempt ${event.attempt} under way`, ERROR: `Attempt ${event.attempt} failed`, DELIVERED: `Delivered with attempt ${event.attempt}`, RETRY: "Retry scheduled", FAILED: "Given up; kept as a dead letter", CANCEL_REQUESTED: "Cancelling", CANCELED: "Cancelled" };
  return said[event.state] ?? word;
}

/** What went out: computed anew by the server, which keeps no copy of it. */
function Request({ of }) {
  return html`<${Code} text=${of.head.trimEnd()} label="Copy the head" />
    ${of.claims && html`<h3>What the signature says</h3><${Code} text=${JSON.stringify(of.claims, null, 2)} label="Copy the claims" />`}
    <p class="hint">Made anew from the message and the attempt, with the body beside; the time of signing may be a second later. The token itself is not shown, with any key.</p>`;
}

function Attempt({ attempt, before, most, open }) {
  const total = attempt.phases?.total;
  return html`<details class="attempt" open=${open}>
    <summary><span class="turns"><${Icon} name="right" size="12" /></span>
      <${Chip} tone=${attempt.responseStatus && attempt.responseStatus < 300 ? "good" : "bad"}>${attempt.responseStatus || attempt.errorClass || "no answer"}<//>
      <span class="grow soft">${attempt.error && attempt.error !== `status ${attempt.responseStatus}` ? attempt.error : ""}</span>
      ${total !== undefined && html`<${Phases} phases=${attempt.phases} most=${most} /><span class="num nowrap">${micros(total)}</span>`}
    </summary>
    <div class="attempt-body">
      <${PhaseKey} phases=${attempt.phases} />
      <${Tabs} label=${`Attempt ${attempt.attempt}`} tabs=${[
        ["Answer", () => html`<${Body} text=${attempt.responseBody} base64=${attempt.responseBodyBase64} truncated=${attempt.responseTruncated} none="The answer had no body." />`],
        ["Headers", () => html`<${HeaderTable} of=${attempt.responseHeader} caption="Headers of the answer" />`],
        ...(attempt.request ? [["Request", () => html`<${Request} of=${attempt.request} />`]] : []),
        ...(before ? [[`Since attempt ${before.attempt}`, () => html`<${Difference} before=${before} after=${attempt} />`]] : []),
        ["Details", () => html`<${Facts} pairs=${[["Started", html`<${Time} at=${attempt.startedAt} as="full" />`], ["Ended", html`<${Time} at=${attempt.endedAt} as="full" />`], ["Address", attempt.peer], ["Connection", attempt.reusedConnection ? "kept from before" : "new"], ["Kind of failure", attempt.errorClass], ["Error", attempt.error]]} />`],
      ]} />
    </div>
  </details>`;
}

function future(message) {
  if (FINAL.has(message.state)) return null;
  const left = message.maxRetries - (message.retried ?? 0);
  const due = message.waitingUntil ?? message.nextDeliveryTime;
  return html`
    ${message.state !== "ACTIVE" && html`<li class="future"><span class="knot"></span><div class="timeline-line"><span>Attempt ${message.attempts.length + 1}</span><span class="at">${due ? html`<${Time} at=${due} as="relative" />` : "when there is room"}</span></div></li>`}
    ${left > 0 && html`<li class="future"><span class="knot"></span><div class="timeline-line"><span>${left === 1 ? "One more retry" : `Up to ${left} more retries`} if that fails, then a dead letter</span></div></li>`}`;
}
