// Users of the console: who logs in with a password, and what he may do. A password goes to the server and is nowhere else.

import { call, get, part, post, remove } from "../api.js";
import { html, useState } from "../lib.js";
import { useLoaded } from "../live.js";
import { Table } from "../table.js";
import { Button, Card, Chip, closeDialog, confirm, Failure, Field, Loaded, openDialog, toast } from "../ui.js";
import { Scope, when } from "./tokens.js";

const USERS = "lateron/v1/users";

// Of a server that keeps several apart only the first one's may ask.
const load = () => get(USERS).catch((error) => (error.status === 403 ? null : Promise.reject(error)));

export function Users() {
  const loaded = useLoaded(load, [], { still: true });
  const edit = (user) => openDialog(user ? `Change the user ${user.name}` : "New user", () => html`<${Editor} user=${user} done=${loaded.refresh} />`);
  const erase = async ({ name }) => {
    const sure = await confirm({ title: `Remove the user ${name}?`, text: `Nobody can sign in as ${name} any more, and logins of ${name} end at once.`, verb: "Remove user", word: name });
    if (!sure) return;
    await remove(`${USERS}/${part(name)}`);
    toast(`The user ${name} is removed.`, "good");
    await loaded.refresh();
  };
  const columns = [
    { key: "name", title: "Name", draw: (row) => html`<strong>${row.name}</strong>` },
    { key: "scope", title: "May", draw: (row) => html`<${Chip}>${row.scope}<//>` },
    { key: "changedAt", title: "Changed", draw: (row) => when(row.changedAt) },
    { key: "lastUsedAt", title: "Last here", draw: (row) => when(row.lastUsedAt) },
    { key: "do", title: "", draw: (row) => html`<span class="row"><${Button} kind="small" act=${() => edit(row)} label=${`Change ${row.name}`}>Change…<//><${Button} kind="small warns" act=${() => erase(row)} label=${`Remove ${row.name}`}>Remove…<//></span>` },
  ];
  return html`<${Loaded} of=${loaded}>${(rows) => rows && html`<${Card} title="Users" side=${html`<${Button} kind="small" act=${() => edit(null)}>New user…<//>`}>
    ${rows.length ? html`<${Table} caption="Users" columns=${columns} rows=${rows} id=${(row) => row.name} plain />` : html`<p class="hint">Nobody has a password yet.</p>`}
  <//>`}<//>`;
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
    <${Field} label="Name" hint="An address of mail may be one."><input value=${name} disabled=${Boolean(user)} autocomplete="off" onInput=${(e) => change({ name: e.target.value.trim() })} /><//>
    <${Scope} label="May" value=${scope} pick=${(scope) => change({ scope })} />
    <${Field} label=${user ? "New password" : "Password"} hint=${`At least 12 characters; four words are enough.${user ? " Empty: it stays as it is." : ""}`}><input type="password" value=${password} autocomplete="new-password" onInput=${(e) => change({ password: e.target.value })} /><//>
    ${user && html`<p class="hint">A change ends every login of ${name}.</p>`}
    ${error && html`<${Failure} error=${error} />`}
    <div class="dialog-foot"><${Button} act=${closeDialog}>Cancel<//><${Button} kind="primary" act=${save} disabled=${user ? !Object.keys(differs).length : !(name && password)}>${user ? "Change user" : "Make user"}<//></div>`;
}
