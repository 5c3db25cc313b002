// Signing in with a password, a token or by a provider; what stays in the browser is a cookie that scripts cannot read.

import { provider, signIn, signInElsewhere } from "../api.js";
import { Mark } from "../icons.js";
import { html, useEffect, useRef, useState } from "../lib.js";
import { setQuery } from "../router.js";
import { Field } from "../ui.js";

export default function Login({ query }) {
  return html`<main class="login"><div class="card pad">
    <div class="login-head"><${Mark} /><h1>Sign in to Lateron</h1></div>
    <${ByProvider} came=${query.login} />
    <${ByPassword} />
    <p class="login-or">or</p>
    <${ByToken} />
    ${location.protocol === "http:" && !/^(localhost|127\.|\[::1\])/.test(location.hostname) && html`<p class="hint wrong-text">This page came over plain HTTP. Whoever is on the way can read what you type; use HTTPS.</p>`}
  </div></main>`;
}

/** Sends a form with name and password, or a token; `wrong` is what 401 means in it. */
const useSignIn = (given, wrong) => useSend(() => signIn(given()), wrong);

/** Sends a form; returns what it says of itself. */
function useSend(send, wrong) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError(null); // Else the same words a second time would not be read out.
    try {
      await send();
    } catch (problem) {
      setError(problem.status === 401 ? wrong : sentence(problem.message));
    } finally {
      setBusy(false); // He may come back from the provider by the browser's own button.
    }
  };
  return { error, busy, submit };
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1).replaceAll("; ", ". ")}${text.endsWith(".") ? "" : "."}`;

function ByProvider({ came }) {
  const [found, setFound] = useState({});
  const { error, busy, submit } = useSend(signInElsewhere);
  useEffect(() => {
    if (came) setQuery({}); // Why somebody was not let in is said once.
    provider(came).then(setFound, () => {}); // Without an answer the other ways are there.
  }, []);
  if (!found.name) return null;
  return html`<form onSubmit=${submit}>
    <${Problem} text=${error ?? found.why} />
    <button class="button primary" type="submit" aria-busy=${busy}>Sign in with ${found.name}</button>
  </form>
  <p class="login-or">or</p>`;
}

function ByPassword() {
  const name = useRef(null);
  const password = useRef(null);
  const { error, busy, submit } = useSignIn(() => ({ name: name.current.value.trim(), password: password.current.value }), "The name or the password is wrong.");
  return html`<form onSubmit=${submit}>
    <${Field} label="Name"><input ref=${name} required autocomplete="username" autocapitalize="none" spellcheck="false" /><//>
    <${Field} label="Password"><input ref=${password} type="password" required autocomplete="current-password" /><//>
    <${Problem} text=${error} />
    <button class="button primary" type="submit" aria-busy=${busy}>Sign in</button>
  </form>`;
}

function ByToken() {
  const token = useRef(null);
  const { error, busy, submit } = useSignIn(() => ({ token: token.current.value }), "This token is not known here.");
  return html`<form onSubmit=${submit}>
    <${Field} label="Token" hint="Of this server. One that may only read opens a console that may only read.">
      <input ref=${token} type="password" required autocomplete="off" />
    <//>
    <${Problem} text=${error} />
    <button class="button" type="submit" aria-busy=${busy}>Sign in with the token</button>
  </form>`;
}

/** What went wrong, read out as it appears; the element is there before its text is. */
const Problem = ({ text }) => html`<p class="hint wrong-text" role="alert">${text}</p>`;
