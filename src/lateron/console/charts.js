// Charts drawn by hand as SVG, each with a sentence for those who do not see it.

import { count, micros, moment, span } from "./format.js";
import { html, useState } from "./lib.js";
import { zone } from "./ui.js";

const MINUTE = 60_000;
const WIDE = 420;
const HIGH = 120;

const scale = (values, most) => values.map((value, at) => [values.length > 1 ? (at / (values.length - 1)) * WIDE : WIDE, HIGH - (Math.max(0, value ?? 0) / most) * (HIGH - 8)]);
const line = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/**
 * Lines over time, a point a minute. A stretch of it is chosen by drawing over it, or with Shift and the arrows.
 * @param {{title: string, times: number[], series: {name: string, tone: string, values: number[], area?: boolean}[], unit?: "ms", pick: (from: number, to: number) => void, brush: (from: number, to: number) => void}} props
 */
export function Lines({ title, times, series, unit, pick, brush }) {
  const [mark, setMark] = useState(null); // Places of a stretch: where it began, and where one stands.
  const [open, setOpen] = useState(false);
  const end = times.length - 1;
  const say = unit === "ms" ? span : (value) => count(value, true);
  const peak = Math.max(0, ...series.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const most = Math.max(1, peak);
  const at = Math.min(mark?.at ?? end, end);
  const clock = (time) => moment(time, zone(), Date.now()).replace(/:\d\d$/, "");
  const told = (place) => series.map(({ name, values }) => `${name} ${say(values[place])}`).join(", ");
  const stretch = mark && [Math.min(mark.from, at), Math.max(mark.from, at)];
  const where = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    return Math.max(0, Math.min(end, Math.round(((event.clientX - box.left) / box.width) * end)));
  };
  const take = () => {
    if (stretch[0] < stretch[1]) brush(times[stretch[0]], times[stretch[1]] + MINUTE);
    else pick(times[at], times[at] + MINUTE);
    setMark(null);
  };
  const down = (event) => {
    if (event.button) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    setMark({ from: where(event), at: where(event), drag: true });
  };
  const keys = (event) => {
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: end }[event.key];
    if (to !== undefined) {
      const next = Math.max(0, Math.min(end, to));
      setMark({ from: event.shiftKey ? (mark?.from ?? at) : next, at: next });
    } else if (event.key === "Enter" && mark) take();
    else if (event.key === "Escape" && mark) setMark(null);
    else return;
    event.preventDefault();
  };
  const x = (place) => (end ? (place / end) * WIDE : WIDE);
  return html`<figure class="chart">
    <figcaption><span class="chart-title">${title}</span><span class="legend">${mark && html`<b class="num">${clock(times[at])}</b>`}${series.map(({ name, tone, values }) => html`<span key=${name}><i class=${`dot fill-${tone}`}></i>${name} <b class="num">${say(values[at])}</b></span>`)}</span></figcaption>
    <svg viewBox=${`0 0 ${WIDE} ${HIGH}`} preserveAspectRatio="none" class="pickable" tabindex="0" role="slider" aria-label=${`${title}: now ${told(end)}; highest ${say(peak)}.`}
      aria-valuemin="0" aria-valuemax=${end} aria-valuenow=${at} aria-valuetext=${stretch && stretch[0] < stretch[1] ? `${clock(times[stretch[0]])} to ${clock(times[stretch[1]])}` : `${clock(times[at])}: ${told(at)}`}
      onPointerDown=${down} onPointerMove=${(event) => mark?.drag && setMark({ ...mark, at: where(event) })} onPointerUp=${() => mark?.drag && take()} onPointerCancel=${() => setMark(null)} onKeyDown=${keys} onBlur=${() => setMark(null)}>
      ${[0.25, 0.5, 0.75].map((part) => html`<line class="grid" x1="0" x2=${WIDE} y1=${HIGH * part} y2=${HIGH * part} />`)}
      ${series.map(({ name, tone, values, area }) => html`<g key=${name}>
        ${area && html`<path class=${`area fill-${tone}`} d=${`${line(scale(values, most))}L${WIDE} ${HIGH}L0 ${HIGH}Z`} />`}
        <path class=${`line stroke-${tone}`} d=${line(scale(values, most))} />
      </g>`)}
      ${mark && html`<rect class="stretch" x=${x(stretch[0])} width=${Math.max(1, x(stretch[1]) - x(stretch[0]))} height=${HIGH} />`}
    </svg>
    <div class="axis num"><span>${clock(times[0])}</span><span>peak ${say(peak)}</span><span>${clock(times[end])}</span></div>
    <details class="chart-table" onToggle=${(event) => setOpen(event.currentTarget.open)}><summary>As a table</summary>${open && html`<${Figures} ...${{ title, times, series, say, clock }} />`}</details>
  </figure>`;
}

/** The minutes in which there was something, newest first. */
function Figures({ title, times, series, say, clock }) {
  const rows = times.map((time, at) => [time, series.map(({ values }) => values[at])]).filter(([, values]) => values.some(Boolean)).reverse();
  return html`<table class="plain"><caption class="unseen">${title}, the minutes in which there was something</caption>
    <thead><tr><th scope="col">Minute</th>${series.map(({ name }) => html`<th scope="col" key=${name}>${name}</th>`)}</tr></thead>
    <tbody>${rows.map(([time, values]) => html`<tr key=${time}><th scope="row" class="num">${clock(time)}</th>${values.map((value) => html`<td class="num">${say(value)}</td>`)}</tr>`)}</tbody></table>`;
}

/** How much of a limit is used. */
export function Meter({ used, most, label }) {
  const share = most ? Math.min(1, used / most) : 0;
  return html`<span class="meter" title=${label}>
    <svg viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=${label}><rect class="meter-ground" width="100" height="6" rx="3" /><rect class=${share >= 1 ? "fill-retry" : "fill-accent"} width=${share * 100} height="6" rx="3" /></svg>
    <span class="num">${count(used)} of ${most ? count(most) : "no limit"}</span>
  </span>`;
}

/** The phases of one attempt, side by side. `phases` in microseconds. */
export function Phases({ phases, most }) {
  const parts = [["dns", "Name"], ["connect", "Connect"], ["tls", "TLS"], ["firstByte", "First byte"], ["body", "Body"]].filter(([key]) => phases[key] !== undefined);
  let x = 0;
  const scaleTo = 100 / Math.max(1, most);
  return html`<svg class="phases" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
    ${parts.map(([key]) => {
      const from = x;
      x += phases[key] * scaleTo;
      return html`<rect key=${key} class=${`phase-${key}`} x=${from} width=${Math.max(0.4, phases[key] * scaleTo)} height="10" />`;
    })}
  </svg>`;
}

export const PHASE_WORDS = { dns: "name", connect: "connect", tls: "TLS", firstByte: "first byte", body: "body" };

/** The phases in words. */
export const PhaseKey = ({ phases }) => html`<div class="phase-key">${Object.entries(PHASE_WORDS).filter(([key]) => phases?.[key] !== undefined).map(([key, word]) => html`<span key=${key}><i class=${`swatch ${key}`}></i>${word} <b class="num">${micros(phases[key])}</b></span>`)}</div>`;

/** When things happen in the next 24 hours: a strip of ticks. */
export function DayStrip({ times, from, hours = 24, label }) {
  const reach = hours * 3_600_000;
  const shown = times.filter((time) => time >= from && time <= from + reach);
  return html`<svg class="strip" viewBox="0 0 240 18" preserveAspectRatio="none" role="img" aria-label=${label ?? `${shown.length} runs in the next ${hours} hours`}>
    <rect class="meter-ground" width="240" height="18" rx="2" />
    ${[6, 12, 18].map((hour) => html`<line class="grid" x1=${hour * 10} x2=${hour * 10} y1="0" y2="18" />`)}
    ${shown.map((time) => html`<rect class="fill-accent" x=${((time - from) / reach) * 238} y="3" width="0.8" height="12" />`)}
  </svg>`;
}
