// Changing many at once: what is chosen, how many that are, three of them, and then, bit by bit, the deed.

import { dryRun, remove } from "./api.js";
import { count, plural } from "./format.js";
import { html, useEffect, useState } from "./lib.js";
import { Button, closeDialog, Failure, Field, toast } from "./ui.js";

const TYPED_ABOVE = 100; // More than so many are only touched after the number was typed.

/** A bar at the bottom while rows are chosen. */
export function BulkBar({ chosen, children }) {
  const ids = [...chosen.value];
  if (!ids.length) return null;
  return html`<div class="bulk" role="region" aria-label="Selected"><strong>${count(ids.length)} selected</strong>${children(ids)}<${Button} kind="quiet" icon="cross" label="Select none" act=${() => (chosen.value = new Set())} /></div>`;
}

/** Count first, change later: what a bulk call would do. */
export function useDryRun(method, path, query, listing) {
  const [told, setTold] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    dryRun(method, path, query, listing).then(setTold, setError);
  }, []);
  return { told, error };
}

/** The dry run in words, with its examples. */
export function DryRun({ told, error, verb }) {
  if (error) return html`<${Failure} error=${error} />`;
  if (!told) return html`<p class="faint" role="status">Counting…</p>`;
  return html`<div class="dry" role="status">
    <p><span class="figure">${told.exact ? "" : "at least "}${count(told.count)}</span> ${told.count === 1 ? "message" : "messages"} ${verb}. ${told.count > 0 ? "For example:" : ""}</p>
    <ul class="list">${told.examples.map((one) => html`<li key=${one.messageId ?? one.dlqId}><span class="name mono">${one.url}</span><span class="faint">${one.error ?? one.labels?.join(", ") ?? ""}</span></li>`)}</ul>
  </div>`;
}

/** Ask for the number where it is large. */
export function useTyped(most) {
  const [typed, setTyped] = useState("");
  const needed = most > TYPED_ABOVE;
  const field = needed && html`<${Field} label=${`Type ${most} to go on`}><input inputmode="numeric" autocomplete="off" value=${typed} onInput=${(e) => setTyped(e.target.value)} /><//>`;
  return { field, sure: !needed || typed.trim() === String(most) };
}

export function CancelDialog({ query, done }) {
  const { told, error } = useDryRun("DELETE", "v2/messages", query, { path: "v2/messages", field: "messages" });
  const typed = useTyped(told?.count ?? 0);
  const run = async () => {
    let cancelled = 0;
    for (;;) {
      const answer = await remove("v2/messages", { query });
      cancelled += answer.cancelled;
      if (!answer.cancelled || query.messageIds) break;
    }
    closeDialog();
    done();
    toast(`${plural(cancelled, "message")} cancelled.`, "good");
  };
  return html`<${DryRun} told=${told} error=${error} verb="would be cancelled" />
    <p class="hint">An attempt that is under way is allowed to end. Cancelled messages are not sent again.</p>
    ${typed.field}
    <div class="dialog-foot"><${Button} act=${closeDialog}>Keep them<//><${Button} kind="danger" act=${run} disabled=${!told?.count || !typed.sure}>Cancel ${told ? plural(told.count, "message") : ""}<//></div>`;
}
