// Signing in: with the password of the console, or with a token.

import { signIn } from "../api.js";
import { Mark } from "../icons.js";
import { html, useState } from "../lib.js";
import { Field, Segments } from "../ui.js";

export default function Login() {
  const [kind, setKind] = useState("token");
  const [secret, setSecret] = useState("");
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await signIn({ [kind]: secret });
    } catch (problem) {
      setError(problem.status === 401 ? `This ${kind} is not known here.` : problem.message);
    }
  };
  return html`<main class="login"><form class="card pad" onSubmit=${submit}>
    <div class="login-head"><${Mark} /><h1>Sign in to Lateron</h1></div>
    <${Segments} label="Sign in with" options=${[["token", "Token"], ["password", "Password"]]} value=${kind} pick=${(value) => (setKind(value), setError(null))} />
    <${Field} label=${kind === "token" ? "Token" : "Password"} error=${error} hint=${kind === "token" ? "A token of this server; one that may only read opens a console that may only read." : "The password the operator has set for the console."}>
      <input type="password" required autocomplete="current-password" value=${secret} onInput=${(e) => setSecret(e.target.value)} />
    <//>
    ${location.protocol === "http:" && !/^(localhost|127\.|\[::1\])/.test(location.hostname) && html`<p class="hint wrong-text">This page came over plain HTTP. Whoever is on the way can read what you type; use HTTPS.</p>`}
    <button class="button primary" type="submit">Sign in</button>
  </form></main>`;
}
