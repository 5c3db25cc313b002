// The request builder: a form and the code it stands for, each made from the other.

import { call, CONSOLE, get, mayChange, part, post, session } from "../api.js";
import { keep, takeBack } from "../drafts.js";
import { messagesOf } from "../filter.js";
import { catcherUrl } from "../first.js";
import { bytes, isRedacted, span } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../lib.js";
import { info } from "../live.js";
import { go } from "../router.js";
import { waits } from "../retrying.js";
import { cronOf, FIELDS, LANGUAGES, readCurl, requestOf, sendable } from "../snippets.js";
import { Button, Card, Code, Field, Head, Segments, toast } from "../ui.js";
import { CronPreview } from "./schedules.js";

const EMPTY = {
  kind: "publish", target: "", queue: "", method: "POST", contentType: "application/json", body: '{"hello": "world"}',
  cron: "*/5 * * * *", zone: "UTC", scheduleId: "", delay: "", retries: "", retryDelay: "", timeout: "", flowKey: "", flowValue: "",
  orderKey: "", dedupId: "", label: "", callback: "", failureCallback: "", redact: "", forward: [], more: [],
  missing: "", about: "", paused: false,
};
const KINDS = [["publish", "Publish"], ["enqueue", "Enqueue"], ["schedule", "Schedule"]];
const FIELD_OF = Object.fromEntries(FIELDS.map(([name, field]) => [name.toLowerCase(), field]));
const NOT_SHOWN = "What the API does not show is not here, and must be given anew: smooth flow, what is to be redacted but is not there, and more of a callback than its URL and headers";
const BODY_MISSING = { redacted: "The body is redacted, and known only to who published it: give it anew.", binary: "The body is no text, which this form cannot send: give another one." };

/** A draft out of a command of cURL: one to this API, or any other, which is then the delivery wanted. */
export function draftOf(curl) {
  const draft = { ...EMPTY, method: curl.method, target: curl.url, body: curl.body, contentType: "", forward: [], more: [] };
  const ours = /\/v2\/(publish|schedules|enqueue\/([^/]+))\/(.+)$/.exec(curl.url);
  if (ours) {
    draft.kind = { publish: "publish", schedules: "schedule" }[ours[1]] ?? "enqueue";
    Object.assign(draft, { target: /^https?:/i.test(ours[3]) ? ours[3] : decoded(ours[3]), queue: decoded(ours[2] ?? ""), method: "POST" });
  }
  for (const [name, value] of curl.headers) takeHeader(draft, name, value, Boolean(ours));
  const zoned = /^CRON_TZ=(\S+)\s+(.*)$/.exec(draft.cron);
  if (zoned) Object.assign(draft, { zone: zoned[1], cron: zoned[2] });
  return draft;
}

/** What was encoded for a path; as it stands, where it was encoded wrongly. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function takeHeader(draft, name, value, ours) {
  const key = name.toLowerCase();
  const field = (key !== "upstash-queue-name" || draft.kind === "schedule") && Object.hasOwn(FIELD_OF, key) && FIELD_OF[key];
  const forwarded = /^upstash-forward-(.+)$/i.exec(name);
  if (field) draft[field] = value;
  else if (forwarded) draft.forward.push([forwarded[1], value]);
  else if (/^(upstash|lateron)-/.test(key)) draft.more.push([name, value]);
  else if (!ours) draft.forward.push([name, value]);
}

async function draftFrom(query) {
  if (query.from) return ofMessage(await get(`lateron/v1/messages/${part(query.from)}`));
  if (query.schedule) return ofSchedule(await get(`v2/schedules/${part(query.schedule)}`));
  const given = Object.fromEntries(Object.entries(query).filter(([name]) => Object.hasOwn(EMPTY, name) && typeof EMPTY[name] === "string"));
  if (!KINDS.some(([kind]) => kind === given.kind)) delete given.kind;
  return { ...EMPTY, target: info.value?.catcher === false ? "" : catcherUrl("hello"), ...given };
}

const pairsOf = (headers) => Object.entries(headers ?? {}).flatMap(([name, values]) => values.map((value) => [name, value]));

function shared(one) {
  const headers = pairsOf(one.header);
  const hidden = [isRedacted(one.body) && "body", ...headers.filter(([, value]) => isRedacted(value)).map(([name]) => `header[${name}]`)];
  const missing = isRedacted(one.body) ? "redacted" : one.bodyBase64 ? "binary" : "";
  const ofCallback = (kind, of) => pairsOf(of).map(([name, value]) => [`Upstash-${kind}-Forward-${name}`, value]);
  return {
    ...EMPTY, method: one.method, body: missing ? "" : (one.body ?? ""), missing, retries: String(one.retries ?? one.maxRetries ?? ""), retryDelay: one.retryDelayExpression ?? "",
    label: (one.labels ?? []).join(","), flowKey: one.flowControlKey ?? "", callback: one.callback ?? "", failureCallback: one.failureCallback ?? "", queue: one.queueName ?? "",
    flowValue: [one.parallelism && `parallelism=${one.parallelism}`, one.rate && `rate=${one.rate}, period=${one.period}s`].filter(Boolean).join(", "),
    contentType: headers.find(([name]) => name === "Content-Type")?.[1] ?? "", redact: [...new Set(hidden.filter(Boolean))].join(", "),
    forward: headers.filter(([name]) => name !== "Content-Type"),
    more: [...ofCallback("Callback", one.callbackHeader), ...ofCallback("Failure-Callback", one.failureCallbackHeader)],
  };
}

/** Options that have no field in the form, of those that are given. */
const options = (pairs) => pairs.filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => [name, String(value)]);

/** A span as the API reads it, to the millisecond. */
const exact = (ms) => (ms ? (ms % 1_000 ? `${ms}ms` : `${ms / 1_000}s`) : "");
const moment = (ms) => ms && new Date(ms).toISOString();

function ofMessage(one) {
  const made = shared(one);
  const more = options([["Lateron-Retry-Delays", one.retryDelays?.map((ms) => exact(ms) || "0s").join(", ")], ["Upstash-Not-Before", one.notBefore > Date.now() ? one.notBefore / 1_000 : null]]);
  return { ...made, kind: one.queueName ? "enqueue" : "publish", target: one.url, orderKey: one.orderKey ?? "", timeout: exact(one.timeout), more: [...made.more, ...more], about: `A copy of message ${one.messageId}. ${NOT_SHOWN}.` };
}

function ofSchedule(one) {
  const [, zone, cron] = /^(?:CRON_TZ=(\S+)\s+)?(.*)$/.exec(one.cron);
  const made = shared(one);
  const seconds = (value) => exact(value && Math.round(value * 1_000));
  const more = options([
    ["Lateron-Jitter", seconds(one.jitter) || null], ["Lateron-Missed", one.missed], ["Lateron-Overlap", one.overlap],
    ["Lateron-Start", moment(one.start)], ["Lateron-End", moment(one.end)], ["Lateron-Most-Runs", one.mostRuns],
  ]);
  return {
    ...made, kind: "schedule", target: one.destination, cron, zone: zone ?? "UTC", scheduleId: one.scheduleId, delay: seconds(one.delay), timeout: seconds(one.timeout), more: [...made.more, ...more],
    paused: one.isPaused, about: `Schedule ${one.scheduleId} is replaced as a whole, and counts its runs anew${one.isPaused ? "; it stays paused" : ""}. ${NOT_SHOWN}, an order key, and a list of retry delays.`,
  };
}

export default function Builder({ query }) {
  const [draft, setDraft] = useState(null);
  const [turn, setTurn] = useState(0); // Of drafts as a whole; the form begins anew with each.
  const take = (made) => (setTurn((before) => before + 1), setDraft(made));
  const { range, ...wanted } = query;
  const place = CONSOLE + JSON.stringify(wanted);
  const untouched = useRef(null);
  const [whose] = useState(() => session.peek());
  const written = useRef(null);
  written.current = draft !== untouched.current && draft;
  useEffect(() => {
    let wants = true;
    const begin = (made) => wants && take((untouched.current = made));
    const back = takeBack(place);
    setDraft(back && { ...EMPTY, ...back }); // An older console may have kept it.
    if (back) toast("The form is as you left it.");
    else draftFrom(query).then(begin, (error) => wants && (toast(error.message, "bad"), begin(EMPTY)));
    return () => {
      wants = false;
      if (!session.peek() && written.current) keep(whose, place, written.current);
    };
  }, [place]);
  if (!draft) return html`<div class="loading" role="status">Loading…</div>`;
  const change = (part_) => setDraft((before) => ({ ...before, ...part_ }));
  return html`<${Head} title="Builder" about="A form for a request, and the same request as code. Paste a command of cURL and the form fills itself." />
    <div class="split"><${Form} key=${turn} draft=${draft} change=${change} /><div class="sticky"><${AsCode} draft=${draft} setDraft=${take} /></div></div>`;
}

const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const wrongName = ([name]) => name && !NAME.test(name) && `${name} is no name of a header: it has letters, digits, and any of !#$%&'*+-.^_\`|~.`;

const problem = ({ kind, target, queue, missing, forward, more }) => {
  if (!target.trim()) return "A destination is needed.";
  if (kind === "enqueue" && !queue.trim()) return "A queue is needed.";
  if (missing) return BODY_MISSING[missing];
  const hidden = [...forward, ...more].find(([, value]) => isRedacted(value));
  if (hidden) return `The value of ${hidden[0]} is redacted: give it anew, or take it out.`;
  return [...forward, ...more].map(wrongName).find(Boolean) || null;
};

async function send(draft) {
  const request = requestOf(draft);
  const sent = await call(request.method, request.path, { headers: sendable(request), body: request.body || undefined });
  if (draft.kind === "schedule") {
    if (draft.paused) await post(`v2/schedules/${part(sent.scheduleId)}/pause`);
    return go(`schedules?name=${part(sent.scheduleId)}`);
  }
  if (Array.isArray(sent)) return go(messagesOf("group", draft.target));
  return go(`messages/${sent.messageId}`);
}

function Form({ draft, change }) {
  const text = (name, props = {}) => html`<input ...${props} value=${draft[name]} onInput=${(e) => change({ [name]: e.target.value })} />`;
  const limit = info.value?.limits?.body;
  const size = new TextEncoder().encode(draft.body).length;
  const wrong = mayChange() ? problem(draft) : "This login may only read; the code works with a token that may do more.";
  const tooLarge = limit && size > limit ? `${bytes(size)} are more than the ${bytes(limit)} this server takes.` : null;
  return html`<${Card}>
    ${draft.about && html`<p class="hint" role="note">${draft.about}</p>`}
    <div class="row"><${Segments} label="What to do" options=${KINDS} value=${draft.kind} pick=${(kind) => change({ kind })} /></div><br />
    <${Field} label="Destination" hint="A URL, or the name of a URL group.">${text("target", { class: "mono", placeholder: "https://example.com/hook", required: true })}<//>
    ${info.value?.catcher !== false && html`<p class="hint row"><${Button} kind="small" act=${() => change({ target: catcherUrl("hello") })}>To the catcher<//><${Button} kind="small" act=${() => change({ target: `${catcherUrl("broken")}?status=503`, retries: "0" })}>To one that fails<//></p><br />`}
    ${draft.kind === "enqueue" && html`<${Field} label="Queue">${text("queue", { placeholder: "mail" })}<//>`}
    ${draft.kind === "schedule" && html`<${When} draft=${draft} change=${change} text=${text} />`}
    <div class="columns-2"><${Field} label="Method"><select value=${draft.method} onChange=${(e) => change({ method: e.target.value })}>${["POST", "GET", "PUT", "PATCH", "DELETE"].map((method) => html`<option key=${method}>${method}</option>`)}</select><//>
      <${Field} label="Content type">${text("contentType")}<//></div>
    <${Field} label="Body" error=${BODY_MISSING[draft.missing] || tooLarge} hint=${`${bytes(size)}${limit ? ` of ${bytes(limit)}` : ""}`}><textarea rows="5" spellcheck=${false} value=${draft.body} onInput=${(e) => change({ body: e.target.value, missing: "" })}></textarea><//>
    ${draft.missing && html`<p><${Button} kind="small" act=${() => change({ missing: "" })}>Go on without a body<//></p>`}
    <${Options} draft=${draft} change=${change} text=${text} />
    <div class="dialog-foot"><span class="hint">${wrong}</span><${Button} changes kind="primary" icon="play" act=${() => send(draft)} disabled=${Boolean(wrong)}>${{ publish: "Publish", enqueue: "Enqueue", schedule: "Save schedule" }[draft.kind]}<//></div>
  <//>`;
}

function When({ draft, change, text }) {
  const zones = useMemo(() => [...new Set(["UTC", draft.zone, ...(Intl.supportedValuesOf?.("timeZone") ?? [])])], []);
  return html`<div class="columns-2"><${Field} label="Cron" hint="Minute, hour, day, month, weekday; a sixth field at the front is the second.">${text("cron", { class: "mono" })}<//>
      <${Field} label="Time zone"><select value=${draft.zone} onChange=${(e) => change({ zone: e.target.value })}>${zones.map((zone) => html`<option key=${zone}>${zone}</option>`)}</select><//></div>
    <${CronPreview} cron=${cronOf(draft)} />
    <div class="columns-2"><${Field} label="Id of the schedule" hint="One that exists is replaced.">${text("scheduleId", { placeholder: "made up by the server" })}<//><${Field} label="Queue" hint="Its messages stand in it.">${text("queue", { placeholder: "none" })}<//></div>`;
}

/** Open at first where something is in it; from then on it is its reader's. */
function Fold({ title, children, open }) {
  const [first] = useState(open);
  return html`<details class="fold" open=${first}><summary>${title}</summary><div>${children}</div></details>`;
}

function Options({ draft, change, text }) {
  return html`
    <${Fold} title="When and how often" open=${Boolean(draft.delay || draft.retries || draft.retryDelay || draft.timeout)}>
      <div class="columns-2"><${Field} label="Delay" hint="10s, 1h30m, 2d">${text("delay", { placeholder: "none" })}<//><${Field} label="Retries" hint="Attempts after the first.">${text("retries", { inputmode: "numeric", placeholder: "3" })}<//>
      <${Field} label="Retry delay" hint="Milliseconds, as an expression of retried.">${text("retryDelay", { class: "mono", placeholder: "the usual" })}<//><${Field} label="Timeout" hint="Of one attempt.">${text("timeout", { placeholder: "the usual" })}<//></div>
      <${Retries} draft=${draft} /><//>
    <${Fold} title="Flow control and order" open=${Boolean(draft.flowKey || draft.orderKey || draft.dedupId)}>
      <div class="columns-2"><${Field} label="Flow key" hint="Messages of one key share limits.">${text("flowKey")}<//><${Field} label="Its limits" hint="parallelism=5, rate=10, period=1m">${text("flowValue")}<//>
      <${Field} label="Order key" hint="Messages of one key go out one after another.">${text("orderKey")}<//><${Field} label="Deduplication id" hint="Equal ids are one message.">${text("dedupId")}<//></div><//>
    <${Fold} title="Callbacks, labels, redaction" open=${Boolean(draft.callback || draft.failureCallback || draft.label || draft.redact)}>
      <div class="columns-2"><${Field} label="Callback" hint="Gets the outcome of each attempt.">${text("callback")}<//><${Field} label="Failure callback" hint="Is told when all retries have failed.">${text("failureCallback")}<//>
      <${Field} label="Labels" hint="To find it by; separated by commas.">${text("label")}<//><${Field} label="Redact" hint="Shown only as hash: body, header[Authorization]">${text("redact")}<//></div><//>
    ${[["forward", "Headers for the destination", "header"], ["more", "Other options", "option"]].map(([name, title, thing]) => html`<${Fold} key=${name} title=${`${title}${draft[name].length ? ` (${draft[name].length})` : ""}`} open=${draft[name].length > 0}>
      ${name === "more" && html`<p class="hint">Headers of this request for which there is no field, such as Lateron-Jitter or Upstash-Callback-Retries.</p>`}
      <${Pairs} pairs=${draft[name]} set=${(pairs) => change({ [name]: pairs })} thing=${thing} /><//>`)}`;
}

/** The waits of the retries, as a sentence one can check. */
function Retries({ draft }) {
  const { delays, error } = waits(Math.min(8, Number(draft.retries || 3)), draft.retryDelay);
  if (error) return html`<p class="hint wrong-text" role="status">Retry delay: ${error}</p>`;
  let total = 0;
  return html`<table class="plain"><caption class="unseen">Waits before retries</caption><tbody>${delays.map((delay, at) => ((total += delay), html`<tr key=${at}><th scope="row">Retry ${at + 1}</th><td class="num">${span(delay)} later</td><td class="num faint">${span(total)} after the first attempt</td></tr>`))}</tbody></table>`;
}

function Pairs({ pairs, set, thing }) {
  const put = (at, pair) => set(pairs.map((one, n) => (n === at ? pair : one)));
  return html`${pairs.map(([name, value], at) => html`<div class="row" key=${at}>
      <input class="grow" aria-label=${`Name of ${thing}`} aria-invalid=${Boolean(wrongName([name]))} value=${name} onInput=${(e) => put(at, [e.target.value.trim(), value])} /><input class="grow" aria-label=${`Value of ${thing}`} aria-invalid=${isRedacted(value)} value=${value} onInput=${(e) => put(at, [name, e.target.value])} />
      <${Button} kind="quiet" icon="cross" label=${`Remove ${thing}`} act=${() => set(pairs.filter((_, n) => n !== at))} /></div>
      ${wrongName([name]) && html`<p class="hint wrong-text" role="status">${wrongName([name])}</p>`}`)}
    <${Button} kind="small" act=${() => set([...pairs, ["", ""]])}>Add ${thing === "option" ? "an" : "a"} ${thing}<//><br /><br />`;
}

function AsCode({ draft, setDraft }) {
  const [language, setLanguage] = useState("cURL");
  const [written, setWritten] = useState("");
  const shown = LANGUAGES[language](draft);
  const read = useMemo(() => readCurl(written), [written]);
  const take = (found) => (setWritten(""), setDraft(draftOf(found)));
  const pasting = useRef(false);
  const write = (event) => {
    const found = pasting.current && readCurl(event.target.value);
    pasting.current = false;
    // Why not each letter: the first one of a URL would already write over the whole form.
    if (found) take(found);
    else setWritten(event.target.value);
  };
  return html`<${Card} title="As code" side=${html`<${Segments} label="Language" options=${Object.keys(LANGUAGES).map((name) => [name, name])} value=${language} pick=${setLanguage} />`}>
      <${Code} text=${shown} />
      <p class="hint">The token is read from <code>QSTASH_TOKEN</code>, the server from <code>QSTASH_URL</code>.</p>
    <//>
    <${Card} title="From code"><${Field} label="Paste a command of cURL" error=${written && !read ? "This is no command of cURL with a URL in it." : null} hint="One to this API, or one to your destination, which then becomes the delivery.">
      <textarea rows="4" spellcheck=${false} value=${written} placeholder="curl https://example.com/hook -d '…'" onPaste=${() => (pasting.current = true)} onInput=${write}></textarea><//>
      ${read && html`<${Button} act=${() => take(read)}>Fill the form with it<//>`}<//>`;
}
