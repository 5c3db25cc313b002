// Overview: one line of health, what moved in the last hour, and where to look first.

import { get } from "../api.js";
import { Lines } from "../charts.js";
import { FirstRun } from "../first.js";
import { count, place, span } from "../format.js";
import { Icon } from "../icons.js";
import { html } from "../lib.js";
import { counters, now, rates, useLoaded } from "../live.js";
import { bounds, setRange } from "../range.js";
import { go, Link } from "../router.js";
import { Card, Head, Loaded, State, Time } from "../ui.js";
import { signature } from "../words.js";

const MINUTE = 60_000;

async function loadOverview() {
  const range = bounds(Date.now());
  const [told, events, dead, schedules, flow, hosts, delivery] = await Promise.all([
    get("lateron/v1/overview"),
    get("v2/events", { count: 5, fromDate: range?.from, toDate: range?.to }),
    get("v2/dlq", { count: 100 }),
    get("v2/schedules"),
    get("v2/flowControl", { count: 100 }),
    get("lateron/v1/destinations"),
    get("lateron/v1/delivery"),
  ]);
  return { ...told, events: events.events, dead: dead.messages, schedules, flow, hosts: hosts.destinations, delivery };
}

const TONES = { ok: ["good", "check"], late: ["retry", "clock"], failing: ["bad", "warn"], paused: ["retry", "pause"] };

export default function Overview({ query }) {
  const loaded = useLoaded(loadOverview, [query.range], { topics: ["messages", "dlq", "schedules", "queues", "flow"] });
  return html`<${Head} title="Overview" />
    <${Loaded} of=${loaded}>${(data) => (query.range || data.events.length || data.series.at(-1).waiting || data.dead.length || data.schedules.length ? html`<${Whole} data=${data} />` : html`<${FirstRun} title="Send your first message" />`)}<//>`;
}

function Whole({ data }) {
  const [tone, icon] = TONES[data.health.status] ?? TONES.ok;
  return html`
    <${Card} tone=${tone}><div class=${`health tone-${tone}`}><span class="knot"><${Icon} name=${icon} size="18" /></span><span>${data.health.text}</span></div><//>
    <${Figures} data=${data} />
    <${Charts} series=${data.series} />
    <div class="grid-2"><${Errors} dead=${data.dead} /><${Next} schedules=${data.schedules} /><${Busy} data=${data} /><${Newest} events=${data.events} /></div>`;
}

function Figures({ data }) {
  const last = counters.value.at(-1);
  const minute = data.series.at(-1);
  const rate = rates();
  const oldest = last ? last.oldestDueMs : minute.oldestDueMs;
  const waiting = last?.waiting ?? minute.waiting;
  const figures = [
    [rate ? `${rate.delivered.toFixed(rate.delivered < 10 ? 1 : 0)}/s` : count(data.series.reduce((sum, row) => sum + row.delivered, 0), true), rate ? "delivered now" : "delivered in the last hour", "messages?filter=state:delivered"],
    [count(waiting, true), oldest ? `waiting, the oldest due for ${span(oldest)}` : "waiting, none of them due", "messages?view=waiting"],
    [count(last?.active ?? data.delivery.parallelismCount, true), `open now, of ${count(data.delivery.parallelismMax)}`, "destinations"],
    [`${count(last?.deadLetters ?? data.dead.length, true)}${!last && data.dead.length === 100 ? "+" : ""}`, "dead letters", "dead"],
  ];
  return html`<div class="grid-4">${figures.map(([figure, name, to]) => html`<${Card} key=${to}><${Link} to=${to}><span class="figure">${figure}</span><//><div class="figure-name">${name}</div><//>`)}</div>`;
}

function Charts({ series }) {
  const range = bounds(now.peek()); // Drawn with each reading, which is often enough.
  const inside = range ? series.filter(({ time }) => time + MINUTE > range.from && time < (range.to ?? Infinity)) : series;
  const rows = inside.length > 1 ? inside : series;
  const times = rows.map(({ time }) => time);
  const of = (name, tone, value, area) => ({ name, tone, values: rows.map(value), area });
  const pick = (filter, view) => (from, to) => go(`messages?view=${view}&filter=${filter}&range=${from}-${to}`);
  const brush = (from, to) => setRange(`${from}-${to}`);
  const charts = [
    { title: "Messages a minute", pick: pick("", "lines"), series: [of("published", "accent", (row) => row.published, true), of("delivered", "good", (row) => row.delivered), of("failed", "bad", (row) => row.failed)] },
    { title: "Age of the oldest due message", unit: "ms", pick: pick("", "waiting"), series: [of("oldest", "retry", (row) => row.oldestDueMs ?? 0, true)] },
    { title: "Attempts take", unit: "ms", pick: pick("state:delivered", "lines"), series: [["p50", "good"], ["p95", "accent"], ["p99", "active"]].map(([name, tone]) => of(name, tone, (row) => row.attemptMs[name] ?? 0)) },
    { title: "Waiting and open", pick: pick("", "waiting"), series: [of("waiting", "wait", (row) => row.waiting, true), of("open", "active", (row) => row.active)] },
  ];
  return html`${range && (inside.length < 2 || range.from < series[0].time - MINUTE) && html`<p class="hint">The server counts the last hour, minute by minute; the charts show what there is of it. Lists know the whole range.</p>`}
    <div class="grid-2">${charts.map((chart) => html`<${Card} key=${chart.title}><${Lines} ...${chart} times=${times} brush=${brush} /><//>`)}</div>`;
}

const Top = ({ title, to, items, none }) => html`<${Card} title=${title} side=${html`<${Link} to=${to}>All<//>`}>
  ${items.length ? html`<ul class="list">${items}</ul>` : html`<p class="faint">${none}</p>`}
<//>`;

function Errors({ dead }) {
  const groups = new Map();
  for (const letter of dead) {
    const key = `${place(letter.url).host} ${signature(letter)}`;
    groups.set(key, (groups.get(key) ?? 0) + 1);
  }
  const items = [...groups].sort((one, other) => other[1] - one[1]).slice(0, 5).map(([key, number]) => html`<li key=${key}><span class="name">${key}</span><b class="num tone-bad">${count(number)}</b></li>`);
  return html`<${Top} title="Why messages died" to="dead" items=${items} none="No dead letters." />`;
}

function Next({ schedules }) {
  const due = schedules.filter(({ nextScheduleTime, isPaused }) => nextScheduleTime && !isPaused).sort((one, other) => one.nextScheduleTime - other.nextScheduleTime);
  const items = due.slice(0, 5).map((one) => html`<li key=${one.scheduleId}><${Link} class="name" to=${`schedules?name=${encodeURIComponent(one.scheduleId)}`}>${one.scheduleId}<//><${Time} at=${one.nextScheduleTime} as="relative" /></li>`);
  return html`<${Top} title="Next to run" to="schedules" items=${items} none="No schedule will run." />`;
}

function Busy({ data }) {
  const busy = [...data.flow.map((one) => ["flow", one.flowControlKey, one]), ...data.hosts.map((one) => ["host", one.host, one])].filter(([, , one]) => one.waitListSize || one.parallelismCount || one.isPaused);
  busy.sort((one, other) => other[2].waitListSize - one[2].waitListSize);
  const items = busy.slice(0, 5).map(([kind, name, one]) => html`<li key=${kind + name}><span class="name"><span class="faint">${kind}</span> ${name}</span><span class="num">${one.isPaused ? "paused" : `${count(one.waitListSize)} waiting, ${count(one.parallelismCount)} open`}</span></li>`);
  return html`<${Top} title="Where it is busy" to="flow" items=${items} none="Nothing waits for a limit, nothing is open." />`;
}

function Newest({ events }) {
  const items = events.slice(0, 5).map((line, at) => html`<li key=${at}><${Link} class="name mono" to=${`messages/${line.messageId}`}>${place(line.url).host}${place(line.url).path}<//><span class="nowrap"><${State} of=${line.state} /> <${Time} at=${line.time} as="relative" /></span></li>`);
  return html`<${Top} title="Newest lines" to="messages?view=lines" items=${items} none="Nothing happened." />`;
}
