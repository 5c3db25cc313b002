// Erasing: the end of all that is kept under a label, counted first and confirmed by typing the label.

import { begin, DryRun, useDryRun } from "./bulk.js";
import { plural } from "./format.js";
import { html, useState } from "./lib.js";
import { Button, closeDialog, Field, openDialog } from "./ui.js";

/** Delete all that is kept of the messages with a label, for somebody who asks for his data to be deleted. */
export const openErase = (label = "") => openDialog("Erase by label", () => html`<${Erase} label=${label} />`);

function Erase({ label }) {
  const [text, setText] = useState(label);
  const [counted, setCounted] = useState(label);
  return html`<form class="row" onSubmit=${(event) => (event.preventDefault(), setCounted(text.trim()))}>
      <${Field} label="Label" hint="All that is about one person should bear one, such as user:42."><input value=${text} required onInput=${(e) => (setText(e.target.value), setCounted(""))} /><//>
      <button class="button" type="submit">Count</button>
    </form>
    ${counted && html`<${Erasure} key=${counted} label=${counted} />`}`;
}

function Erasure({ label }) {
  const filter = { label: [label] };
  const dry = useDryRun("erase", filter);
  const [typed, setTyped] = useState("");
  const run = async (press) => (await begin({ kind: "erase", filter }), closeDialog(press));
  return html`<${DryRun} ...${dry} verb="would be erased for good" />
    <p class="hint">What is on its way is cancelled first. Then bodies, headers, answers, log and dead letters go, and with each message its callbacks and replays. Backups keep what they hold. This cannot be undone.</p>
    ${dry.told?.count > 0 && html`<${Field} label=${`Type ${label} to go on`}><input value=${typed} autocomplete="off" onInput=${(e) => setTyped(e.target.value)} /><//>`}
    <div class="dialog-foot"><${Button} act=${closeDialog}>Keep them<//><${Button} kind="danger" act=${run} disabled=${!dry.told?.count || typed !== label}>Erase ${dry.told ? plural(dry.told.count, "message") : ""}<//></div>`;
}
