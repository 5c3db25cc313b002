// What the server was told: where it may deliver to, every setting with its source, and what the store takes.

import { get } from "../api.js";
import { bytes, span } from "../format.js";
import { html, useState } from "../lib.js";
import { useLoaded } from "../live.js";
import { Table } from "../table.js";
import { Card, Facts, Field, Loaded } from "../ui.js";

const columns = [
  { key: "name", title: "Setting", draw: (row) => html`<code>${row.name}</code>` },
  { key: "value", title: "Value", kind: "wide", draw: (row) => html`<span class="break">${row.value}</span>` },
  { key: "source", title: "From", draw: (row) => html`<span class=${row.source === "default" ? "faint" : ""}>${row.source}</span>` },
];

const GUARD = {
  "allow-private": ["Private addresses and this machine", (value) => ({ true: "all allowed", false: "refused", "-": "refused" })[value] ?? `only ${value}`],
  "allow-address": ["Metadata, link-local, multicast", (value) => (value === "-" ? "refused" : `refused but for ${value}`)],
  resolve: ["Names resolved by hand", (value) => (value === "-" ? "none" : value)],
};

const WEEK = 7 * 86_400_000;
const YEARS = 3_652 * 86_400_000;

export function Configuration() {
  const loaded = useLoaded(() => get("lateron/v1/config"), [], { still: true });
  const [sought, setSought] = useState("");
  const [all, setAll] = useState(false);
  return html`<${Loaded} of=${loaded}>${({ settings, storage }) => {
    const value = Object.fromEntries(settings.map((row) => [row.name, row.value]));
    const rows = settings.filter((row) => (sought ? `${row.name} ${row.value} ${row.source}`.toLowerCase().includes(sought) : all || row.source !== "default"));
    return html`<div class="grid-2">
        <${Card} title="Where it may deliver"><${Facts} pairs=${Object.entries(GUARD).map(([name, [word, say]]) => [word, say(value[name] ?? "-")])} /><p class="hint">Its own listeners are refused always. The address that is checked is the one that is connected to.</p><//>
        <${Card} title="Storage"><${Storage} ...${storage} /><//>
      </div>
      <${Card} title="Configuration">
        <div class="row">
          <${Field} label="Find a setting"><input value=${sought} onInput=${(e) => setSought(e.target.value.trim().toLowerCase())} /><//>
          <${Field} label="Defaults too" inline><input type="checkbox" checked=${all} onChange=${(e) => setAll(e.target.checked)} /><//>
        </div>
        <${Table} caption="Configuration" columns=${columns} rows=${rows} id=${(row) => row.name} plain />
        <p class="hint">Flags win over the environment, the environment over the file, the file over the defaults. Secrets are masked.</p>
      <//>`;
  }}<//>`;
}

// What a table holds, for people; the rest is small.
const HOLDS = { request: "Bodies and headers", message: "Messages", attempt: "Attempts", event: "Log", dead_letter: "Dead letters", audit: "Audit log" };

function Storage({ store, log, free, used, unused, tables, growth }) {
  if (store == null) return html`<p>The store is in memory: it takes no room on a disk, and ends with the server.</p>`;
  const known = Object.entries(HOLDS).map(([table, word]) => [word, tables[table] ?? 0]);
  const large = known.filter(([, size]) => size * 200 > used).sort(([, a], [, b]) => b - a);
  const rest = Math.max(0, used - large.reduce((sum, [, size]) => sum + size, 0));
  return html`<${Facts} pairs=${[["Store", html`${bytes(store)}${unused * 50 > store && html` <span class="faint">${bytes(unused)} of it free</span>`}`], ["Log beside it", bytes(log)], ["Room on its disk", free == null ? "not known" : bytes(free)], ["Growth", html`<${Growth} ...${growth} />`]]} />
    <h3>What takes it</h3>
    <ul class="shares" aria-label="What takes it">${[...large, ["All else", rest]].map(([word, size]) => html`<li key=${word}><span>${word}</span><progress max=${used} value=${size} aria-hidden="true"></progress><span class="right">${bytes(size)}</span></li>`)}</ul>`;
}

/** How it has grown, and what comes of it. */
function Growth({ bytesPerDay, overMs, fullInMs }) {
  if (bytesPerDay == null) return "too early to say; ten minutes after a start";
  const over = html`<span class="faint">as in the last ${span(overMs)}</span>`;
  if (bytesPerDay <= 0) return html`none, ${over}`;
  const full = fullInMs > YEARS ? "full in more than ten years" : html`<span class=${fullInMs < WEEK ? "wrong-text" : ""}>full in ${span(fullInMs)}</span>`;
  return html`${bytes(bytesPerDay)} a day, ${full}, ${over}`;
}
