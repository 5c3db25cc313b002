// Schedules: what will run and when, whether the last run went well, and the hand that runs, pauses, deletes.

import { get, part, post, remove } from "../api.js";
import { DayStrip } from "../charts.js";
import { messagesOf } from "../filter.js";
import { catcherUrl } from "../first.js";
import { count, cronWords, relative } from "../format.js";
import { html, useEffect, useState } from "../lib.js";
import { info, now, useLoaded } from "../live.js";
import { Body, HeaderTable } from "../payload.js";
import { go, Link, setQuery } from "../router.js";
import { Table } from "../table.js";
import { Button, Card, Chip, confirm, Empty, Facts, Head, Loaded, State, Time, toast } from "../ui.js";

const call = (id, verb) => post(`v2/schedules/${part(id)}/${verb}`);

export async function runNow(id) {
  const sent = await call(id, "run");
  toast(`${id} runs.`, "good", sent.messageId && ["Look at it", () => go(`messages/${sent.messageId}`)]);
}

async function loadSchedules() {
  const schedules = await get("v2/schedules");
  const next = await Promise.all(schedules.slice(0, 40).map((one) => get(`lateron/v1/schedules/${part(one.scheduleId)}/next`, { count: PREVIEW_MOST }).then(({ times }) => times, () => [])));
  return schedules.map((one, at) => ({ ...one, times: next[at] ?? [] }));
}

const PREVIEW_MOST = 100;

/** Go on at the same pace where the server's preview ends before the day does. */
function wholeDay(times, from) {
  if (times.length < PREVIEW_MOST) return times;
  const gap = (times.at(-1) - times[0]) / (times.length - 1);
  const more = [];
  for (let time = times.at(-1) + gap; time < from + 86_400_000 && more.length < 2_000; time += gap) more.push(time);
  return [...times, ...more];
}

const columns = (refresh) => [
  { key: "id", title: "Schedule", draw: (row) => html`<strong class="nowrap">${row.scheduleId}</strong>` },
  { key: "state", title: "State", draw: (row) => (row.isPaused ? html`<${State} of="CANCELED" word="Paused" />` : html`<${State} of="ACTIVE" word="On" />`) },
  { key: "cron", title: "When", draw: (row) => html`<span title=${row.cron}>${cronWords(row.cron)}</span>` },
  { key: "target", title: "Destination", kind: "wide", draw: (row) => html`<span class="target"><span class="method">${row.method}</span><span class="where" title=${row.destination}>${row.destination}</span></span>` },
  { key: "next", title: "Next run", draw: (row) => (row.isPaused ? html`<span class="faint">–</span>` : html`<span class="nowrap"><${Time} at=${row.nextScheduleTime} as="relative" /></span>`) },
  { key: "last", title: "Last run", draw: (row) => html`<${LastRun} of=${row} />` },
  { key: "acts", title: "", kind: "acts", draw: (row) => html`<span class="row nowrap"><${Button} changes kind="small" icon="play" act=${async () => (await runNow(row.scheduleId), refresh())}>Run now<//>
    <${Button} changes kind="small" icon=${row.isPaused ? "play" : "pause"} label=${row.isPaused ? `Resume ${row.scheduleId}` : `Pause ${row.scheduleId}`} act=${async () => (await call(row.scheduleId, row.isPaused ? "resume" : "pause"), refresh())} /></span>` },
];

function LastRun({ of }) {
  if (!of.lastScheduleTime) return html`<span class="faint">never</span>`;
  const states = Object.values(of.lastScheduleStates ?? {});
  const bad = of.error || states.includes("FAIL");
  const running = states.includes("IN_PROGRESS");
  return html`<span class="row nowrap"><${Chip} tone=${bad ? "bad" : running ? "retry" : "good"}>${bad ? "failed" : running ? "under way" : "well"}<//> <${Time} at=${of.lastScheduleTime} as="relative" /></span>`;
}

export default function Schedules({ query }) {
  const loaded = useLoaded(loadSchedules, [], { topics: ["schedules"] });
  return html`<${Head} title="Schedules" about="Messages that are published again and again by a cron."><${Button} changes kind="primary" icon="builder" act=${() => go("builder?kind=schedule")}>New schedule<//><//>
    <${Loaded} of=${loaded}>${(rows) => (rows.length ? html`<${Whole} rows=${rows} refresh=${loaded.refresh} open=${query.name} />` : html`<${None} />`)}<//>`;
}

const None = () => html`<${Empty} title="No schedules" icon="schedules"><p>A schedule publishes a message whenever its cron says so, in the time zone you choose.</p>
  <div class="row"><${Button} changes kind="primary" icon="builder" act=${() => go("builder?kind=schedule")}>New schedule<//>
  ${info.value?.catcher !== false && html`<${Button} changes act=${() => go(`builder?kind=schedule&target=${part(catcherUrl("tick"))}`)}>One to the catcher<//>`}</div><//>`;

function Whole({ rows, refresh, open }) {
  const chosen = rows.find(({ scheduleId }) => scheduleId === open);
  return html`
    <${Card} title="The next 24 hours" side=${html`<span class="faint">Where many lie on top of each other, spread them with a jitter</span>`}><${DayStrip} times=${rows.filter(({ isPaused }) => !isPaused).flatMap(({ times }) => wholeDay(times, now.value))} from=${now.value} /><//>
    ${chosen && html`<${One} of=${chosen} refresh=${refresh} />`}
    <${Table} caption="Schedules" columns=${columns(refresh)} rows=${rows} id=${(row) => row.scheduleId} open=${(row) => setQuery({ name: row.scheduleId })} mark=${(row) => row === chosen && "ticked"} />`;
}

function One({ of, refresh }) {
  const erase = async () => {
    if (!(await confirm({ title: `Delete ${of.scheduleId}?`, text: "It runs no more. Messages it has made are delivered all the same.", verb: "Delete schedule" }))) return;
    await remove(`v2/schedules/${part(of.scheduleId)}`);
    setQuery({});
    refresh();
  };
  return html`<${Card} title=${of.scheduleId} side=${html`<span class="row">
      <${Button} changes kind="small" act=${() => go(`builder?schedule=${part(of.scheduleId)}`)} icon="builder">Edit<//>
      <${Link} class="button small" to=${messagesOf("schedule", of.scheduleId)}>Its messages<//>
      <${Button} changes kind="small warns" act=${erase}>Delete<//><${Button} kind="small quiet" icon="cross" label="Close" act=${() => setQuery({})} /></span>`}>
    <div class="split"><div>
      <${Facts} pairs=${[["Cron", html`<code>${of.cron}</code>`], ["In words", cronWords(of.cron)], ["Created", html`<${Time} at=${of.createdAt} as="full" />`], ["Runs", of.runs && count(of.runs)], ["Failed in a row", of.failedRuns], ["Missed", of.missedRuns], ["Skipped", of.skippedRuns], ["Delay", of.delay && `${of.delay} s`], ["Jitter", of.jitter && `${of.jitter} s`], ["If missed", of.missed], ["If still running", of.overlap], ["Queue", of.queueName], ["Flow key", of.flowControlKey], ["Retries", of.retries], ["Error", of.error]]} />
      <h3>Body</h3><${Body} text=${of.body} base64=${of.bodyBase64} none="It has no body." />
      ${of.header && html`<h3>Headers</h3><${HeaderTable} of=${of.header} caption="Headers of the schedule" />`}
    </div><div><h3>Next runs${of.isPaused ? ", once it is resumed" : ""}</h3><${NextRuns} times=${of.times.slice(0, 10)} /></div></div>
  <//>`;
}

/** Times in words, with a mark where the clocks change between two of them. */
export function NextRuns({ times }) {
  if (!times.length) return html`<p class="faint">None.</p>`;
  return html`<ul class="list">${times.map((time) => html`<li key=${time}><${Time} at=${time} as="full" /><span class="faint num">${relative(time, now.value)}</span></li>`)}</ul>`;
}

/** When a cron would run: asked of the server while one types. */
export function CronPreview({ cron, many = 5 }) {
  const [told, setTold] = useState({});
  useEffect(() => {
    if (!cron?.trim()) return setTold({});
    let wanted = true; // A slow answer to what stood there before says nothing about what stands there now.
    const tell = (said) => wanted && setTold(said);
    const timer = setTimeout(() => get("lateron/v1/cron", { cron, count: many }).then(tell, (error) => tell({ error })), 200);
    return () => (clearTimeout(timer), (wanted = false));
  }, [cron]);
  if (told.error) return html`<p class="hint wrong-text" role="status">${told.error.message}</p>`;
  if (!told.times) return null;
  return html`<div role="status"><p class="hint">${cronWords(cron)}. The next runs:</p><${NextRuns} times=${told.times} /></div>`;
}
