// The waits before each retry, computed as the server computes them, to be shown while one types.

import { backoff } from "./words.js";

const FUNCTIONS = { sqrt: Math.sqrt, abs: Math.abs, exp: Math.exp, floor: Math.floor, ceil: Math.ceil, round: Math.round, min: Math.min, max: Math.max, pow: Math.pow };
const DAY_MS = 86_400_000;

/** The value of an expression such as `1000 * (1 + retried)`; throws with words that say what is wrong. */
export function evaluate(text, retried) {
  const tokens = text.match(/\d+\.?\d*(?:e\d+)?|\.\d+|[a-z]+|[-+*/%^(),]|\S/gi) ?? [];
  let at = 0;
  const take = (wanted) => (tokens[at] === wanted ? (at += 1) : 0);
  const need = (wanted) => {
    if (!take(wanted)) throw new Error(`expected ${wanted}, got ${tokens[at] ?? "the end"}`);
  };
  const named = (name) => {
    if (name === "retried") return retried;
    if (!Object.hasOwn(FUNCTIONS, name)) throw new Error(`${name} is not known; known are retried, ${Object.keys(FUNCTIONS).join(", ")}`);
    need("(");
    const given = [sum()];
    while (take(",")) given.push(sum());
    need(")");
    return FUNCTIONS[name](...given);
  };
  const single = () => {
    if (take("-")) return -single();
    if (take("(")) {
      const value = sum();
      need(")");
      return value;
    }
    const token = tokens[at];
    at += 1;
    if (/^[\d.]/.test(token ?? "")) return Number(token);
    if (/^[a-z]/i.test(token ?? "")) return named(token.toLowerCase());
    throw new Error(`expected a number, got ${token ?? "the end"}`);
  };
  const product = () => {
    let value = single();
    for (;;) {
      if (take("*")) value *= single();
      else if (take("/")) value /= single();
      else return value;
    }
  };
  const sum = () => {
    let value = product();
    for (;;) {
      if (take("+")) value += product();
      else if (take("-")) value -= product();
      else return value;
    }
  };
  const value = sum();
  if (at < tokens.length) throw new Error(`did not expect ${tokens[at]}`);
  return value;
}

/**
 * The waits of a message with these retries.
 * @returns {{delays: number[], error: string|null}}
 */
export function waits(retries, expression) {
  if (!expression?.trim()) return { delays: backoff(retries), error: null };
  try {
    const delays = Array.from({ length: retries }, (_, retried) => Math.min(DAY_MS, Math.max(0, Math.round(evaluate(expression, retried)))));
    return { delays, error: null };
  } catch (error) {
    return { delays: [], error: error.message };
  }
}
