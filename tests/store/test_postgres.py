"""All SQL is prepared on a real PostgreSQL, so that many nodes on one database stay possible.

Nothing runs on PostgreSQL yet; but a statement that it would refuse is found here, not in a year.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from lateron.store.interface import ALIKE, SIZES, load_statements
from lateron.store.sqlite import SCHEMA

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
HOT_MOST = 12


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection]:
    """A PostgreSQL of our own, on a socket in a temporary directory, with our tables."""
    directory = tmp_path_factory.mktemp("postgres")
    binaries = BINARIES[-1] if BINARIES else Path(str(shutil.which("initdb"))).parent
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
        shutil.chown(directory, "postgres")
        for parent in directory.parents:
            if parent.name.startswith(("pytest-", "popen-")):  # Made by pytest, and by its runners side by side.
                parent.chmod(0o755)

    def command(*words: str) -> None:
        as_user = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
        done = subprocess.run([*as_user, *words], capture_output=True, text=True, cwd=directory, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    data = str(directory / "data")
    command(str(binaries / "initdb"), "-D", data, "-U", "lateron", "-A", "trust", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={directory} -c fsync=off"
    command(str(binaries / "pg_ctl"), "-D", data, "-w", "-l", str(directory / "log"), "-o", options, "start")
    try:
        with psycopg.connect(host=str(directory), user="lateron", dbname="postgres", autocommit=True) as connection:
            connection.execute(schema().encode())
            yield connection
    finally:
        command(str(binaries / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")


def schema() -> str:
    """Return all steps of the schema for PostgreSQL."""
    return steps("postgres")


def steps(database: str) -> str:
    """Return all steps of the schema for a database, in order."""
    found = [f for f in files("lateron.store").joinpath("schema").iterdir() if f.name.endswith(f"_{database}.sql")]
    assert [int(f.name[:4]) for f in sorted(found, key=lambda f: f.name)] == list(range(1, SCHEMA + 1))
    return "".join(f.read_text("utf-8") for f in sorted(found, key=lambda f: f.name))


def numbered(text: str) -> str:
    """Write parameters as PostgreSQL does: $1, $2, ..."""
    parts = text.split("?")
    return parts[0] + "".join(f"${n}{part}" for n, part in enumerate(parts[1:], 1))


def test_postgresql_prepares_every_statement(database: psycopg.Connection) -> None:
    """Each statement, in each size of its list, is understood by PostgreSQL."""
    statements = load_statements("hot_postgres.sql", "queries.sql", locks=True)
    for statement in statements.values():
        for size, text in statement.expanded.items():
            database.execute(f"PREPARE {statement.name}_{size} AS {numbered(text)}".encode())

    ((prepared,),) = database.execute("SELECT count(*) FROM pg_prepared_statements").fetchall()
    assert prepared == sum(len(s.expanded) for s in statements.values())


def test_both_databases_have_the_same_hot_statements() -> None:
    """At most twelve statements are written twice; those for rows that are alike are SQLite's own."""
    everything, postgres = load_statements("hot_sqlite.sql"), load_statements("hot_postgres.sql")
    sqlite = {name: statement for name, statement in everything.items() if not name.endswith(ALIKE)}

    assert set(sqlite) == set(postgres)
    assert len(sqlite) <= HOT_MOST
    assert {name: s.width for name, s in sqlite.items()} == {name: s.width for name, s in postgres.items()}
    assert all(set(s.expanded) in ({1}, set(SIZES)) for s in sqlite.values())


def test_both_databases_have_the_same_tables() -> None:
    """A column that one has and the other lacks would be found only when it is too late."""

    def columns(text: str) -> dict[str, set[str]]:
        tables = [part for part in text.split(";") if "CREATE TABLE" in part]
        column = re.compile(r"\b([a-z_]+) (?:INTEGER|TEXT|BLOB|bigint|integer|smallint|text|bytea)")
        return {part.split("CREATE TABLE ")[1].split()[0]: set(column.findall(part)) for part in tables}

    assert columns(steps("sqlite")) == columns(steps("postgres"))
    assert len(columns(steps("sqlite"))) >= 13
