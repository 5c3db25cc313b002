"""The door of the console: its pages, and logging in.

The console is a client of the public API like any other. What it has beside a token is a session, because a
browser cannot keep a token from scripts, and can keep a cookie. A request is taken for a session's when it has no
token of its own, and when nothing about it says that another site made it::

    cookie of an open session + Host that is ours + not cross-site        -> who that session is
    and for a change also: Lateron-Csrf with the session's second secret  -> else 403

``lateron dev`` asks nobody who comes by the name of this machine to log in: its tokens are public anyway. That is
why the name matters (``Host``): a page of another site can give its own name our address, but cannot ask for
``localhost`` then. Cookies are given out only where nobody on the way can read them.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

import msgspec

from lateron.api.audit import note_login
from lateron.api.auth import OPERATOR, Failures, Proxies
from lateron.api.call import Answer, Call, RawHeaders, Send, answer_to, json_answer, refusal
from lateron.api.openid import LASTS, WORDS, OpenId
from lateron.api.pages import STRICT, Page, is_same, packed, page_at, takes_gzip
from lateron.api.passwords import Passwords
from lateron.api.ports import ConsoleSettings, Ports
from lateron.api.sessions import OLDEST, Entry, Session, shows
from lateron.broker.resources import Identity
from lateron.core.token import Access, may, token_hash
from lateron.core.values import SECOND
from lateron.errors import Forbidden, LateronError, LoginRefused
from lateron.telemetry import Log

log = Log("lateron.api")

ROOT: Final = b"/console"
SAFE: Final = frozenset(("GET", "HEAD"))
CSRF: Final = b"lateron-csrf"
_SESSION: Final = b"/console/api/session"
_OPENID: Final = b"/console/api/oidc"
_BACK: Final = _OPENID + b"/callback"
_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_LOGIN_BYTES: Final = 16_384  # The longest password, each character written as two escapes, and a name.
_INSECURE: Final = (
    "this connection is plain HTTP, on which anybody on the way can read a token or a password: serve HTTPS "
    "(--tls-cert, --tls-key), put a proxy with TLS before the server and name it in --trusted-proxy, or come through a "
    "tunnel to localhost"
)


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a login: a token, or a name and a password."""

    token: str | None = None
    name: str | None = None
    password: str | None = None

    def __post_init__(self) -> None:
        """Refuse any other pair."""
        if (self.token is None) == (self.name is None) or (self.name is None) != (self.password is None):
            raise ValueError("neither the one nor the other")

    def __repr__(self) -> str:
        """Tell no secret."""
        return "Login()"


class Cookie(msgspec.Struct, frozen=True):
    """A kind of cookie."""

    ending: str  # Of its name.
    same_site: str


OPEN: Final = Cookie("", "Strict")  # A session.
OPENID: Final = Cookie("-oidc", "Lax")  # A login that is away; who comes back comes from another site.


class Console:
    """Answers what is below ``/console``, and knows who a session speaks for."""

    def __init__(self, ports: Ports, settings: ConsoleSettings, proxies: Proxies, failures: Failures) -> None:
        self._ports = ports
        self._settings = settings
        self._proxies = proxies
        self._failures = failures
        self._sessions = ports.sessions
        self._passwords = Passwords(ports.hashing, ports.resources, ports.writer, ports.clock)

    async def serve(self, call: Call, send: Send) -> None:
        """Answer one request."""
        call.caller_ip = self._proxies.caller(call.peer, call.forwarded_for)
        if not self._is_host(_host(call)):
            await call.send(send, refusal(403, self._wrong_host(_host(call))))
        elif call.path == _SESSION:
            await call.send(send, await self._answered(call, self._session))
        elif self._ports.openid is not None and call.path == _BACK and call.method == "GET":
            await self._come_back(call, send, self._ports.openid)
        elif call.path == _OPENID:
            await call.send(send, await self._answered(call, self._leave))
        elif call.path.startswith(b"/console/api/"):
            await call.send(send, refusal(404, "no such path"))
        elif call.method not in SAFE:
            allowed = ((b"allow", b"GET, HEAD"),)
            await call.send(send, refusal(405, f"{call.method} is not allowed here; allowed: GET, HEAD", allowed))
        elif (place := _place(call)) is not None:
            await _send_raw(call, send, 308, ((b"location", place),), b"")
        else:
            page = page_at(self._settings.pages, call.path[len(ROOT) + 1 :].decode("latin-1"))
            await (call.send(send, refusal(404, "no such page")) if page is None else _send_page(call, send, page))

    def identity(self, call: Call) -> Identity | None:
        """Return who the session of a request speaks for; None if it has none.

        Raises:
            Forbidden: Another site made the request, or it is a change and does not show that it comes from our pages.
        """
        number, session = self._cookie(call), self._found(call)
        if session is None or not self._is_host(_host(call)):
            return None
        self._refuse_others(call, session)
        call.session = number
        # They were for us: one is no option of a publish, the other no header to forward.
        call.headers = [pair for pair in call.headers if pair[0] not in {CSRF, b"cookie"}]
        return session.identity

    def is_still(self, call: Call, who: Identity) -> bool:
        """Whether the session of a request that goes on for long is open; that it goes on is no use of it."""
        return call.session is not None and self._sessions.peek(call.session) == who

    def _found(self, call: Call) -> Session | None:
        number = self._cookie(call)
        return None if number is None else self._sessions.find(number)

    async def _answered(self, call: Call, handler: Callable[[Call], Awaitable[Answer]]) -> Answer:
        try:
            return await handler(call)
        except LateronError as error:
            return answer_to(error)

    async def _session(self, call: Call) -> Answer:
        """Say who is logged in, log somebody in, or log him out."""
        if call.method in SAFE:
            return self._show(call)
        if call.method == "POST":
            return await self._log_in(call)
        if call.method == "DELETE":
            return await self._log_out(call)
        return refusal(405, f"{call.method} is not allowed here", ((b"allow", b"DELETE, GET, POST"),))

    def _show(self, call: Call) -> Answer:
        session = self._found(call)
        if session is not None:
            return self._answer(call, session)
        guest = self._settings.guest
        if guest is not None and _is_local(_host(call)) and not _is_foreign(call):
            begun = self._begun(call, self._by_token(guest))
            if begun is not None:
                return begun[0]
        return refusal(401, "nobody is logged in" if self._is_private(call) else _INSECURE)

    async def _log_in(self, call: Call) -> Answer:
        if _is_foreign(call):
            return refusal(403, "a login comes from the console's own page")
        if not self._is_private(call):
            return refusal(403, _INSECURE)
        if not _header(call, b"content-type").lower().startswith(b"application/json"):
            return refusal(400, "Content-Type: expected application/json")
        try:
            given = msgspec.json.decode(await call.small_body(_LOGIN_BYTES), type=Login)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return refusal(400, 'expected {"token": "..."} or {"name": "...", "password": "..."}')
        entry = await self._entry(call, given)
        begun = None if entry is None else self._begun(call, entry)
        if begun is not None:
            answer, who = begun
            await note_login(self._ports, call, who, "login")
            return answer
        log.warning("login failed", caller=call.caller_ip)
        await self._note_failure(call, self._known(given))
        return refusal(401, "this is not a valid token" if given.token is not None else "wrong name or password")

    async def _note_failure(self, call: Call, tried: str) -> None:
        """Count a login that failed, slow down who fails again and again, and note the others."""
        if self._failures.slow_down(call.caller_ip):
            await self._ports.pause()  # Why no record: who guesses must not fill the log; the first ones are in it.
        elif self._failures.are_noted():
            await note_login(self._ports, call, None, "login.failed", 401, tried)

    async def _entry(self, call: Call, given: Login) -> Entry | None:
        """Return by what a new session is opened; None if the password is wrong."""
        if given.name is None or given.password is None:
            assert given.token is not None, "a login has the one or the other"
            return self._by_token(given.token.encode())
        proof = await self._passwords.proof(given.name, given.password, call.caller_ip)
        return None if proof is None else Entry("password", partial(self._ports.resources.identify, proof), proof)

    def _by_token(self, token: bytes) -> Entry:
        return Entry("token", partial(self._ports.authenticate, token), token_hash(token))

    def _known(self, given: Login) -> str:
        """Return the name that somebody tried, if it is one; else it may be a password in the wrong field."""
        user = None if given.name is None else self._ports.resources.users.named(given.name)
        return "" if user is None else user.name

    def _begun(self, call: Call, entry: Entry) -> tuple[Answer, Identity] | None:
        """Open a session under a new number, if it is anybody's; whatever one was open before is closed."""
        old = self._cookie(call)
        if old is not None:
            self._sessions.end(old)
        begun = self._sessions.begin(entry)
        if begun is None:
            return None
        number, session = begun
        who = session.identity
        log.info("logged in", user=who.user, by=who.name, scope=who.scope, caller=call.caller_ip)
        return self._answer(call, session, (self._set_cookie(call, number, OLDEST // SECOND),)), who

    async def _leave(self, call: Call) -> Answer:
        """Say by which provider one may log in, or send a browser there."""
        openid = self._ports.openid
        if call.method in SAFE:
            word = call.query.removeprefix(b"login=").decode("latin-1")
            return json_answer({"name": None if openid is None else openid.name, "why": WORDS.get(word)})
        if call.method != "POST":
            return refusal(405, f"{call.method} is not allowed here", ((b"allow", b"GET, POST"),))
        if openid is None:
            return refusal(404, "no such path")
        if _is_foreign(call):
            return refusal(403, "a login comes from the console's own page")
        if not self._is_private(call):
            return refusal(403, _INSECURE)
        redirect = self._redirect(call)
        if redirect is None:
            return refusal(403, "this login comes back to a name of --console-host, so open the console by that name")
        try:
            begun = await openid.begin(redirect, self._cookie(call), call.caller_ip)
        except LoginRefused:
            return refusal(503, "the provider cannot be used now, and the log of this server says why")
        cookie = self._set_cookie(call, begun.cookie, LASTS // SECOND, OPENID)
        return json_answer({"location": begun.place}, headers=(cookie,))

    async def _come_back(self, call: Call, send: Send, openid: OpenId) -> None:
        """Let in who comes back from a provider, and lead him to the console, or to the page that says why not.

        The browser comes from another site, so it has no session to show, and is asked for none: what shows that the
        login was begun here, and by whom, is the state and its cookie.
        """
        headers = [(b"cache-control", b"no-store")]
        try:
            headers += [self._set_cookie(call, "", 0, OPENID), await self._let_in(call, openid)]
            place = b"../../"
        except LoginRefused as error:
            log.warning("login failed", caller=call.caller_ip, by="OpenID Connect", reason=str(error))
            place = b"../../?login=" + error.word.encode()
            with suppress(LateronError):
                await self._note_failure(call, error.person or "oidc")
        except LateronError as error:
            log.warning("login failed", caller=call.caller_ip, by="OpenID Connect", reason=str(error))
            place = b"../../?login=busy"
        await _send_raw(call, send, 303, (*headers, (b"location", place)), b"")

    async def _let_in(self, call: Call, openid: OpenId) -> tuple[bytes, bytes]:
        """Open a session for who comes back; return its cookie.

        Raises:
            LateronError: He is not let in, or this cannot be noted.
        """
        if not self._is_private(call):
            raise LoginRefused("late", "it comes back over plain HTTP")
        visitor = await openid.finish(call.query, self._cookie(call, OPENID))
        who = self._ports.resources.visitor(OPERATOR, visitor.person, visitor.scope)
        await note_login(self._ports, call, who, "login")
        if visitor.left is not None:
            self._sessions.end(visitor.left)
        begun = self._begun(call, Entry("provider", lambda: who))
        assert begun is not None, "it is somebody's"
        (cookie,) = begun[0].headers
        return cookie

    def _redirect(self, call: Call) -> str | None:
        """Return where a provider shall send a browser back to; None if nobody has said that we are called so."""
        authority, host = _header(call, b"host").decode("latin-1").lower(), _host(call)
        if not _AUTHORITY.fullmatch(authority) or not (_is_local(host) or host.lower() in self._settings.hosts):
            return None
        scheme = "https" if self._is_https(call) else "http"
        return f"{scheme}://{authority}{self._base(call).rstrip('/')}{_BACK.decode()}"

    async def _log_out(self, call: Call) -> Answer:
        number = self._cookie(call)
        session = self._found(call)
        if number is None or session is None:
            return refusal(401, "nobody is logged in")
        self._refuse_others(call, session)
        self._sessions.end(number)
        await note_login(self._ports, call, session.identity, "logout")
        log.info("logged out", user=session.identity.user, caller=call.caller_ip)
        return json_answer({"loggedOut": True}, headers=(self._set_cookie(call, "", 0),))

    def _answer(self, call: Call, session: Session, headers: RawHeaders = ()) -> Answer:
        content: dict[str, Any] = {
            "user": session.identity.user,
            "name": session.identity.name,
            "role": "admin" if may(session.identity.scope, Access.CHANGE) else "read",
            "csrf": session.csrf,
            "environment": self._settings.environment,
            "base": self._base(call),
        }
        return json_answer(content, headers=headers)

    def _refuse_others(self, call: Call, session: Session) -> None:
        """Refuse what a page of another site may have sent in the name of who is logged in."""
        if _is_foreign(call):
            raise Forbidden("forbidden: the request comes from another site")
        if call.method not in SAFE and not shows(session, _header(call, CSRF)):
            raise Forbidden("forbidden: a change by the console needs its Lateron-Csrf header")

    def _is_host(self, host: str) -> bool:
        """Whether browsers may come by this name."""
        if _is_address(host) or _is_local(host) or host.lower() in self._settings.hosts:
            return True
        return self._settings.environment == "serve" and not self._settings.hosts

    def _wrong_host(self, host: str) -> str:
        return f"Host: expected localhost, an address, or a name in --console-host, got {host[:100]!r}"

    def _is_private(self, call: Call) -> bool:
        """Whether nobody between browser and server can read along."""
        return self._is_https(call) or _is_local(_host(call))

    def _is_https(self, call: Call) -> bool:
        if call.scope.get("scheme") == "https":
            return True
        told = _header(call, b"x-forwarded-proto").strip().lower()
        return told == b"https" and call.peer is not None and self._proxies.trusts(call.peer)

    def _base(self, call: Call) -> str:
        """Return the path before ``/console`` in the browser, as a trusted proxy that takes it off tells it."""
        told = _header(call, b"x-forwarded-prefix").decode("latin-1")
        trusted = call.peer is not None and self._proxies.trusts(call.peer)
        usual = told.startswith("/") and not told.startswith("//") and told.isascii() and told.isprintable()
        return f"{told.rstrip('/')}/" if trusted and usual else "/"

    def _cookie_name(self, call: Call, kind: Cookie) -> str:
        """Return the name of a cookie of ours; by port, because two servers on one machine have one cookie jar."""
        if self._is_https(call):
            return f"__Host-lateron{kind.ending}"
        _, _, port = _header(call, b"host").decode("latin-1").rpartition(":")
        return f"lateron{kind.ending}-{port}" if port.isdecimal() else f"lateron{kind.ending}"

    def _cookie(self, call: Call, kind: Cookie = OPEN) -> str | None:
        name = self._cookie_name(call, kind)
        for header, value in call.headers:
            if header == b"cookie":
                for pair in value.decode("latin-1").split(";"):
                    given, _, number = pair.strip().partition("=")
                    if given == name and number:
                        return number
        return None

    def _set_cookie(self, call: Call, number: str, seconds: int, kind: Cookie = OPEN) -> tuple[bytes, bytes]:
        secure = "; Secure" if self._is_https(call) else ""
        rest = f"Path=/; Max-Age={seconds}; HttpOnly; SameSite={kind.same_site}{secure}"
        return b"set-cookie", f"{self._cookie_name(call, kind)}={number}; {rest}".encode("latin-1")


def _place(call: Call) -> bytes | None:
    """Return where a page lies that is asked for under an address its relative links are not right for.

    That is the console without a slash at its end, and a screen with one. The place is relative as well, so that it
    is right below any path that a proxy puts before it.
    """
    bare = call.path.rstrip(b"/")
    slashes = len(call.path) - len(bare)
    if slashes == (1 if bare == ROOT else 0):
        return None
    word = bare.rpartition(b"/")[2] + (b"/" if bare == ROOT else b"")
    return b"../" * slashes + word + (b"?" + call.query if call.query else b"")


async def _send_page(call: Call, send: Send, page: Page) -> None:
    small = takes_gzip(_header(call, b"accept-encoding"))
    tag = b"W/" + page.tag if small else page.tag  # Weak: the same file in other bytes (RFC 9110, 8.8.3.3).
    headers = ((b"cache-control", b"no-cache"), (b"content-type", page.kind), (b"etag", tag),
               (b"vary", b"Accept-Encoding"))  # fmt: skip
    if is_same(page.tag, _header(call, b"if-none-match")):
        await _send_raw(call, send, 304, headers, b"")
    elif small:
        await _send_raw(call, send, 200, (*headers, (b"content-encoding", b"gzip")), packed(page.body))
    else:
        await _send_raw(call, send, 200, headers, page.body)


async def _send_raw(call: Call, send: Send, status: int, headers: RawHeaders, body: bytes) -> None:
    length = () if status == 304 else ((b"content-length", str(len(body)).encode()),)
    end = ((b"connection", b"close"),) if call.ends_connection() else ()
    every = [*STRICT, *headers, *length, (b"x-request-id", call.id.encode()), *end]
    await send({"type": "http.response.start", "status": status, "headers": every})
    await send({"type": "http.response.body", "body": body})


def _is_foreign(call: Call) -> bool:
    """Whether a browser says that another site made the request; programs say nothing."""
    if _header(call, b"sec-fetch-site") not in {b"", b"same-origin", b"none"}:
        return True
    origin = _header(call, b"origin")
    return bool(origin) and origin.partition(b"://")[2] != _header(call, b"host")


def _host(call: Call) -> str:
    """Return the host by which the request came, without its port."""
    text = _header(call, b"host").decode("latin-1")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _is_local(host: str) -> bool:
    """Whether a browser that asks for this host asks its own machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _is_address(host: str) -> bool:
    """Whether it is no name, and so nobody can make it mean another machine."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _header(call: Call, name: bytes) -> bytes:
    """Return a header of the request, the first of several; empty without one."""
    return next((value for header, value in call.headers if header == name), b"")
