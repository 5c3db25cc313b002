// Another time for many messages that wait for theirs: how many, when; then a job of the server.

import { begin, DryRun, useDryRun, useTyped } from "./bulk.js";
import { isSpan, plural, SPAN_WANTED } from "./format.js";
import { html, useState } from "./lib.js";
import { Button, closeDialog, Field, openDialog, Segments, zone, zoneChoice } from "./ui.js";

/** Choose another time for messages that wait for theirs. `filter` as a job takes it. */
export const openReschedule = (filter, done) => openDialog("Reschedule messages", () => html`<${Reschedule} filter=${filter} done=${done} />`);

/** What the job is told: a delay, or a moment in seconds; null while neither can be read. */
function timeOf({ how, delay, at }) {
  const text = delay.trim();
  if (how === "delay") return isSpan(text) ? { "Upstash-Delay": text } : null;
  const moment = Date.parse(at + (zoneChoice.value === "UTC" ? "Z" : ""));
  return Number.isNaN(moment) ? null : { "Upstash-Not-Before": String(Math.floor(moment / 1_000)) };
}

function Reschedule({ filter, done }) {
  const [form, setForm] = useState({ how: "delay", delay: "1h", at: "", spread: "" });
  const dry = useDryRun("reschedule", filter, { options: { "Upstash-Delay": "1h" } }); // Which they are does not depend on the time.
  const typed = useTyped(dry.told?.count ?? 0);
  const options = timeOf(form);
  const wrong = form.spread.trim() && !isSpan(form.spread) ? SPAN_WANTED : null;
  const change = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const run = async (press) => (await begin({ kind: "reschedule", filter, options, spread: form.spread.trim() || undefined }, done), closeDialog(press));
  return html`<${DryRun} ...${dry} verb="would get another time" />
    <${Segments} label="When" options=${[["delay", "After a delay"], ["at", "At a time"]]} value=${form.how} pick=${(how) => setForm({ ...form, how })} />
    <div class="columns-2">
      ${form.how === "delay" ? html`<${Field} label="Delay from now" hint="10m, 1h30m, 2d" error=${options ? null : SPAN_WANTED}><input value=${form.delay} onInput=${change("delay")} /><//>` : html`<${Field} label=${`Not before (${zone()})`}><input type="datetime-local" value=${form.at} onInput=${change("at")} /><//>`}
      <${Field} label="Spread the job over" hint="Changes them evenly over so long." error=${wrong}><input value=${form.spread} placeholder="at once" onInput=${change("spread")} /><//>
    </div>
    <p class="hint">Only what waits for its time, a delay or a retry, is changed; lanes, queues, limits and pauses hold as before. Their present times are not kept, so this cannot be undone.</p>${typed.field}
    <div class="dialog-foot"><${Button} act=${closeDialog}>Leave them<//><${Button} kind="primary" icon="clock" act=${run} disabled=${!dry.told?.count || !options || wrong || !typed.sure}>Reschedule ${dry.told ? plural(dry.told.count, "message") : ""}<//></div>`;
}
