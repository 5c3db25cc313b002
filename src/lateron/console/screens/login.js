// Signing in with a token; what stays in the browser is a cookie that scripts cannot read.

import { signIn } from "../api.js";
import { Mark } from "../icons.js";
import { html, useState } from "../lib.js";
import { Field } from "../ui.js";

export default function Login() {
  const [secret, setSecret] = useState("");
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await signIn({ token: secret });
    } catch (problem) {
      setError(problem.status === 401 ? "This token is not known here." : problem.message);
    }
  };
  return html`<main class="login"><form class="card pad" onSubmit=${submit}>
    <div class="login-head"><${Mark} /><h1>Sign in to Lateron</h1></div>
    <${Field} label="Token" error=${error} hint="A token of this server. One that may only read opens a console that may only read.">
      <input type="password" required autocomplete="current-password" value=${secret} onInput=${(e) => setSecret(e.target.value)} />
    <//>
    ${location.protocol === "http:" && !/^(localhost|127\.|\[::1\])/.test(location.hostname) && html`<p class="hint wrong-text">This page came over plain HTTP. Whoever is on the way can read what you type; use HTTPS.</p>`}
    <button class="button primary" type="submit">Sign in</button>
  </form></main>`;
}
