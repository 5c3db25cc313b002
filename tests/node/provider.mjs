// A provider of OpenID Connect, certified and of others, for the console of a server that CALLBACK names.
//
// Whoever comes may call himself what he likes; his password is not looked at. `ops` has an address that was verified,
// `stranger` one that was not, and everybody else is a viewer. Its address is the first line that it prints.

import { createServer } from "node:http";
import Provider from "oidc-provider";

const server = createServer();

server.listen(0, "127.0.0.1", () => {
  const issuer = `http://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "lateron",
        client_secret: process.env.CLIENT_SECRET,
        redirect_uris: [process.env.CALLBACK],
        grant_types: ["authorization_code"],
        response_types: ["code"],
      },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
    findAccount: (_, accountId) => ({ accountId, claims: () => claimsOf(accountId) }),
    pkce: { required: () => true },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});

function claimsOf(sub) {
  if (sub === "ops" || sub === "stranger") return { sub, email: `ops@example.org`, email_verified: sub === "ops" };
  return { sub, groups: ["viewers"] };
}
