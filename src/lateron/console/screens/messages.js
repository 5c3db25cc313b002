// Messages: the log as it grows, one row a message or one a line, and what waits.

import { all, BASE, page, search } from "../api.js";
import { BulkBar, JobDialog } from "../bulk.js";
import { openErase } from "../erase.js";
import { FilterBox, messagesOf, understand, withField } from "../filter.js";
import { FirstRun, NothingFits } from "../first.js";
import { count, place, plural, shortId } from "../format.js";
import { html, signal, useMemo, useRef, useState } from "../lib.js";
import { now, skipped, useLoaded } from "../live.js";
import { openReschedule } from "../reschedule.js";
import { go, Link, route, setQuery } from "../router.js";
import { curlOf } from "../snippets.js";
import { save, Table, useColumns } from "../table.js";
import { Button, Chip, Copy, Head, Loaded, openDialog, Segments, State, Time, toast } from "../ui.js";
import { relations, why } from "../words.js";

const PAGE = 100;
const ROWS_MOST = 200;
const SAVED_MOST = 50_000; // More than that is for `lateron logs --export`.

const VIEWS = [
  ["latest", "Messages"],
  ["waiting", "Waiting"],
  ["lines", "Every line"],
];
const QUICK = [
  ["", "All"],
  ["delivered", "Delivered"],
  ["failed", "Failed"],
  ["retry", "Retrying"],
  ["active", "Delivering"],
  ["canceled", "Cancelled"],
];

export function Target({ row }) {
  const { host, path } = place(row.url);
  return html`<span class="target"><span class="method">${row.method}</span><span class="where" title=${row.url}>${host}<span class="path">${path}</span></span></span>`;
}

export const Relations = ({ of }) => html`<span class="chips">${relations(of).map(({ kind, name, link }) => html`<${Link} key=${kind} to=${link} class="chip"><span class="faint">${kind}</span> ${name}<//>`)}</span>`;
export const Labels = ({ of }) => html`<span class="chips">${(of.labels ?? []).map((label) => html`<${Link} key=${label} to=${messagesOf("label", label)} class="chip">${label}<//>`)}</span>`;

const COLUMNS = [
  { key: "state", title: "State", draw: (row) => html`<${State} of=${row.state} />` },
  { key: "target", title: "Destination", kind: "wide", draw: (row) => html`<${Target} row=${row} />` },
  { key: "status", title: "Answer", draw: (row) => html`<${Answer} row=${row} />` },
  { key: "attempt", title: "Attempt", kind: "right", draw: (row) => (row.attempt ? html`<span class="nowrap">${row.attempt} of ${row.maxRetries + 1}</span>` : html`<span class="faint">–</span>`) },
  { key: "relation", title: "Relation", draw: (row) => html`<${Relations} of=${row} />` },
  { key: "labels", title: "Labels", draw: (row) => html`<${Labels} of=${row} />` },
  { key: "next", title: "Next attempt", draw: (row) => (row.nextDeliveryTime ? html`<${Time} at=${row.nextDeliveryTime} as="relative" />` : html`<span class="faint">–</span>`) },
  { key: "why", title: "Why it waits", draw: (row) => (row.waitingFor ? html`<span class="soft">${why(row, now.value).text}</span>` : null), extra: true },
  { key: "id", title: "Id", draw: (row) => html`<span class="mono nowrap">${shortId(row.messageId)}</span>`, extra: true },
  { key: "ip", title: "Publisher", draw: (row) => row.callerIP, extra: true },
  { key: "time", title: "Time", kind: "right", draw: (row) => html`<span class="nowrap"><${Time} at=${row.time ?? row.createdAt} /></span>` },
];
const WAITING_HIDES = new Set(["status", "attempt", "next"]);

function Answer({ row }) {
  if (row.responseStatus) return html`<${Chip} tone=${row.responseStatus < 300 ? "good" : "bad"}>${row.responseStatus}<//>`;
  return row.error ? html`<${Chip} tone="bad" title=${row.error}>no answer<//>` : html`<span class="faint">–</span>`;
}

/** The newest line of each message; lists come newest first. */
function latest(lines) {
  const seen = new Map();
  for (const line of lines) {
    const known = seen.get(line.messageId);
    // An ERROR and what follows from it bear the same time; its answer is worth keeping.
    if (!known) seen.set(line.messageId, { ...line });
    else if (known.responseStatus === undefined && known.attempt === line.attempt && line.responseStatus !== undefined) Object.assign(known, { responseStatus: line.responseStatus, error: line.error });
  }
  return [...seen.values()];
}

const toTheMinute = () => Math.floor(Date.now() / 60_000) * 60_000;
const marks = (rows) => rows.map(({ messageId, time, state }) => `${messageId} ${time} ${state}`).join();

/**
 * The pages of a list: the newest one, which loads anew by itself, and older ones on demand.
 * Where those begin the newest stays as it was, for rows between the two would be on neither.
 */
function usePages(list, text, range) {
  const about = JSON.stringify([list, text, range]); // In words, not in moments: those of "the last hour" move on.
  const latest = useRef();
  latest.current = about;
  const [older, setOlder] = useState({ pages: [] });
  const loaded = useLoaded(async () => {
    const { query } = understand(text, list, toTheMinute());
    return { about, query, page: await page(`v2/${list}`, list, { ...query, count: PAGE }) };
  }, [about], { topics: ["messages"], hears: (kind) => kind === "message" && list === "events" });
  const isCurrent = loaded.data?.about === about;
  const pages = isCurrent && older.about === about ? older.pages : [];
  const first = pages.length ? older.first : loaded.data;
  const cursor = isCurrent && (pages.at(-1) ?? first.page).cursor;
  const more = async () => {
    const next = await page(`v2/${list}`, list, { ...first.query, count: PAGE, cursor });
    if (latest.current === about) setOlder({ about, first, pages: [...pages, next] }); // Else it answers what nobody asks any more.
  };
  const again = () => (setOlder({ pages: [] }), loaded.refresh());
  const lines = [...(first?.page[list] ?? []), ...pages.flatMap((one) => one[list])];
  return { loaded, lines, isCurrent, more: cursor && more, news: pages.length > 0 && marks(first.page[list]) !== marks(loaded.data.page[list]) && again };
}

export default function Messages({ query }) {
  const view = query.view || "latest";
  const text = query.filter || "";
  const change = (filter) => setQuery({ ...query, filter });
  const list = view === "waiting" ? "messages" : "events";
  const chosen = useMemo(() => signal(new Set()), [view]);
  const meant = understand(text, list, toTheMinute());
  const { loaded, lines, isCurrent, more, news } = usePages(list, text, query.range);
  const rows = (view === "latest" ? latest(lines) : lines).filter(meant.rest ?? (() => true));
  // Why: that nothing is there can be said only once the answer to this question is; until then rows of the last one may stay.
  const shown = isCurrent || (rows.length && !loaded.error) ? loaded : { ...loaded, data: undefined, error: loaded.loading ? undefined : loaded.error };
  return html`<${Head} title="Messages" about=${{ latest: "Where each message stands, newest first.", waiting: "What has not gone out yet, and why.", lines: "Every line of the log." }[view]}>
      <${Segments} label="View" options=${VIEWS} value=${view} pick=${(to) => setQuery({ ...query, view: to === "latest" ? "" : to })} />
      <${Button} kind="primary" icon="builder" act=${() => go("builder")}>New message<//>
    <//>
    <${Tools} ...${{ text, change, list, meant, rows, view }} />
    ${news && html`<p class="hint row" role="status">Something has changed since; this list stays as it is while older rows are in it. <${Button} kind="small" act=${news}>Show the newest<//></p>`}
    <${Loaded} of=${shown}>${() => html`<${List} key=${view} ...${{ rows, view, chosen, text, change, meant, more }} />`}<//>`;
}

async function saveAll(list, { query, rest }, rows) {
  const { items, more } = rest ? { items: rows } : await all(`v2/${list}`, list, { ...query, count: 1_000 }, SAVED_MOST);
  save("messages.ndjson", items);
  if (more) toast(`The file ends after the newest ${count(SAVED_MOST)} rows. All of them: lateron logs --export.`, "retry");
  if (rest) toast(`The file has the ${plural(items.length, "row")} that fit of those loaded.`);
}

function Tools({ text, change, list, meant, rows, view }) {
  const state = /(?:^|\s)state:(\S+)/.exec(text)?.[1] ?? "";
  const url = `${location.origin}${BASE}v2/${list}${search(meant.query)}`;
  return html`<div class="tools">
    <${FilterBox} text=${text} change=${change} list=${list} wrong=${meant.wrong} />
    ${view !== "waiting" && html`<${Segments} label="State" options=${QUICK} value=${state} pick=${(value) => change(withField(text, "state", value))} />`}
    <${Copy} text=${curlOf({ method: "GET", url, headers: [], authorized: true })} label="Copy this view as cURL" kind="" />
    <${Button} icon="catcher" label="Save as NDJSON" act=${() => saveAll(list, meant, rows)} />
  </div>`;
}

function List({ rows, view, chosen, text, change, meant, more }) {
  const usual = COLUMNS.filter(({ key }) => view !== "waiting" || !WAITING_HIDES.has(key)).map((column) => (view === "waiting" && column.key === "why" ? { ...column, extra: false } : column));
  const { columns, chooser } = useColumns(view, usual);
  if (!rows.length && (text || route.value.query.range)) return html`<${NothingFits} text=${text} drop=${() => setQuery({ ...route.value.query, filter: "", range: "" })} />`;
  if (!rows.length && view === "waiting") return html`<${FirstRun} title="Nothing waits" />`;
  if (!rows.length) return html`<${FirstRun} />`;
  const id = view === "lines" ? (row) => `${row.messageId} ${row.time} ${row.state} ${row.attempt ?? 0}` : (row) => row.messageId;
  const job = (title, kind, messageIds) => openDialog(title, () => html`<${JobDialog} kind=${kind} filter=${messageIds ? { messageIds } : meant.query} done=${() => (chosen.value = new Set())} />`);
  const cancel = (messageIds) => job("Cancel messages", "cancel", messageIds);
  const move = (messageIds) => openReschedule(messageIds ? { messageIds } : meant.query, () => (chosen.value = new Set()));
  const label = meant.query.label?.length === 1 ? meant.query.label[0] : "";
  const retry = (messageIds) => job("Retry messages now", "retryNow", messageIds);
  return html`<div class="row list-bar"><span class="faint grow" role="status">${meant.rest ? `${plural(rows.length, "row")} of those loaded fit` : plural(rows.length, "row")}${skipped.value ? `; the stream left out ${count(skipped.value)}` : ""}</span>
      ${view === "waiting" && !meant.rest && html`<${Button} changes kind="quiet" icon="loop" act=${() => retry(null)}>Retry all ${text ? "that fit" : "that wait"} now…<//><${Button} changes kind="quiet" icon="clock" act=${() => move(null)}>Reschedule all ${text ? "that fit" : "that wait"}…<//><${Button} changes kind="quiet warns" icon="stop" act=${() => cancel(null)}>Cancel all ${text ? "that fit" : "that wait"}…<//>`}<${Button} changes kind="quiet warns" act=${() => openErase(label)}>Erase by label…<//>${chooser}</div>
    <${Table} caption=${`Messages, ${VIEWS.find(([key]) => key === view)[1]}`} columns=${columns} rows=${rows.slice(0, ROWS_MOST)} id=${id} chosen=${view === "lines" ? undefined : chosen} open=${(row) => go(`messages/${row.messageId}`)} />
    <div class="more">${rows.length > ROWS_MOST ? html`<span class="faint">The first ${ROWS_MOST} are shown; narrow the filter to see others.</span>` : more && html`<${Button} act=${more}>Older<//>`}</div>
    <${BulkBar} chosen=${chosen}>
      ${(ids) => html`<${Button} changes icon="stop" kind="warns" act=${() => cancel(ids)}>Cancel…<//><${Button} changes icon="loop" act=${() => retry(ids)}>Retry now…<//><${Button} changes icon="clock" act=${() => move(ids)}>Reschedule…<//><${Button} icon="catcher" act=${() => save("messages.ndjson", rows.filter((row) => ids.includes(row.messageId)))}>Save<//>`}
    <//>`;
}
