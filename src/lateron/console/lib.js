// What every module of the console draws with.

import { h, Fragment } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export { h, Fragment, render } from "./vendor/preact.js";
export { useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback, useId } from "./vendor/hooks.js";
export { signal, computed, effect, batch, untracked } from "./vendor/signals.js";

export const html = htm.bind(h);

/** Join the class names that are given. */
export const classes = (...names) => names.filter(Boolean).join(" ");
export { Fragment as Group };
