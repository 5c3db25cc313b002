/**
 * The rules of QStash's AWS Lambda quick start for Node, in our own code, on node:crypto alone.
 *
 * The signature is unpadded base64url; `sub` must be the URL, character for character; the hash is compared
 * without padding; a request without a body is not hashed.
 */

import { createHash, createHmac } from "node:crypto";

const insist = (condition, what) => {
  if (!condition) throw new Error(what);
};

export function verifyAsLambdaInNode(token, key, body, url) {
  const parts = token.split(".");
  insist(parts.length === 3, "form");
  const [header, payload, signature] = parts;
  const mac = createHmac("sha256", key).update(`${header}.${payload}`).digest("base64url");
  insist(signature === mac, "signature");
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString());
  insist(claims.iss === "Upstash", "issuer");
  insist(claims.sub === url, "subject");
  const now = Math.floor(Date.now() / 1000);
  insist(now <= claims.exp, "expiry");
  insist(now >= claims.nbf, "not before");
  if (body !== null) {
    insist(claims.body.replace(/=+$/, "") === createHash("sha256").update(body).digest("base64url"), "body");
  }
}
