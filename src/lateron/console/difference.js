// What differs between the answers of two attempts: status, headers, and the body line by line.

import { decode64, pretty } from "./format.js";
import { classes, html } from "./lib.js";

const LINES_MOST = 400;
const SAME_MOST = 100;

/**
 * The lines of two texts in order, by their longest common subsequence.
 * @returns {[" "|"-"|"+"|"…", string][]} A line, or with "…" what is not told.
 */
export function difference(before, after) {
  const [one, other] = [before, after].map((text) => text.split("\n"));
  // Why: the table below grows with the square of what differs, so what is the same at both ends stays out of it.
  let head = 0;
  while (head < Math.min(one.length, other.length) && one[head] === other[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(one.length, other.length) - head && one.at(-1 - tail) === other.at(-1 - tail)) tail += 1;
  const [first, second] = [one, other].map((lines) => lines.slice(head, lines.length - tail));
  const cut = Math.max(first.length, second.length) > LINES_MOST ? [["…", "what differs goes on; it is not compared further"]] : [];
  return [...same(one.slice(0, head)), ...middle(first.slice(0, LINES_MOST), second.slice(0, LINES_MOST)), ...cut, ...same(one.slice(one.length - tail))];
}

/** Lines that both have: all of a few, the ends of many. */
function same(lines) {
  const told = lines.map((line) => [" ", line]);
  return lines.length <= SAME_MOST ? told : [...told.slice(0, SAME_MOST / 2), ["…", `${lines.length - SAME_MOST} lines are the same`], ...told.slice(-SAME_MOST / 2)];
}

function middle(a, b) {
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
  const body = responseBody ?? (responseBodyBase64 ? (decode64(responseBodyBase64).text ?? `(no text; as base64) ${responseBodyBase64}`) : "");
  return [`status: ${responseStatus || error || "no answer"}`, ...headers, "", pretty(body)].join("\n");
}

/** The answer of an attempt beside that of the one before. */
export function Difference({ before, after }) {
  const [then, since] = [lines(before), lines(after)];
  if (then === since) return html`<p class="faint">The answer is the same as that of attempt ${before.attempt}.</p>`;
  const told = difference(then, since);
  return html`<pre class="difference mono" tabindex="0" aria-label=${`What differs from attempt ${before.attempt}`}>${told.map(([sign, text], at) => html`<span key=${at} class=${classes(sign === "+" && "tone-good", sign === "-" && "tone-bad")}>${sign} ${text}${"\n"}</span>`)}</pre>`;
}
