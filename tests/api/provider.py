"""A small provider of OpenID Connect that lies as it is told to.

It keeps to the protocol where a test does not say otherwise: it knows its client by its secret, gives tokens once for a
code and only to who has the verifier. ``sign`` makes tokens by hand, so that it can make what no library would.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import warnings
from base64 import b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus, urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

CLIENT: Final = "lateron at home"
SECRET: Final = "s3cret: of the client"
CODE: Final = "c0de-of-a-login"
Key = RSAKey | ECKey | OKPKey
Handler = Callable[[asyncio.StreamWriter], Awaitable[None]]


def rsa(kid: str) -> RSAKey:
    """Return a new key."""
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})


FIRST: Final = rsa("first")
SECOND: Final = rsa("second")


def short() -> RSAKey:
    """Return a new key that others could break."""
    made = generate_private_key(65537, 1024)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return RSAKey.import_key(pem, {"kid": "first", "use": "sig"})


def packed(content: bytes | Mapping[str, Any]) -> str:
    """Return a part of a token."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return urlsafe_b64encode(text).decode().rstrip("=")


def sign(claims: bytes | Mapping[str, Any], key: Key, alg: str = "RS256", **header: Any) -> str:
    """Return a token signed as it should be."""
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    head = {name: value for name, value in {"alg": alg, "kid": key.kid, **header}.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # Of the name EdDSA, and of short keys.
        said = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        return jws.serialize_compact(head, said, key, registry=registry)


def unsigned(claims: Mapping[str, Any], alg: str = "none") -> str:
    """Return a token without a signature."""
    return f"{packed({'alg': alg, 'kid': 'first'})}.{packed(claims)}."


def keyed_with_public(claims: Mapping[str, Any], key: RSAKey) -> str:
    """Return a token whose secret is what everybody may know: the public key."""
    secret = key.raw_value.public_key() if hasattr(key.raw_value, "public_key") else key.raw_value
    pem = secret.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    said = f"{packed({'alg': 'HS256', 'kid': key.kid})}.{packed(claims)}"
    return f"{said}.{packed(hmac.digest(pem, said.encode(), 'sha256'))}"


class Provider:
    """The provider of a test; its fields say what it does next."""

    def __init__(self, now_s: Callable[[], int]) -> None:
        self.url = ""
        self.asked: list[str] = []  # Path of each request.
        self.keys: list[Key] = [FIRST]  # Those it shows.
        self.claims: dict[str, Any] = {"email": "ops@example.org", "email_verified": True}
        self.userinfo: dict[str, Any] = {}
        self.described: dict[str, Any] = {}  # Of its description, instead of the usual.
        self.token: Callable[[dict[str, Any]], str] = lambda claims: sign(claims, FIRST)
        self.instead: dict[str, Handler | tuple[int, bytes]] = {}  # By path.
        self._now_s = now_s
        self._begun: dict[str, dict[str, str]] = {}  # By code.

    def description(self) -> dict[str, Any]:
        """Return what it says of itself."""
        names = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "keys"}
        usual = {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in names.items()}}
        algorithms = ["RS256", "ES256", "PS256", "EdDSA", "HS256", "none"]
        return usual | {"id_token_signing_alg_values_supported": algorithms} | self.described

    def usual(self, nonce: str) -> dict[str, Any]:
        """Return the claims of a token as they should be."""
        now = self._now_s()
        return {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "u1",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            **self.claims,
        }

    def let_in(self, place: str, code: str = CODE) -> dict[str, str]:
        """Take a browser that comes with an address; return what it is sent back with."""
        given = {name: values[0] for name, values in parse_qs(urlsplit(place).query).items()}
        assert given["code_challenge_method"] == "S256"
        assert place.startswith(f"{self.url}/auth?")
        self._begun[code] = given
        return {"code": code, "state": given["state"]}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with suppress(ConnectionError, asyncio.IncompleteReadError), closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            path = line.split(" ")[1]
            self.asked.append(path)
            special = self.instead.get(path)
            if callable(special):
                await special(writer)
            else:
                status, content = special or self._usual(path, headers, body)
                writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content))
            await writer.drain()

    def _usual(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if path == "/.well-known/openid-configuration":
            return 200, json.dumps(self.description()).encode()
        if path == "/keys":
            return 200, json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]}).encode()
        if path == "/token":
            return self._tokens(headers, {name: values[0] for name, values in parse_qs(body.decode()).items()})
        if path == "/userinfo" and headers["authorization"] == "Bearer acc3ss":
            return 200, json.dumps(self.userinfo).encode()
        return 404, b"{}"

    def _tokens(self, headers: Mapping[str, str], form: Mapping[str, str]) -> tuple[int, bytes]:
        begun = self._begun.pop(form["code"], None)
        name, _, secret = b64decode(headers["authorization"].removeprefix("Basic ")).decode().partition(":")
        assert (unquote_plus(name), unquote_plus(secret)) == (CLIENT, SECRET)
        challenge = packed(sha256(form["code_verifier"].encode()).digest())
        if begun is None or challenge != begun["code_challenge"] or form["redirect_uri"] != begun["redirect_uri"]:
            return 400, b'{"error": "invalid_grant", "error_description": "of a c0de"}'
        token = self.token(self.usual(begun["nonce"]))
        return 200, json.dumps({"id_token": token, "access_token": "acc3ss", "token_type": "Bearer"}).encode()


@asynccontextmanager
async def providing(now_s: Callable[[], int]) -> AsyncIterator[Provider]:
    """Let a provider listen."""
    provider = Provider(now_s)
    answering: set[asyncio.Task[None]] = set()

    def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.get_running_loop().create_task(provider.answer(reader, writer)))

    server = await asyncio.start_server(come, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.close()
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
        await server.wait_closed()
