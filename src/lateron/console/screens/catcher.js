// The catcher: what was sent to /_catch/<name>, with the verdict on its signature.

import { get, mayChange, part, post, remove } from "../api.js";
import { catcherUrl } from "../first.js";
import { count, plural } from "../format.js";
import { html, useState } from "../lib.js";
import { useLoaded } from "../live.js";
import { Body, HeaderTable } from "../payload.js";
import { go, Link } from "../router.js";
import { Button, Card, Chip, confirm, Copy, Empty, Facts, Field, Head, Loaded, Tabs, Time, toast } from "../ui.js";

const HASTE_MS = 1_500; // What one has just sent should be seen at once, not with the next poll.

export default function Catcher({ id }) {
  const names = useLoaded(() => get("lateron/v1/catcher"), [], { topics: ["messages"] });
  const clear = async () => {
    if (!(await confirm({ title: "Forget all that was caught?", text: "The requests are only kept in memory, to be looked at.", verb: "Forget all" }))) return;
    await remove("lateron/v1/catcher");
    names.refresh();
  };
  return html`<${Head} title="Catcher" about="Takes whatever is sent to it and shows it, so that a delivery can be seen without any other service."><${Button} changes kind="warns" act=${clear}>Forget all<//><//>
    <${Loaded} of=${names}>${(data) => html`<div class="split">
      <div>${id ? html`<${Caught} name=${id} />` : data.names.length ? html`<${Caught} name=${data.names[0].name} />` : html`<${Empty} title="Nothing was caught" icon="catcher"><p>Send something to <code>${catcherUrl("hello")}</code>, or let the form do it.</p><//>`}</div>
      <div><${Names} names=${data.names} here=${id ?? data.names[0]?.name} />${mayChange() && html`<${Sender} name=${id ?? "hello"} done=${names.refresh} />`}</div>
    </div>`}<//>`;
}

const Names = ({ names, here }) => html`<${Card} title="Names">
  ${names.length ? html`<ul class="list">${names.map(({ name, requests, last }) => html`<li key=${name}><${Link} class="name" to=${`catcher/${part(name)}`} aria-current=${name === here ? "true" : undefined}>${name === here ? html`<strong>${name}</strong>` : name}<//><span class="faint num">${plural(requests, "request")}, <${Time} at=${last} as="relative" /></span></li>`)}</ul>` : html`<p class="faint">A name is whatever stands after <code>/_catch/</code>.</p>`}
<//>`;

function Caught({ name }) {
  const loaded = useLoaded(() => get(`lateron/v1/catcher/${part(name)}`), [name], { topics: ["messages"], every: () => HASTE_MS });
  return html`<${Loaded} of=${loaded}>${({ requests }) => html`<${Card} title=${html`<span class="mono">/_catch/${name}</span> <${Copy} text=${catcherUrl(name)} label="Copy URL" />`} side=${html`<span class="faint">${plural(requests.length, "request")}</span>`}>
    ${requests.length === 0 && html`<p class="faint">Nothing yet.</p>`}
    ${requests.slice(0, 50).map((request, at) => html`<${Request} key=${request.number} request=${request} open=${at === 0} />`)}
  <//>`}<//>`;
}

function Request({ request, open }) {
  const { valid, reason } = request.signature;
  return html`<details class="attempt" open=${open}><summary>
      <span class="faint num">#${count(request.number)}</span><b class="mono">${request.method}</b><span class="grow mono break">${request.url}</span>
      <${Chip} tone=${valid ? "good" : "retry"}>${valid ? "signature good" : reason}<//>
      <${Chip} tone=${request.answered < 300 ? "good" : "bad"}>answered ${request.answered}<//><${Time} at=${request.time} />
    </summary><div class="attempt-body">
      ${request.messageId && html`<${Facts} pairs=${[["Message", html`<${Link} class="mono" to=${`messages/${request.messageId}`}>${request.messageId}<//>`], ["Retried", request.retried]]} />`}
      <${Tabs} label=${`Request ${request.number}`} tabs=${[["Body", () => html`<${Body} text=${request.body} base64=${request.bodyBase64} truncated=${request.truncated} />`], ["Headers", () => html`<${HeaderTable} of=${request.header} caption="Headers as they came" />`]]} />
    </div></details>`;
}

function Sender({ name, done }) {
  const [form, setForm] = useState({ name, status: "200", delay: "", retryAfter: "", body: '{"hello": "world"}' });
  const field = (key) => ({ value: form[key], onInput: (e) => setForm({ ...form, [key]: e.target.value }) });
  const send = async () => {
    const query = new URLSearchParams(Object.entries({ status: form.status === "200" ? "" : form.status, delay: form.delay, "retry-after": form.retryAfter }).filter(([, value]) => value)).toString();
    const sent = await post(`v2/publish/${catcherUrl(form.name)}${query && `?${query}`}`, { body: form.body, headers: { "Content-Type": "application/json", "Upstash-Retries": "1" } });
    toast("Sent.", "good", ["Look at it", () => go(`messages/${sent.messageId}`)]);
    done();
    go(`catcher/${part(form.name)}`);
  };
  return html`<${Card} title="Send to it">
    <div class="columns-2"><${Field} label="Name"><input ...${field("name")} /><//><${Field} label="It answers"><select ...${field("status")}>${["200", "204", "400", "404", "429", "489", "500", "503"].map((status) => html`<option key=${status}>${status}</option>`)}</select><//>
    <${Field} label="After" hint="2s, 1m"><input ...${field("delay")} placeholder="at once" /><//><${Field} label="Retry-After" hint="Seconds or a duration"><input ...${field("retryAfter")} placeholder="none" /><//></div>
    <${Field} label="Body"><textarea rows="3" ...${field("body")}></textarea><//>
    <${Button} kind="primary" icon="play" act=${send}>Send<//>
  <//>`;
}
