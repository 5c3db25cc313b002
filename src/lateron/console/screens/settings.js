// Settings: signing keys and how to roll them, the signature lab, and what this server is.

import { BASE, get, mayChange, post } from "../api.js";
import { bytes, count, span } from "../format.js";
import { html, useEffect, useState } from "../lib.js";
import { info, loadInfo, useLoaded } from "../live.js";
import { canSign, check, sign } from "../signing.js";
import { Button, Card, Chip, confirm, Copy, Facts, Field, Head, Loaded, Time, toast } from "../ui.js";
import { Icon } from "../icons.js";
import { People, Tokens } from "./access.js";
import { Audit } from "./audit.js";
import { Configuration } from "./config.js";

export default function Settings() {
  useEffect(() => void loadInfo().catch(() => {}), []);
  const changes = mayChange(); // Keys are for who rolls them; who only looks needs none on his screen.
  const keys = useLoaded(() => (changes ? get("v2/keys") : Promise.resolve(null)), [], { still: true });
  return html`<${Head} title="Settings" />
    <div class="grid-2"><div>
      ${changes && html`<${Loaded} of=${keys}>${(pair) => html`<${Keys} pair=${pair} refresh=${keys.refresh} /><${Lab} pair=${pair} />`}<//>`}
    </div><div><${Delivery} /><${Server} /><${Limits} /></div></div>
    ${info.value?.scope === "admin" && html`<${Tokens} /><${People} /><${Configuration} /><${Audit} />`}`;
}

const HIDDEN = "•".repeat(24);

function Keys({ pair, refresh }) {
  const [shown, setShown] = useState(false);
  const roll = async () => {
    const sure = await confirm({ title: "Rotate the signing keys?", text: "The next key becomes the current one and a new next key is made. Receivers that know both keys notice nothing; those that only know the current one refuse deliveries until they are told.", verb: "Rotate keys", word: "rotate" });
    if (!sure) return;
    await post("v2/keys/rotate");
    await refresh();
    setShown(true);
    toast("The keys are rotated. Give receivers the new pair.", "good");
  };
  const lines = `QSTASH_CURRENT_SIGNING_KEY="${pair.current}"\nQSTASH_NEXT_SIGNING_KEY="${pair.next}"`;
  const row = (name, key) => html`<li><span><strong>${name}</strong><br /><code class="break">${shown ? key : HIDDEN}</code></span><${Copy} text=${key} label=${`Copy ${name.toLowerCase()}`} /></li>`;
  return html`<${Card} title="Signing keys" side=${html`<span class="row"><${Button} kind="small" act=${() => setShown(!shown)}>${shown ? "Hide" : "Show"}<//><${Copy} text=${lines} kind="small" label="Copy as environment">Environment<//><${Button} kind="small warns" icon="key" act=${roll}>Rotate…<//></span>`}>
    <ul class="list">${row("Current key", pair.current)}${row("Next key", pair.next)}</ul>
    <p class="hint">Deliveries are signed with the current key. Receivers try it first, then the next one, so that rotating leaves no gap.</p>
  <//>`;
}

function Lab({ pair }) {
  const [form, setForm] = useState({ token: "", url: "", body: "" });
  const [verdict, setVerdict] = useState(null);
  const change = (part) => (setForm({ ...form, ...part }), setVerdict(null));
  if (!canSign()) return html`<${Card} title="Signature lab"><p class="faint">Browsers only compute signatures on pages that came over HTTPS or from this machine. Use <code>lateron verify</code> instead.</p><//>`;
  const judge = async () => setVerdict(await check({ ...form, keys: [pair.current, pair.next] }));
  const example = async () => {
    const made = { url: "https://example.com/hook", body: '{"hello": "world"}' };
    change({ ...made, token: await sign(pair.current, made.url, made.body) });
  };
  return html`<${Card} title="Signature lab" side=${html`<${Button} kind="small" act=${example}>Make an example<//>`}>
    <${Field} label="Upstash-Signature" hint="The header as the receiver got it."><textarea rows="3" value=${form.token} onInput=${(e) => change({ token: e.target.value })}></textarea><//>
    <${Field} label="URL"><input class="mono" value=${form.url} onInput=${(e) => change({ url: e.target.value })} /><//>
    <${Field} label="Body" hint="The raw bytes, as text."><textarea rows="2" value=${form.body} onInput=${(e) => change({ body: e.target.value })}></textarea><//>
    <${Button} kind="primary" act=${judge} disabled=${!form.token.trim()}>Check<//>
    ${verdict && html`<ul class="verdict" role="status">${verdict.map(({ ok, name, text }) => html`<li key=${name}><span class=${ok ? "tone-good" : "tone-bad"}><${Icon} name=${ok ? "check" : "cross"} size="13" /></span><strong>${name}</strong><span class="break">${text}<span class="unseen"> (${ok ? "good" : "wrong"})</span></span></li>`)}</ul>`}
  <//>`;
}

function Delivery() {
  const loaded = useLoaded(() => get("lateron/v1/delivery"), [], { topics: ["flow"] });
  const toggle = async (paused) => {
    if (!paused && !(await confirm({ title: "Pause all delivery?", text: "Messages of all users are accepted and wait until delivery is resumed.", verb: "Pause delivery" }))) return;
    await post(`lateron/v1/delivery/${paused ? "resume" : "pause"}`);
    loaded.refresh();
  };
  return html`<${Loaded} of=${loaded}>${(data) => html`<${Card} title="Delivery" side=${html`<${Button} changes kind=${`small ${data.isPaused ? "" : "warns"}`} icon=${data.isPaused ? "play" : "pause"} act=${() => toggle(data.isPaused)}>${data.isPaused ? "Resume" : "Pause all"}<//>`}>
    <p>${data.isPaused ? "Paused: nothing is sent to anybody." : `On: ${count(data.parallelismCount)} open of at most ${data.parallelismMax ? count(data.parallelismMax) : "any number"}.`}</p>
  <//>`}<//>`;
}

function Server() {
  const told = info.value;
  if (!told) return null;
  return html`<${Card} title="Server" side=${html`<a class="button small" href=${`${BASE}openapi.json`}>OpenAPI</a>`}>
    <${Facts} pairs=${[["Version", told.version], ["Mode", html`<${Chip} tone=${told.mode === "dev" ? "good" : ""}>${told.mode}<//>`], ["User", told.user], ["May", told.scope], ["Store", `${told.store?.kind} ${told.store?.version ?? ""}${told.store?.durable === false ? ", in memory" : ""}`], ["Started", html`<${Time} at=${told.startedAt} as="relative" />`], ["Quota", told.quota], ["Python", told.python], ["OpenSSL", told.openssl], ["Time zones", told.tzdata]]} />
    <${Clock} />
  <//>`;
}

/** Says if this machine's clock is far from the server's, for then every countdown is off. */
function Clock() {
  const [skew, setSkew] = useState(0);
  useEffect(() => {
    const before = Date.now();
    fetch(`${BASE}healthz`).then((answer) => setSkew(Date.parse(answer.headers.get("Date")) - (before + Date.now()) / 2)).catch(() => {});
  }, []);
  return Math.abs(skew) > 3_000 ? html`<p class="hint wrong-text">The server's clock differs from that of this machine by ${span(Math.abs(skew))}; countdowns here are off by as much.</p>` : null;
}

const LIMITS = {
  body: ["Body", bytes], batch: ["Batch", bytes], delay: ["Delay", span], timeout: ["Timeout", span], retries: ["Retries", count], parallelism: ["Parallelism", count],
  dedupWindow: ["Deduplication window", span], schedules: ["Schedules", count], messageRetention: ["Ended messages kept", span], historyRetention: ["History kept", span],
  historySize: ["History size", bytes], dlqRetention: ["Dead letters kept", span], auditRetention: ["Audit log kept", span], globalParallelism: ["Open at once", count], hostParallelism: ["Open at once, a host", count], rateLimit: ["Calls a second", count],
};

function Limits() {
  const limits = info.value?.limits;
  if (!limits) return null;
  const pairs = Object.entries(LIMITS).filter(([name]) => limits[name] != null).map(([name, [word, say]]) => [word, say(limits[name])]);
  return html`<${Card} title="Limits and retention"><${Facts} pairs=${pairs} /><//>`;
}
