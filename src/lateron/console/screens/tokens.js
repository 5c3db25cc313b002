// Tokens: who may do what, until when, and when it was last used. A token itself is shown once, to who made it.

import { get, part, post, remove } from "../api.js";
import { html, useState } from "../lib.js";
import { useLoaded } from "../live.js";
import { Table } from "../table.js";
import { Button, Card, Chip, confirm, Copy, Failure, Field, Loaded, Time, toast } from "../ui.js";

const SCOPES = { publish: "store messages", read: "look at everything", manage: "store, look and change", admin: "everything, tokens, users and keys too" };

const never = html`<span class="faint">never</span>`;
export const when = (at) => (at ? html`<${Time} at=${at} as="relative" />` : never);

/** A field to choose a scope. */
export const Scope = ({ label, value, pick }) => html`<${Field} label=${label}><select value=${value} onChange=${(e) => pick(e.target.value)}>${Object.entries(SCOPES).map(([scope, words]) => html`<option key=${scope} value=${scope}>${scope}: ${words}</option>`)}</select><//>`;

export function Tokens() {
  const loaded = useLoaded(() => get("lateron/v1/tokens"), [], { still: true });
  const [made, setMade] = useState(null);
  const reset = async (row) => {
    const sure = await confirm({ title: `Replace the token ${row.name}?`, text: "The old one is refused at once; whoever uses it needs the new one.", verb: "Replace token", word: row.name });
    if (!sure) return;
    setMade(await post(`lateron/v1/tokens/${part(row.name)}/reset`));
    await loaded.refresh();
  };
  const revoke = async (row) => {
    const sure = await confirm({ title: `Revoke the token ${row.name}?`, text: "It is refused at once, and logins that were made with it end.", verb: "Revoke token", word: row.name });
    if (!sure) return;
    await remove(`lateron/v1/tokens/${part(row.name)}`);
    toast(`The token ${row.name} is revoked.`, "good");
    await loaded.refresh();
  };
  const columns = [
    { key: "name", title: "Name", draw: (row) => html`<strong>${row.name}</strong>` },
    { key: "scope", title: "May", draw: (row) => html`<${Chip}>${row.scope}<//>` },
    { key: "expiresAt", title: "Ends", draw: (row) => when(row.expiresAt) },
    { key: "lastUsedAt", title: "Last used", draw: (row) => when(row.lastUsedAt) },
    { key: "do", title: "", draw: (row) => html`<span class="row"><${Button} kind="small" act=${() => reset(row)} label=${`Replace ${row.name}`}>Replace…<//><${Button} kind="small warns" act=${() => revoke(row)} label=${`Revoke ${row.name}`}>Revoke…<//></span>` },
  ];
  return html`<${Card} title="Tokens">
    ${made && html`<div class="dry" role="status"><p>The token <strong>${made.name}</strong>, shown only now:</p><p class="row"><code class="break">${made.token}</code><${Copy} text=${made.token} label="Copy the token" /></p></div>`}
    <${Loaded} of=${loaded}>${(rows) => html`<${Table} caption="Tokens" columns=${columns} rows=${rows} id=${(row) => row.name} plain />`}<//>
    <${Make} done=${async (token) => (setMade(token), await loaded.refresh())} />
  <//>`;
}

function Make({ done }) {
  const [form, setForm] = useState({ name: "", scope: "publish", expiresIn: "" });
  const [error, setError] = useState(null);
  const change = (some) => (setForm({ ...form, ...some }), setError(null));
  const make = async () => {
    try {
      const { expiresIn, ...rest } = form;
      await done(await post("lateron/v1/tokens", { body: expiresIn ? form : rest }));
      setForm({ ...form, name: "" });
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<div class="row">
      <${Field} label="New token's name"><input value=${form.name} placeholder="ci" onInput=${(e) => change({ name: e.target.value.trim() })} /><//>
      <${Scope} label="It may" value=${form.scope} pick=${(scope) => change({ scope })} />
      <${Field} label="Ends after"><input value=${form.expiresIn} placeholder="90d, or never" onInput=${(e) => change({ expiresIn: e.target.value.trim() })} /><//>
      <${Button} act=${make} disabled=${!form.name}>Make token<//>
    </div>
    ${error && html`<${Failure} error=${error} />`}`;
}
