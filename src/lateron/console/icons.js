// Icons of 16 by 16, drawn with lines; each is only ever an ornament beside a word or a label.

import { html } from "./lib.js";

const PATHS = {
  overview: "M2 13h12M3.5 10.5 6.5 7l2.5 2 3.5-5",
  messages: "M2.5 4h11v8.5h-11zM2.5 4.5 8 9l5.5-4.5",
  dead: "M8 2.5 14 13H2zM8 6.5v3M8 11.2v.3",
  schedules: "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM8 5v3.2l2.2 1.4",
  queues: "M2.5 4h11M2.5 8h11M2.5 12h7",
  flow: "M3 3h10l-3.8 5v4.5L6.8 13.5V8z",
  groups: "M8 4.5V8M8 8 4 11M8 8l4 3M8 2.3a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4zM3.4 11a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4zM12.6 11a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4z",
  destinations: "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM2.5 8h11M8 2.5c4 3.5 4 7.5 0 11M8 2.5c-4 3.5-4 7.5 0 11",
  builder: "M6 3.5 2.5 8 6 12.5M10 3.5 13.5 8 10 12.5",
  catcher: "M2.5 9v4h11V9M8 2.5v7M5 6.8l3 3 3-3",
  settings: "M2.5 5h6M11.5 5h2M2.5 11h2M7.5 11h6M10 3.5v3M6 9.5v3",
  check: "M3 8.5 6.5 12 13 4.5",
  cross: "M4 4l8 8M12 4l-8 8",
  clock: "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM8 5v3.2l2.2 1.4",
  loop: "M13 8a5 5 0 1 1-1.5-3.5M12 2v3H9",
  play: "M5 3.5v9l7.5-4.5z",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  stop: "M4.5 4.5h7v7h-7z",
  warn: "M8 2.5 14 13H2zM8 6.5v3M8 11.2v.3",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.3 10.3 14 14",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  sun: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z",
  menu: "M2.5 4h11M2.5 8h11M2.5 12h11",
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  link: "M9.5 3H13v3.5M13 3 7.5 8.5M11 9v4H3V5h4",
  pin: "M6 2.5h4M7 2.5v4L5 9h6L9 6.5v-4M8 9v4.5",
  key: "M5 7.5a2.7 2.7 0 1 1 0 5.4 2.7 2.7 0 0 1 0-5.4zM7 8.5l6-6M10.5 5l2 2",
  bell: "M8 2.5c2.5 0 3.8 1.7 3.8 4 0 3 1.2 4 1.2 4H3s1.2-1 1.2-4c0-2.3 1.3-4 3.8-4zM6.8 13h2.4",
};

/** An icon by name. */
export function Icon({ name, size = 16 }) {
  return html`<svg class="icon" width=${size} height=${size} viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${PATHS[name] ?? PATHS.clock} /></svg>`;
}

/** The sign of the house. */
export function Mark() {
  return html`<svg class="mark" width="26" height="26" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="8" class="mark-ground" />
    <path d="M9 7v14a4 4 0 0 0 4 4h10" class="mark-line" />
    <circle cx="20.5" cy="13" r="3.6" class="mark-dot" />
  </svg>`;
}
