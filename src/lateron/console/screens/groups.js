// URL groups: one publish, a message for each endpoint.

import { call, get, part, post, remove } from "../api.js";
import { messagesOf } from "../filter.js";
import { catcherUrl } from "../first.js";
import { plural } from "../format.js";
import { html, useState } from "../lib.js";
import { useLoaded } from "../live.js";
import { go, Link } from "../router.js";
import { Button, Card, Chip, closeDialog, confirm, Empty, Field, Head, Loaded, openDialog, State, Time, toast } from "../ui.js";

async function loadGroups() {
  const groups = await get("v2/topics");
  return Promise.all(groups.map(async (group) => {
    const whole = await get(`v2/topics/${part(group.name)}`);
    const { events } = await get("v2/events", { topicName: group.name, count: 100, state: ["DELIVERED", "ERROR", "FAILED"] });
    return { ...group, ...whole, last: newest(events) };
  }));
}

/** The newest line of each endpoint, by URL. */
function newest(events) {
  const found = {};
  for (const event of events) found[event.url] ??= event;
  return found;
}

export default function Groups() {
  const loaded = useLoaded(loadGroups, [], { topics: ["messages"] });
  const make = () => openDialog("New URL group", () => html`<${Endpoint} refresh=${loaded.refresh} />`);
  return html`<${Head} title="URL groups" about="Publish to the name of a group and each of its endpoints gets a message of its own, with retries of its own."><${Button} changes kind="primary" act=${make}>New group<//><//>
    <${Loaded} of=${loaded}>${(groups) => (groups.length ? groups.map((group) => html`<${Group} key=${group.name} group=${group} refresh=${loaded.refresh} />`) : html`<${Empty} title="No URL groups" icon="groups"><p>A group is made with its first endpoint.</p><div class="row"><${Button} changes kind="primary" act=${make}>New group<//></div><//>`)}<//>`;
}

function Group({ group, refresh }) {
  const test = async () => {
    const sent = await post(`v2/publish/${part(group.name)}`, { body: { test: true }, headers: { "Upstash-Label": "group-test" } });
    toast(`${plural(sent.length, "message")} published.`, "good", ["Look at them", () => go(messagesOf("group", group.name))]);
  };
  const erase = async () => {
    if (!(await confirm({ title: `Delete group ${group.name}?`, text: "Publishing to its name fails from then on. Messages on their way are delivered.", verb: "Delete group" }))) return;
    await remove(`v2/topics/${part(group.name)}`);
    refresh();
  };
  const drop = async (endpoint) => (await call("DELETE", `v2/topics/${part(group.name)}/endpoints`, { body: { endpoints: [{ url: endpoint.url }] } }), refresh());
  return html`<${Card} title=${group.name} side=${html`<span class="row"><${Button} changes kind="small" icon="play" act=${test}>Send a test<//><${Button} changes kind="small" act=${() => openDialog(`Add to ${group.name}`, () => html`<${Endpoint} name=${group.name} refresh=${refresh} />`)}>Add endpoint<//><${Button} changes kind="small warns" act=${erase}>Delete<//></span>`}>
    <div class="scroll"><table class="plain"><caption class="unseen">Endpoints of ${group.name}</caption><thead><tr><th scope="col">Name</th><th scope="col">URL</th><th scope="col">Last delivery</th><th scope="col"><span class="unseen">Actions</span></th></tr></thead><tbody>
      ${group.endpoints.map((endpoint) => {
        const last = group.last[endpoint.url];
        return html`<tr key=${endpoint.url}><td>${endpoint.name ?? html`<span class="faint">–</span>`}</td><td class="mono break">${endpoint.url}</td>
          <td>${last ? html`<${Link} class="nowrap" to=${`messages/${last.messageId}`}><${State} of=${last.state} /> <${Time} at=${last.time} as="relative" /><//>` : html`<span class="faint">none yet</span>`}</td>
          <td><${Button} changes kind="small warns" icon="cross" label=${`Remove ${endpoint.url}`} act=${() => drop(endpoint)} /></td></tr>`;
      })}
    </tbody></table></div>
    ${group.headers && html`<p class="chips">${Object.entries(group.headers).map(([name, value]) => html`<${Chip} key=${name}>${name}: ${value}<//>`)}</p>`}
  <//>`;
}

function Endpoint({ name = "", refresh }) {
  const [group, setGroup] = useState(name);
  const [url, setUrl] = useState(catcherUrl("orders"));
  const [called, setCalled] = useState("");
  const save = async (press) => {
    await post(`v2/topics/${part(group)}/endpoints`, { body: { endpoints: [{ url, ...(called && { name: called }) }] } });
    closeDialog(press);
    refresh();
  };
  return html`
    <${Field} label="Group"><input value=${group} disabled=${Boolean(name)} onInput=${(e) => setGroup(e.target.value)} /><//>
    <${Field} label="URL of the endpoint"><input class="mono" value=${url} onInput=${(e) => setUrl(e.target.value)} /><//>
    <${Field} label="Name of the endpoint" hint="May be left out; logs show it."><input value=${called} onInput=${(e) => setCalled(e.target.value)} /><//>
    <div class="dialog-foot"><${Button} act=${closeDialog}>Cancel<//><${Button} kind="primary" act=${save} disabled=${!group || !url}>Save endpoint<//></div>`;
}
