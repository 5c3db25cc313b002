"""Verified receivers for web frameworks: a route gets a ``Delivery`` only if the server really sent it.

Each framework has its module, which imports it; this one imports none. A route that knows a message will never work
raises ``DoNotRetry``. docs/integrations.md shows each of them.
"""

from lateron.integrations.receiving import Delivery, DoNotRetry, NoKeys, Report, Unverified

__all__ = ["Delivery", "DoNotRetry", "NoKeys", "Report", "Unverified"]
