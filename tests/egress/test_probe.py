"""What a look at a destination tells of TLS."""

from __future__ import annotations

from pathlib import Path

from tests.egress.certificates import make_authority
from tests.egress.conftest import Run
from tests.egress.receiver import ANYWHERE, always, receiving, sending

from lateron.core.destination import parse_destination
from lateron.egress import EgressSettings, GuardPolicy, tls_context
from lateron.egress.probe import Probe


def looked(run: Run, folder: Path, host: str, guard: GuardPolicy = ANYWHERE) -> tuple[Probe, int]:
    authority = make_authority(folder)
    context = tls_context(authority.file)

    async def main() -> tuple[Probe, int]:
        async with receiving(always(), tls=authority.server("good.example")) as receiver:
            settings = EgressSettings(guard=guard, resolve=(f"*:{receiver.port}:127.0.0.1",), tls=context)
            async with sending(settings) as egress:
                found = await egress.examine(parse_destination(receiver.url(host=host)))
                return found, len(receiver.heard)

    return run(main())


def test_the_certificate_is_told_with_its_issuer_and_end(run: Run, tmp_path: Path) -> None:
    """A certificate that ends next week is an outage of next week."""
    found, heard = looked(run, tmp_path, "good.example")
    assert (found.outcome.status, found.outcome.error, heard) == (200, None, 1)
    assert found.tls is not None
    assert found.tls.protocol == "TLSv1.3"
    assert found.tls.issuer
    assert found.tls.expires > 1_700_000_000_000


def test_a_certificate_for_another_name_is_a_failure_without_facts(run: Run, tmp_path: Path) -> None:
    """Nothing is told of a peer that did not prove who it is."""
    found, heard = looked(run, tmp_path, "bad.example")
    assert (found.outcome.error, found.tls, heard) == ("tls", None, 0)


def test_what_the_guard_refuses_is_not_touched(run: Run, tmp_path: Path) -> None:
    """The address is named with the reason, and no connection is made."""
    found, heard = looked(run, tmp_path, "good.example", GuardPolicy())
    assert [one.address for one in found.addresses] == ["127.0.0.1"]
    assert "loopback" in str(found.addresses[0].refused)
    assert (found.outcome.error, found.tls, heard) == ("blocked", None, 0)
