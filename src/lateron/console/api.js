// The public API as the console calls it: the session's cookie says who, a header guards changes.

import { signal } from "./lib.js";

/** Where the console and the API live, wherever a proxy has mounted them. */
export const CONSOLE = new URL(".", import.meta.url).pathname;
export const BASE = CONSOLE.replace(/console\/$/, "");

/** Who is signed in; null: nobody; undefined: not known yet. */
export const session = signal(undefined);
/** Whether who was signed in has chosen to go, in this tab or another; otherwise a session ends by itself. */
export const leaving = signal(false);
/** Whether this login may change anything; the API refuses it otherwise, so what changes is not offered. */
export const mayChange = () => session.value?.role !== "read";
/** Whether the server answers. */
export const reachable = signal(true);

export class ApiError extends Error {
  constructor(status, text, requestId) {
    super(text);
    this.status = status;
    this.requestId = requestId;
  }
}

const SESSION = "console/api/session";
const PROVIDER = "console/api/oidc";
const SAFE = new Set(["GET", "HEAD"]);

/**
 * Call the API.
 * @param {string} method
 * @param {string} path From the root of the server, without the slash it begins with.
 * @param {{query?: object, headers?: object, body?: unknown}} [options] An object as body is sent as JSON.
 */
export async function call(method, path, options = {}) {
  const before = session.peek();
  try {
    return await once(method, path, options);
  } catch (error) {
    if (!(await isAnew(error, method, path, before))) throw error;
    return once(method, path, options);
  }
}

/** Whether the session was another one than we knew, but of the same login: then a call that it refused goes well now. */
async function isAnew({ status }, method, path, before) {
  if (path === SESSION || !before || !(status === 401 || (status === 403 && !SAFE.has(method)))) return false;
  // Why: a server that was started anew, or a second tab, has opened another session for this browser.
  asking ??= whoAmI().finally(() => (asking = null));
  await asking;
  const after = session.peek();
  if (!after || after.csrf === before.csrf) return false;
  if (isSame(before, after) || SAFE.has(method)) return true;
  throw new ApiError(status, `This browser is logged in as ${after.name} now; nothing was changed. Do it again if that is right.`);
}

let asking = null;

/** Whether two sessions speak for the same login. */
export const isSame = (one, other) => one?.user === other?.user && one?.name === other?.name;

async function once(method, path, { query, headers, body }) {
  const given = new Headers(headers);
  const csrf = session.peek()?.csrf;
  if (!SAFE.has(method) && csrf) given.set("Lateron-Csrf", csrf);
  let sent = body;
  if (body !== undefined && typeof body !== "string") {
    given.set("Content-Type", "application/json");
    sent = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(BASE + path + search(query), { method, headers: given, body: sent, credentials: "same-origin", cache: "no-store" });
  } catch {
    reachable.value = false;
    throw new ApiError(0, "The server does not answer. It may be restarting; this page tries again by itself.");
  }
  reachable.value = true;
  return read(response);
}

async function read(response) {
  const text = await response.text();
  let content;
  try {
    content = text ? JSON.parse(text) : {};
  } catch {
    content = { error: text.slice(0, 300) };
  }
  if (response.ok) return content;
  throw new ApiError(response.status, content.error || `status ${response.status}`, content.requestId);
}

/** A query string; arrays repeat, what is empty is left out. */
export function search(query) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") pairs.append(name, String(one));
    }
  }
  const text = pairs.toString();
  return text && `?${text}`;
}

export const get = (path, query) => call("GET", path, { query });
export const post = (path, options) => call("POST", path, options);
export const remove = (path, options) => call("DELETE", path, options);
export const part = encodeURIComponent;

/** Ask who we are; only who is refused is signed out, a server in trouble says nothing about that. */
export async function whoAmI() {
  try {
    session.value = await get(SESSION);
    leaving.value = false;
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    session.value = null;
  }
}

export async function signIn(secret) {
  session.value = await post(SESSION, { body: secret });
  leaving.value = false;
}

/** The `name` of the provider by which one may sign in too, and `why` it was in vain when the address says `?login=`. */
export const provider = (login) => get(PROVIDER, { login });

/** Leave for the provider. */
export async function signInElsewhere() {
  location.assign((await post(PROVIDER)).location);
}

const LEFT = "lateron.left"; // When somebody signed out, for the other tabs, which are signed out with this one.
addEventListener("storage", ({ key }) => key === LEFT && (leaving.value = true));

export async function signOut() {
  leaving.value = true;
  try {
    await remove(SESSION);
  } catch (error) {
    leaving.value = error.status === 401 || error.status === 403;
    if (!leaving.value) throw error;
    await whoAmI(); // It was ended elsewhere, or is another one by now.
    return;
  }
  leaving.value = true;
  session.value = null;
  localStorage.setItem(LEFT, String(Date.now()));
}

/** Read a page of a list; one on which nothing fits says where to read on, and so it is. */
export async function page(path, field, query) {
  let found = await get(path, query);
  while (found.cursor && !found[field].length) found = await get(path, { ...query, cursor: found.cursor });
  return found;
}

/** Walk the pages of a list until it ends, or `most` items are there. */
export async function all(path, field, query, most = 1_000) {
  const found = [];
  let cursor;
  do {
    const page = await get(path, { ...query, cursor });
    found.push(...page[field]);
    cursor = page.cursor;
  } while (cursor && found.length < most);
  return { items: found.slice(0, most), more: Boolean(cursor) };
}
