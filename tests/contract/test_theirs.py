"""Requests made from the published OpenAPI files of QStash and of its workflows, against a whole server.

Those files are not ours to keep here. Who has them says where they are::

    LATERON_REFERENCE=qstash-openapi.yaml:workflow-openapi.yaml LATERON_CASES=5000 pytest tests/contract/test_theirs.py

A client that was made from them must get answers that it can read: no error of ours whatever it sends, a refusal that
names what is wrong, 501 for what is not built and for nothing else, and a success as they describe it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance
from tests.contract.house import House
from tests.contract.reference import BUILT
from tests.contract.test_schemathesis import (
    CASES,
    PLAIN,
    STRANGERS,
    TWISTS,
    Twist,
    check_words,
    drawn,
    known_ids,
    put_known,
    send,
)

FILES: Final = [Path(name) for name in os.environ.get("LATERON_REFERENCE", "").split(":") if name]


# Reading must change nothing: a request that a browser makes in advance would change the keys.
NOT_OURS: Final = frozenset({"GET /v2/keys/rotate"})


@cache
def described(file: Path) -> Any:
    """Read a file of theirs. They write CANCELLED there, and CANCELED in what SDKs read; the SDKs win."""
    return schemathesis.openapi.from_dict(yaml.safe_load(file.read_text("utf-8").replace("CANCELLED", "CANCELED")))


def operations() -> Iterator[Any]:
    """Yield each operation of each file."""
    for file in FILES:
        for path, methods in described(file).raw_schema["paths"].items():
            for method in methods:
                if method != "parameters" and f"{method.upper()} {path}" not in NOT_OURS:
                    yield pytest.param(file, path, method.upper(), id=f"{file.stem} {method.upper()} {path}")


@pytest.mark.skipif(not FILES, reason="LATERON_REFERENCE names no files")
@pytest.mark.parametrize(("file", "path", "method"), list(operations()))
def test_every_request_of_theirs_is_answered_so_that_their_client_understands(
    file: Path, path: str, method: str, house: House
) -> None:
    """Whatever their description allows or forbids."""
    operation = described(file)[path][method]
    seen: Counter[int] = Counter()
    known = known_ids(house)
    session = requests.Session()
    session.trust_env = False
    built = f"{method} {path}" in BUILT

    @settings(max_examples=CASES, phases=(Phase.generate,), suppress_health_check=list(HealthCheck), database=None)
    @given(drawn(operation), TWISTS)
    def check(case: Any, twist: Twist) -> None:
        if seen[401] >= STRANGERS:
            twist = twist._replace(token="good")
        if twist != PLAIN and set(case.path_parameters or ()) <= set(known):
            put_known(case, twist.known, known)
        response = send(house, session, case, twist)
        seen[response.status_code] += 1
        if response.status_code == 501:
            assert not built or "not supported yet" in response.json()["error"], response.text
            return
        check_words(response, case)
        assert response.status_code != 405, response.text
        if 200 <= response.status_code < 300:
            case.validate_response(response, checks=[response_schema_conformance])

    with session:
        check()
    assert built or set(seen) <= {401, 501}, seen
