"""Is a request signed as every known kind of receiver expects?

The judge is the official ``Receiver`` of the Python SDK, together with the verifiers that users wrote by
hand. A signature that only some of them accept is not accepted here.
"""

from __future__ import annotations

from qstash import Receiver as OfficialReceiver
from tests.support.receiver import Received
from tests.support.server import User
from tests.support.verifiers import claims_of, verify_as_go_service, verify_as_lambda_in_python


def assert_genuine(request: Received, url: str, user: User) -> None:
    """Insist that a request was signed with the current key of a user, for this URL and body."""
    token = request.header("Upstash-Signature")
    OfficialReceiver(user.current, user.next).verify(signature=token, body=request.text, url=url)
    verify_as_lambda_in_python(token, user.current, request.text, url)
    verify_as_go_service(token, user.current, request.body)
    claims = claims_of(token)
    assert claims["exp"] == claims["iat"] + 300
    assert claims["nbf"] == claims["iat"] - 300
    assert claims["sub"] == url
    assert isinstance(claims["jti"], str)
    assert claims["jti"]
    assert "aud" not in claims
