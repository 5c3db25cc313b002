"""How the text of a setting becomes a value, and back.

A kind reads one form of text and says in ``expected`` what it would have understood. ``show`` is the way back
for people, ``toml`` for a file; ``read(show(value)) == value`` holds for every kind (a property test). All raise
``ValueError`` for text they cannot read; ``config`` turns that into a sentence with the name of the setting.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from lateron.core.durations import duration_text, parse_duration
from lateron.core.oidc import Rule, parse_issuer, parse_rule
from lateron.core.values import Millis

_KEY_BYTES: Final = 32
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_UNITS: Final = {  # Largest first, as ``show`` tries them.
    "TiB": 2**40,
    "TB": 10**12,
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "KB": 10**3,
    "B": 1,
    "": 1,
}
_SIZES: Final = {unit.lower(): size for unit, size in _UNITS.items()}
_SIZE: Final = re.compile(r"([0-9]{1,15}) ?([A-Za-z]{0,3})")


class Kind(Protocol):
    """One form of text."""

    @property
    def metavar(self) -> str:
        """Name what it reads, in one word of capitals."""
        ...

    @property
    def expected(self) -> str:
        """Say what it reads, as the end of "expected ..."."""
        ...

    def read(self, text: str) -> Any:  # noqa: ANN401
        """Return the value of ``text``, which is not empty, or raise ``ValueError``."""
        ...

    def show(self, value: Any) -> str:  # noqa: ANN401
        """Return text that ``read`` turns into ``value``."""
        ...

    def toml(self, value: Any) -> str:  # noqa: ANN401
        """Return ``value`` as it stands in a TOML file."""
        ...


class _Shown:
    """The common way back: the text itself, quoted in TOML."""

    def show(self, value: Any) -> str:  # noqa: ANN401
        return str(value)

    def toml(self, value: Any) -> str:  # noqa: ANN401
        return '""' if value is None else _quoted(self.show(value))


@dataclass(frozen=True, slots=True)
class Text(_Shown):
    """Any text without blanks around it."""

    metavar: ClassVar[str] = "TEXT"
    expected: str = "a text without control characters"

    def read(self, text: str) -> str:  # noqa: D102
        if not text.strip().isprintable():
            raise ValueError
        return text.strip()


@dataclass(frozen=True, slots=True)
class Issuer(_Shown):
    """The address of a server that says who somebody is."""

    metavar: ClassVar[str] = "URL"
    expected: str = "an https URL without a query, such as https://login.example.com (http only to this machine)"

    def read(self, text: str) -> str:  # noqa: D102
        return parse_issuer(text.strip())


@dataclass(frozen=True, slots=True)
class Keys(_Shown):
    """Keys of 32 bytes in base64, one a line or separated by commas; what follows # on a line is for people."""

    metavar: ClassVar[str] = "KEYS"
    expected: str = "keys of 32 bytes in base64, one a line, each once"

    def read(self, text: str) -> tuple[bytes, ...]:  # noqa: D102
        words = [word for line in text.splitlines() for word in line.partition("#")[0].replace(",", " ").split()]
        keys = tuple(b64decode(word, validate=True) for word in words)
        if not keys or len(set(keys)) < len(keys) or any(len(key) != _KEY_BYTES for key in keys):
            raise ValueError
        return keys

    def show(self, value: tuple[bytes, ...]) -> str:  # noqa: D102
        return ",".join(b64encode(key).decode() for key in value)


@dataclass(frozen=True, slots=True)
class PathKind(_Shown):
    """A path; ``~`` is the home directory."""

    metavar: ClassVar[str] = "PATH"
    expected: str = "a path"

    def read(self, text: str) -> Path:  # noqa: D102
        if "\0" in text:
            raise ValueError
        return Path(text).expanduser()


@dataclass(frozen=True, slots=True)
class Switch(_Shown):
    """Yes or no."""

    metavar: ClassVar[str] = "BOOL"
    expected: str = "true or false"

    def read(self, text: str) -> bool:  # noqa: D102
        word = text.strip().lower()
        if word not in _TRUE | _FALSE:
            raise ValueError
        return word in _TRUE

    def show(self, value: bool) -> str:  # noqa: D102
        return "true" if value else "false"

    def toml(self, value: bool) -> str:  # noqa: D102
        return self.show(value)


@dataclass(frozen=True, slots=True)
class Choice(_Shown):
    """One of some words."""

    metavar: ClassVar[str] = "WORD"
    words: tuple[str, ...]

    def __init__(self, *words: str) -> None:
        object.__setattr__(self, "words", words)

    @property
    def expected(self) -> str:  # noqa: D102
        return f"one of {', '.join(self.words)}"

    def read(self, text: str) -> str:  # noqa: D102
        word = text.strip().lower()
        if word not in self.words:
            raise ValueError
        return word


@dataclass(frozen=True, slots=True)
class Count(_Shown):
    """A whole number in ``low``..``high``; the text ``none`` stands for no bound."""

    metavar: ClassVar[str] = "NUMBER"
    low: int
    high: int
    none: str | None = None

    @property
    def expected(self) -> str:  # noqa: D102
        return f"a whole number from {self.low} to {self.high}"

    def read(self, text: str) -> int | None:  # noqa: D102
        word = text.strip()
        if not re.fullmatch(r"[0-9]{1,12}", word) or not self.low <= int(word) <= self.high:
            raise ValueError
        return None if word == self.none else int(word)

    def toml(self, value: int | None) -> str:  # noqa: D102
        return (self.none or '""') if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Size(_Shown):
    """A number of bytes, at least ``low``, with or without a unit; the text ``none`` stands for no bound."""

    metavar: ClassVar[str] = "SIZE"
    low: int
    none: str | None = None

    @property
    def expected(self) -> str:  # noqa: D102
        return f"a size such as 500KB, 50MiB or 2GB, at least {self.low}"

    def read(self, text: str) -> int | None:  # noqa: D102
        if text.strip() == self.none:
            return None
        match = _SIZE.fullmatch(text.strip())
        if match is None or match[2].lower() not in _SIZES:
            raise ValueError
        size = int(match[1]) * _SIZES[match[2].lower()]
        if size < self.low:
            raise ValueError
        return size

    def show(self, value: int) -> str:  # noqa: D102
        return next(f"{value // size}{unit}" for unit, size in _UNITS.items() if value >= size and value % size == 0)

    def toml(self, value: int | None) -> str:  # noqa: D102
        return f'"{self.none or ""}"' if value is None else _quoted(self.show(value))


@dataclass(frozen=True, slots=True)
class Duration(_Shown):
    """A span of time in ``low``..``high`` milliseconds."""

    metavar: ClassVar[str] = "DURATION"
    low: Millis
    high: Millis

    @property
    def expected(self) -> str:  # noqa: D102
        return f"a duration such as 30s, 10m, 1h30m or 3d, from {self.show(self.low)} to {self.show(self.high)}"

    def read(self, text: str) -> Millis:  # noqa: D102
        span = parse_duration(text.strip())
        if not self.low <= span <= self.high:
            raise ValueError
        return span

    def show(self, value: Millis) -> str:  # noqa: D102
        return duration_text(value)


@dataclass(frozen=True, slots=True)
class Many:
    """Several values separated by commas; blanks around them and empty ones do not count."""

    separator: ClassVar[str] = ","

    def one(self, text: str) -> Any:  # noqa: ANN401
        """Read one of them."""
        raise NotImplementedError

    def read(self, text: str) -> Any:  # noqa: ANN401, D102
        return tuple(self.one(part.strip()) for part in text.split(self.separator) if part.strip())

    def show(self, value: tuple[object, ...]) -> str:  # noqa: D102
        return self.separator.join(str(item) for item in value)

    def toml(self, value: tuple[object, ...]) -> str:  # noqa: D102
        return f"[{', '.join(_quoted(str(item)) for item in value)}]"


@dataclass(frozen=True, slots=True)
class Texts(Many):
    """Texts of some sort; their user reads them."""

    metavar: ClassVar[str] = "LIST"
    what: str

    @property
    def expected(self) -> str:  # noqa: D102
        return f"{self.what} separated by commas"

    def one(self, text: str) -> str:  # noqa: D102
        if not text.isprintable() or any(c.isspace() for c in text):
            raise ValueError
        return text


@dataclass(frozen=True, slots=True)
class Entries(Texts):
    """Texts separated by blanks, because commas stand inside them."""

    separator: ClassVar[str] = " "

    @property
    def expected(self) -> str:  # noqa: D102
        return f"{self.what} separated by blanks"


@dataclass(frozen=True, slots=True)
class Rules(Many):
    """Who may log in, and what they may do then."""

    metavar: ClassVar[str] = "RULES"
    expected: str = (
        "claim=value:scope rules separated by commas, such as groups=viewers:read; a scope is publish, read, manage "
        "or admin"
    )

    def one(self, text: str) -> Rule:  # noqa: D102
        return parse_rule(text)


@dataclass(frozen=True, slots=True)
class Networks(Many):
    """Networks; a single address is the network of that one address."""

    metavar: ClassVar[str] = "CIDRS"
    expected: str = "networks such as 10.0.0.0/8 or fd00::/8, separated by commas"

    def one(self, text: str) -> IPv4Network | IPv6Network:  # noqa: D102
        return ip_network(text)


@dataclass(frozen=True, slots=True)
class Addresses(Many):
    """Exact addresses."""

    metavar: ClassVar[str] = "ADDRESSES"
    expected: str = "addresses such as 169.254.169.254, separated by commas"

    def one(self, text: str) -> str:  # noqa: D102
        return str(ip_address(text))


@dataclass(frozen=True, slots=True)
class Private(Networks):
    """All, none, or some networks."""

    metavar: ClassVar[str] = "BOOL|CIDRS"
    expected: str = "true, false, or networks such as 10.0.0.0/8 separated by commas"

    def read(self, text: str) -> Any:  # noqa: ANN401, D102
        word = text.strip().lower()
        if word in _TRUE | _FALSE:
            return word in _TRUE or ()
        return Many.read(self, text)

    def show(self, value: bool | tuple[object, ...]) -> str:  # noqa: D102
        if isinstance(value, bool):
            return "true" if value else "false"
        return Many.show(self, value)

    def toml(self, value: bool | tuple[object, ...]) -> str:  # noqa: D102
        return self.show(value) if isinstance(value, bool) else Many.toml(self, value) if value else "false"


def _quoted(text: str) -> str:
    """Return a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
