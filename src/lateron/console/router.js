// Which screen the address names: `<mount>/messages?view=waiting` is {screen: "messages", query: {view: "waiting"}}.
//
// Screens have one word in the path and no more: so the page's relative links are right on each of them, and the
// console works below any path a proxy puts it. What a screen shows one of is the parameter `id`; in code, `messages/x`.

import { CONSOLE } from "./api.js";
import { h, signal } from "./lib.js";

export const route = signal(read());

function read() {
  const path = location.pathname.startsWith(CONSOLE) ? location.pathname.slice(CONSOLE.length) : "";
  const query = Object.fromEntries(new URLSearchParams(location.search));
  return { screen: word(path) || "overview", id: query.id || null, query };
}

/** What a part of a path says; one that was encoded wrongly, as it stands. */
function word(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** The address of a place such as `messages/msg_1` or `messages?view=waiting`. */
export function address(to) {
  const [, screen, id, query] = /^([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(to);
  // The time range goes along, unless the place names one of its own; an empty one ends it.
  const given = /(?:^|&)range=/.test(query);
  const { range } = route.value.query;
  const asked = [id && `id=${id}`, query, !given && range && `range=${range}`].filter(Boolean).join("&").replace(/(?:^|&)range=(?=&|$)/, "");
  return CONSOLE + screen + (asked && `?${asked}`);
}

addEventListener("popstate", () => (route.value = read()));

/** Go to a place below the console, such as `messages?state=failed`. */
export function go(to, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address(to));
  const before = route.value;
  route.value = read();
  if (!replace && before.screen !== route.value.screen) scrollTo(0, 0);
}

/** Change the query of this screen without a new entry in the history. */
export function setQuery(query) {
  const kept = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  if (query.range === "") kept.push(["range", ""]);
  const text = new URLSearchParams(kept).toString();
  go(route.value.screen + (text && `?${text}`), { replace: true });
}

/** A link inside the console. */
export function Link({ to, children, onClick, ...rest }) {
  const follow = (event) => {
    onClick?.(event);
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return h("a", { ...rest, href: address(to), onClick: follow }, children);
}
