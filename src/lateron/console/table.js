// Lists: a real table with a caption, rows that open, selection with ranges, and keys to move.

import { keysOn } from "./keys.js";
import { classes, html, useEffect, useRef, useState } from "./lib.js";

/**
 * @param {object} props
 * @param {string} props.caption
 * @param {{key: string, title: string, draw: (row: object) => unknown, kind?: string}[]} props.columns
 * @param {object[]} props.rows
 * @param {(row: object) => string} props.id
 * @param {(row: object) => void} [props.open] What Enter and a click on the row do.
 * @param {import("./vendor/signals.js").Signal<Set<string>>} [props.chosen] Makes rows selectable.
 * @param {boolean} [props.plain] Nothing in the rows takes the focus, so the box does: keys must be able to scroll it.
 */
export function Table({ caption, columns, rows, id, open, chosen, mark, plain }) {
  const body = useRef();
  const last = useRef(null);
  const pick = (row, range) => {
    const next = new Set(chosen.value);
    const at = rows.indexOf(row);
    // Why by its id: rows come in above it while one chooses.
    const before = range ? rows.findIndex((one) => id(one) === last.current) : -1;
    const from = before < 0 ? at : before;
    const on = !next.has(id(row));
    for (const each of rows.slice(Math.min(from, at), Math.max(from, at) + 1)) next[on ? "add" : "delete"](id(each));
    last.current = id(row);
    chosen.value = next;
  };
  const keys = (event) => onKey(event, body.current, rows, { open, pick: chosen && pick });
  return html`<div class="scroll table-box" ...${plain ? { tabindex: 0, role: "region", "aria-label": `${caption}, scrolls` } : {}}><table class=${classes("table", open && "opens")}>
    <caption class="unseen">${caption}</caption>
    <thead><tr>
      ${chosen && html`<th scope="col" class="tick"><${TickAll} rows=${rows} id=${id} chosen=${chosen} /></th>`}
      ${columns.map(({ key, title, kind }) => html`<th scope="col" key=${key} class=${kind}>${title}</th>`)}
    </tr></thead>
    <tbody ref=${body} onKeyDown=${keys}>
      ${rows.map((row) => html`<${Row} key=${id(row)} ...${{ row, id, columns, open, chosen, pick, mark }} />`)}
    </tbody>
  </table></div>`;
}

function TickAll({ rows, id, chosen }) {
  const all = rows.length > 0 && rows.every((row) => chosen.value.has(id(row)));
  const toggle = () => (chosen.value = all ? new Set() : new Set(rows.map(id)));
  return html`<input type="checkbox" aria-label="Select all shown" checked=${all} onChange=${toggle} />`;
}

function Row({ row, id, columns, open, chosen, pick, mark }) {
  const ticked = chosen?.value.has(id(row));
  const click = (event) => {
    if (!open || event.target.closest("a,button,input,label") || getSelection()?.toString()) return;
    open(row);
  };
  return html`<tr class=${classes(ticked && "ticked", mark?.(row))} tabindex=${open ? 0 : undefined} data-id=${id(row)} onClick=${click}>
    ${chosen && html`<td class="tick"><input type="checkbox" aria-label=${`Select ${id(row)}`} checked=${ticked} onClick=${(e) => pick(row, e.shiftKey)} /></td>`}
    ${columns.map(({ key, draw, kind, title }) => html`<td key=${key} class=${kind} data-title=${title}>${draw(row)}</td>`)}
  </tr>`;
}

function onKey(event, body, rows, { open, pick }) {
  const line = event.target.closest("tr");
  if (event.target !== line) return;
  const all = [...body.children];
  const at = all.indexOf(line);
  const letters = keysOn.peek() && !(event.ctrlKey || event.metaKey || event.altKey);
  const move = { ArrowDown: 1, ArrowUp: -1, ...(letters && { j: 1, k: -1 }) }[event.key];
  if (move) {
    all[at + move]?.focus();
    event.preventDefault();
  } else if (event.key === "Enter" && open) open(rows[at]);
  else if (letters && !event.repeat && event.key.toLowerCase() === "x" && pick) pick(rows[at], event.shiftKey);
}

/** Which columns a list shows, remembered by this browser. */
export function useColumns(name, all) {
  const stored = `lateron.columns.${name}`;
  const [hidden, setHidden] = useState(() => new Set(JSON.parse(localStorage.getItem(stored) ?? "null") ?? all.filter((c) => c.extra).map((c) => c.key)));
  useEffect(() => localStorage.setItem(stored, JSON.stringify([...hidden])), [hidden]);
  const toggle = (key) => setHidden((before) => (before.has(key) ? new Set([...before].filter((one) => one !== key)) : new Set([...before, key])));
  const chooser = html`<details class="menu"><summary class="button">Columns</summary><div class="menu-body" role="group" aria-label="Columns shown">
    ${all.map(({ key, title }) => html`<label key=${key}><input type="checkbox" checked=${!hidden.has(key)} onChange=${() => toggle(key)} /> ${title}</label>`)}
  </div></details>`;
  return { columns: all.filter(({ key }) => !hidden.has(key)), chooser };
}

/** Save rows as a file of JSON lines. */
export function save(name, rows) {
  const file = new Blob([rows.map((row) => JSON.stringify(row)).join("\n") + "\n"], { type: "application/x-ndjson" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: name });
  link.click();
  URL.revokeObjectURL(link.href);
}
