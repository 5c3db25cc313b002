"""For the tests of applications: a running server, a catcher, and a clock that the test moves.

::

    def test_a_reminder_goes_out_after_a_day(lateron: Lateron) -> None:
        client = QStash(lateron.token, base_url=lateron.url)
        client.message.publish_json(url=lateron.catcher.url("mail"), body={"to": "ann"}, delay="1d")
        assert lateron.catcher.received("mail") == []

        lateron.clock.advance("1d")

        (mail,) = lateron.catcher.received("mail")
        assert mail.json() == {"to": "ann"}

With pytest the fixture ``lateron`` is there as soon as the package is installed; without it, ``Lateron`` is a context
manager. docs/testing.md has the rest.
"""

from lateron.testing.catching import Answer, Request
from lateron.testing.errors import NotAtRest, NotReceived, Refused
from lateron.testing.server import Catcher, Clock, Lateron, Reply

__all__ = ["Answer", "Catcher", "Clock", "Lateron", "NotAtRest", "NotReceived", "Refused", "Reply", "Request"]
