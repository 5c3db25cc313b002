// Charts drawn by hand as SVG, each with a sentence for those who do not see it.

import { count, span } from "./format.js";
import { html } from "./lib.js";

const WIDE = 420;
const HIGH = 120;

const scale = (values, most) => values.map((value, at) => [values.length > 1 ? (at / (values.length - 1)) * WIDE : WIDE, HIGH - (Math.max(0, value ?? 0) / most) * (HIGH - 8)]);
const line = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/**
 * Lines over time.
 * @param {{title: string, times: number[], series: {name: string, tone: string, values: number[], area?: boolean}[], unit?: "ms", pick?: (time: number) => void}} props
 */
export function Lines({ title, times, series, unit, pick }) {
  const say = unit === "ms" ? span : (value) => count(value, true);
  const most = Math.max(1, ...series.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const told = series.map(({ name, values }) => `${name} ${say(values.at(-1))}`).join(", ");
  const click = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const at = Math.round(((event.clientX - box.left) / box.width) * (times.length - 1));
    pick?.(times[Math.max(0, Math.min(at, times.length - 1))]);
  };
  return html`<figure class="chart">
    <figcaption><span class="chart-title">${title}</span><span class="legend">${series.map(({ name, tone, values }) => html`<span key=${name}><i class=${`dot fill-${tone}`}></i>${name} <b class="num">${say(values.at(-1))}</b></span>`)}</span></figcaption>
    <svg viewBox=${`0 0 ${WIDE} ${HIGH}`} preserveAspectRatio="none" role="img" aria-label=${`${title}: now ${told}; highest ${say(most)}.`} onClick=${pick && click} class=${pick && "pickable"}>
      ${[0.25, 0.5, 0.75].map((part) => html`<line class="grid" x1="0" x2=${WIDE} y1=${HIGH * part} y2=${HIGH * part} />`)}
      ${series.map(({ name, tone, values, area }) => html`<g key=${name}>
        ${area && html`<path class=${`area fill-${tone}`} d=${`${line(scale(values, most))}L${WIDE} ${HIGH}L0 ${HIGH}Z`} />`}
        <path class=${`line stroke-${tone}`} d=${line(scale(values, most))} />
      </g>`)}
    </svg>
    <div class="axis num"><span>${times.length ? span(times.at(-1) - times[0]) : "–"} ago</span><span>peak ${say(most)}</span><span>now</span></div>
  </figure>`;
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
