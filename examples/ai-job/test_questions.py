"""A model that takes minutes, has limits, and fails; each test takes milliseconds."""

from collections.abc import Callable

import httpx
import pytest
from questions import app, questions

from lateron.testing import Answer, Lateron

Ask = Callable[[str], str]


def says(text: str, delay: str = "0") -> Answer:
    return Answer(200, {"choices": [{"message": {"role": "assistant", "content": text}}]}, delay=delay)


@pytest.fixture
def ask(lateron: Lateron, monkeypatch: pytest.MonkeyPatch) -> Ask:
    address = lateron.serve(app)
    monkeypatch.setenv("APP_URL", address)
    monkeypatch.setenv("MODEL_URL", lateron.catcher.url("model"))
    monkeypatch.setenv("MODEL_KEY", "secret")
    questions.clear()

    def ask(question: str) -> str:
        return str(httpx.post(f"{address}/questions", json={"question": question}).json()["id"])

    return ask


def test_the_answer_comes_back_whenever_it_comes(lateron: Lateron, ask: Ask) -> None:
    lateron.catcher.answer("model", says("42", delay="5m"))
    asked = ask("What is six times seven?")
    lateron.clock.advance("4m")
    assert "answer" not in questions[asked]

    lateron.clock.advance("1m")

    assert questions[asked]["answer"] == "42"
    (request,) = lateron.catcher.received("model")
    assert request.header("Authorization") == "Bearer secret"


def test_the_limits_of_the_provider_are_kept(lateron: Lateron, ask: Ask) -> None:
    lateron.catcher.answer("model", says("yes", delay="1m"))
    for number in range(6):
        ask(f"Question {number}?")

    lateron.clock.advance("10m")

    times = [request.time for request in lateron.catcher.received("model")]
    assert [(time - times[0]).seconds // 60 for time in times] == [0, 0, 1, 1, 2, 2]
    assert all(question["answer"] == "yes" for question in questions.values())


def test_a_busy_provider_says_when_to_come_back(lateron: Lateron, ask: Ask) -> None:
    lateron.catcher.answer("model", Answer(429, headers={"Retry-After": "30"}), says("at last"))
    asked = ask("Are you there?")

    lateron.clock.advance("30s")

    assert questions[asked]["answer"] == "at last"


def test_a_question_without_an_answer_is_told_too(lateron: Lateron, ask: Ask) -> None:
    lateron.catcher.answer("model", 500)
    asked = ask("Is anybody there?")

    lateron.clock.advance("1d")

    (letter,) = lateron.dead_letters()
    assert questions[asked] == {"question": "Is anybody there?", "failed": 500, "dead_letter": letter["dlqId"]}
