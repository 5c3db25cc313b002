// Signatures as the server makes them and as receivers check them: a JSON web token over URL and body.

const encoder = new TextEncoder();
const LIFETIME_S = 300;

export const canSign = () => Boolean(globalThis.crypto?.subtle);

const base64url = (raw) => btoa(String.fromCharCode(...new Uint8Array(raw))).replace(/\+/g, "-").replace(/\//g, "_");
const bare = (text) => text.replace(/=+$/, "");
const textOf = (part) => new TextDecoder().decode(Uint8Array.from(atob(part.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0)));

async function mac(key, text) {
  const imported = await crypto.subtle.importKey("raw", encoder.encode(key), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return bare(base64url(await crypto.subtle.sign("HMAC", imported, encoder.encode(text))));
}

const hash = async (body) => base64url(await crypto.subtle.digest("SHA-256", typeof body === "string" ? encoder.encode(body) : body));

/** The signature of a request to `url` with this body, text or bytes; good for five minutes. */
export async function sign(key, url, body, nowMs = Date.now()) {
  const iat = Math.floor(nowMs / 1_000);
  const claims = { iss: "Upstash", sub: url, exp: iat + LIFETIME_S, nbf: iat - LIFETIME_S, iat, jti: `jwt_${crypto.randomUUID()}`, body: await hash(body) };
  const parts = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => bare(base64url(encoder.encode(JSON.stringify(part)))));
  return `${parts.join(".")}.${await mac(key, parts.join("."))}`;
}

const isMoment = (seconds) => typeof seconds === "number" && Math.abs(seconds) <= 8.64e12;

/** The claims of a token, unchecked; null if it is none. */
export function claimsOf(token) {
  try {
    const [, claims] = token.trim().split(".");
    const found = JSON.parse(textOf(claims));
    return typeof found === "object" ? found : null;
  } catch {
    return null;
  }
}

/**
 * Check a token claim by claim.
 * @returns {Promise<{ok: boolean, name: string, text: string}[]>}
 */
export async function check({ token, keys, url, body, nowMs = Date.now() }) {
  const claims = claimsOf(token);
  const parts = token.trim().split(".");
  if (!claims || parts.length !== 3) return [{ ok: false, name: "Form", text: "This is no JSON web token: expected three parts with dots between them." }];
  const now = nowMs / 1_000;
  const made = await Promise.all(keys.map((key) => mac(key, parts.slice(0, 2).join("."))));
  const by = made.indexOf(bare(parts[2]));
  const wanted = bare(await hash(body));
  const given = bare(String(claims.body ?? ""));
  return [
    { ok: by >= 0, name: "Key", text: by >= 0 ? `Made with the ${["current", "next"][by]} key.` : "Made with neither the current nor the next key of this server." },
    { ok: claims.iss === "Upstash", name: "Issuer", text: `iss is ${claims.iss}.` },
    { ok: claims.sub === url, name: "URL", text: claims.sub === url ? `sub is ${claims.sub}.` : `sub is ${claims.sub}, not ${url || "given"}. Behind a proxy, compare with the public URL.` },
    !isMoment(claims.exp) ? { ok: false, name: "Expiry", text: `exp is ${claims.exp ?? "missing"}, not a time in seconds.` } : { ok: now < claims.exp, name: "Expiry", text: now < claims.exp ? `Good until ${new Date(claims.exp * 1_000).toISOString()}.` : `Ended ${Math.round(now - claims.exp)} s ago, at ${new Date(claims.exp * 1_000).toISOString()}.` },
    !isMoment(claims.nbf) ? { ok: false, name: "Not before", text: `nbf is ${claims.nbf ?? "missing"}, not a time in seconds.` } : { ok: now >= claims.nbf, name: "Not before", text: `Good from ${new Date(claims.nbf * 1_000).toISOString()}.` },
    { ok: given === wanted, name: "Body", text: given === wanted ? "The hash is that of this body." : `The hash is ${claims.body}; this body has ${wanted}. It must be the raw bytes, not parsed and written again.` },
  ];
}
