"""``lateron users``: who logs in to the console with a name and a password.

A password is never an argument, which everybody on the machine can read in the list of processes: it is typed twice,
unseen, or comes from a file.
"""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lateron.cli.beside import Beside, in_store, tenant
from lateron.cli.commands import command
from lateron.cli.exits import USAGE, Failed
from lateron.cli.remote import Item, Remote, path
from lateron.cli.selecting import confirmed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lateron.core.user import Change

users_app = typer.Typer(help="Users of the console: who logs in with a password.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")]
PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        metavar="FILE",
        help="Read the password there; - is standard input.",
        show_default="ask for it",
    ),
]
ScopeOption = Annotated[
    str,
    typer.Option("--scope", help="read: see everything. manage: change it. admin: tokens, users and keys too."),
]

_JSON = {"Content-Type": "application/json"}
_MOST_BYTES = 16_384  # Of a file; the longest password has fewer.


@command(users_app, "lateron users list", "lateron users list --json", name="list")
def list_users(remote: Remote, beside: Beside) -> None:
    """Print all users: what each may do, when he was last changed, and when he was last there; never a password."""
    found = (
        remote.call("GET", path("lateron", "v1", "users"))
        if beside.data_dir is None
        else in_store(beside.data_dir, lambda resources, _: [_shown(row) for row in resources.users.of(tenant())])
    )

    def row(user: Item) -> Sequence[str]:
        instants = (remote.instant(user.get(name)) for name in ("createdAt", "changedAt", "lastUsedAt"))
        return user["name"], user["scope"], *instants

    remote.listed(found, ("user", "scope", "made", "changed", "last there"), row)


@command(
    users_app,
    "lateron users add anna --scope read --password-file secret.txt",
    "lateron users add ben --scope admin --password-file secret.txt",
)
def add(
    remote: Remote, beside: Beside, name: NameArgument, scope: ScopeOption, password_file: PasswordOption = None
) -> None:
    """Make a user who can log in to the console; the password is asked for, or read from a file.

    It has 12 to 1024 characters; four words are enough. There is no default user and no default password.
    """
    from lateron.api.passwords import new_secret
    from lateron.core.token import check_scope
    from lateron.core.user import check_name, new_user

    with _checked():
        check_name(name)
        check_scope(scope)
        new = new_user(name, scope, _password(password_file))
    if beside.data_dir is None:
        content = json.dumps({"name": name, "scope": scope, "password": new.password}).encode()
        made = remote.call("POST", path("lateron", "v1", "users"), body=content, headers=_JSON)
    else:
        secret = new_secret(new.password)
        made = in_store(
            beside.data_dir,
            lambda resources, now: _shown(resources.users.add(tenant(), new, secret, now)),
            "user.create",
            f"{name} ({scope})",
        )
    remote.done(made, f"added {name}, who may {scope}")


@command(users_app, "lateron users passwd berta --password-file secret.txt")
def passwd(remote: Remote, beside: Beside, name: NameArgument, password_file: PasswordOption = None) -> None:
    """Give a user another password; his logins end."""
    from lateron.core.user import change

    with _checked():
        wanted = change(None, _password(password_file), name)
    answer = _change(remote, beside, name, wanted, "password")
    remote.done(answer, f"{name} has another password")


@command(users_app, "lateron users scope berta manage")
def scope(
    remote: Remote,
    beside: Beside,
    name: NameArgument,
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="publish, read, manage or admin.")],
) -> None:
    """Say anew what a user may do; his logins end."""
    from lateron.core.user import change

    with _checked():
        wanted = change(scope, None, name)
    answer = _change(remote, beside, name, wanted, scope)
    remote.done(answer, f"{name} may {scope}")


@command(users_app, "lateron users remove berta --yes")
def remove(
    remote: Remote,
    beside: Beside,
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a user; his logins end."""
    if not yes:
        confirmed(f"{name} will not be able to log in any more. Remove {name}?")
    if beside.data_dir is None:
        answer = remote.call("DELETE", path("lateron", "v1", "users", name))
    else:
        in_store(beside.data_dir, lambda resources, _: resources.users.remove(tenant(), name), "user.remove", name)
        answer = {}
    remote.done(answer, f"removed {name}")


def _change(remote: Remote, beside: Beside, name: str, wanted: Change, what: str) -> Any:  # noqa: ANN401 - JSON.
    from lateron.api.passwords import new_secret

    if beside.data_dir is None:
        given = {"scope": wanted.scope, "password": wanted.password}
        content = json.dumps({key: value for key, value in given.items() if value is not None}).encode()
        return remote.call("PATCH", path("lateron", "v1", "users", name), body=content, headers=_JSON)
    secret = new_secret(wanted.password)
    return in_store(
        beside.data_dir,
        lambda resources, now: _shown(resources.users.change(tenant(), name, wanted, secret, now)),
        "user.change",
        f"{name} ({what})",
    )


def _password(file: Path | None) -> str:
    """Return the password that somebody types, or that stands in a file.

    Raises:
        Failed: Nobody can be asked, the two are not the same, or the file cannot be read.
    """
    if file is not None:
        return _read(file)
    if not sys.stdin.isatty():
        raise Failed("expected --password-file: nobody can be asked for a password here", USAGE)
    typed = getpass.getpass("Password: ", sys.stderr)
    if getpass.getpass("Again: ", sys.stderr) != typed:
        raise Failed("the two passwords differ; nothing was changed", USAGE)
    return typed


def _read(file: Path) -> str:
    try:
        if file == Path("-"):
            content = sys.stdin.buffer.read(_MOST_BYTES)
        else:
            with file.open("rb") as opened:
                content = opened.read(_MOST_BYTES)
        text = content.decode("utf-8")
    except OSError as error:
        raise Failed(f"--password-file: cannot read {file}: {error.strerror}", USAGE) from None
    except UnicodeDecodeError:
        raise Failed(f"--password-file: {file} is not UTF-8", USAGE) from None
    return text.removesuffix("\n").removesuffix("\r")


@contextmanager
def _checked() -> Iterator[None]:
    """Say what is wrong with a name, a scope or a password as with any other word of the command line."""
    from lateron.errors import RequestError

    try:
        yield
    except RequestError as error:
        raise Failed(str(error), USAGE) from None


def _shown(row: Any) -> dict[str, Any]:  # noqa: ANN401 - Imported late.
    from lateron.api.users import user_object

    return user_object(row)
