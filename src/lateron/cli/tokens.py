"""``lateron tokens``: who may use the server, and for how long; ``lateron keys``: what deliveries are signed with.

With ``--data-dir`` the store itself is changed, beside a running server or without one: for whoever has lost the last
token. A running server takes that up within five seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from lateron.cli.beside import Beside, in_store, tenant
from lateron.cli.commands import command
from lateron.cli.exits import OUTPUT, Failed
from lateron.cli.remote import Item, Remote, path
from lateron.cli.selecting import confirmed
from lateron.cli.streams import OutputLost

tokens_app = typer.Typer(help="Tokens: make them, look at them, revoke them.", no_args_is_help=True)
keys_app = typer.Typer(help="The keys that deliveries are signed with.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the token.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@command(tokens_app, "lateron tokens list", "lateron tokens list --json", name="list")
def list_tokens(remote: Remote, beside: Beside) -> None:
    """Print all tokens: what each may do, until when, and when it was last used; never the tokens themselves."""
    found = (
        remote.call("GET", path("lateron", "v1", "tokens"))
        if beside.data_dir is None
        else in_store(beside.data_dir, lambda resources, _: [_shown(row) for row in resources.tokens(tenant())])
    )

    def row(token: Item) -> Sequence[str]:
        instants = (remote.instant(token.get(name)) for name in ("createdAt", "expiresAt", "lastUsedAt"))
        return token["name"], token["scope"], *instants

    remote.listed(found, ("token", "scope", "made", "until", "last used"), row)


@command(
    tokens_app,
    "lateron tokens create ci --scope publish",
    "lateron tokens create ops --scope read --expires 90d",
)
def create(
    remote: Remote,
    beside: Beside,
    name: NameArgument,
    scope: Annotated[
        str,
        typer.Option(
            "--scope",
            help="publish: only that. read: see everything. manage: both, and change it. admin: tokens and keys too.",
        ),
    ],
    expires: Annotated[
        str | None, typer.Option("--expires", help="How long it lasts, e.g. 90d; else for ever.")
    ] = None,
) -> None:
    """Make a token and print it; nobody can look at it again."""
    if beside.data_dir is None:
        asked = {"name": name, "scope": scope, **({"expiresIn": expires} if expires is not None else {})}
        content = json.dumps(asked).encode()
        made = remote.call("POST", path("lateron", "v1", "tokens"), body=content, headers=_JSON)
    else:
        from lateron.core.token import new_token

        new = new_token(name, scope, expires)
        made = in_store(
            beside.data_dir,
            lambda resources, now: _told(resources.create_token(tenant(), new, now)),
            "token.create",
            f"{name} ({scope})",
        )
    with _shown_once(f"the token {name} was made, and nobody has it: `lateron tokens reset {name}` makes another"):
        remote.done(made, made["token"])


@command(tokens_app, "lateron tokens reset spare --yes")
def reset(remote: Remote, beside: Beside, name: NameArgument, yes: YesOption = False) -> None:
    """Replace a token by a new one, and print that; the old one is refused at once."""
    if not yes:
        confirmed(f"Whoever uses the token {name} will be refused. Reset it?")
    if beside.data_dir is None:
        made = remote.call("POST", path("lateron", "v1", "tokens", name, "reset"))
    else:
        made = in_store(
            beside.data_dir,
            lambda resources, now: _told(resources.reset_token(tenant(), name, now)),
            "token.reset",
            name,
        )
    with _shown_once(f"the token {name} was replaced, and nobody has the new one: reset it again"):
        remote.done(made, made["token"])


@command(tokens_app, "lateron tokens revoke spare --yes")
def revoke(remote: Remote, beside: Beside, name: NameArgument, yes: YesOption = False) -> None:
    """Revoke a token; it is refused at once."""
    if not yes:
        confirmed(f"Whoever uses the token {name} will be refused. Revoke it?")
    if beside.data_dir is None:
        answer = remote.call("DELETE", path("lateron", "v1", "tokens", name))
    else:
        in_store(
            beside.data_dir, lambda resources, now: resources.revoke_token(tenant(), name, now), "token.revoke", name
        )
        answer = {}
    remote.done(answer, f"revoked {name}")


@command(keys_app, "lateron keys show", "lateron keys show --json")
def show(remote: Remote) -> None:
    """Print the signing keys as the variables that receivers read."""
    _print_keys(remote, remote.call("GET", path("v2", "keys")))


@command(keys_app, "lateron keys rotate --yes")
def rotate(remote: Remote, yes: YesOption = False) -> None:
    """Sign with the next key from now on, make a new next one, and print both.

    Receivers that try both keys notice nothing; give them the new pair before you rotate again.
    """
    if not yes:
        confirmed("Receivers that know only the current key will refuse what comes. Rotate?")
    made = remote.call("POST", path("v2", "keys", "rotate"))
    with _shown_once("the keys were rotated: `lateron keys show` prints them"):
        _print_keys(remote, made)


_JSON = {"Content-Type": "application/json"}


@contextmanager
def _shown_once(otherwise: str) -> Iterator[None]:
    """Say what has become of a secret that could not be shown; here a reader who leaves has not seen enough."""
    try:
        yield
    except OutputLost as error:
        raise Failed(f"{error}; {otherwise}", OUTPUT) from None


def _print_keys(remote: Remote, keys: Item) -> None:
    lines = f'QSTASH_CURRENT_SIGNING_KEY="{keys["current"]}"\nQSTASH_NEXT_SIGNING_KEY="{keys["next"]}"'
    remote.done(keys, lines)


def _shown(row: Any) -> dict[str, Any]:  # noqa: ANN401 - Imported late.
    from lateron.api.tokens import token_object

    return token_object(row)


def _told(made: tuple[str, Any]) -> dict[str, Any]:
    token, row = made
    return {**_shown(row), "token": token}
