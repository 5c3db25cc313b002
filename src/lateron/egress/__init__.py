"""The only door to the outside network: resolve, guard, connect, send, cap, time, and say how it went."""

from lateron.egress.client import Egress, EgressSettings
from lateron.egress.connection import Limits
from lateron.egress.guard import GuardPolicy, verdict
from lateron.egress.request import Delivery, encode_head
from lateron.egress.resolve import Resolver, parse_overrides
from lateron.egress.tls import tls_context

__all__ = [
    "Delivery",
    "Egress",
    "EgressSettings",
    "GuardPolicy",
    "Limits",
    "Resolver",
    "encode_head",
    "parse_overrides",
    "tls_context",
    "verdict",
]
