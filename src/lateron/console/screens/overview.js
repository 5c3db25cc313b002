// Overview: one line of health, what moved in the last hour, and where to look first.

import { get } from "../api.js";
import { Lines } from "../charts.js";
import { FirstRun } from "../first.js";
import { rates } from "../frame.js";
import { count, place, plural } from "../format.js";
import { Icon } from "../icons.js";
import { html } from "../lib.js";
import { counters, now, useLoaded } from "../live.js";
import { go, Link } from "../router.js";
import { Card, Head, Loaded, State, Time } from "../ui.js";
import { signature } from "../words.js";

const MINUTE = 60_000;

/** What the server counts; where it does not, what its lists show. */
async function loadOverview() {
  const [told, events, dead, schedules, flow, hosts, delivery, waiting] = await Promise.all([
    get("lateron/v1/overview").catch((error) => (error.status === 404 ? null : Promise.reject(error))),
    get("v2/events", { count: 500, fromDate: Date.now() - 60 * MINUTE }),
    get("v2/dlq", { count: 100 }),
    get("v2/schedules"),
    get("v2/flowControl", { count: 100 }),
    get("lateron/v1/destinations"),
    get("lateron/v1/delivery"),
    get("v2/messages", { count: 100 }),
  ]);
  return { told, events: events.events, dead: dead.messages, schedules, flow, hosts: hosts.destinations, delivery, waiting: waiting.messages, waitingMore: Boolean(waiting.cursor) };
}

/** Minutes of the last hour out of lines of the log; exact while an hour has at most a page of them. */
export function fromEvents(events, until) {
  const first = Math.floor(until / MINUTE) - 59;
  const rows = Array.from({ length: 60 }, (_, at) => ({ time: (first + at) * MINUTE, published: 0, delivered: 0, failed: 0 }));
  const names = { CREATED: "published", DELIVERED: "delivered", FAILED: "failed" };
  for (const { time, state } of events) {
    const row = rows[Math.floor(time / MINUTE) - first];
    if (row && names[state]) row[names[state]] += 1;
  }
  return rows;
}

function healthOf(data) {
  if (data.told?.health) return data.told.health;
  const late = data.waiting.filter((one) => one.waitingFor === "node" || /_(cap|parallelism|rate)$/.test(one.waitingFor ?? "")).length;
  const failed = data.events.filter(({ state }) => state === "FAILED").length;
  if (data.delivery.isPaused) return { status: "paused", text: "All delivery is paused. Messages are accepted and wait." };
  if (failed) return { status: "failing", text: `${plural(failed, "message")} failed for good in the last hour.` };
  if (late) return { status: "late", text: `Delivering. ${plural(late, "message")} ${late === 1 ? "waits" : "wait"} for a limit.` };
  return { status: "ok", text: "Delivering. Nothing is late." };
}

const TONES = { ok: ["good", "check"], late: ["retry", "clock"], failing: ["bad", "warn"], paused: ["retry", "pause"] };

export default function Overview() {
  const loaded = useLoaded(loadOverview, [], { topics: ["messages", "dlq", "schedules", "queues", "flow"] });
  return html`<${Head} title="Overview" />
    <${Loaded} of=${loaded}>${(data) => (data.events.length || data.waiting.length || data.dead.length || data.schedules.length ? html`<${Whole} data=${data} />` : html`<${FirstRun} title="Send your first message" />`)}<//>`;
}

function Whole({ data }) {
  const health = healthOf(data);
  const [tone, icon] = TONES[health.status] ?? TONES.ok;
  return html`
    <${Card} tone=${tone}><div class=${`health tone-${tone}`}><span class="knot"><${Icon} name=${icon} size="18" /></span><span>${health.text}</span></div><//>
    <${Figures} data=${data} />
    <${Charts} data=${data} />
    <div class="grid-2"><${Errors} dead=${data.dead} /><${Next} schedules=${data.schedules} /><${Busy} data=${data} /><${Newest} events=${data.events} /></div>`;
}

function Figures({ data }) {
  const last = counters.value.at(-1);
  const rate = rates();
  const waiting = last?.waiting ?? data.waiting.length;
  const figures = [
    [rate ? `${rate.delivered.toFixed(rate.delivered < 10 ? 1 : 0)}/s` : count(data.events.filter(({ state }) => state === "DELIVERED").length, true), rate ? "delivered now" : "delivered in the last hour", "messages?filter=state:delivered"],
    [`${count(waiting, true)}${last || !data.waitingMore ? "" : "+"}`, "waiting", "messages?view=waiting"],
    [count(last?.active ?? data.delivery.parallelismCount, true), `open now, of ${count(data.delivery.parallelismMax)}`, "destinations"],
    [`${count(last?.deadLetters ?? data.dead.length, true)}${!last && data.dead.length === 100 ? "+" : ""}`, "dead letters", "dead"],
  ];
  return html`<div class="grid-4">${figures.map(([figure, name, to]) => html`<${Card} key=${name}><${Link} to=${to}><span class="figure">${figure}</span><//><div class="figure-name">${name}</div><//>`)}</div>`;
}

function Charts({ data }) {
  const rows = data.told?.series?.length ? data.told.series : fromEvents(data.events, now.value);
  const times = rows.map(({ time }) => time);
  const of = (pick) => rows.map(pick);
  const pick = (time) => go(`messages?view=lines&filter=since:${Math.max(1, Math.ceil((now.value - time) / MINUTE))}m`);
  const flow = [
    { name: "published", tone: "accent", values: of((row) => row.published), area: true },
    { name: "delivered", tone: "good", values: of((row) => row.delivered) },
    { name: "failed", tone: "bad", values: of((row) => row.failed) },
  ];
  return html`<div class="grid-2">
    <${Card}><${Lines} title="Messages a minute" times=${times} series=${flow} pick=${pick} /><//>
    ${data.told?.series?.length
      ? html`<${Card}><${Lines} title="Age of the oldest due message" unit="ms" times=${times} series=${[{ name: "oldest", tone: "retry", values: of((row) => row.oldestDueMs ?? 0), area: true }]} /><//>
          <${Card}><${Lines} title="Attempts take" unit="ms" times=${times} series=${["p50", "p95", "p99"].map((name, at) => ({ name, tone: ["good", "accent", "active"][at], values: of((row) => row.attemptMs?.[name] ?? 0) }))} /><//>
          <${Card}><${Lines} title="Waiting and open" times=${times} series=${[{ name: "waiting", tone: "wait", values: of((row) => row.waiting ?? 0), area: true }, { name: "open", tone: "active", values: of((row) => row.active ?? 0) }]} /><//>`
      : html`<${Card}><${Lines} title="Failed a minute" times=${times} series=${[{ name: "failed", tone: "bad", values: of((row) => row.failed), area: true }]} pick=${pick} /><//>`}
  </div>`;
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
  return html`<${Top} title="Newest lines" to="messages?view=lines" items=${items} none="Nothing in the last hour." />`;
}
