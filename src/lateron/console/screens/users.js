// Users of the console: who logs in with a password. Made and changed on the command line.

import { get } from "../api.js";
import { html } from "../lib.js";
import { useLoaded } from "../live.js";
import { Table } from "../table.js";
import { Card, Chip, Loaded, Time } from "../ui.js";

const never = html`<span class="faint">never</span>`;
const when = (at) => (at ? html`<${Time} at=${at} as="relative" />` : never);

const COLUMNS = [
  { key: "name", title: "Name", draw: (row) => html`<strong>${row.name}</strong>` },
  { key: "scope", title: "May", draw: (row) => html`<${Chip}>${row.scope}<//>` },
  { key: "changedAt", title: "Changed", draw: (row) => when(row.changedAt) },
  { key: "lastUsedAt", title: "Last here", draw: (row) => when(row.lastUsedAt) },
];

// Of a server that keeps several apart only the first one's may ask.
const load = () => get("lateron/v1/users").catch((error) => (error.status === 403 ? null : Promise.reject(error)));

export function Users() {
  const loaded = useLoaded(load, [], { still: true });
  return html`<${Loaded} of=${loaded}>${(rows) => rows && html`<${Card} title="Users">
    ${rows.length > 0 && html`<${Table} caption="Users" columns=${COLUMNS} rows=${rows} id=${(row) => row.name} plain />`}
    <p class="hint">${rows.length ? "" : "Nobody has a password yet. "}On the server, <code>lateron users add anna --scope read --data-dir …</code> makes one; <code>passwd</code>, <code>scope</code> and <code>remove</code> end what he is logged in with.</p>
  <//>`}<//>`;
}
