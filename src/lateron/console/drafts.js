// A form that is half written outlives the session that ends under it: in this tab, for the same login, once.
//
// Whoever signs out leaves nothing, in no tab. A form with headers or with something to redact may hold secrets: it is
// kept in the memory of the page alone, where no disk gets it, and so it is lost with a reload, or by way of a provider.

import { isSame, leaving } from "./api.js";
import { effect } from "./lib.js";

const KEPT = "lateron.draft";
const MOST = 1 << 20; // Characters. A tab has room for five times as many, for all that it keeps.

let kept = attempt(() => JSON.parse(sessionStorage.getItem(KEPT)));

/** Keep what somebody was writing, as its screen goes away; `place` is the address of the form. */
export function keep({ user, name }, place, draft) {
  if (leaving.peek()) return;
  drop();
  kept = { user, name, place, draft };
  if (draft.forward.length || draft.more.length || draft.redact) return;
  const text = JSON.stringify(kept);
  if (text.length <= MOST) attempt(() => sessionStorage.setItem(KEPT, text));
}

/** Take what is kept for a place. */
export function takeBack(place) {
  if (kept?.place !== place) return null;
  const { draft } = kept;
  drop();
  return draft;
}

/** Let go what was written by anybody but who is signed in now. */
export const keepOnlyOf = (whose) => isSame(kept, whose) || drop();

function drop() {
  kept = null;
  attempt(() => sessionStorage.removeItem(KEPT));
}

/** A browser may let nothing be stored, or have no room left: what is in memory must do. */
function attempt(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

effect(() => leaving.value && drop());
