// Dead letters: grouped by what went wrong, so that a bad night is a few lines; then the list itself.

import { all } from "../api.js";
import { BulkBar, JobDialog } from "../bulk.js";
import { FilterBox, understand, withField } from "../filter.js";
import { NothingFits, sendFailing } from "../first.js";
import { count, place, plural } from "../format.js";
import { html, signal, useEffect, useMemo } from "../lib.js";
import { info, useLoaded } from "../live.js";
import { openReplay } from "../replay.js";
import { go, setQuery } from "../router.js";
import { save, Table } from "../table.js";
import { Button, Chip, Empty, Head, Loaded, openDialog, Segments, Time, toast } from "../ui.js";
import { signature } from "../words.js";
import { Labels, Target } from "./messages.js";

const ROWS_MOST = 200;
const SAVED_MOST = 20_000; // More than that is for `lateron dlq export`.

const COLUMNS = [
  { key: "answer", title: "Answer", draw: (row) => html`<${Chip} tone="bad">${row.responseStatus || "none"}<//>` },
  { key: "target", title: "Destination", kind: "wide", draw: (row) => html`<${Target} row=${row} />` },
  { key: "error", title: "Error", draw: (row) => html`<span class="soft">${row.error}</span>` },
  { key: "labels", title: "Labels", draw: (row) => html`<${Labels} of=${row} />` },
  { key: "attempts", title: "Attempts", kind: "right", draw: (row) => row.maxRetries + 1 },
  { key: "time", title: "Given up", kind: "right", draw: (row) => html`<span class="nowrap"><${Time} at=${diedAt(row)} as="relative" /></span>` },
  { key: "until", title: "Kept until", kind: "right", draw: (row) => html`<span class="nowrap"><${Time} at=${diedAt(row) + (info.value?.limits?.dlqRetention ?? 0)} as="relative" /></span>` },
];

const diedAt = ({ dlqId }) => Number(dlqId.split("-")[0]);

/** Dead letters with the same host and the same error, the largest crowd first. */
export function grouped(rows) {
  const groups = new Map();
  for (const row of rows) {
    const { host } = place(row.url);
    const said = signature(row);
    const key = `${host} ${said}`;
    if (!groups.has(key)) groups.set(key, { key, host, said, rows: [] });
    groups.get(key).rows.push(row);
  }
  return [...groups.values()].sort((one, other) => other.rows.length - one.rows.length);
}

/** Remember the newest one that was shown, by its own time: the clocks of server and browser may differ. */
function see(rows) {
  const seen = Math.max(Number(localStorage.getItem("lateron.deadSeen") ?? 0), ...rows.map(diedAt));
  localStorage.setItem("lateron.deadSeen", String(seen));
}

export default function Dead({ query }) {
  const text = query.filter || "";
  const meant = understand(text, "dead", Math.floor(Date.now() / 60_000) * 60_000);
  const loaded = useLoaded(() => all("v2/dlq", "messages", { ...meant.query, count: 100 }), [JSON.stringify(meant.query)], { topics: ["dlq"] });
  const chosen = useMemo(() => signal(new Set()), []);
  useEffect(() => see(loaded.data?.items ?? []), [loaded.data]);
  const change = (filter) => setQuery({ ...query, filter });
  const rows = (loaded.data?.items ?? []).filter(meant.rest ?? (() => true));
  const view = query.view || "groups";
  return html`<${Head} title="Dead letters" about="Messages that failed for good. They rest here until they are replayed, deleted or too old.">
      <${Segments} label="View" options=${[["groups", "By error"], ["list", "List"]]} value=${view} pick=${(to) => setQuery({ ...query, view: to === "groups" ? "" : to })} />
      ${rows.length > 0 && html`<${Button} changes kind="primary" icon="loop" act=${() => openReplay(meant.rest ? { rows, done: loaded.refresh } : { query: meant.query, done: loaded.refresh })}>Replay ${meant.rest ? `the ${count(rows.length)} that fit` : text ? "all that fit" : "all"}…<//>`}
    <//>
    <div class="tools"><${FilterBox} text=${text} change=${change} list="dead" wrong=${meant.wrong} />
      <${Button} icon="catcher" label="Save as NDJSON" act=${() => saveAll(meant, rows)} />
      ${rows.length > 0 && html`<${Button} changes kind="quiet warns" act=${() => openDelete(meant.rest ? { rows } : { query: meant.query }, loaded.refresh)}>Delete…<//>`}</div>
    <${Loaded} of=${loaded}>${(data) => html`
      ${data.more && html`<p class="hint">${meant.rest ? `Only the newest ${count(data.items.length)} were looked through: the server cannot filter so. ${plural(rows.length, "of them fits", "of them fit")}, and only those are replayed or deleted.` : `The newest ${count(rows.length)} are shown and grouped; “all” means all.`}</p>`}
      ${rows.length === 0 ? html`<${NoDead} text=${text} range=${query.range} drop=${() => setQuery({ ...query, filter: "", range: "" })} />` : view === "list" ? html`<${List} ...${{ rows, chosen, refresh: loaded.refresh }} />` : html`<${Groups} ...${{ rows, text, change, query, refresh: loaded.refresh }} />`}`}<//>`;
}

async function saveAll({ query, rest }, rows) {
  const { items, more } = rest ? { items: rows } : await all("v2/dlq", "messages", { ...query, count: 100 }, SAVED_MOST);
  save("dead-letters.ndjson", items);
  if (more) toast(`The file ends after the newest ${count(SAVED_MOST)} rows. All of them: lateron dlq export.`, "retry");
  if (rest) toast(`The file has the ${plural(items.length, "row")} that fit of those loaded.`);
}

function NoDead({ text, range, drop }) {
  if (text || range) return html`<${NothingFits} text=${text} drop=${drop} />`;
  return html`<${Empty} title="No dead letters" icon="check"><p>A message lands here when its last retry has failed. From here it can be replayed, alone or with all that failed the same way.</p>
    ${info.value?.catcher !== false && html`<div class="row"><${Button} changes icon="warn" act=${sendFailing}>Send one that fails<//></div>`}<//>`;
}

function Groups({ rows, text, query, refresh }) {
  return html`<div class="card">
    ${grouped(rows).map((group) => {
      const newest = Math.max(...group.rows.map(diedAt));
      const oldest = Math.min(...group.rows.map(diedAt));
      const status = group.rows[0].responseStatus;
      return html`<div class="group-row" key=${group.key}>
        <span class="figure tone-bad">${count(group.rows.length)}</span>
        <div class="what"><strong>${group.host} ${group.said}</strong>
          <div class="soft">${newest - oldest < 1_000 ? "" : html`between <${Time} at=${oldest} /> and `}<${Time} at=${newest} />${" "}<span class="faint">(<${Time} at=${newest} as="relative" />)</span></div>
          <div class="chips">${[...new Set(group.rows.flatMap(({ labels }) => labels ?? []))].slice(0, 5).map((label) => html`<${Chip} key=${label}>${label}<//>`)}</div></div>
        <div class="row">
          <${Button} act=${() => setQuery({ ...query, view: "list", filter: `${withField(text, "url", `*//${group.host}/*`)}${status ? ` status:${status}` : ""}`.trim() })}>Show<//>
          <${Button} changes kind="warns" act=${() => openDelete({ rows: group.rows }, refresh)}>Delete…<//>
          <${Button} changes icon="loop" act=${() => openReplay({ rows: group.rows, done: refresh })}>Replay ${count(group.rows.length)}…<//>
        </div>
      </div>`;
    })}
  </div>`;
}

function List({ rows, chosen, refresh }) {
  const clear = () => ((chosen.value = new Set()), refresh());
  useEffect(() => {
    // Why: what has left the list cannot be replayed, and must not be counted as if it could.
    const there = [...chosen.value].filter((id) => rows.some(({ dlqId }) => dlqId === id));
    if (there.length < chosen.value.size) chosen.value = new Set(there);
  }, [rows]);
  const picked = (ids) => rows.filter(({ dlqId }) => ids.includes(dlqId));
  return html`<${Table} caption="Dead letters" columns=${COLUMNS} rows=${rows.slice(0, ROWS_MOST)} id=${(row) => row.dlqId} chosen=${chosen} open=${(row) => go(`messages/${row.messageId}`)} />
    <${BulkBar} chosen=${chosen}>${(ids) => html`
      <${Button} changes kind="warns" act=${() => openDelete({ rows: picked(ids) }, clear)}>Delete…<//>
      <${Button} changes kind="primary" icon="loop" act=${() => openReplay({ rows: picked(ids), done: clear })}>Replay…<//>`}<//>`;
}

function openDelete({ rows, query }, done) {
  const filter = rows ? { dlqIds: rows.map(({ dlqId }) => dlqId) } : query;
  openDialog("Delete dead letters", () => html`<${JobDialog} kind="deleteDeadLetters" filter=${filter} done=${done} />`);
}
