"""How much of the store's file is in use, and by which tables.

A small file is looked through. Of a large one a sample of its pages is asked whose they are: the file has
``auto_vacuum``, so it keeps a map that names the parent of each page (https://sqlite.org/fileformat2.html#ptrmap), and
parents lead to a root, which the schema gives to a table. So the answer costs the same for a file of any size, and is
off by a few hundredths. What is only in the log yet counts as what the file says of its page, or not at all.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import apsw
from msgspec import Struct

SMALL: Final = 8192  # Pages of a file that is looked through as a whole: 32 MiB, some 20 ms.
SAMPLE: Final = 1024  # Pages asked of a larger one.
STEPS: Final = 1 << 17  # From a page to its root: the pages of the largest body, one by one, and the tree.
_ROOT: Final = 1  # Kinds of page in the map; every other one but a free one has a parent.
_FREE: Final = 2
_ENTRY: Final = 5  # Bytes: the kind, and the parent's number.
_LOCK_BYTE: Final = 1 << 30  # Its page is never used.


class Usage(Struct, frozen=True):
    """What a store takes, in bytes."""

    used: int  # Of the file and what its log adds to it.
    unused: int  # Free pages inside the file: what comes next goes there first.
    tables: dict[str, int]  # Of each table with its indexes; what is not known is left out.


def sizes(connection: apsw.Connection) -> tuple[int, int, int]:
    """Return how many pages a store has, how many are free, and the bytes of one; a look at the head of the file.

    Raises:
        apsw.Error: The file cannot be read.
    """
    pages, free, size = map(connection.pragma, ("page_count", "freelist_count", "page_size"))
    assert isinstance(pages, int)
    assert isinstance(free, int)
    assert isinstance(size, int)
    return pages, free, size


def usage(connection: apsw.Connection) -> Usage:
    """Return what a store takes; the connection is in no transaction.

    Raises:
        apsw.Error: The file cannot be read.
    """
    pages, free, size = sizes(connection)
    tables = _all_pages(connection) if pages <= SMALL or not connection.filename else _sampled(connection, pages, size)
    return Usage((pages - free) * size, free * size, tables)


def _all_pages(connection: apsw.Connection) -> dict[str, int]:
    sizes = "SELECT tbl_name, sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name) WHERE aggregate = TRUE GROUP BY 1"
    return dict(connection.execute(sizes))


def _sampled(connection: apsw.Connection, pages: int, size: int) -> dict[str, int]:
    owners: dict[int, str] = dict(connection.execute("SELECT rootpage, tbl_name FROM sqlite_schema WHERE rootpage > 0"))
    tree = PageMap(connection, size)
    roots = Counter(tree.root(place * pages // SAMPLE + 1) for place in range(SAMPLE))
    found: Counter[str] = Counter()
    for root in roots.keys() & owners.keys():
        found[owners[root]] += roots[root]
    return {name: number * pages // SAMPLE * size for name, number in found.items()}


class PageMap:
    """Finds the root of a page."""

    def __init__(self, connection: apsw.Connection, size: int) -> None:
        self._connection = connection
        self._size = size
        self._run = size // _ENTRY + 1  # Pages from one page of the map to the next.
        self._maps: dict[int, bytes] = {}
        self._known: dict[int, int] = {}  # Page -> root.

    def root(self, page: int) -> int:
        """Return the number of a page's root; 0 if it has none: it is free, part of the map, or not in the file yet."""
        way: list[int] = []
        root = 0
        for _ in range(STEPS):
            if page in self._known:
                root = self._known[page]
                break
            way.append(page)
            kind, parent = self._entry(page)
            if kind == _ROOT:
                root = page
                break
            if kind == _FREE or not parent:
                break
            page = parent
        self._known.update(dict.fromkeys(way, root))
        return root

    def _entry(self, page: int) -> tuple[int, int]:
        place = max(page - 2, 0) // self._run * self._run + 2
        if place == _LOCK_BYTE // self._size + 1:
            place += 1
        if page <= max(place, 1):
            return 0, 0
        if place not in self._maps:
            _, self._maps[place] = self._connection.read("main", 0, (place - 1) * self._size, self._size)
        start = (page - place - 1) * _ENTRY
        entry = self._maps[place][start : start + _ENTRY]
        return (entry[0], int.from_bytes(entry[1:])) if len(entry) == _ENTRY else (0, 0)
