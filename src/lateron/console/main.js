// Starts the console: who is signed in, which screen is meant, keys, and what keeps all of it fresh.

import { get, isSame, session, whoAmI } from "./api.js";
import { Jobs } from "./bulk.js";
import { keepOnlyOf } from "./drafts.js";
import { Banner, badges, nextTheme, openKeys, Rail, railOpen, SCREENS, TopBar } from "./frame.js";
import { isCommand } from "./keys.js";
import { effect, html, render, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { connect, disconnect, held, hold, info, loadInfo, useLoaded } from "./live.js";
import { Palette, paletteOpen } from "./palette.js";
import { go, route } from "./router.js";
import { closeDialog, Dialogs, dialog, Empty, Failure, Toasts, toasts } from "./ui.js";

const MODULES = {
  overview: () => import("./screens/overview.js"),
  messages: () => import("./screens/messages.js"),
  message: () => import("./screens/message.js"),
  dead: () => import("./screens/dead.js"),
  schedules: () => import("./screens/schedules.js"),
  queues: () => import("./screens/queues.js"),
  flow: () => import("./screens/flow.js"),
  groups: () => import("./screens/groups.js"),
  destinations: () => import("./screens/destinations.js"),
  builder: () => import("./screens/builder.js"),
  catcher: () => import("./screens/catcher.js"),
  settings: () => import("./screens/settings.js"),
  jobs: () => import("./screens/jobs.js"),
  login: () => import("./screens/login.js"),
};

/** A screen, fetched when it is wanted first. */
function Screen({ name, query, id }) {
  const known = Object.hasOwn(MODULES, name) && MODULES[name]; // Why: an address may name __proto__.
  const [module, setModule] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => {
    let wanted = true; // Why: a module that comes late must not take the place of the one that was asked for since.
    const heed = (take) => (value) => wanted && take(value);
    setError(null);
    known && known().then(heed((loaded) => setModule({ name, Draw: loaded.default })), heed(setError));
    return () => (wanted = false);
  }, [name]);
  if (!known) return html`<${Empty} title="There is no such screen" icon="search">The address names “${name}”. Choose one at the left.<//>`;
  if (error) return html`<${Failure} error=${new Error("This part of the console could not be loaded. Reload the page.")} />`;
  if (module?.name !== name) return html`<div class="loading" role="status">Loading…</div>`;
  return html`<${module.Draw} key=${id ?? name} query=${query} id=${id} />`;
}

function App() {
  const { screen, id, query } = route.value;
  if (session.value === undefined) return html`<div class="loading" role="status">Loading…</div>`;
  if (session.value === null) return html`<${Screen} name="login" query=${query} /><${Toasts} />`;
  const name = screen === "messages" && id ? "message" : screen;
  return html`
    <a class="skip" href="#main">Skip to content</a>
    <${Rail} />
    <div class="stage" onClick=${(e) => e.target === e.currentTarget && (railOpen.value = false)}>
      <header class="top-head"><${TopBar} openPalette=${() => (paletteOpen.value = true)} openKeys=${openKeys} /></header>
      <${Needs} />
      <${Main} key=${JSON.stringify([session.value.user, session.value.name])} name=${name} query=${query} id=${id} />
    </div>
    <${Dialogs} /><${Palette} /><${Jobs} /><${Toasts} />`;
}

/** What the address names. It takes the focus when that is another place, so that a screen reader goes on there. */
function Main({ name, query, id }) {
  const box = useRef();
  const place = useRef([name, id].join());
  useLayoutEffect(() => {
    if (place.current === [name, id].join()) return;
    place.current = [name, id].join();
    box.current.focus({ preventScroll: true });
  }, [name, id]);
  return html`<main id="main" tabindex="-1" ref=${box}><${Screen} name=${name} query=${query} id=${id} /></main>`;
}

/** Looks for what needs a person: the badges of the rail, and the banner. */
function Needs() {
  const needs = useLoaded(loadNeeds, [], { topics: ["dlq", "queues", "flow", "schedules"] });
  return html`<${Banner} delivery=${needs.data} />`;
}

async function loadNeeds() {
  const [delivery, dead, queues, schedules, flow] = await Promise.all([
    get("lateron/v1/delivery"),
    get("v2/dlq", { count: 100 }),
    get("v2/queues"),
    get("v2/schedules"),
    get("v2/flowControl", { count: 1_000 }),
  ]);
  const since = Number(localStorage.getItem("lateron.deadSeen") ?? 0);
  const fresh = dead.messages.filter(({ dlqId }) => Number(dlqId.split("-")[0]) > since).length;
  badges.value = {
    dead: fresh && { count: fresh, more: fresh === dead.messages.length && Boolean(dead.cursor), words: "new dead letters" },
    queues: told(queues.filter(({ paused }) => paused).length),
    schedules: told(schedules.filter(({ isPaused }) => isPaused).length),
    flow: told(flow.filter(({ isPaused }) => isPaused).length),
  };
  return delivery;
}

const told = (paused) => paused && { count: paused, words: "paused" };

// Keys: none fires inside an input, all have a button too, and the single ones can be switched off.

let afterG = -Infinity; // When `g` was pressed, if nothing was since.

addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k") {
    event.preventDefault();
    paletteOpen.value = session.value !== null;
    return;
  }
  if (!isCommand(event) || dialog.value || paletteOpen.value || !session.value) return;
  const isSecond = event.timeStamp - afterG < 1_200 && /^[a-z]$/.test(event.key);
  afterG = -Infinity;
  if (isSecond) {
    event.preventDefault(); // Why: a letter after `g` is no command of the screen one leaves.
    const to = SCREENS.find(([key]) => key === event.key);
    return to && go(to[1]);
  }
  const does = { "/": () => (paletteOpen.value = true), "?": openKeys, t: nextTheme, ".": () => hold(!held.value), g: () => (afterG = event.timeStamp) }[event.key];
  if (does) {
    event.preventDefault();
    does();
  }
});

async function start() {
  try {
    await whoAmI();
  } catch {
    setTimeout(start, 5_000);
  }
}

let known = null;

effect(() => {
  const before = known;
  known = session.value;
  if (before && !isSame(before, known)) forget();
  if (known) {
    keepOnlyOf(known);
    loadInfo().catch(() => {});
    connect({ anew: true });
  }
});

/** Leave nothing of one login for the next one in the same window. */
function forget() {
  closeDialog();
  paletteOpen.value = false;
  toasts.value = toasts.peek().filter(({ action }) => !action);
  badges.value = {};
  info.value = null;
  disconnect();
}

render(html`<${App} />`, document.getElementById("app"));
start();
