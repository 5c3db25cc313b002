// What the states and reasons of the API mean, in one place: words, tones, and the sentence that says why.

import { plural, relative } from "./format.js";

/** Tone (a colour), icon and word of each state; the word is always shown, so colour is never alone. */
export const STATES = {
  CREATED: { tone: "wait", icon: "clock", word: "Waiting" },
  WAITING: { tone: "wait", icon: "clock", word: "Waiting" },
  HELD: { tone: "wait", icon: "clock", word: "Waiting" },
  IN_PROGRESS: { tone: "active", icon: "play", word: "Delivering" },
  ACTIVE: { tone: "active", icon: "play", word: "Delivering" },
  RETRY: { tone: "retry", icon: "loop", word: "Retrying" },
  ERROR: { tone: "retry", icon: "warn", word: "Attempt failed" },
  DELIVERED: { tone: "good", icon: "check", word: "Delivered" },
  FAILED: { tone: "bad", icon: "cross", word: "Failed" },
  CANCELED: { tone: "off", icon: "stop", word: "Cancelled" },
  CANCEL_REQUESTED: { tone: "off", icon: "stop", word: "Cancelling" },
};

export const FINAL = new Set(["DELIVERED", "FAILED", "CANCELED"]);

/** Why a message has not gone out yet: one sentence, and where to look. */
export function why(message, now) {
  const until = message.waitingUntil ?? message.nextDeliveryTime;
  const when = until ? ` ${until > now ? `Goes out ${relative(until, now)}.` : "Goes out as soon as there is room."}` : "";
  const holder = message.heldBy;
  const place = line(message);
  switch (message.waitingFor) {
    case "delay":
      return { text: `It was published to go out later.${when}` };
    case "retry":
      return { text: `Attempt ${(message.retried ?? 0) + 1} failed and the next one is scheduled.${when}` };
    case "queue_head":
      return { text: `It stands in line in queue ${holder ?? message.queueName}${place}, behind a message that is not done.`, link: `queues?name=${encodeURIComponent(holder ?? message.queueName)}` };
    case "queue_paused":
      return { text: `Queue ${holder} is paused${place}. It goes out after somebody resumes the queue.`, link: `queues?name=${encodeURIComponent(holder)}`, blocked: true };
    case "flow_paused":
      return { text: `Flow key ${holder} is paused${place}. It goes out after somebody resumes the key.`, link: `flow?search=${encodeURIComponent(holder)}`, blocked: true };
    case "flow_parallelism":
      return { text: `Flow key ${holder} has as many deliveries open as its limit allows${place}.`, link: `flow?search=${encodeURIComponent(holder)}` };
    case "flow_rate":
      return { text: `Flow key ${holder} has used up its rate for this period${place}.${until ? ` Its turn comes ${relative(until, now)}.` : ""}`, link: `flow?search=${encodeURIComponent(holder)}` };
    case "host_paused":
      return { text: `Destination ${holder} is paused${place}.`, link: "destinations", blocked: true };
    case "host_cap":
      return { text: `Destination ${holder} has as many deliveries open as one host may have${place}.`, link: "destinations" };
    case "server_paused":
      return { text: "All delivery is paused on this server. Publishing goes on.", link: "settings", blocked: true };
    case "global_parallelism":
      return { text: "The server has as many deliveries open as it may have. It is next when one ends." };
    case "user_parallelism":
      return { text: "Your user has as many deliveries open as its share allows. It is next when one ends." };
    case "set_apart":
      return { text: "The server has died several times while it was being delivered. It is attempted alone, before anything else goes out." };
    case "callback_of":
      return { text: `It is the callback of ${holder} and waits for its slot.`, link: `messages/${holder}` };
    case "node":
      return { text: "It is due and waits for a free place on the server; usually only a moment." };
    default:
      return ended(message, when, now);
  }
}

function line(message) {
  if (!message.placeInLine) return "";
  const ahead = message.placeInLine - 1;
  if (ahead === 0) return " (it is the next in line)";
  return message.placeInLineIsAtLeast ? ` (at least ${ahead} ahead of it)` : ` (${ahead} ahead of it)`;
}

function ended(message, when, now) {
  const attempts = message.attempts ?? [];
  const last = attempts.at(-1);
  const tries = attempts.length ? ` after ${plural(attempts.length, "attempt")}` : "";
  switch (message.state) {
    case "DELIVERED":
      return { text: `The destination answered ${last?.responseStatus ?? "2xx"}${tries}${last ? `, ${relative(last.endedAt, now)}` : ""}.` };
    case "FAILED":
      return { text: `It failed${tries}: ${last?.error ?? "no attempt is left"}. It rests among the dead letters.`, link: "dead", blocked: true };
    case "CANCELED":
      return { text: `It was cancelled${tries}. Nothing more will be sent.` };
    case "CANCEL_REQUESTED":
      return { text: "It is being cancelled; an attempt under way is allowed to end." };
    case "ACTIVE":
      return { text: last ? "An attempt is under way now." : `The first attempt is under way.` };
    default:
      return { text: `It waits for its time.${when}` };
  }
}

/** Where a message comes from: queue, schedule, group, callback, replay. */
export function relations(message) {
  const found = [];
  if (message.queueName) found.push({ kind: "queue", name: message.queueName, link: `queues?name=${encodeURIComponent(message.queueName)}` });
  if (message.scheduleId) found.push({ kind: "schedule", name: message.scheduleId, link: `schedules?name=${encodeURIComponent(message.scheduleId)}` });
  if (message.topicName) found.push({ kind: "group", name: message.endpointName ? `${message.topicName}/${message.endpointName}` : message.topicName, link: "groups" });
  if (message.flowControlKey) found.push({ kind: "flow", name: message.flowControlKey, link: `flow?search=${encodeURIComponent(message.flowControlKey)}` });
  if (message.kind && message.parentMessageId) {
    const said = { callback: "callback of", failureCallback: "failure callback of", redrive: "replay of" };
    found.push({ kind: said[message.kind] ?? message.kind, name: `…${message.parentMessageId.slice(-4)}`, link: `messages/${message.parentMessageId}` });
  }
  return found;
}

/** What an error is about, without the parts that differ each time: the key that dead letters are grouped by. */
export function signature(letter) {
  const said = letter.responseStatus ? "" : (letter.error ?? "no answer");
  const plain = said.replace(/\s*\([^)]*\)/g, "").replace(/https?:\/\/\S+/g, "URL").replace(/\b[0-9a-f]{8,}\b/gi, "#").replace(/\d+(\.\d+)?/g, "#");
  return letter.responseStatus ? `answered ${letter.responseStatus}` : plain.slice(0, 120);
}



/** The waits before each retry, as the server makes them where nobody asks for others. */
export function backoff(retries) {
  return Array.from({ length: retries }, (_, at) => Math.min(Math.floor(Math.exp(2.5 * Math.min(at + 1, 5))), 86_400) * 1_000);
}
