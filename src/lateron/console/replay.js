// Replaying dead letters: how many, how fast, with what changed; a dry run first, progress, stop, undo.

import { call, post } from "./api.js";
import { DryRun, useDryRun, useTyped } from "./bulk.js";
import { plural } from "./format.js";
import { html, useRef, useState } from "./lib.js";
import { Button, closeDialog, Field, openDialog, toast } from "./ui.js";

const CHUNK = 100;

/**
 * Open the dialog.
 * @param {{rows?: object[], query?: object, done?: (messageIds: string[]) => void}} what These dead letters, or all that a filter means.
 */
export const openReplay = (what) => openDialog("Replay dead letters", () => html`<${ReplayDialog} ...${what} />`, { wide: true });

function ReplayDialog({ rows, query = {}, done }) {
  const selection = useRef(rows ? null : { toDate: Date.now(), ...query }).current; // What dies from now on is not meant.
  const dry = rows ? { told: { count: rows.length, examples: rows.slice(0, 3), exact: true } } : useDryRun("POST", "v2/dlq/retry", selection, { path: "v2/dlq", field: "messages" });
  const [options, setOptions] = useState({ rate: "", retries: "", delay: "", timeout: "", label: "" });
  const [progress, setProgress] = useState(null);
  const stopped = useRef(false);
  const typed = useTyped(dry.told?.count ?? 0);
  const run = async () => {
    const sent = await replayAll({ rows, selection, options, stopped, tell: (count) => setProgress({ count, of: dry.told.count }) });
    closeDialog();
    done?.(sent);
    toast(`${plural(sent.length, "dead letter")} replayed.`, "good", sent.length ? ["Undo", () => undo(sent)] : null);
  };
  if (progress) return html`<${Progress} ...${progress} stop=${() => (stopped.current = true)} />`;
  return html`<${DryRun} ...${dry} verb="would be published anew" />
    <${Options} options=${options} change=${setOptions} many=${(dry.told?.count ?? 0) > 1} />
    <p class="hint">Each becomes a new message and leaves the dead letters. Its destination must cope with seeing it again. A deduplication id is not used again.</p>
    ${typed.field}
    <div class="dialog-foot"><${Button} act=${closeDialog}>Not now<//><${Button} kind="primary" icon="loop" act=${run} disabled=${!dry.told?.count || !typed.sure}>Replay ${dry.told ? plural(dry.told.count, "message") : ""}<//></div>`;
}

function Options({ options, change, many }) {
  const field = (name, label, hint, placeholder) => html`<${Field} label=${label} hint=${hint}><input value=${options[name]} placeholder=${placeholder} onInput=${(e) => change({ ...options, [name]: e.target.value })} /><//>`;
  return html`<details class="fold"><summary>Change something on the way</summary><div class="columns-2">
    ${many && field("rate", "At most a second", "Spares a destination that has just come back.", "as fast as possible")}
    ${field("retries", "Retries", "How often it is repeated if it fails again.", "as before")}
    ${field("delay", "Delay", "Wait before the first attempt: 30s, 10m, 1h.", "none")}
    ${field("timeout", "Timeout", "How long an attempt may take.", "as before")}
    ${field("label", "Labels", "To find the replayed ones by.", "as before")}
  </div></details>`;
}

const HEADERS = { retries: "Upstash-Retries", delay: "Upstash-Delay", timeout: "Upstash-Timeout", label: "Upstash-Label" };

async function replayAll({ rows, selection, options, stopped, tell }) {
  const headers = Object.fromEntries(Object.entries(HEADERS).filter(([name]) => options[name].trim()).map(([name, header]) => [header, options[name].trim()]));
  const rate = Number(options.rate) || 0;
  const size = rate ? Math.min(rate, CHUNK) : CHUNK;
  const sent = [];
  for (let at = 0; !stopped.current; at += size) {
    const ids = rows?.slice(at, at + size).map(({ dlqId }) => dlqId);
    if (ids && !ids.length) break;
    const answer = await post("v2/dlq/retry", ids ? { headers, body: { dlqIds: ids } } : { headers, query: { ...selection, count: size } });
    sent.push(...answer.responses.map(({ messageId }) => messageId));
    tell(sent.length);
    if (!ids && !answer.responses.length) break;
    if (rate) await new Promise((later) => setTimeout(later, (size / rate) * 1_000));
  }
  return sent;
}

function Progress({ count, of, stop }) {
  return html`<p role="status">${plural(count, "message")} of ${of} published anew.</p><progress max=${of} value=${count} aria-label="Progress"></progress>
    <div class="dialog-foot"><${Button} icon="stop" act=${stop}>Stop<//></div>`;
}

/** Cancel what was replayed and has not left yet. */
async function undo(messageIds) {
  let cancelled = 0;
  for (let at = 0; at < messageIds.length; at += CHUNK) {
    cancelled += (await call("DELETE", "v2/messages", { body: { messageIds: messageIds.slice(at, at + CHUNK) } })).cancelled;
  }
  toast(cancelled ? `${plural(cancelled, "message")} cancelled; the others had left already.` : "All of them had left already.");
}
