// What the server was told: where it may deliver to, every setting with its source, and what the store takes.

import { get } from "../api.js";
import { bytes } from "../format.js";
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

export function Configuration() {
  const loaded = useLoaded(() => get("lateron/v1/config"), [], { still: true });
  const [sought, setSought] = useState("");
  const [all, setAll] = useState(false);
  return html`<${Loaded} of=${loaded}>${({ settings, storage }) => {
    const value = Object.fromEntries(settings.map((row) => [row.name, row.value]));
    const rows = settings.filter((row) => (sought ? `${row.name} ${row.value} ${row.source}`.toLowerCase().includes(sought) : all || row.source !== "default"));
    return html`<div class="grid-2">
        <${Card} title="Where it may deliver"><${Facts} pairs=${Object.entries(GUARD).map(([name, [word, say]]) => [word, say(value[name] ?? "-")])} /><p class="hint">Its own listeners are refused always. The address that is checked is the one that is connected to.</p><//>
        <${Card} title="Storage"><${Facts} pairs=${storage.store == null ? [["Store", "in memory"]] : [["Store", bytes(storage.store)], ["Log beside it", bytes(storage.log)], ["Room on its disk", storage.free == null ? "not known" : bytes(storage.free)]]} /><//>
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
