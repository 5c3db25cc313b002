// Replaying dead letters: how many, how fast, with what changed; a dry run first, then a job of the server.

import { call, post } from "./api.js";
import { begin, DryRun, useDryRun, useTyped } from "./bulk.js";
import { isRedacted, isSpan, plural, SPAN_WANTED } from "./format.js";
import { html, useState } from "./lib.js";
import { Button, closeDialog, Field, openDialog, toast } from "./ui.js";

/**
 * Open the dialog.
 * @param {{rows?: object[], query?: object, done?: (messageIds: string[]) => void}} what These dead letters, or all that a filter means.
 */
export const openReplay = (what) => openDialog("Replay dead letters", () => html`<${ReplayDialog} ...${what} />`, { wide: true });

/** What is wrong with a field; what is empty stays as it is. */
const WRONG = {
  rate: (text) => !(/^\d+(\.\d+)?$/.test(text) && Number(text) > 0) && "Expected a number above 0, such as 10 or 0.5.",
  spread: (text) => !isSpan(text) && SPAN_WANTED,
  retries: (text) => !/^\d+$/.test(text) && "Expected a whole number.",
  delay: (text) => !isSpan(text) && SPAN_WANTED,
  timeout: (text) => !isSpan(text) && SPAN_WANTED,
};
function wrongIn(form, name) {
  if (name === "spread" && form.rate.trim() && form.spread.trim()) return "Give this or the number a second, not both.";
  return (form[name].trim() && WRONG[name]?.(form[name].trim())) || null;
}

const NONE = { rate: "", spread: "", retries: "", delay: "", timeout: "", label: "", body: "" };

function ReplayDialog({ rows, query = {}, done }) {
  const filter = rows ? { dlqIds: rows.map(({ dlqId }) => dlqId) } : query;
  const dry = rows ? { told: { count: rows.length, examples: rows.slice(0, 3) } } : useDryRun("replayDeadLetters", filter);
  const [form, setForm] = useState({ ...NONE, body: null });
  const typed = useTyped(dry.told?.count ?? 0);
  const wrong = Object.keys(WRONG).some((name) => wrongIn(form, name));
  const run = async (press) => {
    const options = Object.fromEntries(Object.entries(HEADERS).filter(([name]) => form[name].trim()).map(([name, header]) => [header, form[name].trim()]));
    if (rows?.length === 1 && form.body === null) {
      const { messageId } = await post(`v2/dlq/retry/${rows[0].dlqId}`, { headers: options });
      done?.([messageId]);
      toast("1 dead letter replayed.", "good", ["Undo", () => undo(messageId)]);
    } else {
      const asked = { kind: "replayDeadLetters", filter, options, rate: Number(form.rate) || undefined, spread: form.spread.trim() || undefined, body: form.body ?? undefined };
      await begin(asked, () => done?.([]));
    }
    closeDialog(press);
  };
  return html`<${DryRun} ...${dry} verb="would be published anew" />
    <${Options} form=${form} change=${(part) => setForm({ ...form, ...part })} many=${(dry.told?.count ?? 0) > 1} first=${dry.told?.examples[0]} />
    <p class="hint">Each becomes a new message and leaves the dead letters. Its destination must cope with seeing it again. A deduplication id is not used again.</p>
    ${typed.field}
    <div class="dialog-foot"><${Button} act=${closeDialog}>Not now<//><${Button} kind="primary" icon="loop" act=${run} disabled=${!dry.told?.count || !typed.sure || wrong}>Replay ${dry.told ? plural(dry.told.count, "message") : ""}<//></div>`;
}

function Options({ form, change, many, first }) {
  const field = (name, label, hint, placeholder) => html`<${Field} label=${label} hint=${hint} error=${wrongIn(form, name)}><input value=${form[name]} placeholder=${placeholder} onInput=${(e) => change({ [name]: e.target.value })} /><//>`;
  // Why not the hash of a redacted body: it would be delivered in its place.
  const lacking = isRedacted(first?.body) ? "The original is redacted, and not shown." : first?.bodyBase64 ? "The original is no text, and not shown." : "";
  return html`<details class="fold"><summary>Change something on the way</summary><div class="columns-2">
    ${many && field("rate", "At most a second", "Spares a destination that has just come back.", "as fast as possible")}
    ${many && field("spread", "Or spread over", "Evenly, over 10m or 2h.", "no")}
    ${field("retries", "Retries", "How often it is repeated if it fails again.", "as before")}
    ${field("delay", "Delay", "Wait before the first attempt: 30s, 10m, 1h.", "none")}
    ${field("timeout", "Timeout", "How long an attempt may take.", "as before")}
    ${field("label", "Labels", "To find the replayed ones by.", "as before")}
  </div>
  ${form.body === null ? html`<${Button} act=${() => change({ body: lacking ? "" : (first?.body ?? "") })}>Edit the body…<//>` : html`<${Field} label="Body" hint=${`${many ? "All of them get this one." : "Sent instead of the original."} ${lacking}`}><textarea class="mono" rows="5" value=${form.body} onInput=${(e) => change({ body: e.target.value })}></textarea><//>`}</details>`;
}

const HEADERS = { retries: "Upstash-Retries", delay: "Upstash-Delay", timeout: "Upstash-Timeout", label: "Upstash-Label" };

/** Cancel what was replayed and has not left yet. */
async function undo(messageId) {
  const { cancelled } = await call("DELETE", "v2/messages", { body: { messageIds: [messageId] } });
  toast(cancelled ? "1 message cancelled." : "It had left already.");
}
