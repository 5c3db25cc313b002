// One request, written in many ways; and a command of cURL read back into one.

import { BASE } from "./api.js";

const quote = (text) => `'${text.replace(/'/g, `'\\''`)}'`;

/** A request as a command. `headers` are pairs. */
export function curlOf({ method, url, headers, body }) {
  const lines = [`curl -X ${method} ${quote(url)}`, ...headers.map(([name, value]) => `-H ${/^\$|\$QSTASH_TOKEN/.test(value) ? `"${name}: ${value}"` : quote(`${name}: ${value}`)}`)];
  if (body) lines.push(`--data-raw ${quote(body)}`);
  return lines.join(" \\\n  ");
}

/**
 * What the builder sends, as a request to this server.
 * @param {object} draft As screens/builder.js has it.
 */
export function requestOf(draft) {
  const paths = { publish: `v2/publish/${draft.target}`, enqueue: `v2/enqueue/${encodeURIComponent(draft.queue || "queue")}/${draft.target}`, schedule: `v2/schedules/${draft.target}` };
  return { method: "POST", path: paths[draft.kind], headers: headersOf(draft), body: draft.body };
}

/** The headers that a draft becomes, in the order of the form. */
export function headersOf(draft) {
  const pairs = [
    ["Content-Type", draft.contentType && draft.body ? draft.contentType : ""],
    ["Upstash-Method", draft.method === "POST" ? "" : draft.method],
    ["Upstash-Cron", draft.kind === "schedule" ? cronOf(draft) : ""],
    ["Upstash-Schedule-Id", draft.kind === "schedule" ? draft.scheduleId : ""],
    ["Upstash-Delay", draft.delay],
    ["Upstash-Retries", draft.retries],
    ["Upstash-Retry-Delay", draft.retryDelay],
    ["Upstash-Timeout", draft.timeout],
    ["Upstash-Flow-Control-Key", draft.flowKey],
    ["Upstash-Flow-Control-Value", draft.flowKey ? draft.flowValue : ""],
    ["Lateron-Order-Key", draft.orderKey],
    ["Upstash-Deduplication-Id", draft.dedupId],
    ["Upstash-Label", draft.label],
    ["Upstash-Callback", draft.callback],
    ["Upstash-Failure-Callback", draft.failureCallback],
    ["Upstash-Redact-Fields", draft.redact],
    ...draft.forward.map(([name, value]) => [name && `Upstash-Forward-${name}`, value]),
  ];
  return pairs.filter(([name, value]) => name && value?.trim());
}

export const cronOf = ({ cron, zone }) => (zone && zone !== "UTC" && !cron.startsWith("CRON_TZ=") ? `CRON_TZ=${zone} ${cron}` : cron);

const home = () => location.origin + BASE.replace(/\/$/, "");

/** The snippets by language. */
export const LANGUAGES = {
  cURL: (draft) => {
    const { method, path, headers, body } = requestOf(draft);
    return curlOf({ method, url: `${home()}/${path}`, headers: [["Authorization", "Bearer $QSTASH_TOKEN"], ...headers], body });
  },
  Python: python,
  TypeScript: typescript,
  CLI: cli,
};

const py = (text) => JSON.stringify(text);

function python(draft) {
  const { path, headers, body } = requestOf(draft);
  const lines = headers.map(([name, value]) => `        ${py(name)}: ${py(value)},`);
  return `import os
import urllib.request

request = urllib.request.Request(
    os.environ.get("QSTASH_URL", ${py(home())}) + ${py(`/${path}`)},
    method="POST",
    headers={
        "Authorization": f"Bearer {os.environ['QSTASH_TOKEN']}",
${lines.join("\n")}${lines.length ? "\n" : ""}    },
    data=${body ? `${py(body)}.encode()` : "None"},
)
with urllib.request.urlopen(request) as answer:
    print(answer.read().decode())
`;
}

function typescript(draft) {
  const { path, headers, body } = requestOf(draft);
  const lines = headers.map(([name, value]) => `    ${py(name)}: ${py(value)},`);
  return `const answer = await fetch(\`\${process.env.QSTASH_URL ?? ${py(home())}}${`/${path}`.replace(/[`$\\]/g, "\\$&")}\`, {
  method: "POST",
  headers: {
    Authorization: \`Bearer \${process.env.QSTASH_TOKEN}\`,
${lines.join("\n")}${lines.length ? "\n" : ""}  },${body ? `\n  body: ${py(body)},` : ""}
});
console.log(await answer.text());
`;
}

const FLAGS = { "Content-Type": "--type", "Upstash-Method": "--method", "Upstash-Delay": "--delay", "Upstash-Retries": "--retries", "Upstash-Retry-Delay": "--retry-delay", "Upstash-Timeout": "--timeout", "Upstash-Label": "--label", "Upstash-Callback": "--callback", "Upstash-Failure-Callback": "--failure-callback", "Upstash-Redact-Fields": "--redact", "Upstash-Deduplication-Id": "--dedup", "Upstash-Flow-Control-Key": "--flow-key", "Lateron-Order-Key": "--order-key" };

function cli(draft) {
  const { headers, body } = requestOf(draft);
  const lines = [draft.kind === "enqueue" ? `lateron enqueue ${quote(draft.queue || "queue")} ${quote(draft.target)}` : `lateron publish ${quote(draft.target)}`];
  for (const [name, value] of headers) {
    if (FLAGS[name]) lines.push(`${FLAGS[name]} ${quote(value)}`);
    else if (name.startsWith("Upstash-Forward-")) lines.push(`--header ${quote(`${name.slice(16)}: ${value}`)}`);
    else lines.push(`--option ${quote(`${name.replace(/^Upstash-/, "")}: ${value}`)}`);
  }
  if (body) lines.push(`--body ${quote(body)}`);
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

/** Read a command of cURL: method, URL, headers as pairs, body; null if it is none. */
export function readCurl(text) {
  const words = shellWords(text.trim());
  if (words.shift() !== "curl") return null;
  const found = { method: "", url: "", headers: [], body: "" };
  while (words.length) {
    const word = words.shift();
    if (word === "-X" || word === "--request") found.method = words.shift() ?? "";
    else if (word === "-H" || word === "--header") {
      const [, name, value] = /^([^:]+):\s*(.*)$/s.exec(words.shift() ?? "") ?? [];
      if (name) found.headers.push([name.trim(), value]);
    } else if (/^(-d|--data|--data-raw|--data-binary|--json)$/.test(word)) {
      found.body = words.shift() ?? "";
      if (word === "--json") found.headers.push(["Content-Type", "application/json"]);
    } else if (!word.startsWith("-")) found.url ||= word;
    else if (/^(-u|--user|-A|-o|-m|--max-time|-w)$/.test(word)) words.shift();
  }
  found.method ||= found.body ? "POST" : "GET";
  return found.url ? found : null;
}
