// Single keys as commands: whether they are wanted, and which presses are one.

import { signal } from "./lib.js";

const KEPT = "lateron.keys";

/** Whether single keys do anything; who speaks to his computer switches them off (WCAG 2.1.4). */
export const keysOn = signal(localStorage.getItem(KEPT) !== "off");

export function switchKeys(on) {
  keysOn.value = on;
  localStorage.setItem(KEPT, on ? "on" : "off");
}

/** Whether a press is a command: not a part of typing or of another one, and not a key that is held down. */
export function isCommand(event) {
  const busy = event.defaultPrevented || event.repeat || event.ctrlKey || event.metaKey || event.altKey;
  return keysOn.peek() && !busy && !event.target.closest?.("input,textarea,select,[contenteditable],dialog");
}
