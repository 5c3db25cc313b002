// The request builder: a form and the code it stands for, each made from the other.

import { call, get, mayChange, part } from "../api.js";
import { messagesOf } from "../filter.js";
import { catcherUrl } from "../first.js";
import { bytes, span } from "../format.js";
import { html, useEffect, useMemo, useState } from "../lib.js";
import { info } from "../live.js";
import { go } from "../router.js";
import { waits } from "../retrying.js";
import { cronOf, LANGUAGES, readCurl, requestOf } from "../snippets.js";
import { Button, Card, Code, Field, Head, Segments, toast } from "../ui.js";
import { CronPreview } from "./schedules.js";

const EMPTY = {
  kind: "publish", target: "", queue: "", method: "POST", contentType: "application/json", body: '{"hello": "world"}',
  cron: "*/5 * * * *", zone: "UTC", scheduleId: "", delay: "", retries: "", retryDelay: "", timeout: "", flowKey: "", flowValue: "",
  orderKey: "", dedupId: "", label: "", callback: "", failureCallback: "", redact: "", forward: [],
};
const KINDS = [["publish", "Publish"], ["enqueue", "Enqueue"], ["schedule", "Schedule"]];
const FIELD_OF = {
  "content-type": "contentType", "upstash-method": "method", "upstash-delay": "delay", "upstash-retries": "retries", "upstash-retry-delay": "retryDelay", "upstash-timeout": "timeout",
  "upstash-flow-control-key": "flowKey", "upstash-flow-control-value": "flowValue", "lateron-order-key": "orderKey", "upstash-deduplication-id": "dedupId", "upstash-label": "label",
  "upstash-callback": "callback", "upstash-failure-callback": "failureCallback", "upstash-redact-fields": "redact", "upstash-cron": "cron", "upstash-schedule-id": "scheduleId",
};

/** A draft out of a command of cURL: one to this API, or any other, which is then the delivery wanted. */
export function draftOf(curl) {
  const draft = { ...EMPTY, method: curl.method, target: curl.url, body: curl.body, contentType: "", forward: [] };
  const ours = /\/v2\/(publish|schedules|enqueue\/([^/]+))\/(.+)$/.exec(curl.url);
  if (ours) {
    draft.kind = { publish: "publish", schedules: "schedule" }[ours[1]] ?? "enqueue";
    Object.assign(draft, { target: ours[3], queue: decodeURIComponent(ours[2] ?? ""), method: "POST" });
  }
  for (const [name, value] of curl.headers) takeHeader(draft, name, value, Boolean(ours));
  const zoned = /^CRON_TZ=(\S+)\s+(.*)$/.exec(draft.cron);
  if (zoned) Object.assign(draft, { zone: zoned[1], cron: zoned[2] });
  return draft;
}

function takeHeader(draft, name, value, ours) {
  const field = FIELD_OF[name.toLowerCase()];
  const forwarded = /^upstash-forward-(.+)$/i.exec(name);
  if (field) draft[field] = value;
  else if (forwarded) draft.forward.push([forwarded[1], value]);
  else if (!ours) draft.forward.push([name, value]);
}

async function draftFrom(query) {
  if (query.from) return ofMessage(await get(`lateron/v1/messages/${part(query.from)}`));
  if (query.schedule) return ofSchedule(await get(`v2/schedules/${part(query.schedule)}`));
  const given = Object.fromEntries(Object.entries(query).filter(([name]) => name in EMPTY));
  return { ...EMPTY, target: info.value?.catcher === false ? "" : catcherUrl("hello"), ...given };
}

const shared = (one) => ({
  ...EMPTY, method: one.method, body: one.body ?? "", retries: String(one.retries ?? one.maxRetries ?? ""), retryDelay: one.retryDelayExpression ?? "",
  label: (one.labels ?? []).join(","), flowKey: one.flowControlKey ?? "", callback: one.callback ?? "", failureCallback: one.failureCallback ?? "", queue: one.queueName ?? "",
  flowValue: [one.parallelism && `parallelism=${one.parallelism}`, one.rate && `rate=${one.rate}, period=${one.period}`].filter(Boolean).join(", "),
  contentType: one.header?.["Content-Type"]?.[0] ?? "",
  forward: Object.entries(one.header ?? {}).filter(([name]) => name !== "Content-Type").flatMap(([name, values]) => values.map((value) => [name, value])),
});

const ofMessage = (one) => ({ ...shared(one), kind: one.queueName ? "enqueue" : "publish", target: one.url, orderKey: one.orderKey ?? "", timeout: one.timeout ? span(one.timeout) : "" });

function ofSchedule(one) {
  const [, zone, cron] = /^(?:CRON_TZ=(\S+)\s+)?(.*)$/.exec(one.cron);
  return { ...shared(one), kind: "schedule", target: one.destination, cron, zone: zone ?? "UTC", scheduleId: one.scheduleId, delay: one.delay ? `${one.delay}s` : "", timeout: one.timeout ? `${one.timeout}s` : "" };
}

export default function Builder({ query }) {
  const [draft, setDraft] = useState(null);
  useEffect(() => {
    draftFrom(query).then(setDraft, (error) => (toast(error.message, "bad"), setDraft(EMPTY)));
  }, [query.from, query.schedule, query.kind]);
  if (!draft) return html`<div class="loading" role="status">Loading…</div>`;
  const change = (part_) => setDraft({ ...draft, ...part_ });
  return html`<${Head} title="Builder" about="A form for a request, and the same request as code. Paste a command of cURL and the form fills itself." />
    <div class="split"><${Form} draft=${draft} change=${change} /><div class="sticky"><${AsCode} draft=${draft} setDraft=${setDraft} /></div></div>`;
}

const problem = ({ kind, target, queue }) => {
  if (!target.trim()) return "A destination is needed.";
  if (kind === "enqueue" && !queue.trim()) return "A queue is needed.";
  return null;
};

async function send(draft) {
  const { method, path, headers, body } = requestOf(draft);
  const sent = await call(method, path, { headers: Object.fromEntries(headers), body: body || undefined });
  if (draft.kind === "schedule") return go(`schedules?name=${part(sent.scheduleId)}`);
  if (Array.isArray(sent)) return go(messagesOf("group", draft.target));
  return go(`messages/${sent.messageId}`);
}

function Form({ draft, change }) {
  const text = (name, props = {}) => html`<input ...${props} value=${draft[name]} onInput=${(e) => change({ [name]: e.target.value })} />`;
  const limit = info.value?.limits?.body;
  const size = new TextEncoder().encode(draft.body).length;
  const wrong = mayChange() ? problem(draft) : "This login may only read; the code works with a token that may do more.";
  return html`<${Card}>
    <div class="row"><${Segments} label="What to do" options=${KINDS} value=${draft.kind} pick=${(kind) => change({ kind })} /></div><br />
    <${Field} label="Destination" hint="A URL, or the name of a URL group.">${text("target", { class: "mono", placeholder: "https://example.com/hook", required: true })}<//>
    ${info.value?.catcher !== false && html`<p class="hint row"><${Button} kind="small" act=${() => change({ target: catcherUrl("hello") })}>To the catcher<//><${Button} kind="small" act=${() => change({ target: `${catcherUrl("broken")}?status=503`, retries: "0" })}>To one that fails<//></p><br />`}
    ${draft.kind === "enqueue" && html`<${Field} label="Queue">${text("queue", { placeholder: "mail" })}<//>`}
    ${draft.kind === "schedule" && html`<${When} draft=${draft} change=${change} text=${text} />`}
    <div class="columns-2"><${Field} label="Method"><select value=${draft.method} onChange=${(e) => change({ method: e.target.value })}>${["POST", "GET", "PUT", "PATCH", "DELETE"].map((method) => html`<option key=${method}>${method}</option>`)}</select><//>
      <${Field} label="Content type">${text("contentType")}<//></div>
    <${Field} label="Body" error=${limit && size > limit ? `${bytes(size)} are more than the ${bytes(limit)} this server takes.` : null} hint=${`${bytes(size)}${limit ? ` of ${bytes(limit)}` : ""}`}><textarea rows="5" spellcheck=${false} value=${draft.body} onInput=${(e) => change({ body: e.target.value })}></textarea><//>
    <${Options} draft=${draft} change=${change} text=${text} />
    <div class="dialog-foot"><span class="hint">${wrong}</span><${Button} changes kind="primary" icon="play" act=${() => send(draft)} disabled=${Boolean(wrong)}>${{ publish: "Publish", enqueue: "Enqueue", schedule: "Save schedule" }[draft.kind]}<//></div>
  <//>`;
}

function When({ draft, change, text }) {
  const zones = useMemo(() => ["UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? []).filter((zone) => zone !== "UTC")], []);
  return html`<div class="columns-2"><${Field} label="Cron" hint="Minute, hour, day, month, weekday; a sixth field at the front is the second.">${text("cron", { class: "mono" })}<//>
      <${Field} label="Time zone"><select value=${draft.zone} onChange=${(e) => change({ zone: e.target.value })}>${zones.map((zone) => html`<option key=${zone}>${zone}</option>`)}</select><//></div>
    <${CronPreview} cron=${cronOf(draft)} />
    <${Field} label="Id of the schedule" hint="One that exists is replaced.">${text("scheduleId", { placeholder: "made up by the server" })}<//>`;
}

const Fold = ({ title, children, open }) => html`<details class="fold" open=${open}><summary>${title}</summary><div>${children}</div></details>`;

function Options({ draft, change, text }) {
  return html`
    <${Fold} title="When and how often" open=${Boolean(draft.delay || draft.retries || draft.retryDelay)}>
      <div class="columns-2"><${Field} label="Delay" hint="10s, 1h30m, 2d">${text("delay", { placeholder: "none" })}<//><${Field} label="Retries" hint="Attempts after the first.">${text("retries", { inputmode: "numeric", placeholder: "3" })}<//>
      <${Field} label="Retry delay" hint="Milliseconds, as an expression of retried.">${text("retryDelay", { class: "mono", placeholder: "the usual" })}<//><${Field} label="Timeout" hint="Of one attempt.">${text("timeout", { placeholder: "the usual" })}<//></div>
      <${Retries} draft=${draft} /><//>
    <${Fold} title="Flow control and order" open=${Boolean(draft.flowKey || draft.orderKey)}>
      <div class="columns-2"><${Field} label="Flow key" hint="Messages of one key share limits.">${text("flowKey")}<//><${Field} label="Its limits" hint="parallelism=5, rate=10, period=1m">${text("flowValue")}<//>
      <${Field} label="Order key" hint="Messages of one key go out one after another.">${text("orderKey")}<//><${Field} label="Deduplication id" hint="Equal ids are one message.">${text("dedupId")}<//></div><//>
    <${Fold} title="Callbacks, labels, redaction" open=${Boolean(draft.callback || draft.failureCallback || draft.label || draft.redact)}>
      <div class="columns-2"><${Field} label="Callback" hint="Gets the outcome of each attempt.">${text("callback")}<//><${Field} label="Failure callback" hint="Is told when all retries have failed.">${text("failureCallback")}<//>
      <${Field} label="Labels" hint="To find it by; separated by commas.">${text("label")}<//><${Field} label="Redact" hint="Shown only as hash: body, header[Authorization]">${text("redact")}<//></div><//>
    <${Fold} title=${`Headers for the destination${draft.forward.length ? ` (${draft.forward.length})` : ""}`} open=${draft.forward.length > 0}><${Forward} draft=${draft} change=${change} /><//>`;
}

/** The waits of the retries, as a sentence one can check. */
function Retries({ draft }) {
  const { delays, error } = waits(Math.min(8, Number(draft.retries || 3)), draft.retryDelay);
  if (error) return html`<p class="hint wrong-text" role="status">Retry delay: ${error}</p>`;
  let total = 0;
  return html`<table class="plain"><caption class="unseen">Waits before retries</caption><tbody>${delays.map((delay, at) => ((total += delay), html`<tr key=${at}><th scope="row">Retry ${at + 1}</th><td class="num">${span(delay)} later</td><td class="num faint">${span(total)} after the first attempt</td></tr>`))}</tbody></table>`;
}

function Forward({ draft, change }) {
  const set = (at, pair) => change({ forward: draft.forward.map((one, n) => (n === at ? pair : one)) });
  return html`${draft.forward.map(([name, value], at) => html`<div class="row" key=${at}>
      <input class="grow" aria-label="Name of header" value=${name} onInput=${(e) => set(at, [e.target.value, value])} /><input class="grow" aria-label="Value of header" value=${value} onInput=${(e) => set(at, [name, e.target.value])} />
      <${Button} kind="quiet" icon="cross" label="Remove header" act=${() => change({ forward: draft.forward.filter((_, n) => n !== at) })} /></div>`)}
    <${Button} kind="small" act=${() => change({ forward: [...draft.forward, ["", ""]] })}>Add a header<//><br /><br />`;
}

function AsCode({ draft, setDraft }) {
  const [language, setLanguage] = useState("cURL");
  const [pasted, setPasted] = useState(null);
  const shown = LANGUAGES[language](draft);
  const paste = (text) => {
    const read = readCurl(text);
    setPasted(read ? null : text);
    if (read) setDraft(draftOf(read));
  };
  return html`<${Card} title="As code" side=${html`<${Segments} label="Language" options=${Object.keys(LANGUAGES).map((name) => [name, name])} value=${language} pick=${setLanguage} />`}>
      <${Code} text=${shown} />
      <p class="hint">The token is read from <code>QSTASH_TOKEN</code>, the server from <code>QSTASH_URL</code>.</p>
    <//>
    <${Card} title="From code"><${Field} label="Paste a command of cURL" error=${pasted ? "This is no command of cURL with a URL in it." : null} hint="One to this API, or one to your destination, which then becomes the delivery.">
      <textarea rows="4" spellcheck=${false} value=${pasted ?? ""} placeholder="curl https://example.com/hook -d '…'" onInput=${(e) => paste(e.target.value)}></textarea><//><//>`;
}
