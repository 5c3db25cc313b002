// What differs between the answers of two attempts: status, headers, and the body line by line.

import { decode64, pretty } from "./format.js";
import { classes, html } from "./lib.js";

const LINES_MOST = 400;

/**
 * The lines of two texts in order, by their longest common subsequence.
 * @returns {[" "|"-"|"+", string][]}
 */
export function difference(before, after) {
  const [a, b] = [before, after].map((text) => text.split("\n").slice(0, LINES_MOST));
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) for (let j = b.length - 1; j >= 0; j -= 1) common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  const told = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) told.push([" ", a[i++], (j += 1)]);
    else if (j >= b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) told.push(["-", a[i++]]);
    else told.push(["+", b[j++]]);
  }
  return told;
}

function lines({ responseStatus, error, responseHeader, responseBody, responseBodyBase64 }) {
  const headers = Object.entries(responseHeader ?? {}).flatMap(([name, values]) => [values].flat().map((value) => `${name}: ${value}`)).sort();
  const body = responseBody ?? (responseBodyBase64 ? (decode64(responseBodyBase64).text ?? "(bytes that are no text)") : "");
  return [`status: ${responseStatus || error || "no answer"}`, ...headers, "", pretty(body)].join("\n");
}

/** The answer of an attempt beside that of the one before. */
export function Difference({ before, after }) {
  const told = difference(lines(before), lines(after));
  if (!told.some(([sign]) => sign !== " ")) return html`<p class="faint">The answer is the same as that of attempt ${before.attempt}.</p>`;
  return html`<pre class="difference mono" tabindex="0" aria-label=${`What differs from attempt ${before.attempt}`}>${told.map(([sign, text], at) => html`<span key=${at} class=${classes(sign === "+" && "tone-good", sign === "-" && "tone-bad")}>${sign} ${text}${"\n"}</span>`)}</pre>`;
}
