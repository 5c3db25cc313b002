"""Tokens: make, list, revoke, reset. A token itself is told once, in the answer to who made it."""

from __future__ import annotations

from typing import Any

from lateron.api.call import Answer, Call, json_answer
from lateron.api.ports import Ports
from lateron.core.token import parse_new_token
from lateron.store.sql import TokenRow
from lateron.telemetry import Log

log = Log("lateron.api")


async def list_tokens(ports: Ports, call: Call) -> Answer:
    """List the tokens of the user, oldest first: name, scope, end, last use."""
    return json_answer([token_object(row) for row in ports.resources.tokens(call.who.tenant)])


async def create_token(ports: Ports, call: Call) -> Answer:
    """Make a token, and show it: ``{"name", "scope", "expiresIn"?}``."""
    new = parse_new_token(await call.small_body())
    resources, tenant = ports.resources, call.who.tenant
    call.concerns(f"{new.name} ({new.scope})")
    token, row = await ports.writer.run(lambda _, now: resources.create_token(tenant, new, now))
    log.info("token made", **_who(call), named=new.name, scope=new.scope)
    return json_answer({**token_object(row), "token": token}, 201)


async def revoke_token(ports: Ports, call: Call) -> Answer:
    """Revoke a token; from this answer on it is refused."""
    resources, tenant, name = ports.resources, call.who.tenant, call.params["tokenName"]
    await ports.writer.run(lambda _, now: resources.revoke_token(tenant, name, now))
    log.info("token revoked", **_who(call), named=name)
    return json_answer({})


async def reset_token(ports: Ports, call: Call) -> Answer:
    """Replace a token by a new one, and show that; from this answer on the old one is refused."""
    resources, tenant, name = ports.resources, call.who.tenant, call.params["tokenName"]
    token, row = await ports.writer.run(lambda _, now: resources.reset_token(tenant, name, now))
    log.info("token reset", **_who(call), named=name)
    return json_answer({**token_object(row), "token": token})


def token_object(row: TokenRow) -> dict[str, Any]:
    """Return what may be shown of a token."""
    shown = {"name": row.name, "scope": row.scope, "createdAt": row.created}
    instants = {"expiresAt": row.expires, "lastUsedAt": row.used}
    return {**shown, **{name: instant for name, instant in instants.items() if instant is not None}}


def _who(call: Call) -> dict[str, Any]:
    return {"tenant": call.who.tenant, "user": call.who.user, "by": call.who.name, "caller": call.caller_ip}
