"""The files of the console, as they lie in the package.

They are read once, at the start, into a table by name. So a request can ask for nothing else: there is no path
to climb out of, no link to follow, and no file is opened for a stranger. Every answer carries the same strict
headers; a browser that keeps to them runs no script but ours and talks to nobody but us.

A script is sent without the comments that have lines to themselves, a tenth of what would go over the wire; they
are for who reads the package. Their lines stay, empty, so an error in a browser names the line of the file.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from msgspec import Struct

FILES: Final = Path(__file__).parent.parent / "console"
INDEX: Final = "index.html"
TYPES: Final = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".mjs": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".json": b"application/json",
    ".svg": b"image/svg+xml",
    ".png": b"image/png",
    ".ico": b"image/x-icon",
    ".txt": b"text/plain; charset=utf-8",
}
_COMMENT: Final = re.compile(rb"^[ \t]*(?://.*|/\*\*(?:(?!\*/)[\s\S])*\*/[ \t]*)$", re.MULTILINE)
POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
STRICT: Final = (
    (b"content-security-policy", POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Page(Struct, frozen=True):
    """One file."""

    body: bytes
    kind: bytes  # Its Content-Type.
    tag: bytes  # Its ETag: equal bytes, equal tag.


def read_pages(folder: Path = FILES) -> Mapping[str, Page]:
    """Read all files below ``folder`` that a browser may ask for, by their path from there; none if it is missing."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = TYPES.get(path.suffix)
        if kind is not None and path.is_file():
            body = spare(path.read_bytes()) if path.suffix == ".js" else path.read_bytes()
            found[path.relative_to(folder).as_posix()] = Page(
                body, kind, b'"%b"' % sha256(body).hexdigest()[:32].encode()
            )
    return found


def spare(script: bytes) -> bytes:
    """Return a script without the comments that have lines to themselves.

    It takes what begins a line as ``//`` or ``/**`` for a comment. In a text over several lines that would be wrong;
    tests/console/test_files.py reads every script of ours as a language is read, and finds such a line.
    """
    return _COMMENT.sub(lambda comment: b"\n" * comment[0].count(b"\n"), script)


def page_at(pages: Mapping[str, Page], path: str) -> Page | None:
    """Return what stands at a path below ``/console/``.

    A last word without a dot is a screen: the index shows it. Anything else is the name of a file, or nothing.
    """
    words = path.split("/")
    if "." in words or ".." in words:
        return None
    return pages.get(path if "." in words[-1] else INDEX)


def is_same(tag: bytes, asked: bytes) -> bool:
    """Whether a browser that sent ``If-None-Match: asked`` has the file already."""
    return any(one.strip().removeprefix(b"W/") in {tag, b"*"} for one in asked.split(b","))


def takes_gzip(accepted: bytes) -> bool:
    """Whether a browser that sent ``Accept-Encoding: accepted`` can read gzip, and does not rule it out (RFC 9110)."""
    for one in accepted.lower().split(b","):
        coding, _, parameter = one.partition(b";")
        if coding.strip() == b"gzip":
            return parameter.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}
    return False


@lru_cache(maxsize=256)
def packed(body: bytes) -> bytes:
    """Return a file compressed with gzip. No secret is in one, so its length may tell what it likes."""
    return gzip.compress(body, mtime=0)
