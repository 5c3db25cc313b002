// Flow control: who waits for which limit, and the hand that pins, pauses or resets it.

import { get, part, post } from "../api.js";
import { Meter } from "../charts.js";
import { messagesOf } from "../filter.js";
import { count, span } from "../format.js";
import { html, useState } from "../lib.js";
import { now, useLoaded } from "../live.js";
import { go, Link, setQuery } from "../router.js";
import { Table } from "../table.js";
import { Button, Chip, closeDialog, Empty, Field, Head, Loaded, openDialog, State, toast } from "../ui.js";

const act = (key, verb, query) => post(`v2/flowControl/${part(key)}/${verb}`, { query });

const columns = (refresh) => [
  { key: "key", title: "Key", draw: (row) => html`<strong class="break">${row.flowControlKey}</strong>` },
  { key: "state", title: "State", draw: (row) => html`<${KeyState} of=${row} />` },
  { key: "waiting", title: "Waiting", kind: "right", draw: (row) => html`<${Link} to=${messagesOf("flow", row.flowControlKey, "waiting")}>${count(row.waitListSize)}<//>` },
  { key: "open", title: "Open at once", draw: (row) => html`<span class="row nowrap"><${Meter} used=${row.parallelismCount} most=${row.parallelismMax} label=${`${row.parallelismCount} open of ${row.parallelismMax || "any number"}`} />${row.isPinnedParallelism && html`<${Chip} title="Pinned: messages do not change it">pinned<//>`}</span>` },
  { key: "rate", title: "Started this period", draw: (row) => html`<${Rate} of=${row} />` },
  { key: "acts", title: "", kind: "acts", draw: (row) => html`<${Acts} of=${row} refresh=${refresh} />` },
];

function KeyState({ of }) {
  if (of.isPaused) return html`<${State} of="CANCELED" word="Paused" />`;
  if (of.waitListSize) return html`<${State} of="RETRY" word="At its limit" />`;
  return html`<${State} of="DELIVERED" word="Free" />`;
}

function Rate({ of }) {
  if (!of.rateMax) return html`<span class="faint">no rate</span>`;
  const left = (of.ratePeriodStart + of.ratePeriod) * 1_000 - now.value;
  return html`<span class="row nowrap"><${Meter} used=${left > 0 ? of.rateCount : 0} most=${of.rateMax} label=${`${of.rateCount} of ${of.rateMax} started in ${span(of.ratePeriod * 1_000)}`} />
    <span class="faint num">${left > 0 ? `${span(left)} left` : `per ${span(of.ratePeriod * 1_000)}`}</span>${of.isPinnedRate && html`<${Chip}>pinned<//>`}${of.isSmooth && html`<${Chip}>smooth<//>`}</span>`;
}

function Acts({ of, refresh }) {
  const key = of.flowControlKey;
  const pinned = of.isPinnedParallelism || of.isPinnedRate;
  const then = (work) => async () => (await work(), refresh());
  return html`<span class="row nowrap">
    <${Button} changes kind="small" icon=${of.isPaused ? "play" : "pause"} act=${then(() => act(key, of.isPaused ? "resume" : "pause"))}>${of.isPaused ? "Resume" : "Pause"}<//>
    <${Button} changes kind="small" icon="pin" act=${() => openDialog(`Limits of ${key}`, () => html`<${Pin} of=${of} refresh=${refresh} />`)}>Pin limits…<//>
    ${pinned && html`<${Button} changes kind="small" act=${then(() => act(key, "unpin", { parallelism: of.isPinnedParallelism || undefined, rate: of.isPinnedRate || undefined }))}>Unpin<//>`}
    <${Button} changes kind="small" icon="loop" label=${`Begin a new period for ${key}`} disabled=${!of.rateMax} act=${then(() => act(key, "resetRate"))} /></span>`;
}

function Pin({ of, refresh }) {
  const [parallelism, setParallelism] = useState(of.parallelismMax ? String(of.parallelismMax) : "");
  const [rate, setRate] = useState(of.rateMax ? String(of.rateMax) : "");
  const [period, setPeriod] = useState(String(of.ratePeriod || 1));
  const save = async (press) => {
    await act(of.flowControlKey, "pin", { parallelism, rate, period: rate ? period : "" });
    closeDialog(press);
    toast(`The limits of ${of.flowControlKey} are pinned.`, "good");
    refresh();
  };
  const box = (value, set) => html`<input type="number" min="1" value=${value} onInput=${(e) => set(e.target.value)} />`;
  return html`<p>Pinned limits hold whatever newer messages ask for, until they are unpinned. A field left empty stays as it is.</p>
    <${Field} label="Open at once">${box(parallelism, setParallelism)}<//>
    <div class="columns-2"><${Field} label="Starts">${box(rate, setRate)}<//><${Field} label="in so many seconds">${box(period, setPeriod)}<//></div>
    <div class="dialog-foot"><${Button} act=${closeDialog}>Cancel<//><${Button} kind="primary" icon="pin" act=${save} disabled=${!parallelism && !rate}>Pin limits<//></div>`;
}

export default function Flow({ query }) {
  const search = query.search || "";
  const loaded = useLoaded(() => get("v2/flowControl", { search, count: 200 }), [search], { topics: ["flow", "messages"] });
  return html`<${Head} title="Flow control" about="Messages of one key share limits: how many are open at once, how many start in a period." />
    <div class="tools"><div class="filter-box"><label class="unseen" for="flow-search">Search keys</label><input id="flow-search" placeholder="Search keys" value=${search} onInput=${(e) => setQuery({ search: e.target.value })} /></div></div>
    <${Loaded} of=${loaded}>${(rows) => (rows.length ? html`<${Table} caption="Flow-control keys" columns=${columns(loaded.refresh)} rows=${rows} id=${(row) => row.flowControlKey} />` : html`<${None} search=${search} />`)}<//>`;
}

const None = ({ search }) => search
  ? html`<${Empty} title="No key fits" icon="search"><p>No key has “${search}” in it.</p><div class="row"><${Button} act=${() => setQuery({})}>All keys<//></div><//>`
  : html`<${Empty} title="No flow-control keys" icon="flow"><p>Give messages a key and limits, such as 10 starts a minute for an API that allows no more. They wait here instead of failing there.</p><div class="row"><${Button} changes icon="builder" act=${() => go("builder?flowKey=my-api&flowValue=rate%3D10,period%3D1m")}>Build one<//></div><//>`;
