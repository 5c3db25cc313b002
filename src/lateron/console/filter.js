// The filter language: `state:failed host:api.example.com label:nightly status:>=500 since:1h order 17`.
//
// What the API filters by becomes its parameters; the rest is looked for among the rows that are loaded.

import { part } from "./api.js";
import { html, useId, useRef, useState } from "./lib.js";
import { bounds } from "./range.js";

/** Words of the language, what they mean, and the parameter of the API, if it has one. */
export const FIELDS = {
  state: { about: "state of the line", param: "state", values: ["created", "active", "retry", "error", "delivered", "failed", "canceled"] },
  url: { about: "exact URL; * for any part", param: "url" },
  host: { about: "host of the destination", param: "host" },
  path: { about: "exact path", param: "path" },
  label: { about: "a label", param: "label" },
  queue: { about: "name of a queue", param: "queueName" },
  group: { about: "a URL group", param: "topicName" },
  flow: { about: "a flow-control key", param: "flowControlKey" },
  schedule: { about: "id of a schedule", param: "scheduleId" },
  ip: { about: "address of the publisher", param: "callerIp" },
  id: { about: "id of a message", param: "messageIds" },
  status: { about: "status of the answer: 503, >=500", param: "responseStatus" },
  method: { about: "HTTP method" },
  since: { about: "not older than 15m, 2h, 3d" },
  until: { about: "older than 15m, 2h, 3d" },
};

const OF_LIST = {
  events: ["state", "url", "host", "path", "label", "queue", "group", "flow", "schedule", "ip", "id"],
  messages: ["url", "host", "path", "label", "queue", "group", "flow", "schedule", "ip", "id"],
  dead: ["url", "label", "queue", "group", "flow", "schedule", "ip", "id", "status"],
};

const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const WORDS = /(?:[a-z]+:)?(?:"(?:\\.|[^"\\])*"|\S+)/gi;

const words = (text) => text.match(WORDS) ?? [];

/** Cut a text into [field, value]; free words have the field "". Quotes keep spaces together; a quote inside of them is written \". */
export function tokens(text) {
  return words(text).map((word) => {
    const [, name, value] = /^([a-z]+):(.*)$/is.exec(word) ?? [];
    return name && Object.hasOwn(FIELDS, name.toLowerCase()) ? [name.toLowerCase(), unquoted(value)] : ["", unquoted(word)];
  });
}

const unquoted = (text) => (/^".*"$/s.test(text) ? text.slice(1, -1).replace(/\\(["\\])/g, "$1") : text);

/** Write a field and its value as a filter has them. */
export const term = (name, value) => `${name}:${/[\s"]/.test(value) ? `"${value.replace(/["\\]/g, "\\$&")}"` : value}`;

/** The place of the messages with a value of a field; `view` is a list other than theirs. */
export const messagesOf = (name, value, view) => `messages?${view ? `view=${view}&` : ""}filter=${part(term(name, value))}`;

/**
 * Understand a filter for one of the lists.
 * @param {string} text
 * @param {"events"|"messages"|"dead"} list
 * @returns {{query: object, rest: ((row: object) => boolean)|null, wrong: string|null}} `rest` is what the API cannot do.
 */
export function understand(text, list, now = Date.now()) {
  const query = {};
  const checks = [];
  let wrong = null;
  for (const [name, value] of tokens(text)) {
    if (!value) wrong = `${name}: says nothing yet`;
    else if (name === "since" || name === "until") {
      const span = /^(\d+)([smhd])$/.exec(value);
      if (!span) wrong = `${name}: expected a span such as 15m, 2h or 3d, got ${value}`;
      else query[name === "since" ? "fromDate" : "toDate"] = now - span[1] * UNIT_MS[span[2]];
    } else if (name && OF_LIST[list].includes(name) && isExact(name, value)) {
      (query[FIELDS[name].param] ??= []).push(name === "state" ? value.toUpperCase() : value);
    } else checks.push((row) => holds(row, name, value));
  }
  const range = query.fromDate || query.toDate ? null : bounds(now); // What the filter says of time goes first.
  if (range) Object.assign(query, { fromDate: range.from, ...(range.to && { toDate: range.to }) });
  return { query, wrong, rest: checks.length ? (row) => checks.every((check) => check(row)) : null };
}

const isExact = (name, value) => !value.includes("*") && (name !== "status" || /^\d+$/.test(value));

function holds(row, name, value) {
  if (name === "status") return compare(row.responseStatus ?? 0, value);
  const text = name ? String(valueOf(row, name) ?? "") : JSON.stringify([row.url, row.messageId, row.labels, row.body, row.error, row.responseBody, row.note]);
  return fits(text.toLowerCase(), value.toLowerCase().split(/\*+/), Boolean(name));
}

/** Whether a text has these parts one behind the other; `whole`: from its beginning to its end. A pattern of RegExp would try all ways, for hours. */
function fits(text, parts, whole) {
  const [first, ...more] = whole ? parts : ["", ...parts];
  if (!text.startsWith(first)) return false;
  if (whole && !more.length) return text === first;
  const last = whole ? more.pop() : "";
  let at = first.length;
  for (const part of more) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - at >= last.length && text.endsWith(last);
}

function valueOf(row, name) {
  const fields = { label: row.labels?.join(" "), queue: row.queueName, group: row.topicName, flow: row.flowControlKey, schedule: row.scheduleId, id: row.messageId, ip: row.callerIP };
  if (name === "host" || name === "path") {
    const url = URL.canParse(row.url) ? new URL(row.url) : null;
    return name === "host" ? url?.hostname : url?.pathname;
  }
  return name in fields ? fields[name] : row[name];
}

function compare(number, wanted) {
  const [, sign = "", other = ""] = /^(>=|<=|>|<)?(\d+)$/.exec(wanted) ?? [];
  if (!other) return false;
  return { ">=": number >= other, "<=": number <= other, ">": number > other, "<": number < other, "": number === Number(other) }[sign];
}

/** Set or drop one field of a filter text. */
export function withField(text, name, value) {
  const kept = words(text).filter((word) => !word.toLowerCase().startsWith(`${name}:`));
  if (value) kept.push(term(name, value));
  return kept.join(" ");
}

/** The box one types a filter into; it completes names of fields and their values. */
export function FilterBox({ text, change, list, wrong }) {
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const box = useRef();
  const id = useId();
  const offers = open ? complete(text, list) : [];
  const take = (offer) => {
    change(text.replace(/\S*$/, offer.insert));
    setAt(-1);
    box.current.focus();
  };
  const keys = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && offers.length) {
      setAt((at + step + offers.length) % offers.length);
      event.preventDefault();
    } else if ((event.key === "Enter" || event.key === "Tab") && offers[at]) {
      take(offers[at]);
      event.preventDefault();
    } else if (event.key === "Escape") setOpen(false);
  };
  return html`<div class="filter-box">
    <label class="unseen" for=${id}>Filter</label>
    <input ref=${box} id=${id} class="mono" role="combobox" autocomplete="off" spellcheck=${false} aria-expanded=${offers.length > 0} aria-controls=${`${id}-list`} aria-autocomplete="list"
      aria-activedescendant=${offers[at] ? `${id}-${at}` : undefined} placeholder="Filter: state:failed label:nightly since:1h, or any text" value=${text}
      onFocus=${() => setOpen(true)} onBlur=${() => setTimeout(() => setOpen(false), 150)} onInput=${(e) => (setOpen(true), setAt(-1), change(e.target.value))} onKeyDown=${keys} />
    <ul id=${`${id}-list`} role="listbox" aria-label="Completions" class="offers" hidden=${!offers.length}>
      ${offers.map((offer, n) => html`<li key=${offer.insert} id=${`${id}-${n}`} role="option" aria-selected=${n === at} onMouseDown=${(e) => (e.preventDefault(), take(offer))}><span class="mono">${offer.insert}</span><span class="faint">${offer.about}</span></li>`)}
    </ul>
    ${wrong && html`<p class="hint wrong-text" role="status">${wrong}</p>`}
  </div>`;
}

function complete(text, list) {
  const word = /(\S*)$/.exec(text)[1].toLowerCase();
  const [name, part] = word.split(":");
  if (part !== undefined) {
    return ((Object.hasOwn(FIELDS, name) && FIELDS[name].values) || []).filter((value) => value.startsWith(part) && value !== part).map((value) => ({ insert: `${name}:${value} `, about: "" }));
  }
  const known = [...OF_LIST[list], "method", "since", "until"];
  return known.filter((field) => field.startsWith(word)).map((field) => ({ insert: `${field}:`, about: FIELDS[field].about }));
}
