// A body that is JSON, as a tree that opens and closes; the path of the line one stands on can be copied.
//
// It is one stop of Tab: the arrows move, Right and Left open and close, Home and End go to the ends (ARIA's pattern of a
// tree). Only what is open is drawn, and of each object a part, so that a large body costs no more than what is seen of it.

import { classes, html, useRef, useState } from "./lib.js";
import { Copy } from "./ui.js";

const CHARACTERS_MOST = 2_000_000; // A longer text is shown as text.
const LINES_MOST = 500; // Drawn at once.
const CHILDREN_MOST = 100; // Of one object, until more are asked for.
const VALUE_MOST = 2_000; // Characters of one value.
const OPEN_AT_FIRST = 40; // Lines that are opened unasked.

/** A number whose digits a double does not hold, such as a long id; shown as it was sent. */
class Digits {
  constructor(text) {
    this.text = text;
  }
}

/**
 * The value that a text of JSON stands for, if it is an object or an array, else null.
 * @param {string} text
 */
export function treeOf(text) {
  if (text.length > CHARACTERS_MOST || !/^\s*[[{]/.test(text)) return null;
  try {
    return JSON.parse(text, (_, value, context) => (typeof value === "number" && context?.source && String(value) !== context.source ? new Digits(context.source) : value));
  } catch {
    return null; // It is no JSON, or nested deeper than the browser reads.
  }
}

const isBranch = (value) => typeof value === "object" && value !== null && !(value instanceof Digits);
const NAME = /^[A-Za-z_$][\w$]*$/;

/** The path of a child, as JSONPath writes it: `$.orders[0]["a b"]`. */
const under = (path, key, inArray) => path + (inArray ? `[${key}]` : NAME.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`);

function written(value) {
  if (value instanceof Digits) return value.text;
  const text = JSON.stringify(value);
  return text.length > VALUE_MOST ? `${text.slice(0, VALUE_MOST)}… (${text.length} characters)` : text;
}

function sizeOf(value) {
  const many = Array.isArray(value) ? value.length : Object.keys(value).length;
  const [one, more] = Array.isArray(value) ? ["item", "items"] : ["field", "fields"];
  return `${many} ${many === 1 ? one : more}`;
}

/**
 * The lines of a tree that are drawn, from the top.
 * @param {(path: string) => boolean} isOpen
 * @param {(path: string) => number} shown How many children of a path.
 */
export function linesOf(value, isOpen, shown, most = LINES_MOST) {
  const lines = [];
  const add = (key, one, path, level) => {
    if (lines.length >= most) return;
    const branch = isBranch(one);
    const open = branch && isOpen(path);
    lines.push({ key, value: one, path, level, branch, open });
    if (!open) return;
    const keys = Object.keys(one);
    for (const name of keys.slice(0, shown(path))) add(Array.isArray(one) ? null : name, one[name], under(path, name, Array.isArray(one)), level + 1);
    if (keys.length > shown(path) && lines.length < most) lines.push({ more: keys.length - shown(path), of: path, path: `${path} …`, level: level + 1 });
  };
  add(null, value, "$", 1);
  return lines;
}

/** Open the top, and what lies below it as long as that is little. */
function openedAtFirst(value) {
  const open = new Set(["$"]);
  for (let level = [["$", value]], lines = 0; level.length; ) {
    const next = [];
    for (const [path, one] of level) for (const key of Object.keys(one)) if (((lines += 1), isBranch(one[key]))) next.push([under(path, key, Array.isArray(one)), one[key]]);
    if (lines > OPEN_AT_FIRST || lines + next.reduce((sum, [, one]) => sum + Object.keys(one).length, 0) > OPEN_AT_FIRST) break;
    for (const [path] of next) open.add(path);
    level = next;
  }
  return open;
}

/** @param {{value: object, label: string}} props */
export function Tree({ value, label }) {
  const [open, setOpen] = useState(() => openedAtFirst(value));
  const [asked, setAsked] = useState({});
  const [at, setAt] = useState("$");
  const box = useRef();
  const lines = linesOf(value, (path) => open.has(path), (path) => asked[path] ?? CHILDREN_MOST);
  const here = Math.max(0, lines.findIndex(({ path }) => path === at));
  const line = lines[here];
  const stand = (place) => {
    const to = Math.max(0, Math.min(lines.length - 1, place));
    setAt(lines[to].path);
    box.current.children[to].focus();
  };
  const turn = ({ path, branch, more, of }) => {
    if (more) setAsked({ ...asked, [of]: (asked[of] ?? CHILDREN_MOST) + CHILDREN_MOST });
    else if (branch) setOpen(open.has(path) ? new Set([...open].filter((one) => one !== path)) : new Set([...open, path]));
  };
  const above = () => lines.findLastIndex(({ level }, place) => place < here && level < line.level);
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      ArrowDown: () => stand(here + 1),
      ArrowUp: () => stand(here - 1),
      Home: () => stand(0),
      End: () => stand(lines.length - 1),
      ArrowRight: () => (line.branch && line.open ? stand(here + 1) : turn(line)),
      ArrowLeft: () => (line.branch && line.open ? turn(line) : stand(above())),
      Enter: () => turn(line),
      " ": () => turn(line),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  };
  return html`<div class="tree-box">
    <ul class="tree mono" role="tree" aria-label=${label} ref=${box} onKeyDown=${keys}>
      ${lines.map((one, place) => html`<${Line} key=${one.path} line=${one} here=${place === here} act=${() => (setAt(one.path), turn(one))} />`)}
    </ul>
    ${lines.length >= LINES_MOST && html`<p class="hint">${LINES_MOST} lines are shown; close some to see others.</p>`}
    ${!line.more && html`<div class="tree-foot"><code class="break">${line.path}</code><span class="row nowrap"><${Copy} text=${line.path} label="Copy path" kind="small">Path<//><${Copy} text=${() => copied(line.value)} label="Copy value" kind="small">Value<//></span></div>`}
  </div>`;
}

/** A value as one pastes it: a text without quotes, anything else as JSON. */
function copied(value) {
  if (typeof value === "string") return value;
  return value instanceof Digits ? value.text : JSON.stringify(value, (_, one) => (one instanceof Digits ? (JSON.rawJSON?.(one.text) ?? Number(one.text)) : one), 2);
}

function Line({ line: { key, value, level, branch, open, more }, here, act }) {
  const name = key === null ? "" : html`<span class="tree-key">${JSON.stringify(key)}</span>: `;
  const said = branch ? html`<span class="faint">${Array.isArray(value) ? "[…]" : "{…}"} ${sizeOf(value)}</span>` : more ? html`<span class="faint">${more} more</span>` : html`<span class=${classes("tree-value", typeof value === "string" && "tone-good", typeof value !== "string" && "tone-active")}>${written(value)}</span>`;
  return html`<li role="treeitem" aria-level=${level} aria-expanded=${branch ? String(open) : undefined} aria-selected=${String(here)} tabindex=${here ? 0 : -1} class=${`level-${Math.min(level, 12)}`} onClick=${act}>
    <span class="tree-mark" aria-hidden="true">${branch ? (open ? "▾" : "▸") : ""}</span><span class="break">${name}${said}</span></li>`;
}
