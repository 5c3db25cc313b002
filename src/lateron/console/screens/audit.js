// The audit log: who changed what, newest first. Only a login with the scope admin gets it from the API.

import { get } from "../api.js";
import { count } from "../format.js";
import { html, useState } from "../lib.js";
import { useLoaded } from "../live.js";
import { Table } from "../table.js";
import { Button, Card, Field, Loaded, Time } from "../ui.js";

const PAGE = 25;

const columns = [
  { key: "time", title: "When", draw: (row) => html`<${Time} at=${row.time} as="full" />` },
  { key: "action", title: "What", draw: (row) => html`<code>${row.action}</code>` },
  { key: "who", title: "Who", draw: (row) => `${row.who ?? ""} (${row.by})` },
  { key: "address", title: "From", draw: (row) => html`<code>${row.address ?? "–"}</code>` },
  { key: "object", title: "Of what", kind: "wide", draw: (row) => html`<span class="break">${[row.object, row.filter].filter(Boolean).join(" ") || "–"}</span>` },
  { key: "count", title: "How many", kind: "right", draw: (row) => (row.count == null ? "–" : count(row.count)) },
  { key: "status", title: "Status", kind: "right", draw: (row) => row.status },
];

export function Audit() {
  const [chosen, setChosen] = useState({ who: "", action: "" });
  const [places, setPlaces] = useState([]); // Cursors of the pages before this one, the first page having none.
  const loaded = useLoaded(() => get("lateron/v1/audit", { ...chosen, count: PAGE, cursor: places.at(-1) }), [chosen.who, chosen.action, places.length], { still: true });
  const choose = (part) => (setChosen({ ...chosen, ...part }), setPlaces([]));
  return html`<${Card} title="Audit log" side=${html`<${Button} kind="small" act=${loaded.refresh}>Refresh<//>`}>
    <div class="row">
      <${Field} label="Who"><input value=${chosen.who} placeholder="any token" onChange=${(e) => choose({ who: e.target.value.trim() })} /><//>
      <${Field} label="What"><input class="mono" value=${chosen.action} placeholder="token.revoke" onChange=${(e) => choose({ action: e.target.value.trim() })} /><//>
    </div>
    <${Loaded} of=${loaded}>${(page) => html`${page.records.length ? html`<${Table} caption="Audit log" columns=${columns} rows=${page.records} id=${(row) => row.requestId} plain />` : html`<p class="faint">Nobody has changed anything that matches.</p>`}
      <div class="row">
        <${Button} kind="small" disabled=${!places.length} act=${() => setPlaces(places.slice(0, -1))}>Newer<//>
        <${Button} kind="small" disabled=${!page.cursor} act=${() => setPlaces([...places, page.cursor])}>Older<//>
      </div>`}<//>
  <//>`;
}
