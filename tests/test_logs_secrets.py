"""What the server prints holds no secret of a user and nothing of what he sends (D-61)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving import OWN, delivered, publish, states
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server


@pytest.mark.promise("D-61")
@pytest.mark.parametrize("form", ["json", "pretty"])
def test_the_log_holds_no_secret_at_its_most_talkative(tmp_path: Path, form: str) -> None:
    """Logs are kept longer, copied wider and guarded less than the store. Each secret here is one of a kind."""
    flags = ("--log-level", "debug", "--log-format", form)
    with Receiver() as receiver, Server(tmp_path / "data", *flags, "--allow-private", mode="serve", user=OWN) as server:
        endpoint = receiver.endpoint()
        endpoint.answers(
            Answer(500, b"canary-answer", (("X-Secret", "canary-answer-header"),)),
            Answer(200, b"canary-answer", (("Set-Cookie", "canary-cookie"),)),
        )
        hidden = (
            ("Upstash-Forward-Authorization", "Bearer canary-forwarded"),
            ("Upstash-Forward-X-Key", "canary-header"),
            ("Upstash-Retry-Delay", "1"),
            ("Upstash-Deduplication-Id", "canary-dedup"),
        )
        url = f"http://canary-user@{receiver.host}:{receiver.port}{endpoint.path}"
        assert server.call("POST", f"/v2/publish/{url}", b"canary-body", hidden).status == 400
        query = f"/v2/publish/{endpoint.url}?qstash_token={OWN.token}"
        assert server.call("POST", query, b"canary-body", hidden, token="").status == 201
        bad = (("Authorization", "Bearer canary-token"), ("Upstash-Delay", "canary-delay"))
        assert server.call("POST", f"/v2/publish/{endpoint.url}", b"canary-body", bad, token="").status == 401
        assert server.call("POST", "/v2/batch", b'[{"canary-json": ').status == 400
        dead = publish(server, "http://127.0.0.1:9/canary-path?canary-query=1", ("Upstash-Retries", "0"))
        sent = publish(server, endpoint.url)
        until(lambda: delivered(server, sent) and "FAILED" in states(server, dead), "both to come to rest")
        assert server.call("POST", "/v2/keys/rotate").status == 200
        keys = server.call("GET", "/v2/keys").json
        assert server.stop() == 0

        printed = server.log

    assert "stopped" in printed
    for secret in ("canary", OWN.token, OWN.current, OWN.next, *keys.values()):
        assert secret not in printed, secret
