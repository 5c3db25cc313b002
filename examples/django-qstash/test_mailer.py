"""The package ``django-qstash`` as it is, against the server: tasks, delays, retries, results and schedules.

Django is set up once, and the package reads its URL when it is imported; so all tests share one server.
"""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from lateron.testing import Lateron


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lateron, str]]:
    with Lateron(start="2030-01-01") as server, pytest.MonkeyPatch.context() as patch:

        def make(address: str) -> Callable[..., Any]:
            """Set Django up, which must know its address before that."""
            variables = {**server.env, "APP_URL": address, "DJANGO_SETTINGS_MODULE": "mailer.settings"}
            variables["MAILER_DATABASE"] = str(tmp_path_factory.mktemp("mailer") / "mailer.sqlite3")
            for name, value in variables.items():
                patch.setenv(name, value)
            from django.core.wsgi import get_wsgi_application

            return get_wsgi_application()

        address = server.serve_made(make)
        from django.core.management import call_command
        from django.db import connections

        call_command("migrate", verbosity=0)
        yield server, address
        connections.close_all()


@pytest.fixture
def server(site: tuple[Lateron, str]) -> Lateron:
    from mailer.tasks import sent

    site[0].settle()
    sent.clear()
    return site[0]


@pytest.fixture
def sent(server: Lateron) -> list[str]:
    from mailer.tasks import sent

    return sent


def test_a_view_hands_its_work_to_a_task(server: Lateron, site: tuple[Lateron, str], sent: list[str]) -> None:
    assert httpx.post(f"{site[1]}/members/ann").status_code == 202
    server.settle()

    assert sent == ["welcome ann"]
    (done,) = httpx.get(f"{site[1]}/results").json()
    assert (done["status"], done["result"]) == ("SUCCESS", {"result": "sent to ann"})


def test_a_task_may_wait_for_its_time(server: Lateron, sent: list[str]) -> None:
    from mailer.tasks import welcome

    welcome.apply_async(args=("bob",), countdown=3600)
    server.settle()
    assert sent == []

    server.clock.advance("1h")

    assert sent == ["welcome bob"]


def test_a_task_that_fails_is_tried_again(server: Lateron, sent: list[str]) -> None:
    from mailer.tasks import moody

    task = moody.delay("carl")
    server.settle()
    assert sent == []

    server.clock.advance("1m")

    assert sent == ["at last carl"]
    assert server.states(task.task_id) == ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED"]


def test_a_schedule_of_the_database_is_one_of_the_server(server: Lateron, sent: list[str]) -> None:
    from django_qstash.schedules.models import TaskSchedule

    schedule = TaskSchedule.objects.create(name="weekly", task="mailer.tasks.weekly", cron="0 9 * * 1")
    server.clock.advance("14d")
    assert sent == ["weekly", "weekly"]

    schedule.refresh_from_db()  # The package writes the schedule's id into the row, not into this object.
    schedule.delete()
    server.clock.advance("14d")

    assert sent == ["weekly", "weekly"]
    assert server.call("GET", "/v2/schedules").json() == []


def test_nobody_else_can_call_tasks(site: tuple[Lateron, str], sent: list[str]) -> None:
    task = {"module": "mailer.tasks", "function": "weekly", "args": [], "kwargs": {}}
    assert httpx.post(f"{site[1]}/qstash/webhook/", json=task).status_code == 400
    assert sent == []
