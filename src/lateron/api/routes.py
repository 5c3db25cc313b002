"""Which request goes where: one table, matched against the raw path.

The path is compared as it came: fixed words without regard to case (a client writes ``/v2/Schedules``),
double slashes kept, percent signs decoded once and only inside a parameter. So routing, authentication
and the destination in a path all read the same bytes, and no proxy or framework stands between them.

Every route says what it takes to use it (``core.token``). The OpenAPI document and the table of the tests, who may do
what, are compared with this list; a route that nobody classified does not pass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from lateron.api.call import Answer, Call, decoded
from lateron.api.ports import Ports
from lateron.core.token import Access as Access  # noqa: PLC0414 - Part of ``Route``.

Handler: TypeAlias = Callable[[Ports, Call], Awaitable[Answer]]


class Route(Struct, frozen=True):
    """One method on one path.

    A path ``/v2/messages/{messageId}`` has parameters; one that ends in ``{destination}`` takes all that
    follows its first parameter, query included, undecoded.
    """

    method: str
    path: str
    access: Access
    handler: Handler
    limited: bool = True  # Counts as a management call.


class Family(Struct, frozen=True):
    """A part of the API that is not built yet: every path below ``prefix``, by any method."""

    prefix: str
    what: str  # "queues are", completed by "not supported yet".
    public: bool = False


class Matched(Struct, frozen=True):
    """The routes of a path, by method, and what the path says."""

    routes: Mapping[str, Route]
    params: Mapping[str, str]
    rest: bytes = b""


class Router:
    """Finds routes."""

    def __init__(self, routes: Sequence[Route], families: Sequence[Family]) -> None:
        self._fixed: dict[tuple[bytes, ...], dict[str, Route]] = {}
        self._patterns: list[tuple[tuple[bytes | str, ...], dict[str, Route]]] = []
        self._prefixes: dict[bytes, dict[str, Route]] = {}
        self._families = {family.prefix.lower().encode(): family for family in families}
        for route in routes:
            self._methods(route)[route.method] = route
        # Prefixes below which there are names, too.
        self._shared = {
            prefix
            for prefix in self._prefixes
            for pattern, _ in self._patterns
            if b"/".join(word for word in pattern if isinstance(word, bytes)).startswith(prefix.rstrip(b"/"))
        }

    def match(self, path: bytes, query: bytes) -> Matched | Family | None:
        """Return what stands at a path, both as in the request line."""
        for prefix, routes in self._prefixes.items():  # The hot way: as the clients spell it.
            if path.startswith(prefix):
                return self._below(prefix, routes, path, query)
        lower = path.lower()
        words = tuple(lower.split(b"/"))
        fixed = self._fixed.get(words)
        if fixed is not None:
            return Matched(fixed, {})
        for prefix, routes in self._prefixes.items():
            if lower.startswith(prefix):
                return self._below(prefix, routes, path, query)
        for length in (5, 4, 3):
            family = self._families.get(b"/".join(words[:length]))
            if family is not None:
                return family
        return self._named(path, words)

    def _named(self, path: bytes, words: Sequence[bytes]) -> Matched | None:
        given = path.split(b"/")
        for pattern, routes in self._patterns:
            params = _params(pattern, words, given)
            if params is not None:
                return Matched(routes, params)
        return None

    def _below(self, prefix: bytes, routes: Mapping[str, Route], path: bytes, query: bytes) -> Matched:
        """Return what stands below a prefix: a URL is a destination, a name may be something of ours too."""
        found = _prefixed(prefix, routes, path, query)
        if prefix not in self._shared or found.rest[:6].lower().startswith((b"http:", b"https:", b"http%", b"https%")):
            return found
        named = self._named(path, path.lower().split(b"/"))
        return found if named is None else Matched({**routes, **named.routes}, named.params, found.rest)

    def _methods(self, route: Route) -> dict[str, Route]:
        words = route.path.split("/")
        if words[-1] == "{destination}":
            prefix = route.path[: route.path.index("{")]
            return self._prefixes.setdefault(prefix.lower().encode(), {})
        if "{" not in route.path:
            return self._fixed.setdefault(tuple(word.lower().encode() for word in words), {})
        pattern = tuple(word[1:-1] if word.startswith("{") else word.lower().encode() for word in words)
        for known, methods in self._patterns:
            if known == pattern:
                return methods
        self._patterns.append((pattern, {}))
        return self._patterns[-1][1]


def _prefixed(prefix: bytes, routes: Mapping[str, Route], path: bytes, query: bytes) -> Matched:
    rest = path[len(prefix) :]
    return Matched(routes, {}, rest + b"?" + query if query else rest)


def _params(pattern: tuple[bytes | str, ...], words: Sequence[bytes], given: Sequence[bytes]) -> dict[str, str] | None:
    """Return the parameters of a path that has this pattern, else None."""
    if len(pattern) != len(words):
        return None
    params: dict[str, str] = {}
    for part, word, raw in zip(pattern, words, given, strict=True):
        if isinstance(part, bytes):
            if part != word:
                return None
        else:
            value = decoded(raw, slash=part == "flowControlKey")  # The only name that may hold one.
            if value is None:
                return None
            params[part] = value
    return params
