// Queues: how deep, who is at the head, how many at once, and the pause.

import { all, get, part, post, remove } from "../api.js";
import { JobDialog } from "../bulk.js";
import { messagesOf } from "../filter.js";
import { count } from "../format.js";
import { html, useState } from "../lib.js";
import { useLoaded } from "../live.js";
import { go, Link } from "../router.js";
import { Table } from "../table.js";
import { Button, closeDialog, confirm, Empty, Field, Head, Loaded, openDialog, State, Time } from "../ui.js";

async function loadQueues() {
  const queues = await get("v2/queues");
  return Promise.all(queues.map(async (queue) => ({ ...queue, head: queue.lag ? await headOf(queue.name) : null })));
}

const LOOKED_AT = 100; // The newest so many; a list has no other order.

/** The message at the head: the first in line, or the one under way; null if it is not among those that are looked at. */
async function headOf(name) {
  const { items, more } = await all("v2/messages", "messages", { queueName: name, count: LOOKED_AT }, LOOKED_AT);
  return items.find(({ placeInLine }) => placeInLine === 1) ?? (more ? null : (items.at(-1) ?? null));
}

const columns = (refresh) => [
  { key: "name", title: "Queue", draw: (row) => html`<strong>${row.name}</strong>` },
  { key: "state", title: "State", draw: (row) => (row.paused ? html`<${State} of="CANCELED" word="Paused" />` : html`<${State} of=${row.lag ? "ACTIVE" : "DELIVERED"} word=${row.lag ? "Working" : "Empty"} />`) },
  { key: "lag", title: "In it", kind: "right", draw: (row) => html`<${Link} to=${messagesOf("queue", row.name, "waiting")}>${count(row.lag)}<//>` },
  { key: "parallelism", title: "At once", kind: "right", draw: (row) => row.parallelism },
  { key: "head", title: "At the head", kind: "wide", draw: (row) => (row.head ? html`<${Link} class="target" to=${`messages/${row.head.messageId}`}><span class="where">${row.head.url}</span><//>` : html`<span class="faint" title=${row.lag > LOOKED_AT ? `It is older than the newest ${LOOKED_AT}.` : undefined}>–</span>`) },
  { key: "since", title: "Head since", draw: (row) => html`<${Time} at=${row.head?.createdAt} as="relative" />` },
  { key: "acts", title: "", kind: "acts", draw: (row) => html`<${Acts} queue=${row} refresh=${refresh} />` },
];

function Acts({ queue, refresh }) {
  const toggle = async () => (await post(`v2/queues/${part(queue.name)}/${queue.paused ? "resume" : "pause"}`), refresh());
  const purge = () => openDialog(`Empty ${queue.name}`, () => html`<${JobDialog} kind="cancel" filter=${{ queueName: queue.name }} done=${refresh} />`);
  const erase = async () => {
    if (!(await confirm({ title: `Delete queue ${queue.name}?`, text: `${queue.lag ? `${count(queue.lag)} messages are in it. ` : ""}The queue and its settings go; what is in it is deleted with it.`, verb: "Delete queue", word: queue.lag ? queue.name : null }))) return;
    await remove(`v2/queues/${part(queue.name)}`);
    refresh();
  };
  return html`<span class="row nowrap">
    <${Button} changes kind="small" icon=${queue.paused ? "play" : "pause"} act=${toggle}>${queue.paused ? "Resume" : "Pause"}<//>
    <${Button} changes kind="small" act=${() => openEditor(queue, refresh)}>Edit<//>
    <${Button} changes kind="small warns" act=${purge} disabled=${!queue.lag}>Empty…<//>
    <${Button} changes kind="small warns" icon="cross" label=${`Delete ${queue.name}`} act=${erase} /></span>`;
}

export default function Queues({ query }) {
  const loaded = useLoaded(loadQueues, [], { topics: ["queues", "messages"] });
  return html`<${Head} title="Queues" about="Messages of a queue go out in the order they came in, so many at once as it allows."><${Button} changes kind="primary" act=${() => openEditor(null, loaded.refresh)}>New queue<//><//>
    <${Loaded} of=${loaded}>${(rows) => (rows.length ? html`<${Table} caption="Queues" columns=${columns(loaded.refresh)} rows=${rows} id=${(row) => row.name} mark=${(row) => row.name === query.name && "ticked"} />
      <p class="hint">Order is kept: a message cannot overtake. To skip the head, open it and cancel it.</p>` : html`<${None} make=${() => openEditor(null, loaded.refresh)} />`)}<//>`;
}

const None = ({ make }) => html`<${Empty} title="No queues" icon="queues"><p>A queue delivers one message after another. The first message enqueued makes it, or you do.</p><div class="row"><${Button} changes kind="primary" act=${make}>New queue<//><${Button} changes icon="builder" act=${() => go("builder?kind=enqueue")}>Enqueue a message<//></div><//>`;

const openEditor = (queue, refresh) => openDialog(queue ? `Queue ${queue.name}` : "New queue", () => html`<${Editor} queue=${queue} refresh=${refresh} />`);

function Editor({ queue, refresh }) {
  const [name, setName] = useState(queue?.name ?? "");
  const [parallelism, setParallelism] = useState(String(queue?.parallelism ?? 1));
  const save = async (press) => {
    await post("v2/queues", { body: { queueName: name, parallelism: Number(parallelism) } });
    closeDialog(press);
    refresh();
  };
  return html`
    <${Field} label="Name" hint="Letters, digits, '.', '_' and '-'."><input value=${name} disabled=${Boolean(queue)} onInput=${(e) => setName(e.target.value)} /><//>
    <${Field} label="At once" hint="1 keeps strict order: the next goes when the one before is done, retries included."><input type="number" min="1" value=${parallelism} onInput=${(e) => setParallelism(e.target.value)} /><//>
    <div class="dialog-foot"><${Button} act=${closeDialog}>Cancel<//><${Button} kind="primary" act=${save} disabled=${!name}>Save queue<//></div>`;
}
