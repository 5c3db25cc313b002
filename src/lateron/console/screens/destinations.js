// Destinations: what each host gets and how it answers, and the pause for one that is down.

import { get, part, post } from "../api.js";
import { Meter, PhaseKey } from "../charts.js";
import { messagesOf } from "../filter.js";
import { FirstRun } from "../first.js";
import { count, micros, place } from "../format.js";
import { html } from "../lib.js";
import { useLoaded } from "../live.js";
import { Link } from "../router.js";
import { Table } from "../table.js";
import { Button, Chip, Head, Loaded, openDialog, State, Time } from "../ui.js";

const LINES = 500;

async function loadHosts() {
  const [{ destinations }, { events }] = await Promise.all([get("lateron/v1/destinations"), get("v2/events", { count: LINES, state: ["DELIVERED", "ERROR"] })]);
  return destinations.map((host) => ({ ...host, ...told(events, host.host) }));
}

function told(events, host) {
  const own = events.filter(({ url }) => hostPort(url) === host);
  const good = own.filter(({ state }) => state === "DELIVERED").length;
  const errors = {};
  for (const { state, responseStatus, error } of own) if (state === "ERROR") errors[responseStatus || error?.replace(/\s*\(.*/, "") || "no answer"] = (errors[responseStatus || error?.replace(/\s*\(.*/, "") || "no answer"] ?? 0) + 1;
  const times = own.filter(({ responseStatus, attemptMs }) => responseStatus && attemptMs !== undefined).map(({ attemptMs }) => attemptMs).sort((a, b) => a - b);
  return { seen: own.length, good, errors, times, url: own[0]?.url };
}

/** The smallest of sorted values that a share of them does not exceed. */
const quantile = (sorted, share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];

function hostPort(url) {
  const { host } = place(url);
  return /:\d+$/.test(host) ? host : `${host}:${url.startsWith("https") ? 443 : 80}`;
}

function HostState({ of }) {
  if (of.isPaused) return html`<${State} of="CANCELED" word="Paused" />`;
  if (!of.seen) return html`<${State} of="WAITING" word="Quiet" />`;
  const share = of.good / of.seen;
  if (share === 0) return html`<${State} of="FAILED" word="Failing" />`;
  return share < 0.9 ? html`<${State} of="RETRY" word="Shaky" />` : html`<${State} of="DELIVERED" word="Well" />`;
}

const columns = (refresh) => [
  { key: "host", title: "Host", draw: (row) => html`<strong class="mono break">${row.host}</strong>` },
  { key: "state", title: "State", draw: (row) => html`<${HostState} of=${row} />` },
  { key: "good", title: "Well", kind: "right", draw: (row) => (row.seen ? html`<span class="nowrap">${Math.round((100 * row.good) / row.seen)}% of ${count(row.seen)}</span>` : html`<span class="faint">–</span>`) },
  { key: "errors", title: "Errors", draw: (row) => html`<span class="chips">${Object.entries(row.errors).sort((a, b) => b[1] - a[1]).slice(0, 4).map(([error, number]) => html`<${Chip} key=${error} tone="bad">${error} × ${count(number)}<//>`)}</span>` },
  { key: "times", title: "Answers in (p50, p95)", kind: "right", draw: (row) => (row.times.length ? html`<span class="nowrap">${[0.5, 0.95].map((share) => micros(Math.round(1_000 * quantile(row.times, share)))).join(", ")}</span>` : html`<span class="faint">–</span>`) },
  { key: "waiting", title: "Waiting", kind: "right", draw: (row) => html`<${Link} to=${messagesOf("host", row.host.replace(/:\d+$/, ""), "waiting")}>${count(row.waitListSize)}<//>` },
  { key: "open", title: "Open at once", draw: (row) => html`<${Meter} used=${row.parallelismCount} most=${row.parallelismMax} label=${`${row.parallelismCount} open of ${row.parallelismMax}`} />` },
  { key: "acts", title: "", kind: "acts", draw: (row) => html`<span class="row nowrap"><${Button} changes kind="small" icon="play" act=${() => openTest(row)}>Test now<//><${Button} changes kind="small" icon=${row.isPaused ? "play" : "pause"} act=${async () => (await post(`lateron/v1/destinations/${part(row.host)}/${row.isPaused ? "resume" : "pause"}`), refresh())}>${row.isPaused ? "Resume" : "Pause"}<//></span>` },
];

/** Ask the server how a delivery would go now; a HEAD request to the newest URL of the host. */
async function openTest(row) {
  const told = await post(`lateron/v1/destinations/${part(row.host)}/test`, { query: { url: row.url } });
  openDialog(`Test of ${row.host}`, () => html`<${Verdict} told=${told} again=${() => openTest(row)} />`, { wide: true });
}

function Verdict({ told, again }) {
  const left = told.tls && Math.floor((told.tls.expiresAt - Date.now()) / 86_400_000);
  const step = (good, word, said) => html`<li key=${word}><${State} of=${good ? "DELIVERED" : "FAILED"} word=${word} /><span class="break">${said}</span></li>`;
  return html`<p class="mono break">HEAD ${told.url}</p>
    <ul class="verdict">
      ${told.addresses.length === 0 && step(false, "Name", told.error)}
      ${told.addresses.map(({ address, allowed, reason }) => step(allowed, address, allowed ? "The guard allows it." : `The guard refuses it: ${reason}.`))}
      ${told.tls && step(left > 14, "TLS", html`${told.tls.protocol}, certificate by ${told.tls.issuer}, ends <${Time} at=${told.tls.expiresAt} as="full" /> (${left} days)`)}
      ${told.addresses.some(({ allowed }) => allowed) && step(told.ok, "Answer", told.ok ? `${told.responseStatus} from ${told.peer}` : `${told.errorClass}: ${told.error}`)}
    </ul>
    <${PhaseKey} phases=${told.phases} />
    <p class="hint">Nothing was delivered: it was a HEAD request without a signature, to see how far one comes.</p>
    <div class="dialog-foot"><${Button} icon="loop" act=${again}>Test again<//></div>`;
}

export default function Destinations() {
  const loaded = useLoaded(loadHosts, [], { topics: ["messages", "flow"] });
  return html`<${Head} title="Destinations" about=${`Each host that gets messages, with what the newest ${LINES} attempts say about it.`} />
    <${Loaded} of=${loaded}>${(rows) => (rows.length ? html`<${Table} caption="Destination hosts" columns=${columns(loaded.refresh)} rows=${rows} id=${(row) => row.host} />` : html`<${FirstRun} title="No destination yet" />`)}<//>`;
}
