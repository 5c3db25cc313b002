"""The four users that the documentation of QStash's local development server prints.

Their tokens and keys are public knowledge: with them ``lateron dev`` is found by every SDK in its own
development mode, and for the same reason ``lateron serve`` never accepts them.

Source: QStash documentation, "Local Development" (qstash/howto/local-development.mdx).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lateron.core.values import Tenant


@dataclass(frozen=True, slots=True)
class DevUser:
    """A user everybody knows."""

    tenant: Tenant
    name: str
    token: str
    current: str  # Signing keys.
    next: str


DEV_USERS: Final = (
    DevUser(
        1,
        "defaultUser",
        "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
        "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
        "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
    ),
    DevUser(
        2,
        "testUser1",
        "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM",
        "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
    ),
    DevUser(
        3,
        "testUser2",
        "eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "sig_6jWGaWRxHsw4vMSPJprXadyvrybF",
        "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
    ),
    DevUser(
        4,
        "testUser3",
        "eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        "sig_5T8FcSsynBjn9mMLBsXhpacRovJf",
        "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
    ),
)

PUBLIC_SECRETS: Final = frozenset(
    secret for user in DEV_USERS for secret in (user.token, user.current, user.next)
)  # Never accepted by ``serve``.
