// Which screen the address names: `<mount>/messages?state=failed` is {screen: "messages", query: {state: "failed"}}.

import { CONSOLE } from "./api.js";
import { h, signal } from "./lib.js";

export const route = signal(read());

function read() {
  const path = location.pathname.startsWith(CONSOLE) ? location.pathname.slice(CONSOLE.length) : "";
  const [screen = "", ...rest] = path.split("/").map(decodeURIComponent);
  return { screen: screen || "overview", id: rest.join("/") || null, query: Object.fromEntries(new URLSearchParams(location.search)) };
}

addEventListener("popstate", () => (route.value = read()));

/** Go to a place below the console, such as `messages?state=failed`. */
export function go(to, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", CONSOLE + to);
  const before = route.value;
  route.value = read();
  if (!replace && before.screen !== route.value.screen) scrollTo(0, 0);
}

/** Change the query of this screen without a new entry in the history. */
export function setQuery(query) {
  const kept = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const text = new URLSearchParams(kept).toString();
  const path = [route.value.screen, route.value.id].filter(Boolean).map(encodeURIComponent).join("/");
  go(path + (text && `?${text}`), { replace: true });
}

/** A link inside the console. */
export function Link({ to, children, ...rest }) {
  const follow = (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(to);
  };
  return h("a", { href: CONSOLE + to, onClick: follow, ...rest }, children);
}
