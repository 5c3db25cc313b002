// The time range of charts and lists: the last so long, or from one moment to another; `range` in every address.

import { moment } from "./format.js";
import { html, useState } from "./lib.js";
import { route, setQuery } from "./router.js";
import { Button, closeDialog, Field, openDialog, zone, zoneChoice } from "./ui.js";

const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const USUAL = [["", "Any time"], ["15m", "Last 15 min"], ["1h", "Last hour"], ["6h", "Last 6 hours"], ["24h", "Last 24 hours"], ["7d", "Last 7 days"]];

/** The range in force as moments; `to` is null while it goes on. Null: any time. */
export function bounds(now, text = route.value.query.range ?? "") {
  const last = /^(\d+)([mhd])$/.exec(text);
  if (last) return { from: now - last[1] * UNIT_MS[last[2]], to: null };
  const fixed = /^(\d{12,14})-(\d{12,14})$/.exec(text);
  return fixed && { from: Number(fixed[1]), to: Number(fixed[2]) };
}

export const setRange = (range) => setQuery({ ...route.value.query, range });

/** Choose the range; in the bar, and on a telephone in the menu. */
export function RangeChoice() {
  const text = route.value.query.range ?? "";
  const fixed = !USUAL.some(([key]) => key === text) && bounds(Date.now());
  const say = (at) => moment(at, zone(), Date.now());
  const pick = (event) => {
    if (event.target.value !== "custom") return setRange(event.target.value);
    event.target.value = text;
    openDialog("Time range", Custom);
  };
  return html`<select class="range" aria-label="Time range" value=${text} onChange=${pick}>
    ${USUAL.map(([key, word]) => html`<option key=${key} value=${key}>${word}</option>`)}
    ${fixed && html`<option value=${text}>${fixed.to ? `${say(fixed.from)} – ${say(fixed.to)}` : `Last ${text}`}</option>`}
    <option value="custom">Custom…</option>
  </select>`;
}

function Custom() {
  const utc = zoneChoice.value === "UTC";
  const shown = (at) => new Date(at - (utc ? 0 : new Date(at).getTimezoneOffset() * 60_000)).toISOString().slice(0, 16);
  const [from, setFrom] = useState(() => shown(Date.now() - 3_600_000));
  const [to, setTo] = useState(() => shown(Date.now() + 60_000));
  const [first, last] = [from, to].map((text) => Date.parse(text + (utc ? "Z" : "")));
  const good = first < last;
  return html`<div class="columns-2">
      <${Field} label=${`From (${zone()})`}><input type="datetime-local" value=${from} onInput=${(e) => setFrom(e.target.value)} /><//>
      <${Field} label="Until" error=${good ? null : "It must be after the beginning."}><input type="datetime-local" value=${to} onInput=${(e) => setTo(e.target.value)} /><//>
    </div>
    <div class="dialog-foot"><${Button} act=${closeDialog}>Cancel<//><${Button} kind="primary" disabled=${!good} act=${() => (closeDialog(), setRange(`${first}-${last}`))}>Use this range<//></div>`;
}
