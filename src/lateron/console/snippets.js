// One request, written in many ways; and a command of cURL read back into one.

import { BASE } from "./api.js";
import { base64Of } from "./format.js";

const TOKEN = "Bearer $QSTASH_TOKEN";
const WORD_MOST = 30_000; // Characters. A longer word of a command is refused by Linux.
const NO_WORD = /[\0-\x08\x0b-\x1f\x7f]/; // What a word cannot hold, or a terminal acts upon.

const quote = (text) => `'${text.replace(/'/g, `'\\''`)}'`;

/** A value in one line, as a header must be: what would end the line ends the value's word instead. */
const inLine = (value) => value.replace(/[\0-\x08\x0a-\x1f\x7f]+/g, " ");

const isType = ([name]) => name.toLowerCase() === "content-type";

/** Without a type of its own a body gets one from each client; an empty one says that it has none. */
const typed = (headers, hasBody) => (hasBody && !headers.some(isType) ? [["Content-Type", ""], ...headers] : headers);

/** What a shell feeds a command with that cannot stand in it: bytes, control characters, very long texts. */
const feed = (base64) => `printf %s ${quote(base64)} | base64 -d | `;
const fits = (body) => body.length <= WORD_MOST && !NO_WORD.test(body);

function curlHeader([name, value]) {
  const line = inLine(value);
  // As cURL has it: with a colon and nothing behind it, a header is left out; with a semicolon it is sent empty.
  if (!line.trim()) return `-H ${quote(`${name}${isType([name]) ? ":" : ";"}`)}`;
  return `-H ${quote(`${name}: ${line}`)}`;
}

/**
 * A request as a command. Each part of it is somebody's, and stands in quotes in which a shell reads nothing.
 * @param {object} request `headers` are pairs; `base64` are the bytes of a body that is no text; `authorized` adds
 *     the token of whoever runs it, so only what goes to this server may have it.
 */
export function curlOf({ method, url, headers, body, base64, authorized }) {
  const fed = base64 || (body && !fits(body) ? base64Of(body) : "");
  const lines = [`${fed && feed(fed)}curl${/[[\]{}]/.test(url) ? " -g" : ""} -X ${/^[A-Z]+$/.test(method) ? method : quote(method)} ${quote(url)}`];
  if (authorized) lines.push(`-H "Authorization: ${TOKEN}"`);
  lines.push(...typed(headers, fed || body).map(curlHeader));
  if (fed) lines.push("--data-binary @-");
  else if (body) lines.push(`--data-raw ${quote(body)}`);
  return lines.join(" \\\n  ");
}

// In a path a client reads some of a destination otherwise: dots as a way up, braces as a choice, and a space ends it; Go takes no
// percent sign that stands for itself.
const OTHERWISE = /[^\x21-\x7e]|[#"'<>\\^`{|}[\]]|%(?![\da-f]{2})|\/(\.|%2e){1,2}(?=[/?]|$)/i;
const inPath = (target) => (OTHERWISE.test(target) ? encodeURIComponent(target) : target);

/**
 * What the builder sends, as a request to this server.
 * @param {object} draft As screens/builder.js has it.
 */
export function requestOf(draft) {
  const target = inPath(draft.target.trim());
  const paths = { publish: `v2/publish/${target}`, enqueue: `v2/enqueue/${encodeURIComponent(draft.queue || "queue")}/${target}`, schedule: `v2/schedules/${target}` };
  return { method: "POST", path: paths[draft.kind], headers: headersOf(draft), body: draft.body };
}

/** Headers that have a field in the form; and options of `lateron publish`, where they have one there. */
export const FIELDS = [
  ["Content-Type", "contentType", "--type"],
  ["Upstash-Method", "method", "--method"],
  ["Upstash-Cron", "cron"],
  ["Upstash-Schedule-Id", "scheduleId"],
  ["Upstash-Queue-Name", "queue"],
  ["Upstash-Delay", "delay", "--delay"],
  ["Upstash-Retries", "retries", "--retries"],
  ["Upstash-Retry-Delay", "retryDelay", "--retry-delay"],
  ["Upstash-Timeout", "timeout", "--timeout"],
  ["Upstash-Flow-Control-Key", "flowKey", "--flow-key"],
  ["Upstash-Flow-Control-Value", "flowValue"],
  ["Lateron-Order-Key", "orderKey", "--order-key"],
  ["Upstash-Deduplication-Id", "dedupId", "--dedup"],
  ["Upstash-Label", "label", "--label"],
  ["Upstash-Callback", "callback", "--callback"],
  ["Upstash-Failure-Callback", "failureCallback", "--failure-callback"],
  ["Upstash-Redact-Fields", "redact", "--redact"],
];

/** What is sent of fields that are not sent as they stand. */
const meant = (draft) => ({
  ...draft, method: draft.method === "POST" ? "" : draft.method, flowValue: draft.flowKey && draft.flowValue,
  ...(draft.kind === "schedule" ? { cron: cronOf(draft) } : { cron: "", scheduleId: "", queue: "" }),
});

/** The headers that a draft becomes, in the order of the form. */
export function headersOf(draft) {
  const said = meant(draft);
  const single = [...FIELDS.map(([name, field]) => [name, said[field]]), ...(draft.more ?? [])].filter(([name, value]) => name && value?.trim());
  const forwarded = draft.forward.filter(([name]) => name).map(([name, value]) => [`Upstash-Forward-${name}`, value]);
  return [...single, ...forwarded].map(([name, value]) => [inLine(name), inLine(value)]);
}

/** What a browser sends of a request: names that come once, and values as the bytes of UTF-8, which `Headers` wants. */
export const sendable = ({ headers, body }) => merged(typed(headers, body)).map(([name, value]) => [name, String.fromCharCode(...new TextEncoder().encode(value))]);

/** Headers where each name comes once, as clients have them that cannot repeat one: the values with commas between. */
function merged(pairs) {
  const found = new Map();
  for (const [name, value] of pairs) {
    const key = name.toLowerCase();
    found.set(key, found.has(key) ? [found.get(key)[0], `${found.get(key)[1]}, ${value}`] : [name, value]);
  }
  return [...found.values()];
}

export const cronOf = ({ cron, zone }) => (zone && zone !== "UTC" && !cron.startsWith("CRON_TZ=") ? `CRON_TZ=${zone} ${cron}` : cron);

const home = () => location.origin + BASE.replace(/\/$/, "");

/** The snippets by language. */
export const LANGUAGES = {
  cURL: (draft) => {
    const { path, ...request } = requestOf(draft);
    return curlOf({ ...request, url: `${home()}/${path}`, authorized: true });
  },
  Python: python,
  TypeScript: typescript,
  Go: golang,
  CLI: cli,
};

// Not seen, or moves what is seen elsewhere: a reader would take code for text or text for code, and Go takes no such file.
const UNSEEN = /[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** A string of JSON is one of Python, of JavaScript and of Go as well: what would end it is escaped. */
const literal = (text) => JSON.stringify(text.replace(/\p{Cs}/gu, "\ufffd")).replace(UNSEEN, (letter) => `\\u${letter.charCodeAt().toString(16).padStart(4, "0")}`);
const isAscii = (text) => !/[^\0-\x7f]/.test(text);

function python(draft) {
  const { path, headers, body } = requestOf(draft);
  const lines = merged(typed(headers, body)).map(([name, value]) => `        ${literal(name)}: ${literal(value)}${isAscii(value) ? "" : ".encode()"},`);
  return `import os
import urllib.request

request = urllib.request.Request(
    os.environ.get("QSTASH_URL", ${literal(home())}) + ${literal(`/${path}`)},
    method="POST",
    headers={
        "Authorization": f"Bearer {os.environ['QSTASH_TOKEN']}",
${lines.join("\n")}${lines.length ? "\n" : ""}    },
    data=${body ? `${literal(body)}.encode()` : "None"},
)
with urllib.request.urlopen(request) as answer:
    print(answer.read().decode())
`;
}

function typescript(draft) {
  const { path, headers, body } = requestOf(draft);
  const lines = merged(typed(headers, body)).map(([name, value]) => `    ${literal(name)}: ${isAscii(value) ? literal(value) : `Buffer.from(${literal(value)}).toString("latin1")`},`);
  return `const answer = await fetch(\`\${process.env.QSTASH_URL ?? ${literal(home())}}${`/${path}`.replace(/[`$\\]/g, "\\$&")}\`, {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.QSTASH_TOKEN}\`,
${lines.join("\n")}${lines.length ? "\n" : ""}  },${body ? `\n  body: ${literal(body)},` : ""}
});
console.log(await answer.text());
`;
}

/** Here a header may come twice, and a body has no type but the one it is given. */
function golang(draft) {
  const { path, headers, body } = requestOf(draft);
  const lines = headers.map(([name, value]) => `\trequest.Header.Add(${literal(name)}, ${literal(value)})\n`);
  return `package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"${body && '\n\t"strings"'}
)

func main() {
	if err := send(); err != nil {
		log.Fatal(err)
	}
}

func send() error {
	server := os.Getenv("QSTASH_URL")
	if server == "" {
		server = ${literal(home())}
	}
	request, err := http.NewRequest("POST", server+${literal(`/${path}`)}, ${body ? `strings.NewReader(${literal(body)})` : "nil"})
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("QSTASH_TOKEN"))
${lines.join("")}	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	fmt.Println(string(text))
	return nil
}
`;
}

const FLAGS = Object.fromEntries(FIELDS.map(([name, , flag]) => [name, flag]));

function cli(draft) {
  const { headers, body } = requestOf(draft);
  // Why: behind an at sign the command reads a file, and another's body may begin with one.
  const fed = body && (!fits(body) || body.startsWith("@"));
  const lines = [`${fed ? feed(base64Of(body)) : ""}lateron ${draft.kind === "enqueue" ? "enqueue" : "publish"}`];
  const give = (flag, value) => lines.push(`${flag}${value.startsWith("-") ? "=" : " "}${quote(value)}`);
  for (const [name, value] of merged(typed(headers, body))) {
    if (Object.hasOwn(FLAGS, name) && FLAGS[name]) give(FLAGS[name], value);
    else if (name.startsWith("Upstash-Forward-")) give("--header", `${name.slice(16)}: ${value}`);
    else give("--option", `${name.replace(/^Upstash-/, "")}: ${value}`);
  }
  if (fed) lines.push("--body @-");
  else if (body) give("--body", body);
  const where = [...(draft.kind === "enqueue" ? [draft.queue || "queue"] : []), inPath(draft.target.trim())];
  if (where.some((word) => word.startsWith("-"))) lines.push(`-- ${where.map(quote).join(" ")}`);
  else lines[0] += ` ${where.map(quote).join(" ")}`;
  return lines.join(" \\\n  ");
}

/** Cut a command line into words, as a shell does. */
export function shellWords(text) {
  const words = [];
  let word = null;
  let inside = "";
  const joined = text.replace(/\\\r?\n/g, " ");
  for (let at = 0; at < joined.length; at += 1) {
    const letter = joined[at];
    if (inside) {
      if (letter === inside) inside = "";
      else if (letter === "\\" && inside === '"' && /["\\$`]/.test(joined[at + 1] ?? "")) word += joined[(at += 1)];
      else word += letter;
    } else if (letter === "'" || letter === '"') {
      inside = letter;
      word ??= "";
    } else if (letter === "\\") word = (word ?? "") + (joined[(at += 1)] ?? "");
    else if (/\s/.test(letter)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? "") + letter;
  }
  if (word !== null) words.push(word);
  return words;
}

// Options of cURL, as far as one must know them to find the URL: those with a value, and long ones without.
const WITH_VALUE = new Set("XHdFuAebcomwxKTErYyzCDPQtU");
const NO_VALUE = /^--(compressed|location|location-trusted|silent|show-error|insecure|include|head|get|fail|fail-with-body|verbose|globoff|http[\d.]+|ipv[46]|path-as-is|no-.*|progress-bar|raw|remote-.*|tcp-.*|ssl.*|tlsv.*|next|junk-session-cookies)$/;
const URL_AS_VALUE = /^--(url|proxy|referer|preproxy|doh-url)$/;
const LONG = { "--request": "X", "--header": "H", "--data": "d", "--data-raw": "d", "--data-binary": "d", "--data-ascii": "d", "--cookie": "b", "--user": "u", "--url": "url", "--json": "json" };
const isUrl = (word) => /^https?:\/\//i.test(word ?? "");

/** The options of a command as [name, value], and its other words as ["url", word]. */
function* curlOptions(words) {
  while (words.length) {
    const word = words.shift();
    if (!word.startsWith("-") || word === "-") yield ["url", word];
    else if (word.startsWith("--")) {
      const known = Object.hasOwn(LONG, word) || URL_AS_VALUE.test(word);
      // Why not a URL: behind an option that is not known here, it is more likely the one that is wanted.
      const takes = known || (!NO_VALUE.test(word) && words.length && !words[0].startsWith("-") && !isUrl(words[0]));
      const value = takes ? (words.shift() ?? "") : "";
      if (Object.hasOwn(LONG, word)) yield [LONG[word], value];
    } else {
      const at = [...word].findIndex((letter, n) => n > 0 && WITH_VALUE.has(letter));
      if (at > 0) yield [word[at], word.slice(at + 1) || (words.shift() ?? "")];
    }
  }
}

/** Read a command of cURL: method, URL, headers as pairs, body; null if it is none. */
export function readCurl(text) {
  const words = shellWords(text.trim());
  if (words.shift() !== "curl") return null;
  const found = { method: "", url: "", headers: [], body: "" };
  for (const [name, value] of curlOptions(words)) {
    if (name === "url") found.url ||= value;
    else if (name === "X") found.method = value;
    else if (name === "H") {
      const [, header, said = ""] = /^([^:;]+)(?:;|:\s*(.*))$/s.exec(value) ?? [];
      if (header) found.headers.push([header.trim(), said]);
    } else if (name === "b" && value.includes("=")) found.headers.push(["Cookie", value]);
    else if (name === "d" || name === "json") {
      found.body = found.body ? `${found.body}&${value}` : value;
      if (name === "json") found.headers.push(["Content-Type", "application/json"]);
    }
  }
  found.method ||= found.body ? "POST" : "GET";
  return found.url ? found : null;
}
