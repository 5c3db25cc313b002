// What is around every screen: the rail, the top bar, and what they open.

import { call, reachable, session, signOut } from "./api.js";
import { Icon, Mark } from "./icons.js";
import { keysOn, switchKeys } from "./keys.js";
import { classes, html, signal } from "./lib.js";
import { counters, held, hold, info, mode } from "./live.js";
import { RangeChoice } from "./range.js";
import { Link, route } from "./router.js";
import { Button, openDialog, zoneChoice } from "./ui.js";
import { count } from "./format.js";

/** The screens of the rail: key of `g`, path, word. */
export const SCREENS = [
  ["o", "overview", "Overview"],
  ["m", "messages", "Messages"],
  ["d", "dead", "Dead letters"],
  ["s", "schedules", "Schedules"],
  ["q", "queues", "Queues"],
  ["f", "flow", "Flow control"],
  ["u", "groups", "URL groups"],
  ["h", "destinations", "Destinations"],
  ["b", "builder", "Builder"],
  ["c", "catcher", "Catcher"],
  ["e", "settings", "Settings"],
];

/** What needs a person, by screen; loaded by main.js. */
export const badges = signal({});
export const railOpen = signal(false);

export function Rail() {
  const here = route.value.screen;
  const shown = SCREENS.filter(([, path]) => path !== "catcher" || info.value?.catcher !== false);
  return html`<nav class=${classes("rail", railOpen.value && "open")} aria-label="Screens">
    <${Link} to="" class="brand" aria-label="Lateron, overview"><${Mark} /><span>Lateron</span><//>
    <ul>
      ${shown.map(([, path, word]) => html`<li key=${path}>
        <${Link} to=${path} aria-current=${here === path ? "page" : undefined} onClick=${() => (railOpen.value = false)}>
          <${Icon} name=${path} /><span>${word}</span>
          ${badges.value[path] ? html`<span class=${classes("badge", path === "dead" && "tone-bad")}><span aria-hidden="true">${count(badges.value[path].count, true)}${badges.value[path].more ? "+" : ""}</span><span class="unseen">${badges.value[path].words}</span></span>` : null}
        <//>
      </li>`)}
    </ul>
    <div class="times"><${Times} /></div>
    <p class="rail-foot faint">${info.value ? `${info.value.version} · ${info.value.store?.kind ?? ""}${info.value.store?.durable === false ? ", in memory" : ""}` : ""}</p>
  </nav>`;
}

const MODES = {
  live: ["Live", "good", "The server tells what changes as it happens."],
  polling: ["Every 5 s", "wait", "The server is asked every five seconds."],
  paused: ["Paused", "off", "Nothing is loaded by itself."],
};

/** Beats with each word of the server. Why not by CSS: an animation that never ends draws sixty times a second. */
const Pulse = () => html`<i class=${classes("pulse", Math.round((counters.value.at(-1)?.time ?? 0) / 1_000) % 2 && "beat")} aria-hidden="true"></i>`;

export function TopBar({ openPalette, openKeys }) {
  const [word, tone, about] = MODES[mode.value] ?? MODES.polling;
  return html`<div class="top">
    <${Button} kind="quiet menu-button" icon="menu" label="Menu" aria-expanded=${railOpen.value} act=${() => (railOpen.value = !railOpen.value)} />
    <${Environment} />
    <button type="button" class="search-button" onClick=${openPalette}><${Icon} name="search" /><span>Search an id, a URL, or do something</span><kbd aria-hidden="true">/</kbd></button>
    <span class="top-space"></span>
    <span class=${`live tone-${reachable.value ? tone : "bad"}`} title=${about}><${Pulse} /><span>${reachable.value ? word : "No answer"}</span></span>
    <${Button} kind="quiet" icon=${held.value ? "play" : "pause"} label=${held.value ? "Go on updating" : "Stop updating"} act=${() => hold(!held.value)} />
    <span class="times"><${Times} /></span>
    <${ThemeButton} />
    <${Button} kind="quiet" label="Keys" act=${openKeys}><b aria-hidden="true">?</b><//>
    ${session.value?.environment === "serve" && html`<${Button} kind="quiet" act=${signOut}>Sign out<//>`}
  </div>`;
}

const Times = () => html`<${RangeChoice} /><select class="zone" aria-label="Time zone" value=${zoneChoice.value} onChange=${(e) => setZone(e.target.value)}><option value="local">Local time</option><option value="UTC">UTC</option></select>`;

function Environment() {
  const { environment, role } = session.value ?? {};
  const words = environment === "dev" ? "development" : (environment ?? "");
  return html`<span class=${classes("environment", environment === "dev" && "dev", role === "read" && "read-only")}>${words}${role === "read" ? ", read only" : ""}</span>`;
}

function setZone(value) {
  zoneChoice.value = value;
  localStorage.setItem("lateron.zone", value);
}

// Theme

export const theme = signal(document.documentElement.dataset.theme || "system");
const NEXT = { system: "light", light: "dark", dark: "system" };

export function nextTheme() {
  theme.value = NEXT[theme.value] ?? "system";
  document.documentElement.dataset.theme = theme.value;
  localStorage.setItem("lateron.theme", theme.value);
}

const ThemeButton = () => html`<${Button} kind="quiet" icon=${{ light: "sun", dark: "moon" }[theme.value] ?? "sun"} label=${`Theme: ${theme.value}`} act=${nextTheme} />`;

/** What holds everybody up, across the top of each screen. */
export function Banner({ delivery }) {
  if (!reachable.value) return html`<div class="banner tone-bad" role="alert">The server does not answer. What you see is from before; this page tries again every five seconds.</div>`;
  if (delivery?.isPaused) return html`<div class="banner tone-retry"><span>All delivery is paused. Messages are accepted and wait.</span><${Button} changes act=${() => call("POST", "lateron/v1/delivery/resume")}>Resume delivery<//></div>`;
  return null;
}

// Keys

export const KEYS = [
  ["/ or Ctrl K", "search, or do something"],
  ...SCREENS.map(([key, , word]) => [`g ${key}`, `go to ${word}`]),
  ["j k", "move in a list"],
  ["Enter", "open the row"],
  ["x, Shift x", "select a row, a range"],
  ["c", "copy the id"],
  ["y", "copy as cURL"],
  ["r", "retry the message now"],
  ["[ ]", "attempt before, after"],
  [".", "stop or go on updating"],
  ["t", "theme"],
  ["Esc", "close"],
  ["?", "this sheet"],
];

export const openKeys = () => openDialog("Keys", () => html`<p><label><input type="checkbox" checked=${keysOn.value} onChange=${(e) => switchKeys(e.target.checked)} /> Single keys are commands</label></p><dl class="keys">${KEYS.map(([key, about]) => html`<div key=${key}><dt>${key.split(" ").map((one) => (one === "or" ? " or " : html`<kbd>${one}</kbd> `))}</dt><dd>${about}</dd></div>`)}</dl>`);
