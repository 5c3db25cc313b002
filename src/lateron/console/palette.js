// Search and commands in one box: paste an id, or say what you want.

import { mayChange, part, post } from "./api.js";
import { openErase } from "./erase.js";
import { messagesOf } from "./filter.js";
import { nextTheme, openKeys, SCREENS } from "./frame.js";
import { html, signal, useLayoutEffect, useRef, useState } from "./lib.js";
import { go } from "./router.js";
import { isBeside, toast } from "./ui.js";

export const paletteOpen = signal(false);

const COMMANDS = [
  { words: /^(pause|resume) queue (\S+)$/i, hint: "pause queue <name>", run: ([, verb, name]) => post(`v2/queues/${part(name)}/${verb.toLowerCase()}`) },
  { words: /^(pause|resume) flow (\S+)$/i, hint: "pause flow <key>", run: ([, verb, name]) => post(`v2/flowControl/${part(name)}/${verb.toLowerCase()}`) },
  { words: /^(pause|resume) schedule (\S+)$/i, hint: "pause schedule <id>", run: ([, verb, name]) => post(`v2/schedules/${part(name)}/${verb.toLowerCase()}`) },
  { words: /^run schedule (\S+)$/i, hint: "run schedule <id>", run: ([, name]) => post(`v2/schedules/${part(name)}/run`) },
  { words: /^(pause|resume) delivery$/i, hint: "pause delivery", run: ([, verb]) => post(`lateron/v1/delivery/${verb.toLowerCase()}`) },
];

/** What a text may mean, best first. */
export function meanings(text) {
  const word = text.trim();
  const found = [];
  if (/^msg_[0-9a-z]+$/i.test(word)) found.push({ title: `Open message ${word}`, run: () => go(`messages/${word}`) });
  if (/^\d{13}-[0-9a-f]{32}$/i.test(word)) found.push({ title: "Open this dead letter's message", run: () => go(`messages/msg_${word.split("-")[1]}`) });
  if (/^https?:\/\//i.test(word)) found.push({ title: `Messages to ${word}`, run: () => go(messagesOf("url", word)) });
  for (const command of mayChange() ? COMMANDS : []) {
    const match = command.words.exec(word);
    if (match) found.push({ title: `Do it: ${word}`, run: async () => (await command.run(match), toast(`Done: ${word}.`, "good")) });
    else if (word && command.hint.includes(word.toLowerCase())) found.push({ title: command.hint, hint: "command", fill: command.hint.replace(/<.*/, "") });
  }
  const fits = (title) => title.toLowerCase().includes(word.toLowerCase());
  for (const [key, path, title] of SCREENS) if (fits(title)) found.push({ title, hint: `g ${key}`, run: () => go(path) });
  const deeds = [["Change the theme", nextTheme, "t"], ["Keys", openKeys, "?"], ["Bulk jobs", () => go("jobs"), ""], ...(mayChange() ? [["Erase by label", () => openErase(), ""], ["Rotate signing keys", () => go("settings"), ""], ["New schedule", () => go("builder?kind=schedule"), ""]] : [])];
  for (const [title, run, hint] of deeds) if (fits(title)) found.push({ title, run, hint });
  if (word && !/^(msg_|https?:)/.test(word)) found.push({ title: `Messages with “${word}”`, run: () => go(`messages?filter=${part(word)}`) });
  return found.slice(0, 14);
}

export function Palette() {
  return paletteOpen.value && html`<${Box} />`;
}

function Box() {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const box = useRef();
  useLayoutEffect(() => box.current.showModal(), []); // At once: the next key belongs to it already.
  const close = () => (paletteOpen.value = false);
  const found = meanings(text);
  const take = async (one) => {
    if (one.fill) return setText(one.fill);
    close();
    try {
      await one.run();
    } catch (error) {
      toast(error.message, "bad");
    }
  };
  const keys = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      setAt((at + step + found.length) % Math.max(1, found.length));
      event.preventDefault();
    } else if (event.key === "Enter" && found[at]) take(found[at]);
  };
  return html`<dialog ref=${box} class="dialog palette" aria-label="Search and commands" onClose=${close} onMouseDown=${(e) => isBeside(e, box.current) && close()}>
    <input role="combobox" aria-expanded="true" aria-controls="palette-list" aria-activedescendant=${`palette-${at}`} aria-label="Search and commands" autocomplete="off" autofocus
      placeholder="msg_…, a URL, a screen, or a command such as: pause queue mail" value=${text} onInput=${(e) => (setText(e.target.value), setAt(0))} onKeyDown=${keys} />
    <ul id="palette-list" role="listbox" aria-label="Results">
      ${found.map((one, n) => html`<li key=${one.title} id=${`palette-${n}`} role="option" aria-selected=${n === at} onMouseMove=${() => setAt(n)} onClick=${() => take(one)}><span>${one.title}</span>${one.hint && html`<kbd>${one.hint}</kbd>`}</li>`)}
    </ul>
  </dialog>`;
}
