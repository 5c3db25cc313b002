"""Every call that the official Python SDK offers is driven by a test, and this page says by which.

The calls are read from the installed package, so a version with a new one fails here until somebody has
thought about it. A test drives a call if its own text calls it, ``client.queue.pause(...)``: a name in a table
that nobody compared with the tests would soon be wishful.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from qstash import AsyncQStash, QStash, Receiver

HERE: Final = Path(__file__).parent
# Call -> file and test. `http` is what the others are made of.
DRIVEN: Final = {
    "dlq.delete": "dlq: a_dead_letter_is_deleted_once",
    "dlq.delete_many": "dlq: many_dead_letters_are_deleted_and_counted",
    "dlq.get": "dlq: a_dead_letter_has_the_message_and_the_last_answer",
    "dlq.list": "dlq: pages_show_each_dead_letter_once",
    "flow_control.get": "flow_control: a_key_shows_all_its_figures_from_its_first_message_on",
    "flow_control.get_global_parallelism": "flow_control: the_limit_of_the_server_is_shown",
    "flow_control.pause": "flow_control: a_paused_key_keeps_its_messages_until_it_resumes",
    "flow_control.pin": "flow_control: pins_are_set_and_taken_off_part_by_part",
    "flow_control.reset_rate": "flow_control: a_reset_begins_a_new_period_beside_an_open_attempt",
    "flow_control.resume": "flow_control: a_paused_key_keeps_its_messages_until_it_resumes",
    "flow_control.unpin": "flow_control: pins_are_set_and_taken_off_part_by_part",
    "log.list": "logs: pages_show_each_event_once",
    "message.batch": "queues: a_paused_queue_keeps_its_messages",
    "message.batch_json": "publish: a_batch_of_json_is_sent_as_json",
    "message.cancel": "messages: a_waiting_message_is_cancelled_at_once",
    "message.cancel_all": "messages: all_messages_of_a_user_are_cancelled_and_nobody_elses",
    "message.cancel_many": "messages: many_messages_are_cancelled_and_counted",
    "message.enqueue": "queues: enqueued_messages_arrive_one_after_another",
    "message.enqueue_json": "url_groups: a_group_is_enqueued_as_one_message_for_each_endpoint",
    "message.get": "messages: a_message_is_readable_at_once_and_after_its_end",
    "message.publish": "publish: what_cannot_work_is_refused_by_name",
    "message.publish_json": "publish: json_is_sent_as_json",
    "queue.delete": "queues: a_queue_is_made_configured_and_deleted",
    "queue.get": "queues: a_queue_is_made_configured_and_deleted",
    "queue.list": "queues: a_queue_is_made_configured_and_deleted",
    "queue.pause": "queues: a_paused_queue_keeps_its_messages",
    "queue.resume": "queues: a_paused_queue_keeps_its_messages",
    "queue.upsert": "queues: a_queue_is_made_configured_and_deleted",
    "schedule.create": "schedules: a_schedule_ticks_and_says_so",
    "schedule.create_json": "schedules: every_field_comes_back_as_it_was_given",
    "schedule.delete": "schedules: every_field_comes_back_as_it_was_given",
    "schedule.get": "schedules: every_field_comes_back_as_it_was_given",
    "schedule.list": "schedules: every_field_comes_back_as_it_was_given",
    "schedule.pause": "schedules: pause_and_resume",
    "schedule.resume": "schedules: pause_and_resume",
    "signing_key.get": "signatures: the_keys_are_those_the_documentation_fixes",
    "signing_key.rotate": "signatures: a_receiver_survives_one_rotation_and_not_two",
    "url_group.delete": "url_groups: group_is_added_to_shown_listed_and_taken_apart",
    "url_group.get": "url_groups: group_is_added_to_shown_listed_and_taken_apart",
    "url_group.list": "url_groups: group_is_added_to_shown_listed_and_taken_apart",
    "url_group.remove_endpoints": "url_groups: group_is_added_to_shown_listed_and_taken_apart",
    "url_group.upsert_endpoints": "url_groups: group_is_added_to_shown_listed_and_taken_apart",
    "verify": "signatures: the_official_receiver_refuses_what_was_changed",
}


def calls_of(client: object) -> Iterator[str]:
    """Yield the public calls of a client, as ``resource.call``."""
    for resource in vars(client):
        if not resource.startswith("_") and resource != "http":
            target = getattr(client, resource)
            for name in dir(target):
                if not name.startswith("_") and callable(getattr(target, name)):
                    yield f"{resource}.{name}"


@pytest.mark.parametrize("client", [QStash("token"), AsyncQStash("token")], ids=["blocking", "asynchronous"])
def test_each_call_of_the_python_sdk_is_in_the_table(client: object) -> None:
    """The two clients have the same calls, and the tests drive both."""
    receiver = {name for name in vars(Receiver) if not name.startswith("_")}

    assert set(calls_of(client)) | receiver == set(DRIVEN)


@pytest.mark.parametrize(("call", "place"), DRIVEN.items(), ids=list(DRIVEN))
def test_the_test_of_a_call_makes_it(call: str, place: str) -> None:
    """Renamed or emptied, a test drives nothing."""
    file, _, name = place.partition(": ")
    functions = {
        node.name: node
        for node in ast.parse((HERE / f"test_{file}.py").read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }

    made = {ast.unparse(node.func) for node in ast.walk(functions[f"test_{name}"]) if isinstance(node, ast.Call)}

    assert any(one.endswith(f".{call}") for one in made), sorted(made)
