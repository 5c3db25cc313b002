// The small parts that all screens are made of.

import { ApiError, mayChange } from "./api.js";
import { full, iso, moment, relative } from "./format.js";
import { Icon } from "./icons.js";
import { classes, html, signal, useEffect, useId, useLayoutEffect, useRef, useState } from "./lib.js";
import { minute, now } from "./live.js";
import { STATES } from "./words.js";

/** Time zone of all times: "local" or "UTC". */
export const zoneChoice = signal(localStorage.getItem("lateron.zone") === "UTC" ? "UTC" : "local");
const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone; // Once: asking is dear, and every time on the page asks.
export const zone = () => (zoneChoice.value === "UTC" ? "UTC" : HERE);

/** By itself, so that a second that passes draws this and nothing around it. */
const Away = ({ at }) => relative(at, now.value);

/** A moment as the user reads it; hover shows it in full, with UTC. */
export function Time({ at, as = "clock" }) {
  if (at == null) return html`<span class="faint">–</span>`;
  const whole = full(at, zone());
  const shown = { clock: () => moment(at, zone(), minute.value), relative: () => html`<${Away} at=${at} />`, full: () => whole }[as]();
  return html`<time class="num" datetime=${iso(at)} title=${`${whole}\n${iso(at)}`}>${shown}</time>`;
}

export function State({ of, word }) {
  const { tone, icon, word: usual } = STATES[of] ?? { tone: "off", icon: "clock", word: of };
  return html`<span class=${`state tone-${tone}`}><${Icon} name=${icon} size="13" />${word ?? usual}</span>`;
}

/** A small label with a tone. */
export const Chip = ({ tone, children, title }) => html`<span class=${classes("chip", tone && `tone-${tone}`)} title=${title}>${children}</span>`;

/** A button; `act` may be asynchronous, the button waits for it and errors become a toast. One that `changes` something is not there for who may only read. */
export function Button({ act, children, icon, kind = "", label, changes, ...rest }) {
  const [busy, setBusy] = useState(false);
  if (changes && !mayChange()) return null;
  const run = async (event) => {
    if (busy || rest.disabled) return;
    setBusy(true);
    try {
      await act(event);
    } catch (error) {
      toast(error.message, "bad");
    }
    setBusy(false);
  };
  return html`<button type="button" class=${classes("button", kind, !children && "bare")} aria-label=${label} title=${label} aria-busy=${busy} onClick=${run} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/** Copies a text, and says so. */
export function Copy({ text, label = "Copy", children, kind = "quiet" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    const copied = typeof text === "function" ? await text() : text;
    await putOnClipboard(copied);
    setDone(true);
    setTimeout(() => setDone(false), 1_500);
  };
  return html`<${Button} act=${copy} icon=${done ? "check" : "copy"} kind=${kind} label=${done ? "Copied" : label}>${children && (done ? "Copied" : children)}<//>`;
}

export async function putOnClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Over plain HTTP there is only the old way: a field, which must not lie outside of a dialog that is open.
    const before = document.activeElement;
    const area = Object.assign(document.createElement("textarea"), { value: text });
    ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus({ preventScroll: true });
    if (!done) throw new Error("The browser did not let it be copied.");
  }
}

// Toasts

export const toasts = signal([]);
let nextToast = 0;

const TOASTS_MOST = 4; // Of those that can be acted on, and of the others.
const ACTION_MS = 600_000; // Time enough to read it, to find it, and to think about it.

/** Say something in passing. `action` is [word, function]; what has one stays, and only others of its kind push it out. */
export function toast(text, tone = "", action = null) {
  const id = (nextToast += 1);
  const ousted = toasts.value.filter((one) => !one.action === !action).slice(0, 1 - TOASTS_MOST);
  toasts.value = [...toasts.value.filter((one) => !ousted.includes(one)), { id, text, tone, action }];
  setTimeout(() => dismiss(id), action ? ACTION_MS : tone === "bad" ? 12_000 : 6_000);
}

const dismiss = (id) => (toasts.value = toasts.value.filter((one) => one.id !== id));

export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      ({ id, text, tone, action }) => html`<div key=${id} class=${classes("toast", tone && `tone-${tone}`)}>
        <span>${text}</span>
        ${action && html`<${Button} kind="quiet" act=${async () => (dismiss(id), action[1]())}>${action[0]}<//>`}
        <${Button} kind="quiet" icon="cross" label="Dismiss" act=${() => dismiss(id)} />
      </div>`,
    )}
  </div>`;
}

// Dialogs

/** The dialog that is open: a function that draws its content. */
export const dialog = signal(null);

export const openDialog = (title, draw, { wide = false } = {}) => (dialog.value = { title, draw, wide });

/**
 * Close the dialog that is open. What ends after a while gives the press it began with: if the dialog of that press
 * was closed meanwhile, one that is open now is another and stays.
 */
export function closeDialog(press) {
  if (press?.target?.isConnected !== false) dialog.value = null;
}

/** Whether a press was beside a dialog; one on its scrollbar has the dialog itself as its target as well. */
export function isBeside({ target, clientX, clientY }, box) {
  const { left, right, top, bottom } = box.getBoundingClientRect();
  return target === box && (clientX < left || clientX > right || clientY < top || clientY > bottom);
}

export function Dialogs() {
  const open = dialog.value;
  return open && html`<${Modal} key=${open.title} ...${open} />`;
}

function Modal({ title, draw: Draw, wide }) {
  const box = useRef();
  const id = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => (before?.isConnected ? before : document.getElementById("main"))?.focus?.();
  }, []);
  const outside = (event) => isBeside(event, box.current) && closeDialog();
  return html`<dialog ref=${box} class=${classes("dialog", wide && "wide")} aria-labelledby=${id} onClose=${closeDialog} onMouseDown=${outside}>
    <div class="dialog-head"><h2 id=${id}>${title}</h2><${Button} kind="quiet" icon="cross" label="Close" act=${closeDialog} /></div>
    <div class="dialog-body"><${Draw} /></div>
  </dialog>`;
}

/** Ask before something that cannot be taken back; resolves to true or false. */
export function confirm({ title, text, verb, tone = "danger", word = null }) {
  return new Promise((resolve) => {
    const Ask = () => {
      const [typed, setTyped] = useState("");
      useEffect(() => () => resolve(false), []);
      const done = () => (resolve(true), closeDialog());
      return html`<p>${text}</p>
        ${word && html`<${Field} label=${`Type ${word} to go on`}><input value=${typed} onInput=${(e) => setTyped(e.target.value)} autocomplete="off" /><//>`}
        <div class="dialog-foot">
          <${Button} act=${closeDialog}>Cancel<//>
          <${Button} kind=${tone} act=${done} disabled=${word !== null && typed !== word}>${verb}<//>
        </div>`;
    };
    openDialog(title, Ask);
  });
}

// Forms

/** A labelled field; the child is the control. `hint` explains, `error` says what is wrong. */
export function Field({ label, hint, error, children, inline }) {
  const id = useId();
  const control = Array.isArray(children) ? children[0] : children;
  control.props.id = id;
  if (hint || error) control.props["aria-describedby"] = `${id}-hint`;
  if (error) control.props["aria-invalid"] = "true";
  return html`<div class=${classes("field", inline && "inline", error && "wrong")}>
    <label for=${id}>${label}</label>${children}
    ${(hint || error) && html`<p class="hint" id=${`${id}-hint`}>${error || hint}</p>`}
  </div>`;
}

/** Choose one of a few, shown side by side. `options` are [value, word]. */
export function Segments({ label, options, value, pick }) {
  return html`<div class="segments" role="group" aria-label=${label}>
    ${options.map(([key, word]) => html`<button type="button" key=${key} aria-pressed=${key === value} onClick=${() => pick(key)}>${word}</button>`)}
  </div>`;
}

export function Tabs({ label, tabs }) {
  const [open, setOpen] = useState(tabs[0][0]);
  const shown = tabs.find(([name]) => name === open) ?? tabs[0];
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = tabs.indexOf(shown);
    setOpen(tabs[(at + step + tabs.length) % tabs.length][0]);
    event.currentTarget.children[(at + step + tabs.length) % tabs.length].focus();
  };
  return html`<div class="tabs">
    <div class="tab-list" role="tablist" aria-label=${label} onKeyDown=${move}>
      ${tabs.map(([name]) => html`<button type="button" role="tab" key=${name} aria-selected=${name === shown[0]} tabindex=${name === shown[0] ? 0 : -1} onClick=${() => setOpen(name)}>${name}</button>`)}
    </div>
    <div class="tab-panel" role="tabpanel" aria-label=${shown[0]}>${shown[1]()}</div>
  </div>`;
}

// Layout

/** The head of a screen. */
export function Head({ title, about, children }) {
  useEffect(() => {
    if (typeof title === "string") document.title = `${title} · Lateron`;
  }, [title]);
  return html`<header class="head"><div><h1>${title}</h1>${about && html`<p class="about">${about}</p>`}</div><div class="head-side">${children}</div></header>`;
}

export const Card = ({ title, side, children, pad = true, tone }) => html`<section class=${classes("card", pad && "pad", tone && `edge-${tone}`)}>
  ${title && html`<div class="card-head"><h2>${title}</h2>${side}</div>`}${children}
</section>`;

/** What would be here, and how it comes to be. */
export const Empty = ({ title, children, icon = "messages" }) => html`<div class="empty"><span class="empty-icon"><${Icon} name=${icon} size="22" /></span><h2>${title}</h2><div class="empty-text">${children}</div></div>`;

export function Failure({ error, again }) {
  const next = error instanceof ApiError && error.status === 403 ? "This session may only read." : null;
  return html`<div class="failure" role="alert"><strong>${error.status ? `The server said ${error.status}.` : "No answer."}</strong> ${error.message} ${next}
    ${error.requestId && html`<span class="faint">Request ${error.requestId}.</span>`} ${again && html`<${Button} act=${again} icon="loop">Try again<//>`}</div>`;
}

/** Shows what was loaded, or that it is loading, or what went wrong. */
export function Loaded({ of, children }) {
  if (of.data === undefined) return of.error ? html`<${Failure} error=${of.error} again=${of.refresh} />` : html`<div class="loading" role="status">Loading…</div>`;
  return html`${of.error && html`<${Failure} error=${of.error} again=${of.refresh} />`}${children(of.data)}`;
}

/** Names and values, for the facts of one thing. `pairs` are [name, value]; those without value are left out. */
export const Facts = ({ pairs }) => html`<dl class="facts">
  ${pairs.filter(([, value]) => value !== undefined && value !== null && value !== "").map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;

/** A block of code with a button to copy it. */
export const Code = ({ text, label = "Copy" }) => html`<div class="code"><${Copy} text=${text} label=${label} /><pre tabindex="0">${text}</pre></div>`;
