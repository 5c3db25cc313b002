"""What each room is told of the settings."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import apsw

from lateron.api.pages import read_pages
from lateron.api.ports import ConsoleSettings
from lateron.broker.resources import Resources
from lateron.broker.views import Limits
from lateron.config import InvalidSettings, Settings
from lateron.config.dev_users import DEV_USERS
from lateron.core.destination import Destination
from lateron.core.quota import BATCH_BYTES, QUOTAS, Quota, overridden
from lateron.core.values import Millis, Tenant
from lateron.egress import EgressSettings, GuardPolicy, Resolver, parse_overrides, tls_context, verdict
from lateron.egress.resolve import Addresses, Overrides
from lateron.errors import InvalidDestination
from lateron.server.seeding import TENANT
from lateron.store.sealing import Seals


def quota_of(settings: Settings) -> Quota:
    """Return the limits of this server; those of a named plan are not moved by other settings."""
    quota = QUOTAS[settings.quota]
    if settings.quota != "none":
        return quota
    return overridden(
        quota, body=settings.max_body, timeout=settings.response_time, dlq_retention=settings.dlq_retention
    )


def broker_limits(settings: Settings) -> Limits:
    """Return what the broker must know."""
    places = settings.global_parallelism or settings.concurrency
    return Limits(
        host_parallelism=settings.host_parallelism,
        global_parallelism=places,
        tenant_parallelism=settings.user_parallelism or -(-places * 3 // 4),
        start_ramp_ms=settings.start_ramp,
        message_retention_ms=settings.message_retention,
        history_retention_ms=settings.history_retention,
        dead_letter_retention_ms=quota_of(settings).dlq_retention,
        history_bytes=settings.history_size,
        audit_retention_ms=settings.audit_retention,
        queues=quota_of(settings).queues,
        crash_limit=settings.crash_limit,
    )


def guard_policy(settings: Settings, listeners: frozenset[tuple[str, int]]) -> GuardPolicy:
    """Return whom we may call; our own listeners are known only once they are bound."""
    return GuardPolicy(
        allow_private=settings.allow_private,
        addresses=frozenset(settings.allow_address),
        listeners=listeners,
        catcher=settings.catcher,
    )


def egress_settings(settings: Settings, guard: GuardPolicy) -> EgressSettings:
    """Return how deliveries are made.

    Raises:
        InvalidSettings: The file of authorities cannot be used.
    """
    try:
        tls = tls_context(settings.ca_file)
    except OSError as error:
        raise InvalidSettings(f"ca-file {settings.ca_file}: {error.strerror or error}") from None
    return EgressSettings(guard=guard, resolve=settings.resolve, tls=tls)


def console_settings(settings: Settings) -> ConsoleSettings | None:
    """Return what the console must know; None if it is switched off."""
    if not settings.console:
        return None
    guest = DEV_USERS[0].token.encode() if settings.command == "dev" else None
    hosts = tuple(name.lower() for name in settings.console_host)
    return ConsoleSettings(environment=settings.command, guest=guest, hosts=hosts, pages=read_pages())


def name_overrides(settings: Settings) -> Overrides:
    """Return the names an operator answers for.

    Raises:
        InvalidSettings: An entry cannot be read.
    """
    try:
        return parse_overrides(settings.resolve)
    except ValueError as error:
        raise InvalidSettings(f"resolve: {error}") from None


def destination_check(resolver: Resolver, guard: GuardPolicy) -> Callable[[Destination], None]:
    """Return the check that a publish makes: the guard's, as far as addresses are known without asking anybody.

    It is a service to the publisher, who learns early; the same guard decides at the socket. A name that was not
    resolved lately is accepted, because trouble of a name server is no reason to refuse a message.
    """

    @lru_cache(maxsize=1024)  # Nearly all publishes name a place that was judged a moment ago.
    def allowed(addresses: Addresses, port: int) -> bool:
        """Whether one of the addresses may be called whatever the path is."""
        return any(verdict(address, port, "/", guard) is None for address in addresses)

    def check(destination: Destination) -> None:
        addresses = resolver.known(destination)
        if not addresses:
            return
        if allowed(addresses, destination.port):
            return
        reasons = [verdict(address, destination.port, destination.target, guard) for address in addresses]
        if all(reason is not None for reason in reasons):
            raise InvalidDestination(destination.url, str(reasons[0]))

    return check


def all_keys(settings: Settings, resources: Resources) -> Callable[[], Mapping[Tenant, Sequence[str]]]:
    """Return a function that gives every tenant's signing keys as of now, for the catcher."""
    tenants = [user.tenant for user in DEV_USERS] if settings.command == "dev" else [TENANT]

    def keys() -> Mapping[Tenant, Sequence[str]]:
        pairs = {tenant: resources.keys(tenant) for tenant in tenants}
        return {tenant: (pair.current, pair.next) for tenant, pair in pairs.items() if pair is not None}

    return keys


def self_description(settings: Settings, started: Millis, seals: Seals | None = None) -> Mapping[str, Any]:
    """Return what the server says of itself; no secrets, no paths."""
    quota = quota_of(settings)
    return {
        "mode": settings.command,
        "store": {"kind": "sqlite", "version": apsw.sqlite_lib_version(), "durable": not settings.ephemeral},
        "encryption": {
            "on": seals is not None and seals.on,
            **({} if seals is None else {"key": seals.master, "dataKey": seals.current}),
        },
        "python": ".".join(map(str, sys.version_info[:3])),
        "openssl": ssl.OPENSSL_VERSION,
        "tzdata": version("tzdata"),
        "startedAt": started,
        "region": settings.region,
        "signs": settings.upstash_signature,
        "limits": {
            "body": quota.body,
            "batch": BATCH_BYTES,
            "delay": quota.delay,
            "timeout": quota.timeout,
            "retries": quota.retries,
            "parallelism": quota.parallelism,
            "dedupWindow": settings.dedup_window,
            "catchUp": settings.catch_up,
            "schedules": quota.schedules,
            "messageRetention": settings.message_retention,
            "historyRetention": settings.history_retention,
            "auditRetention": settings.audit_retention,
            "historySize": settings.history_size,
            "dlqRetention": quota.dlq_retention,
            "concurrency": settings.concurrency,
            "globalParallelism": settings.global_parallelism or settings.concurrency,
            "hostParallelism": settings.host_parallelism,
            "rateLimit": settings.rate_limit,
        },
    }
