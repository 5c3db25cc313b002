// Values of the API in words a person reads. Times are in milliseconds unless a name says otherwise.

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
];

/** A span in at most two units: `2h 5m`, `12.4s`, `80ms`. */
export function span(ms) {
  if (ms == null || Number.isNaN(ms)) return "–";
  if (ms < 0) return `-${span(-ms)}`;
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1).replace(/\.0$/, "")}s`;
  const at = UNITS.findIndex(([, size]) => ms >= size);
  const [name, size] = UNITS[at];
  const whole = Math.floor(ms / size);
  const next = UNITS[at + 1];
  const rest = next ? Math.floor((ms - whole * size) / next[1]) : 0;
  return rest ? `${whole}${name} ${rest}${next[0]}` : `${whole}${name}`;
}

/** A span of whole microseconds, as attempts have them. */
export const micros = (us) => (us < 1_000 ? `${us}µs` : us < 100_000 ? `${(us / 1_000).toFixed(1)}ms` : span(us / 1_000));

/** Whether the API reads a text as a span: 90s, 1h30m, 1.5h, or a number of seconds. */
export const isSpan = (text) => /^(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d|w))+)$/.test(text.trim());
export const SPAN_WANTED = "Expected a span such as 30s, 10m or 1h30m.";

/** `in 5m`, `12s ago` */
export function relative(ms, now) {
  const away = ms - now;
  if (Math.abs(away) < 1_000) return "now";
  return away > 0 ? `in ${span(away)}` : `${span(-away)} ago`;
}

const cache = new Map();

function formatter(zone, options) {
  const key = `${zone}|${JSON.stringify(options)}`;
  if (!cache.has(key)) cache.set(key, new Intl.DateTimeFormat(undefined, { ...options, timeZone: zone }));
  return cache.get(key);
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const DATE = { year: "numeric", month: "short", day: "2-digit" };

/** The time of day; with the date if it is not the day of `now`. */
export function moment(ms, zone, now) {
  const day = formatter(zone, { month: "short", day: "2-digit" });
  const clock = formatter(zone, CLOCK).format(ms);
  return day.format(ms) === day.format(now) ? clock : `${day.format(ms)}, ${clock}`;
}

/** Weekday, date and time. */
export const full = (ms, zone) => `${formatter(zone, { weekday: "short", ...DATE }).format(ms)} ${formatter(zone, CLOCK).format(ms)}`;

export const iso = (ms) => new Date(ms).toISOString();

export function bytes(count) {
  if (count < 1_024) return `${count} B`;
  if (count < 1_048_576) return `${(count / 1_024).toFixed(1)} KB`;
  if (count < 1_073_741_824) return `${(count / 1_048_576).toFixed(1)} MB`;
  return `${(count / 1_073_741_824).toFixed(1)} GB`;
}

/** A number with separators; rounded above ten thousand if `short`. */
export function count(number, short = false) {
  if (number == null) return "–";
  return short && number >= 10_000
    ? new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 }).format(number)
    : new Intl.NumberFormat().format(number);
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** `msg_01a2033b…17e0`: enough to recognise an id. */
export const shortId = (id) => (id && id.length > 20 ? `${id.slice(0, 12)}…${id.slice(-4)}` : id);

/** A URL in the parts that a list shows. */
export function place(url) {
  try {
    const parsed = new URL(url);
    return { host: parsed.host, path: parsed.pathname + parsed.search };
  } catch {
    return { host: url || "", path: "" };
  }
}

/** Whether a value is only the hash of what a publisher has hidden. */
export const isRedacted = (value) => /^REDACTED:[0-9a-f]{64}$/.test(value ?? "");

/** The UTF-8 of a text, as base64. */
export const base64Of = (text) => btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));

/** The bytes of base64, and their text where it is UTF-8; null what there is not. */
export function decode64(data) {
  let raw = null;
  try {
    raw = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    return { raw, text: new TextDecoder("utf-8", { fatal: true }).decode(raw) };
  } catch {
    return { raw, text: null };
  }
}

// Why: a double holds no more than 15 digits of a number, and a long id must not be shown as another one.
const asWritten = (_, value, context) => (typeof value === "number" && context?.source && JSON.rawJSON ? JSON.rawJSON(context.source) : value);

/** JSON with indentation, or the text as it is. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text, asWritten), null, 2);
  } catch {
    return text;
  }
}

/** Bytes as a hex dump of 16 a line; at most `most` bytes. */
export function hex(raw, most = 4_096) {
  const lines = [];
  for (let at = 0; at < Math.min(raw.length, most); at += 16) {
    const row = [...raw.slice(at, at + 16)];
    const codes = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const shown = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${codes.padEnd(47)}  ${shown}`);
  }
  if (raw.length > most) lines.push(`… ${raw.length - most} more bytes`);
  return lines.join("\n");
}

/** Words of a cron for the common shapes; others as they are. */
export function cronWords(text) {
  const [, zone, cron] = /^(?:CRON_TZ=(\S+)\s+)?(.*)$/.exec(text.trim());
  const said = inWords(cron.trim().split(/\s+/)) ?? cron;
  return zone ? `${said}, ${zone}` : said;
}

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

function inWords([minute, hour, day, month, weekday, ...more]) {
  if (more.length || weekday === undefined || month !== "*") return null;
  const every = /^\*\/(\d+)$/.exec(minute);
  const plainDay = day === "*" && weekday === "*";
  if (plainDay && hour === "*") {
    if (minute === "*") return "every minute";
    if (every) return `every ${every[1]} minutes`;
    return /^\d+$/.test(minute) ? `hourly at :${minute.padStart(2, "0")}` : null;
  }
  const everyHour = /^\*\/(\d+)$/.exec(hour);
  if (plainDay && everyHour && /^\d+$/.test(minute)) return `every ${everyHour[1]} hours at :${minute.padStart(2, "0")}`;
  if (!/^\d+$/.test(minute) || !/^\d+$/.test(hour)) return null;
  const at = `${hour.padStart(2, "0")}:${minute.padStart(2, "0")}`;
  if (plainDay) return `daily at ${at}`;
  if (day === "*" && weekday === "1-5") return `weekdays at ${at}`;
  if (day === "*" && /^[0-6]$/.test(weekday)) return `${DAYS[weekday]}s at ${at}`;
  return /^\d+$/.test(day) && weekday === "*" ? `monthly on day ${day} at ${at}` : null;
}
