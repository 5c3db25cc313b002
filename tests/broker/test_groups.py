"""URL groups: what a publish to one means, and what a change of one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.broker.conftest import NOW, Desk, item

from lateron.broker.bulk import Broker
from lateron.broker.views import Accepted, FannedOut, Turn
from lateron.core.destination import Destination
from lateron.core.groups import Endpoint, Target
from lateron.core.options import Config
from lateron.core.publish import GroupPublication, PublishContext
from lateron.core.quota import QUOTAS
from lateron.core.recurring import parse_schedule
from lateron.core.values import Filter, Millis, Outcome, Overrides, Publication
from lateron.errors import (
    InvalidDestination,
    LateronError,
    NotFound,
    QuotaExceeded,
    RequestError,
    StorageFull,
    StoreFailed,
)
from lateron.runtime import id_maker
from lateron.store.sql import Verbs
from lateron.store.sqlite import open_memory

NONE = QUOTAS["none"]
FAIL = Outcome(status=500)
URLS = tuple(f"https://host{n}.example/" for n in range(4))


def to_group(name: str = "orders", *headers: tuple[str, str], body: bytes = b"b", tenant: int = 1) -> GroupPublication:
    return GroupPublication(name, Config.of(headers).pairs(), body, PublishContext(tenant, NOW, NONE))


def add(desk: Desk, *urls: str, name: str = "orders", tenant: int = 1) -> None:
    desk.broker.save_endpoints(tenant, name, [Endpoint(url) for url in urls], NONE, NOW)


def ask(desk: Desk, *items: Publication | GroupPublication, now: Millis = NOW, room: int = 0) -> tuple[object, ...]:
    """Publish in one request."""
    (answers,) = desk.broker.turn(Turn(publishes=(items,), room=room), now).accepted
    assert isinstance(answers, tuple)
    return answers


def fan(answer: object) -> FannedOut:
    assert isinstance(answer, FannedOut), answer
    return answer


def reached(desk: Desk, tenant: int = 1) -> list[str]:
    """Return the URLs of all messages that wait, sorted."""
    return sorted(view.request.url for view in desk.history.pending(tenant, Filter(), None, 1000, NOW).items)


@pytest.mark.promise("P-90")
def test_each_endpoint_has_its_own_message_and_its_own_retries(desk: Desk) -> None:
    """One that fails is retried and buried alone; the others are delivered once."""
    desk.broker.save_endpoints(1, "orders", [Endpoint(URLS[0], "first one"), Endpoint(URLS[1])], NONE, NOW)

    (answer,) = ask(desk, to_group("orders", ("Upstash-Retries", "0")))
    claimed = desk.claim()
    desk.settle([claimed[0]], FAIL)
    desk.settle([claimed[1]], Outcome(status=200))

    assert [url for url, _ in fan(answer).endpoints] == [URLS[0], URLS[1]]
    names = [(c.request.url, c.request.options.topic, c.request.options.endpoint) for c in claimed]
    assert names == [(URLS[0], "orders", "first one"), (URLS[1], "orders", None)]
    (letter,) = desk.history.dead_letters(1, Filter(topics=("orders",)), None, 10).items
    assert letter.request.url == URLS[0]
    assert desk.history.dead_letters(1, Filter(topics=("other",)), None, 10).items == ()
    (new,) = desk.broker.redrive(1, Filter(), Overrides(), NOW).messages
    again = desk.history.message(1, new, NOW).request
    assert (again.options.topic, again.options.endpoint) == ("orders", "first one")


changes = st.lists(
    st.tuples(st.sampled_from(["publish", "batch", "add", "remove", "delete"]), st.integers(0, 3), st.integers(0, 3)),
    max_size=14,
)


@pytest.mark.promise("P-90", "P-4")
@given(changes)
def test_publish_means_the_endpoints_of_its_own_transaction(plan: list[tuple[str, int, int]]) -> None:
    """Whatever changes come before and behind it: one message for each endpoint there is then, or none at all."""
    desk, model, expected = Desk(open_memory(NOW)), list[str](), list[str]()
    for step, a, b in plan:
        if step == "add":
            add(desk, URLS[a], URLS[b])
            model += [url for url in dict.fromkeys((URLS[a], URLS[b])) if url not in model]
        elif step == "remove" and model:
            desk.broker.remove_endpoints(1, "orders", [Target(url=URLS[a])], NOW)
            model = [url for url in model if url != URLS[a]]
        elif step == "delete":
            assert desk.broker.delete_group(1, "orders") == bool(model)
            model = []
        elif step in {"publish", "batch"}:
            more = [item("https://other.example/")] if step == "batch" else []
            answer, *rest = ask(desk, to_group(), *more)
            if model:
                assert [url for url, _ in fan(answer).endpoints] == model
            else:
                assert isinstance(answer, NotFound)
            assert all(isinstance(one, Accepted) for one in rest)
            expected += [*model, *(one.request.url for one in more)]
    assert reached(desk) == sorted(expected)


def test_group_that_cannot_be_reached_whole_is_not_reached_at_all() -> None:
    """An address that is refused today was good when it was added; half a fan-out would help nobody."""

    def check(destination: Destination) -> None:
        if destination.host == "host1.example":
            raise InvalidDestination(destination.url, "a private address")

    desk = Desk(open_memory(NOW))
    add(desk, *URLS)
    desk.broker = Broker(desk.store, id_maker(), 1, desk.limits, check)

    bad, good = ask(desk, to_group(), item("https://other.example/"))

    assert isinstance(bad, InvalidDestination)
    assert isinstance(good, Accepted)
    assert reached(desk) == ["https://other.example/"]


@pytest.mark.promise("P-4", "P-90", "F-11")
@pytest.mark.parametrize("error", [StorageFull, StoreFailed])
@pytest.mark.parametrize("verb", ["group", "save_schedules", "save_schedule_request"])
def test_a_disk_that_fails_befalls_the_whole_request(
    desk: Desk, error: type[LateronError], verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it answered as the error of one item, half of the others would be stored, and a broken store used on."""
    add(desk, *URLS)
    cron = [(b"Upstash-Cron", b"* * * * *")]
    schedule = parse_schedule(b"http://one/", cron, b"b", PublishContext(1, NOW, NONE))
    before = desk.dump()

    def fails(*_: object) -> None:
        raise error("planned")

    monkeypatch.setattr(Verbs, verb, fails)
    with pytest.raises(error):
        desk.broker.turn(Turn(publishes=((item(), schedule, to_group()),)), NOW)

    assert desk.dump() == before


@pytest.mark.promise("P-91")
def test_batch_keeps_its_order_around_groups(desk: Desk) -> None:
    """Each item is answered in its place: a message, a group's messages, an error."""
    add(desk, URLS[0], URLS[1])

    first, group, missing, last = ask(desk, item("https://a/"), to_group(), to_group("missing"), item("https://b/"))

    assert isinstance(first, Accepted)
    assert [url for url, _ in fan(group).endpoints] == [URLS[0], URLS[1]]
    assert str(missing) == "topic missing not found"
    assert isinstance(last, Accepted)
    assert first.id < fan(group).endpoints[0][1].id < fan(group).endpoints[1][1].id < last.id
    assert reached(desk) == ["https://a/", "https://b/", *URLS[:2]]


@pytest.mark.promise("P-50", "P-51")
@pytest.mark.parametrize("option", [("Upstash-Deduplication-Id", "x"), ("Upstash-Content-Based-Deduplication", "true")])
def test_repetition_reaches_only_endpoints_that_have_no_message_yet(desk: Desk, option: tuple[str, str]) -> None:
    """The key is the endpoint's: nobody gets it twice, and one that came meanwhile is not left out."""
    add(desk, URLS[0])
    add(desk, URLS[0], name="other")

    (first,) = ask(desk, to_group("orders", option))
    add(desk, URLS[1])
    (second,) = ask(desk, to_group("orders", option))
    (other,) = ask(desk, to_group("other", option))

    (old, new) = (answer for _, answer in fan(second).endpoints)
    assert (old.id, old.duplicate, new.duplicate) == (fan(first).endpoints[0][1].id, True, False)
    assert not fan(other).endpoints[0][1].duplicate
    assert reached(desk) == [URLS[0], URLS[0], URLS[1]]


@pytest.mark.promise("D-5")
def test_groups_belong_to_their_tenant(desk: Desk) -> None:
    """Two users may have a group of one name, and neither sees or reaches the other's."""
    add(desk, URLS[0])
    add(desk, URLS[1], tenant=2)

    ask(desk, to_group())

    assert reached(desk) == [URLS[0]]
    assert reached(desk, 2) == []
    assert [group.endpoints for group in desk.history.groups(2)] == [(Endpoint(URLS[1]),)]
    assert desk.broker.delete_group(2, "orders")
    assert desk.history.group(1, "orders").endpoints == (Endpoint(URLS[0]),)


def test_defaults_configure_what_the_request_does_not(desk: Desk) -> None:
    """Each default stands until the request says it."""
    add(desk, URLS[0])
    defaults = (("Upstash-Retries", "7"), ("Upstash-Label", "all"), ("Upstash-Forward-X", "default"))
    desk.broker.set_defaults(1, "orders", defaults, NOW)

    ask(desk, to_group("orders", ("Upstash-Retries", "1"), ("Upstash-Forward-Y", "own")))

    (view,) = desk.history.pending(1, Filter(), None, 10, NOW).items
    assert view.request.options.retry.retries == 1
    assert view.request.options.labels == ("all",)
    assert dict(view.request.headers) == {"X": "default", "Y": "own"}


def test_limits_of_the_plan_hold_for_groups_and_endpoints(desk: Desk) -> None:
    """The 101st endpoint, or the second group of a free plan, changes nothing."""
    free = QUOTAS["free"]
    desk.broker.save_endpoints(1, "orders", [Endpoint(f"https://h/{n}") for n in range(100)], free, NOW)

    with pytest.raises(QuotaExceeded, match="at most 100, got 101"):
        desk.broker.save_endpoints(1, "orders", [Endpoint("https://h/more")], free, NOW)
    with pytest.raises(QuotaExceeded, match="URL groups: the quota allows at most 1, got 2"):
        desk.broker.save_endpoints(1, "second", [Endpoint("https://h/")], free, NOW)
    desk.broker.save_endpoints(1, "orders", [Endpoint("https://h/7", "seven")], free, NOW)
    desk.broker.save_endpoints(2, "second", [Endpoint("https://h/")], free, NOW)

    assert [len(group.endpoints) for group in desk.history.groups(1)] == [100]


@pytest.mark.promise("D-7", "P-119")
def test_one_request_cannot_become_any_number_of_messages(desk: Desk) -> None:
    """A batch of group publishes is bounded as a whole; what is over the bound is refused in its place."""
    desk.broker.save_endpoints(1, "orders", [Endpoint(f"https://h/{n}") for n in range(4000)], NONE, NOW)

    answers = ask(desk, to_group(), to_group(), to_group(), item("https://other.example/"))

    assert [type(answer) for answer in answers] == [FannedOut, FannedOut, RequestError, Accepted]
    big = ask(desk, to_group("orders", body=bytes(70_000)))
    assert "at most 268435456" in str(big[0])


@pytest.mark.parametrize("call", ["remove", "defaults", "get", "publish"])
def test_unknown_group_is_not_found(desk: Desk, call: str) -> None:
    """The words are those that a client's test compares."""
    calls: dict[str, Callable[[], object]] = {
        "remove": lambda: desk.broker.remove_endpoints(1, "nothere", [Target(url=URLS[0])], NOW),
        "defaults": lambda: desk.broker.set_defaults(1, "nothere", (), NOW),
        "get": lambda: desk.history.group(1, "nothere"),
        "publish": lambda: raised(ask(desk, to_group("nothere"))),
    }
    with pytest.raises(NotFound, match="topic nothere not found"):
        calls[call]()
    assert desk.broker.delete_group(1, "nothere") is False


def raised(answers: Sequence[object]) -> None:
    assert isinstance(answers[0], LateronError)
    raise answers[0]


def test_callback_names_group_and_endpoint(desk: Desk) -> None:
    """Whoever gets the report must know which of the group's endpoints it is about."""
    desk.broker.save_endpoints(1, "orders", [Endpoint(URLS[0], "shop")], NONE, NOW)
    ask(desk, to_group("orders", ("Upstash-Callback", "https://back.example/")))

    desk.settle(desk.claim(), Outcome(status=200))

    (report,) = desk.history.pending(1, Filter(), None, 10, NOW).items
    assert b'"topicName":"orders","endpointName":"shop"' in (report.request.body or b"")
    assert report.request.options.topic is None


def test_trouble_of_the_store_is_no_items_fault(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while the group is read rolls everything back, so nobody may be told that he is stored."""

    def full(*_: object) -> None:
        raise StorageFull("no space")

    monkeypatch.setattr(Verbs, "group", full)
    with pytest.raises(StorageFull):
        desk.broker.turn(Turn(((to_group("g"),), (item(),))), NOW)

    assert desk.dump()["message"] == []
