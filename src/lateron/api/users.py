"""Users of the console: make, list, change, remove. A password is hashed beside the loop, and shown to nobody.

They are the first user's of the server to administer: the name of one is nobody else's in the whole store, and whether
it is taken must not be told to another.
"""

from __future__ import annotations

from typing import Any

from lateron.api.auth import require_operator
from lateron.api.call import Answer, Call, json_answer
from lateron.api.passwords import secret_of
from lateron.api.ports import Ports
from lateron.core.user import parse_change, parse_new_user
from lateron.core.values import Tenant
from lateron.store.users import UserRow
from lateron.telemetry import Log

log = Log("lateron.api")


async def list_users(ports: Ports, call: Call) -> Answer:
    """List the users of the console, by name: scope, last use."""
    return json_answer([user_object(row) for row in ports.resources.users.of(_tenant(call))])


async def create_user(ports: Ports, call: Call) -> Answer:
    """Make a user: ``{"name", "scope", "password"}``."""
    tenant, users = _tenant(call), ports.resources.users
    new = parse_new_user(await call.small_body())
    call.concerns(f"{new.name} ({new.scope})")
    secret = secret_of(await ports.hashing.hash(new.password))
    row = await ports.writer.run(lambda _, now: users.add(tenant, new, secret, now))
    log.info("user made", **_who(call), named=new.name, scope=new.scope)
    return json_answer(user_object(row), 201)


async def change_user(ports: Ports, call: Call) -> Answer:
    """Give a user another scope or password, ``{"scope"?, "password"?}``; from this answer on his logins are over."""
    tenant, users, name = _tenant(call), ports.resources.users, call.params["userName"]
    change = parse_change(await call.small_body(), name)
    what = [*(["password"] if change.password else []), *([change.scope] if change.scope else [])]
    call.concerns(f"{name} ({', '.join(what)})")
    users.expect(tenant, name)  # Before the work of hashing.
    secret = secret_of("" if change.password is None else await ports.hashing.hash(change.password))
    row = await ports.writer.run(lambda _, now: users.change(tenant, name, change, secret, now))
    log.info("user changed", **_who(call), named=name, scope=row.scope, password_too=change.password is not None)
    return json_answer(user_object(row))


async def remove_user(ports: Ports, call: Call) -> Answer:
    """Remove a user; from this answer on his logins are over."""
    tenant, users, name = _tenant(call), ports.resources.users, call.params["userName"]
    await ports.writer.run(lambda *_: users.remove(tenant, name))
    log.info("user removed", **_who(call), named=name)
    return json_answer({})


def user_object(row: UserRow) -> dict[str, Any]:
    """Return what may be shown of a user."""
    shown = {"name": row.name, "scope": row.scope, "createdAt": row.created, "changedAt": row.changed}
    return shown if row.used is None else {**shown, "lastUsedAt": row.used}


def _tenant(call: Call) -> Tenant:
    """Return whose users a call is about.

    Raises:
        Forbidden: The caller is not the first user of this server.
    """
    require_operator(call.who, "administer users of the console")
    return call.who.tenant


def _who(call: Call) -> dict[str, Any]:
    return {"tenant": call.who.tenant, "user": call.who.user, "by": call.who.name, "caller": call.caller_ip}
