// Bulk jobs: what changes many at once, what has, and who asked for it.

import { all } from "../api.js";
import { Bar, KINDS, stop, told } from "../bulk.js";
import { html } from "../lib.js";
import { useLoaded } from "../live.js";
import { Table } from "../table.js";
import { Button, Chip, Code, Empty, Head, Loaded, openDialog, Time } from "../ui.js";

const TONES = { running: "wait", done: "good", failed: "bad" };

export default function Jobs() {
  const loaded = useLoaded(() => all("lateron/v1/jobs", "jobs", { count: 100 }), [], { topics: ["jobs"] });
  const columns = [
    { key: "state", title: "State", draw: (row) => html`<${Chip} tone=${TONES[row.state]}>${row.state}<//>` },
    { key: "what", title: "What", kind: "wide", draw: (row) => html`<span>${told(row)} <span class="faint">${Object.entries(row.filter).map(([name, values]) => `${name} ${values.slice(0, 3).join(", ")}${values.length > 3 ? "…" : ""}`).join("; ") || `every ${KINDS[row.kind][0]}`}</span></span>` },
    { key: "far", title: "Progress", draw: (row) => html`<${Bar} job=${row} />` },
    { key: "rate", title: "A second", kind: "right", draw: (row) => row.rate ?? html`<span class="faint">–</span>` },
    { key: "by", title: "By", draw: (row) => row.by },
    { key: "since", title: "Began", kind: "right", draw: (row) => html`<span class="nowrap"><${Time} at=${row.createdAt} /></span>` },
    { key: "end", title: "End", kind: "right", draw: (row) => html`<span class="nowrap"><${Time} at=${row.endedAt ?? row.endsAt} /></span>` },
    { key: "stop", title: "Stop", draw: (row) => row.state === "running" && html`<${Button} changes kind="small" icon="stop" label="Stop the job" act=${async () => (await stop(row), loaded.refresh())} />` },
  ];
  return html`<${Head} title="Bulk jobs" about="Changes of many messages at once. They go on when nobody looks, and after a restart." />
    <${Loaded} of=${loaded}>${({ items }) => (items.length ? html`<${Table} caption="Bulk jobs" columns=${columns} rows=${items} id=${(row) => row.jobId} open=${(row) => openDialog(told(row), () => html`<${Code} text=${JSON.stringify(row, null, 2)} label="Copy JSON" />`)} />` : html`<${Empty} title="No bulk jobs" icon="loop"><p>Cancel, retry, delete or replay what a filter means, and it is done here.</p><//>`)}<//>`;
}
