// Who may, and who is here: tokens, users of the console, and sessions. A token is shown once, to who made it; a password never.

import { call, get, part, post, remove } from "../api.js";
import { html, useState } from "../lib.js";
import { useLoaded } from "../live.js";
import { Table } from "../table.js";
import { Button, Card, Chip, closeDialog, confirm, Copy, Failure, Field, Loaded, openDialog, Time, toast } from "../ui.js";

const SCOPES = { publish: "store messages", read: "look at everything", manage: "store, look and change", admin: "everything, tokens, users and keys too" };

const never = html`<span class="faint">never</span>`;
const when = (at) => (at ? html`<${Time} at=${at} as="relative" />` : never);

/** A field to choose a scope. */
const Scope = ({ label, value, pick }) => html`<${Field} label=${label}><select value=${value} onChange=${(e) => pick(e.target.value)}>${Object.entries(SCOPES).map(([scope, words]) => html`<option key=${scope} value=${scope}>${scope}: ${words}</option>`)}</select><//>`;

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

const USERS = "lateron/v1/users";
const SESSIONS = "lateron/v1/sessions";

// Together, for a change of the one ends the other. Of a server that keeps several apart only the first one's may ask for users.
const load = () => Promise.all([get(USERS).catch((error) => (error.status === 403 ? null : Promise.reject(error))), get(SESSIONS)]);

export function People() {
  const loaded = useLoaded(load, [], { still: true });
  const { refresh } = loaded;
  return html`<${Loaded} of=${loaded}>${([users, rows]) => html`${users && html`<${Users} rows=${users} refresh=${refresh} />`}<${Sessions} rows=${rows} refresh=${refresh} />`}<//>`;
}

function Users({ rows, refresh }) {
  const edit = (user) => openDialog(user ? `Change the user ${user.name}` : "New user", () => html`<${Editor} user=${user} done=${refresh} />`);
  const erase = async ({ name }) => {
    const sure = await confirm({ title: `Remove the user ${name}?`, text: `Nobody can sign in as ${name} any more, and logins of ${name} end at once.`, verb: "Remove user", word: name });
    if (!sure) return;
    await remove(`${USERS}/${part(name)}`);
    toast(`The user ${name} is removed.`, "good");
    await refresh();
  };
  const columns = [
    { key: "name", title: "Name", draw: (row) => html`<strong>${row.name}</strong>` },
    { key: "scope", title: "May", draw: (row) => html`<${Chip}>${row.scope}<//>` },
    { key: "changedAt", title: "Changed", draw: (row) => when(row.changedAt) },
    { key: "lastUsedAt", title: "Last here", draw: (row) => when(row.lastUsedAt) },
    { key: "do", title: "", draw: (row) => html`<span class="row"><${Button} kind="small" act=${() => edit(row)} label=${`Change ${row.name}`}>Change…<//><${Button} kind="small warns" act=${() => erase(row)} label=${`Remove ${row.name}`}>Remove…<//></span>` },
  ];
  return html`<${Card} title="Users" side=${html`<${Button} kind="small" act=${() => edit(null)}>New user…<//>`}>
    ${rows.length ? html`<${Table} caption="Users" columns=${columns} rows=${rows} id=${(row) => row.name} plain />` : html`<p class="hint">Nobody has a password yet.</p>`}
  <//>`;
}

function Sessions({ rows, refresh }) {
  const end = async ({ name, sessionId }, many) => {
    const sure = await confirm({ title: `End ${many ? `all ${many} sessions` : "this session"} of ${name}?`, text: "The next request is refused. Whoever still has a token, a password or a provider can sign in again.", verb: "End" });
    if (!sure) return;
    await remove(many ? SESSIONS : `${SESSIONS}/${sessionId}`, many && { query: { name } });
    toast(`Ended: ${many || 1} of ${name}.`, "good");
    await refresh();
  };
  const acts = (row) => {
    const many = rows.filter(({ name }) => name === row.name);
    return !row.isOwn && html`<span class="row"><${Button} kind="small warns" act=${() => end(row)} label=${`End ${row.name}`}>End…<//>${many.length > 1 && !many.some(({ isOwn }) => isOwn) && html`<${Button} kind="small warns" act=${() => end(row, many.length)} label=${`End all of ${row.name}`}>All…<//>`}</span>`;
  };
  const columns = [
    { key: "name", title: "Who", draw: (row) => html`<strong>${row.name}</strong> by ${row.by} ${row.isOwn && html`<${Chip} tone="good">you<//>`}` },
    { key: "scope", title: "May", draw: (row) => html`<${Chip}>${row.scope}<//>` },
    ...Object.entries({ createdAt: "Since", lastUsedAt: "Last seen", expiresAt: "Ends" }).map(([key, title]) => ({ key, title, draw: (row) => when(row[key]) })),
    { key: "do", title: "", draw: acts },
  ];
  return html`<${Card} title="Signed in" side=${html`<${Button} kind="small" act=${refresh} label="Refresh who is signed in">Refresh<//>`}><${Table} caption="Signed in" columns=${columns} rows=${rows} id=${(row) => row.sessionId} plain /><//>`;
}

function Editor({ user, done }) {
  const [form, setForm] = useState({ name: user?.name ?? "", scope: user?.scope ?? "read", password: "" });
  const [error, setError] = useState(null);
  const change = (some) => (setForm({ ...form, ...some }), setError(null));
  const { name, scope, password } = form;
  const differs = { ...(scope !== user?.scope && { scope }), ...(password && { password }) };
  const save = async (press) => {
    try {
      await (user ? call("PATCH", `${USERS}/${part(name)}`, { body: differs }) : post(USERS, { body: form }));
    } catch (problem) {
      return setError(problem);
    }
    closeDialog(press);
    toast(user ? `${name} is changed, and signs in anew.` : `${name} can sign in now.`, "good");
    await done();
  };
  return html`
    <${Field} label="Name" hint="An e-mail address will do."><input value=${name} disabled=${Boolean(user)} autocomplete="off" onInput=${(e) => change({ name: e.target.value.trim() })} /><//>
    <${Scope} label="May" value=${scope} pick=${(scope) => change({ scope })} />
    <${Field} label=${user ? "New password" : "Password"} hint=${`At least 12 characters; four words are enough.${user ? " Empty: it stays as it is." : ""}`}><input type="password" value=${password} autocomplete="new-password" onInput=${(e) => change({ password: e.target.value })} /><//>
    ${user && html`<p class="hint">A change ends every login of ${name}.</p>`}
    ${error && html`<${Failure} error=${error} />`}
    <div class="dialog-foot"><${Button} act=${closeDialog}>Cancel<//><${Button} kind="primary" act=${save} disabled=${user ? !Object.keys(differs).length : !(name && password)}>${user ? "Change user" : "Make user"}<//></div>`;
}
