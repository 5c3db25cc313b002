// Changing many at once: what is chosen, how many that are, three of them; then a job of the server, which goes on
// when this page is closed. What was begun here is shown until its end, on every screen.

import { get, part, post } from "./api.js";
import { count, plural } from "./format.js";
import { html, signal, useEffect, useState } from "./lib.js";
import { useStream } from "./live.js";
import { Link } from "./router.js";
import { Button, closeDialog, Failure, Field, toast } from "./ui.js";

const TYPED_ABOVE = 100; // More than so many are only touched after the number was typed.
const JOBS = "lateron/v1/jobs";
const KEPT = "lateron.jobs";

/** Each kind of job: what one of its things is, and what has been done to it. */
export const KINDS = {
  cancel: ["message", "cancelled"],
  retryNow: ["message", "due now"],
  reschedule: ["message", "rescheduled"],
  deleteDeadLetters: ["dead letter", "deleted"],
  replayDeadLetters: ["dead letter", "replayed"],
  erase: ["message", "erased"],
};

/** A bar at the bottom while rows are chosen. */
export function BulkBar({ chosen, children }) {
  const ids = [...chosen.value];
  if (!ids.length) return null;
  return html`<div class="bulk" role="region" aria-label="Selected"><strong>${count(ids.length)} selected</strong>${children(ids)}<${Button} kind="quiet" icon="cross" label="Select none" act=${() => (chosen.value = new Set())} /></div>`;
}

/** Count first, change later: what a job would do. */
export function useDryRun(kind, filter, more = {}) {
  const [told, setTold] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => void post(JOBS, { body: { kind, filter: clean(filter), dryRun: true, ...more } }).then(setTold, setError), []);
  return { told, error };
}

const clean = (filter) => Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined && value !== null && value !== ""));

/** The dry run in words, with its examples. */
export function DryRun({ told, error, verb }) {
  if (error) return html`<${Failure} error=${error} />`;
  if (!told) return html`<p class="faint" role="status">Counting…</p>`;
  return html`<div class="dry" role="status">
    <p><span class="figure">${count(told.count)}</span> ${told.count === 1 ? "message" : "messages"} ${verb}. ${told.count > 0 ? "For example:" : ""}</p>
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

const WORDS = {
  cancel: ["would be cancelled", "Cancel", "An attempt that is under way is allowed to end. Cancelled messages are not sent again.", "danger"],
  retryNow: ["would be due at once", "Retry", "They stay in their lanes and queues; limits and pauses hold as before.", "primary"],
  deleteDeadLetters: ["would be deleted for good", "Delete", "They cannot be replayed any more.", "danger"],
};

/** The dialog of a job that needs nothing but a yes. */
export function JobDialog({ kind, filter, done }) {
  const { told, error } = useDryRun(kind, filter);
  const typed = useTyped(told?.count ?? 0);
  const [verb, word, hint, tone] = WORDS[kind];
  const run = async (press) => (await begin({ kind, filter }, done), closeDialog(press));
  return html`<${DryRun} told=${told} error=${error} verb=${verb} />
    <p class="hint">${hint}</p>${typed.field}
    <div class="dialog-foot"><${Button} act=${closeDialog}>${tone === "danger" ? "Keep them" : "Not now"}<//><${Button} kind=${tone} act=${run} disabled=${!told?.count || !typed.sure}>${word} ${told ? plural(told.count, KINDS[kind][0]) : ""}<//></div>`;
}

// Jobs that were begun here, by id; a reload finds them again.

export const watched = signal(JSON.parse(sessionStorage.getItem(KEPT) ?? "[]").map((jobId) => ({ jobId, kind: "cancel", done: 0, failed: 0 })));
const endings = new Map();

function watch(jobs) {
  watched.value = jobs;
  sessionStorage.setItem(KEPT, JSON.stringify(jobs.map(({ jobId }) => jobId)));
}

/** Ask for a job and watch it; `done` is called when it has ended. */
export async function begin({ filter, ...asked }, done) {
  const job = await post(JOBS, { body: { ...asked, filter: clean(filter) } });
  endings.set(job.jobId, done);
  watch([...watched.value, job]);
}

export const stop = (job) => post(`${JOBS}/${part(job.jobId)}/cancel`);

/** What a job has done, in words. */
export function told({ kind, done, failed, state, total }) {
  const [thing, deed] = KINDS[kind];
  const number = state === "running" && total > done ? `${plural(total, thing)}: ${count(done)}` : plural(done, thing);
  return `${number} ${deed}${failed ? `, ${plural(failed, "other")} could not be` : ""}${state === "done" || state === "running" ? "." : `; then the job was ${state}.`}`;
}

function ended(job) {
  const undo = async () => begin({ kind: "cancel", filter: { jobId: job.jobId } });
  toast(told(job), job.state === "done" && !job.failed ? "good" : "retry", job.kind === "replayDeadLetters" && job.done ? ["Undo", undo] : null);
  endings.get(job.jobId)?.(job);
  endings.delete(job.jobId);
}

async function look() {
  for (const { jobId } of watched.value) {
    const job = await get(`${JOBS}/${part(jobId)}`).catch((error) => (error.status === 404 ? null : undefined));
    // Why: two looks may overlap, and both see the end; the first one says it.
    if (job === undefined || !watched.value.some((one) => one.jobId === jobId)) continue;
    const left = watched.value.filter((one) => one.jobId !== jobId);
    watch(job?.state === "running" ? watched.value.map((one) => (one.jobId === jobId ? job : one)) : left);
    if (job && job.state !== "running") ended(job);
  }
}

/** The jobs under way, at the edge of every screen. */
export function Jobs() {
  useStream((kind, topic) => (kind === "poll" || (kind === "changed" && topic === "jobs")) && look());
  useEffect(() => {
    // Why: a small job has ended before the stream says that it has begun.
    const timer = watched.value.length && setTimeout(look, 300);
    return () => clearTimeout(timer);
  }, [watched.value]);
  if (!watched.value.length) return null;
  return html`<div class="toasts jobs" role="region" aria-label="Bulk jobs">${watched.value.map((job) => html`<div key=${job.jobId} class="toast">
    <span><${Link} to="jobs">${told(job)}<//><${Bar} job=${job} /></span><${Button} changes kind="quiet" icon="stop" label="Stop the job" act=${async () => (await stop(job), look())} />
  </div>`)}</div>`;
}

/** How far a job is; without an end where nobody has counted. */
export const Bar = ({ job }) => html`<progress max=${job.total ?? 1} value=${job.total === undefined && job.state === "running" ? undefined : job.done} aria-label=${told(job)}></progress>`;
