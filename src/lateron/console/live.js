// What changes while one looks: the stream of the server, or a question each five seconds where there is none.

import { BASE, get, session } from "./api.js";
import { computed, signal, untracked, useCallback, useEffect, useRef, useState } from "./lib.js";

const POLL_MS = 5_000;
const SOON_MS = 250; // After a change; several are one then.
const PACE_MS = 3_000; // From one reading to the next while changes go on.
const BUSY = 100; // Messages a second; where they do not end, minutes and seconds say more than the newest line.
const BUSY_PACE_MS = 10_000; // From one reading to the next on such a server: nobody reads faster, and it has other work.
const PATIENCE = 40; // As many times as long as the last reading took.
const GAP_MS = 10_000; // The server tells its counters each second.
const TOPICS = "counters,messages,dlq,schedules,queues,flow,jobs";

/** "live", "polling", "paused" or "away" */
export const mode = signal("polling");
/** Whether the user has stopped the clock. */
export const held = signal(false);
/** The newest counters of the server, with those of up to five minutes before. */
export const counters = signal([]);
/** The present, once a second. */
export const now = signal(Date.now());
/** The minute of the present: for what need not be drawn each second. */
export const minute = computed(() => now.value - (now.value % 60_000));
/** How many lines the stream left out since it was opened. */
export const skipped = signal(0);

const listeners = new Set();
let source = null;
let refused = false;

setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1_000);

function tell(kind, data) {
  for (const listener of [...listeners]) listener(kind, data);
}

/** Open the stream; where the server has none, polling goes on. `anew`: also if it was refused a moment ago. */
export function connect({ anew = false } = {}) {
  if (anew) refused = false;
  if (source || refused || held.peek() || document.hidden || !session.peek()) return;
  source = new EventSource(`${BASE}lateron/v1/stream?topics=${TOPICS}`);
  source.addEventListener("open", () => (mode.value = "live"));
  source.addEventListener("counters", (event) => {
    mode.value = "live";
    const next = JSON.parse(event.data);
    counters.value = [...(goesOn(counters.peek().at(-1), next) ? counters.peek().slice(-299) : []), next];
  });
  source.addEventListener("message", (event) => tell("message", JSON.parse(event.data)));
  source.addEventListener("sampled", (event) => (skipped.value += JSON.parse(event.data).skipped));
  source.addEventListener("changed", (event) => tell("changed", JSON.parse(event.data).topic));
  source.addEventListener("error", () => {
    mode.value = "polling";
    counters.value = []; // What they say is not so any more.
    if (source?.readyState === EventSource.CLOSED) {
      refused = true;
      disconnect();
      setTimeout(() => ((refused = false), connect()), 60_000);
    }
  });
}

export function disconnect() {
  source?.close();
  source = null;
  counters.value = [];
}

/** How fast messages come and go now, from the counters of the stream; null while it has not told enough. */
export function rates() {
  const known = counters.value;
  if (known.length < 2) return null;
  const last = known.at(-1);
  const first = known[Math.max(0, known.length - 11)];
  const seconds = Math.max(1, (last.time - first.time) / 1_000);
  return { published: (last.published - first.published) / seconds, delivered: (last.delivered - first.delivered) / seconds };
}

/** How soon a screen is read again while changes go on, in ms. */
const pace = () => ((untracked(rates)?.published ?? 0) > BUSY ? BUSY_PACE_MS : PACE_MS);

/** Whether totals count on from those before: not after a start of the server, nor after a gap in which nobody listened. */
const goesOn = (before, next) => before && next.published >= before.published && next.delivered >= before.delivered && next.time > before.time && next.time - before.time < GAP_MS;

export function hold(stop) {
  held.value = stop;
  if (stop) disconnect();
  else {
    connect();
    tell("poll", "at once");
  }
  mode.value = stop ? "paused" : "polling";
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect();
  else if (!held.value) {
    connect();
    tell("poll", "at once");
  }
});

setInterval(() => {
  if (!document.hidden && !held.value) tell("poll");
}, POLL_MS);

/** Hear of what the stream says while a component is there. */
export function useStream(listener) {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    const heard = (kind, data) => latest.current(kind, data);
    listeners.add(heard);
    return () => listeners.delete(heard);
  }, []);
}

/**
 * Load something and keep it fresh; what was there stays while it loads again.
 *
 * One load runs at a time, so that a slow one ends and is shown: what asks for another meanwhile is answered once
 * after it, and only a change of `wants` throws it away.
 * @template T
 * @param {() => Promise<T>} load
 * @param {unknown[]} wants Loads anew when one of them changes.
 * @param {object} [options]
 * @param {string[]} [options.topics] Of the stream; a change of one makes it stale.
 * @param {(kind: string, data: unknown) => boolean} [options.hears] What else of the stream makes it stale.
 * @param {(data: T) => number} [options.every] How soon after an answer it is asked for again, in ms; 0: not before the next poll.
 * @param {boolean} [options.still] Never by itself.
 * @returns {{data: T|undefined, error: Error|undefined, loading: boolean, refresh: () => Promise<void>}}
 */
export function useLoaded(load, wants = [], { topics = [], hears, every, still = false } = {}) {
  const [state, setState] = useState({ loading: true });
  const latest = useRef(load);
  latest.current = load;
  const one = useRef({ turn: 0, running: null, again: false, stale: false, timer: 0, pace: 0 }).current; // `pace`: not before.
  const read = useCallback(async (mine) => {
    while (one.again && mine === one.turn) {
      one.again = one.stale = false;
      const began = performance.now();
      try {
        const data = await latest.current();
        if (mine === one.turn) setState({ data, loading: false });
      } catch (error) {
        if (mine === one.turn) setState((before) => ({ ...before, error, loading: false }));
      }
      // A busy server changes all the time. Who only looks must not make it busier: the longer it takes, the longer we wait.
      const ended = performance.now();
      one.pace = began + Math.max(pace(), PATIENCE * (ended - began));
    }
    if (mine !== one.turn) return;
    one.running = null;
    if (one.stale) later();
  }, []);
  const refresh = useCallback(() => {
    one.again = true;
    one.running ??= Promise.resolve(one.turn).then(read); // Why not at once: a load may throw at once.
    return one.running;
  }, []);
  const later = () => {
    if (one.running) one.stale = true;
    else one.timer ||= setTimeout(() => ((one.timer = 0), one.running ? (one.stale = true) : held.value || refresh()), Math.max(SOON_MS, one.pace - performance.now()));
  };
  useEffect(() => {
    setState((before) => ({ ...before, loading: true }));
    one.turn += 1;
    one.running = null;
    refresh();
  }, wants);
  useEffect(() => () => ((one.turn += 1), clearTimeout(one.timer)), []);
  useEffect(() => {
    const wait = every?.(state.data);
    const timer = wait && setTimeout(() => held.value || document.hidden || one.running || refresh(), wait);
    return () => clearTimeout(timer);
  }, [state]);
  useStream((kind, data) => {
    if (still || held.value) return;
    if (kind === "poll") one.running || (!data && pace() > PACE_MS && performance.now() < one.pace) || refresh();
    else if (hears?.(kind, data) || (kind === "changed" && topics.includes(data))) later();
  });
  return { ...state, refresh };
}

/** What the server says about itself; asked once a minute at most. */
export const info = signal(null);

export async function loadInfo() {
  info.value = await get("lateron/v1/info");
}
