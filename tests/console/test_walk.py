"""A person walks through the console, in a real browser, before a real server."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Route, expect
from tests.console.conftest import Open
from tests.console.steps import JSON, answer, asked, fail, go, hold, poll, publish
from tests.support.poll import until
from tests.support.server import Server


def test_a_newcomer_sees_a_delivery_in_the_first_minute(open_page: Open) -> None:
    """From an empty console one press sends a message; its page says what happened, the catcher what arrived."""
    page = open_page()
    page.get_by_role("button", name="Send a test message to the catcher").click()

    expect(page.get_by_text("The destination answered 200 after 1 attempt")).to_be_visible()
    expect(page.get_by_text("Delivered with attempt 1")).to_be_visible()

    go(page, "Catcher")
    expect(page.get_by_text("signature good")).to_be_visible()
    expect(page.get_by_text('"hello": "world"').first).to_be_visible()


def test_a_bad_night_is_mended_with_one_bulk_replay(open_page: Open, server: Server) -> None:
    """Dead letters are grouped by what went wrong; a replay is counted first, then done, and finds its messages."""
    fail(server, 3)
    page = open_page("dead")
    group = page.locator(".group-row", has_text="answered 503")
    expect(group.locator(".figure")).to_have_text("3")

    group.get_by_role("button", name="Replay 3").click()
    box = page.get_by_role("dialog")
    expect(box.get_by_text("would be published anew")).to_be_visible()
    assert len(server.call("GET", "/v2/dlq").json["messages"]) == 3
    box.get_by_text("Change something on the way").click()
    box.get_by_label("Labels").fill("mended")
    box.get_by_role("button", name="Replay 3 messages").click()

    expect(page.get_by_text("3 dead letters replayed.")).to_be_visible()
    events = server.call("GET", "/v2/events?label=mended&state=CREATED").json["events"]
    assert len(events) == 3


def test_all_that_a_filter_means_are_counted_before_they_are_touched(open_page: Open, server: Server) -> None:
    """What "all" means is what the server counts, not what the page shows; nothing changes until it is confirmed."""
    for _ in range(3):
        publish(server, "later", None, ("Upstash-Delay", "1h"), ("Upstash-Label", "reminder"))
    publish(server, "later", None, ("Upstash-Delay", "1h"))
    page = open_page("messages?view=waiting&filter=label:reminder")
    page.get_by_role("button", name="Cancel all that fit").click()
    box = page.get_by_role("dialog")
    expect(box.locator(".figure")).to_have_text("3")
    assert len(server.call("GET", "/v2/messages").json["messages"]) == 4

    box.get_by_role("button", name="Cancel 3 messages").click()

    expect(page.get_by_text("3 messages cancelled.")).to_be_visible()
    assert len(server.call("GET", "/v2/messages").json["messages"]) == 1


def test_a_slow_job_is_shown_on_every_screen_until_it_is_stopped(open_page: Open, server: Server) -> None:
    """It is the server's: neither another screen nor a reload ends it, and its place is found by the palette."""
    fail(server, 5)
    page = open_page("dead")
    page.get_by_role("button", name="Replay all").click()
    box = page.get_by_role("dialog")
    box.get_by_text("Change something on the way").click()
    box.get_by_label("Or spread over").fill("1h")
    box.get_by_role("button", name="Edit the body").click()
    box.get_by_label("Body").fill('{"mended": true}')
    box.get_by_role("button", name="Replay 5 messages").click()
    jobs = page.get_by_role("region", name="Bulk jobs")
    expect(jobs.get_by_text("5 dead letters: 1 replayed.")).to_be_visible()
    go(page, "Queues")
    page.reload()
    expect(jobs.get_by_text("5 dead letters: 1 replayed.")).to_be_visible()
    caught = until(lambda: server.call("GET", "/lateron/v1/catcher/orders").json["requests"][:1], "the delivery")
    assert caught[0]["body"] == '{"mended": true}'

    jobs.get_by_role("button", name="Stop the job").click()
    expect(page.get_by_text("1 dead letter replayed; then the job was cancelled.")).to_be_visible()
    expect(jobs).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type("bulk jobs")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Bulk jobs")).to_be_visible()
    expect(page.get_by_role("cell", name="cancelled", exact=True)).to_be_visible()
    (job,) = server.call("GET", "/lateron/v1/jobs").json["jobs"]
    assert (job["state"], job["done"], job["total"]) == ("cancelled", 1, 5)


def test_the_end_of_a_job_is_said_once_however_often_it_is_seen(open_page: Open, server: Server) -> None:
    """Two looks at a job that overlap both find it at its end; one of them says so."""
    fail(server, 2)
    page = open_page("dead")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile("/v1/jobs/."), hold)
    page.get_by_role("button", name="Replay 2").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Replay 2 messages").click()
    poll(page, lambda: len(held) == 1)

    asked = {"kind": "deleteDeadLetters", "filter": {"label": ["none has it"]}}
    assert server.call("POST", "/lateron/v1/jobs", json.dumps(asked).encode(), (JSON,)).status in {201, 202}
    poll(page, lambda: len(held) == 2)
    until(lambda: all(job["state"] == "done" for job in server.call("GET", "/lateron/v1/jobs").json["jobs"]), "the end")
    for route in held.copy():
        route.continue_()
    expect(page.locator(".toasts.jobs")).to_have_count(0)
    expect(page.get_by_text("2 dead letters replayed.")).to_have_count(1)


def test_what_was_replayed_is_taken_back_while_it_waits(open_page: Open, server: Server) -> None:
    """Undo cancels the messages of that job and no other."""
    fail(server, 2)
    publish(server, "other", None, ("Upstash-Delay", "1h"))
    page = open_page("dead")
    page.get_by_role("button", name="Replay all").click()
    box = page.get_by_role("dialog")
    box.get_by_text("Change something on the way").click()
    box.get_by_label("Delay").fill("1h")
    box.get_by_role("button", name="Replay 2 messages").click()

    page.get_by_role("button", name="Undo").click()

    expect(page.get_by_text("2 messages cancelled.")).to_be_visible()
    assert len(server.call("GET", "/v2/messages").json["messages"]) == 1


def test_messages_that_wait_for_their_time_go_now(open_page: Open, server: Server) -> None:
    """One by a key on its page, all that fit by a job."""
    message = publish(server, "one", None, ("Upstash-Delay", "1h"))
    for _ in range(2):
        publish(server, "many", None, ("Upstash-Delay", "1h"), ("Upstash-Label", "night"))
    page = open_page(f"messages?id={message}")
    expect(page.get_by_role("button", name="Retry now")).to_be_visible()
    page.keyboard.press("r")
    expect(page.get_by_text("Delivered with attempt 1")).to_be_visible()

    go(page, "Messages")
    page.get_by_role("button", name="Waiting").click()
    page.get_by_role("button", name="Retry all that wait now").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry 2 messages").click()
    expect(page.get_by_text("2 messages due now.")).to_be_visible()
    until(lambda: len(server.call("GET", "/lateron/v1/catcher/many").json["requests"]) == 2, "the deliveries")


def test_what_waits_is_given_another_time(open_page: Open, server: Server) -> None:
    """Counted first, with examples; a time that cannot be read is refused before anything is asked."""
    for _ in range(2):
        publish(server, "many", None, ("Upstash-Delay", "1h"), ("Upstash-Label", "night"))
    other = publish(server, "other", None, ("Upstash-Delay", "1h"))
    then = (datetime.now(UTC) + timedelta(days=2)).replace(second=0, microsecond=0)
    page = open_page("messages?view=waiting&filter=label:night")
    page.get_by_label("Time zone").last.select_option("UTC")
    page.get_by_role("button", name="Reschedule all that fit").click()
    box = page.get_by_role("dialog")
    expect(box.get_by_text("2 messages would get another time.")).to_be_visible()
    expect(box.locator(".dry li")).to_have_count(2)
    button = box.get_by_role("button", name="Reschedule 2 messages")
    box.get_by_label("Delay from now").fill("soon")
    expect(button).to_be_disabled()
    box.get_by_role("button", name="At a time").click()
    box.get_by_label("Not before").fill(then.strftime("%Y-%m-%dT%H:%M"))
    button.click()

    expect(page.get_by_text("2 messages rescheduled.")).to_be_visible()
    waiting = server.call("GET", "/v2/messages").json["messages"]
    due = {one["messageId"]: one["nextDeliveryTime"] for one in waiting}
    assert due.pop(other) < then.timestamp() * 1000
    assert set(due.values()) == {int(then.timestamp()) * 1000}


def test_what_is_kept_under_a_label_is_erased_only_after_the_label_was_typed(open_page: Open, server: Server) -> None:
    """Nothing brings it back: it is counted, shown, and the label is typed, however few they are."""
    publish(server, "her", None, ("Upstash-Label", "user:42"))
    publish(server, "her", None, ("Upstash-Label", "user:42"), ("Upstash-Delay", "1h"))
    publish(server, "his", None, ("Upstash-Label", "user:43"), ("Upstash-Delay", "1h"))
    page = open_page("messages?filter=label:user:42")
    page.get_by_role("button", name="Erase by label").click()
    box = page.get_by_role("dialog")
    expect(box.get_by_label("Label", exact=True)).to_have_value("user:42")
    expect(box.get_by_text("2 messages would be erased for good.")).to_be_visible()
    button = box.get_by_role("button", name="Erase 2 messages")
    expect(button).to_be_disabled()
    box.get_by_label("Type user:42 to go on").fill("user:43")
    expect(button).to_be_disabled()
    box.get_by_label("Type user:42 to go on").fill("user:42")
    button.click()

    expect(page.get_by_text("2 messages erased.")).to_be_visible()
    assert server.call("GET", "/v2/events?label=user:42").json["events"] == []
    assert len(server.call("GET", "/v2/messages").json["messages"]) == 1


def test_a_label_of_any_text_leads_to_its_messages(open_page: Open, server: Server) -> None:
    """Spaces, quotes and backslashes mean themselves in the filter that a press on it makes."""
    label = 'the "last" night \\ "1'
    publish(server, "one", None, ("Upstash-Delay", "1h"), ("Upstash-Label", label))
    publish(server, "two", None, ("Upstash-Delay", "1h"), ("Upstash-Label", "the"))
    page = open_page("messages?view=waiting")
    rows = page.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_role("link", name=label).click()

    expect(page.get_by_role("combobox", name="Filter")).to_have_value('label:"the \\"last\\" night \\\\ \\"1"')
    expect(page.get_by_text("looked for among the rows")).to_have_count(0)
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("/one")
    page.reload()
    expect(rows).to_have_count(1)


def test_a_schedule_shows_its_next_runs_while_it_is_written(open_page: Open, server: Server) -> None:
    """The preview is the server's own; the schedule that is saved runs at a press and can be paused."""
    page = open_page("builder?kind=schedule")
    page.get_by_label("Cron").fill("0 7 * * 1-5")
    page.get_by_label("Time zone").last.select_option("Europe/Berlin")
    expect(page.get_by_text("weekdays at 07:00, Europe/Berlin. The next runs:")).to_be_visible()
    expect(page.locator("main time").first).to_contain_text("07:00:00")
    page.get_by_label("Id of the schedule").fill("morning")
    page.get_by_role("button", name="Save schedule").click()

    expect(page.get_by_role("heading", name="morning")).to_be_visible()
    page.get_by_role("button", name="Run now").click()
    expect(page.get_by_text("morning runs.")).to_be_visible()
    page.get_by_role("button", name="Pause morning").click()
    until(lambda: server.call("GET", "/v2/schedules/morning").json["isPaused"], "the pause")


def test_it_is_said_why_a_message_waits_and_the_limit_can_be_pinned(open_page: Open, server: Server) -> None:
    """Three steps from the message to the reason, and there the limit is changed for good."""
    flow = (("Upstash-Flow-Control-Key", "openai"), ("Upstash-Flow-Control-Value", "rate=1,period=1h"))
    publish(server, "llm", None, *flow)
    held = publish(server, "llm", None, *flow)
    page = open_page(f"messages?id={held}")
    expect(page.get_by_text("Flow key openai has used up its rate for this period")).to_be_visible()
    page.get_by_role("link", name="Look there").click()

    page.get_by_role("button", name="Pin limits").click()
    box = page.get_by_role("dialog")
    box.get_by_label("Starts").fill("50")
    box.get_by_role("button", name="Pin limits").click()

    expect(page.get_by_text("pinned", exact=True)).to_be_visible()
    assert server.call("GET", "/v2/flowControl/openai").json["rateMax"] == 50
    until(lambda: len(server.call("GET", "/lateron/v1/catcher/llm").json["requests"]) == 2, "the delivery")


def test_signing_keys_are_rotated_only_after_a_word_is_typed(open_page: Open, server: Server) -> None:
    """Receivers that know one key only refuse deliveries from then on; a slip of the mouse must not do that."""
    before = server.call("GET", "/v2/keys").json
    page = open_page("settings")
    page.get_by_role("button", name="Rotate").click()
    button = page.get_by_role("dialog").get_by_role("button", name="Rotate keys")
    expect(button).to_be_disabled()
    page.get_by_role("dialog").get_by_role("textbox").fill("rotate")
    button.click()

    expect(page.get_by_text("The keys are rotated.")).to_be_visible()
    assert server.call("GET", "/v2/keys").json["current"] == before["next"]


@pytest.mark.promise("D-57")
def test_what_cannot_be_taken_back_is_confirmed_and_noted(open_page: Open, server: Server) -> None:
    """Nothing happens before somebody has said yes; then the log of changes says who it was."""
    server.call("POST", "/v2/queues", b'{"queueName": "doomed"}', (JSON,))

    def actions() -> list[str]:
        return [record["action"] for record in server.call("GET", "/lateron/v1/audit").json["records"]]

    before = actions()
    page = open_page("queues")
    page.get_by_role("button", name="Delete doomed").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert actions() == before
    page.get_by_role("dialog").get_by_role("button", name="Delete queue").click()
    expect(page.get_by_role("button", name="Delete doomed")).to_have_count(0)

    page = open_page("settings")
    page.get_by_role("button", name="Pause all").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert actions() == ["queue.delete", *before]
    page.get_by_role("dialog").get_by_role("button", name="Pause delivery").click()
    page.get_by_role("button", name="Resume").first.click()
    expect(page.get_by_role("button", name="Pause all")).to_be_visible()
    page.get_by_role("button", name="Rotate").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("rotate")
    page.get_by_role("dialog").get_by_role("button", name="Rotate keys").click()
    expect(page.get_by_text("The keys are rotated.")).to_be_visible()

    page.get_by_role("button", name="Refresh", exact=True).click()
    table = page.get_by_role("table", name="Audit log")
    for action in ("queue.delete", "delivery.pause", "delivery.resume", "keys.rotate"):
        expect(table.get_by_role("row").filter(has_text=action).first).to_contain_text("session")
    page.get_by_label("What", exact=True).fill("keys.rotate")
    page.keyboard.press("Enter")
    expect(table.get_by_role("row").filter(has_text="queue.delete")).to_have_count(0)


@pytest.mark.promise("D-57")
def test_cancelling_all_is_counted_confirmed_and_noted(open_page: Open, server: Server) -> None:
    """The dialog alone changes and notes nothing; the job of the yes is noted once, with who asked for it."""
    for _ in range(2):
        publish(server, "one", None, ("Upstash-Delay", "1h"))
    page = open_page("messages?view=waiting")
    page.get_by_role("button", name="Cancel all that wait").click()
    box = page.get_by_role("dialog")
    expect(box.get_by_text("2 messages would be cancelled.")).to_be_visible()
    box.get_by_role("button", name="Keep them").click()
    assert server.call("GET", "/lateron/v1/audit").json["records"] == []
    assert len(server.call("GET", "/v2/messages").json["messages"]) == 2

    page.get_by_role("button", name="Cancel all that wait").click()
    box.get_by_role("button", name="Cancel 2 messages").click()
    expect(page.get_by_text("2 messages cancelled.")).to_be_visible()
    assert server.call("GET", "/v2/messages").json["messages"] == []
    (record,) = server.call("GET", "/lateron/v1/audit").json["records"]
    assert (record["action"], record["by"]) == ("job.create", "session")


def test_the_signature_lab_says_claim_by_claim_what_is_wrong(open_page: Open) -> None:
    """Made here, it is good in all; with another body, only the hash of the body is not."""
    page = open_page("settings")
    page.get_by_role("button", name="Make an example").click()
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".verdict li .tone-good")).to_have_count(6)

    page.get_by_label("Body").fill("{}")
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".verdict li", has=page.locator(".tone-bad"))).to_contain_text("It must be the raw bytes")


CHECK = "(token) => import('./signing.js').then(({check}) => check({token, keys: [], url: 'u', body: ''}))"


def test_a_token_without_times_gets_a_verdict(open_page: Open) -> None:
    """Whoever makes tokens by hand forgets one; the lab is there to say which."""
    page = open_page("settings")
    for claims, wrong in (
        ("{}", {"Expiry", "Not before"}),
        ('{"exp": 1e300, "nbf": "x", "body": 5}', {"Expiry", "Not before"}),
    ):
        token = f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.x"
        verdict = {one["name"]: one for one in page.evaluate(CHECK, token)}
        assert {name for name in wrong if "not a time" in verdict[name]["text"]} == wrong
    assert page.evaluate(CHECK, "e30.bnVsbA.x")[0]["name"] == "Form"


def test_the_preview_of_a_cron_is_that_of_the_newest(open_page: Open) -> None:
    """A slow answer to what stood there before must not be shown under what stands there now."""
    page = open_page("builder?kind=schedule")
    expect(page.get_by_text("every 5 minutes. The next runs:")).to_be_visible()
    held = hold(page, re.compile(r"/v1/cron\?cron=0\+10"))
    page.get_by_label("Cron").fill("0 10 * * *")
    asked(page, held)
    page.get_by_label("Cron").fill("0 4 * * *")
    runs = page.get_by_role("status").filter(has_text="daily at 04:00").locator("time").first
    expect(runs).to_have_attribute("datetime", re.compile("T04:00"))
    answer(page, held[0])
    expect(runs).to_have_attribute("datetime", re.compile("T04:00"))


def test_everything_that_matters_can_be_done_by_keys(open_page: Open, server: Server) -> None:
    """Screens, the list, selection, the sheet and the palette, and none of them while one types."""
    first, second = publish(server, "a"), publish(server, "b")
    page = open_page("messages")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("tbody tr").first.focus()
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_text("1 selected")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile(f"{first}|{second}")).first).to_be_visible()

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.get_by_role("heading", level=1, name="Dead letters")).to_be_visible()

    page.keyboard.press("/")
    page.keyboard.type("pause flow nobody")
    expect(page.get_by_role("dialog", name="Search and commands")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type(first)
    page.keyboard.press("Enter")
    expect(page.get_by_text(first).first).to_be_visible()


def test_what_is_new_appears_by_itself_until_one_stops_it(open_page: Open, server: Server) -> None:
    """A list keeps up with the server; held, it stays as it is, and says so."""
    publish(server, "one")
    page = open_page("messages")
    expect(page.locator("tbody tr")).to_have_count(1)
    publish(server, "two")
    expect(page.locator("tbody tr")).to_have_count(2)

    page.get_by_role("button", name="Stop updating").click()
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()


def test_the_console_keeps_nothing_secret_in_the_browser(open_page: Open, server: Server) -> None:
    """No token and no key is in the storage or the address; scripts could read them there (D-55)."""
    page = open_page("settings")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text(server.user.current)).to_be_visible()
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, location.href])")
    assert server.token not in stored
    assert "sig_" not in stored
