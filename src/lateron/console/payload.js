// Payloads, as they came: headers, and bodies as a tree of JSON, as text or hex; always text nodes.

import { bytes, count, decode64, hex, pretty } from "./format.js";
import { html, useMemo, useState } from "./lib.js";
import { Tree, treeOf } from "./tree.js";
import { Copy, Segments } from "./ui.js";

const SHOWN_MOST = 200_000; // Characters; more makes a page slow, and nobody reads it.

export const HeaderTable = ({ of, caption }) => {
  const rows = Object.entries(of ?? {}).flatMap(([name, values]) => [values].flat().map((value) => [name, value]));
  if (!rows.length) return html`<p class="faint">No headers.</p>`;
  return html`<div class="scroll"><table class="plain headers"><caption class="unseen">${caption}</caption><tbody>
    ${rows.map(([name, value], at) => html`<tr key=${at}><th scope="row">${name}</th><td>${value}</td></tr>`)}
  </tbody></table></div>`;
};

/** A body as a tree of JSON, as text or hex. Give `text`, or `base64` of bytes. */
export function Body({ text, base64, truncated, none = "No body." }) {
  const [view, setView] = useState(null);
  const decoded = useMemo(() => (base64 ? decode64(base64) : { raw: new TextEncoder().encode(text ?? ""), text: text ?? "" }), [text, base64]);
  const value = useMemo(() => (decoded.text === null ? null : treeOf(decoded.text)), [decoded]);
  if (!text && !base64) return html`<p class="faint">${none}</p>`;
  const options = [...(value ? [["tree", "Tree"]] : []), ...(decoded.text === null ? [] : [["pretty", "Pretty"], ["text", "As sent"]]), ["hex", "Hex"]];
  const chosen = options.some(([name]) => name === view) ? view : options[0][0];
  const shown = { tree: () => "", pretty: () => pretty(decoded.text), text: () => decoded.text, hex: () => hex(decoded.raw ?? new Uint8Array()) }[chosen]();
  return html`<div class="body-view">
    <div class="body-bar"><${Segments} label="Show body as" options=${options} value=${chosen} pick=${setView} /><span class="faint num">${bytes(decoded.raw?.length ?? 0)}${truncated ? ", cut" : ""}</span></div>
    ${chosen === "tree" ? html`<${Tree} value=${value} label="Body as a tree" />` : html`<div class="code"><${Copy} text=${shown} label="Copy body" /><pre tabindex="0">${shown.slice(0, SHOWN_MOST)}</pre></div>
      ${shown.length > SHOWN_MOST && html`<p class="hint">The first ${count(SHOWN_MOST)} characters are shown; a copy has all ${count(shown.length)}.</p>`}`}
  </div>`;
}
