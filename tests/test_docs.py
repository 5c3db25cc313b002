"""What the documents tell a reader to do works, and what they point at is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.documents import PROGRAMS, ROOT, SHELL, WORDS, Block, blocks, copy_project, documents, run
from tests.node.test_node import node as node  # noqa: PLC0414 - A fixture, used by its name.
from tests.support.server import DEV_USERS
from tests.test_tidy import project_files

from lateron.api.app import FAMILIES, ROUTES

WITH_COMMANDS = [path for path in documents() if any(block.is_code and not block.not_run for block in blocks(path))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=name_of)
def test_the_commands_of_a_document_work(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A document that lies costs every reader an hour; a machine finds out in a second."""
    chosen = [block for block in blocks(path) if block.is_code and not block.not_run]
    if any(block.language == "js" or "npm " in block.text for block in chosen):
        request.getfixturevalue("node")  # Installs the packages that the copy leads to.
    project = copy_project(tmp_path / "project", project_files())

    output = run(chosen, project, DEV_USERS[0].token)

    if path == ROOT / "README.md":
        assert '"valid": true' in output.replace('":true', '": true'), "the first message arrives, well signed"


@pytest.mark.parametrize("folder", ["examples/express", "examples/hono"])
def test_the_packages_of_the_javascript_examples_are_those_that_are_installed(folder: str) -> None:
    """Their pages say `npm install`, which the runner answers with the packages of the tests."""
    example, tests = (
        json.loads((ROOT / place / "package.json").read_text("utf-8"))["dependencies"]
        for place in (folder, "tests/node")
    )

    assert example.items() <= tests.items()


def test_few_blocks_are_left_out_and_each_says_why() -> None:
    """At most one in ten: the exception must not become the rule."""
    code = [block for path in documents() for block in blocks(path) if block.is_code]

    left_out = [block for block in code if block.not_run]

    assert len(left_out) <= len(code) // 10, [f"{block.document}:{block.line} {block.not_run}" for block in left_out]


def test_every_block_names_a_language_that_is_run_or_only_read() -> None:
    """A misspelt language would leave a block out without a reason."""
    known = SHELL | set(PROGRAMS) | WORDS
    assert [
        f"{block.document}:{block.line} {block.language}"
        for path in documents()
        for block in blocks(path)
        if block.language not in known
    ] == []


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_every_link_of_a_document_leads_somewhere(path: Path) -> None:
    """Files and headings move; the pages that point at them are forgotten."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"[a-z]+:", target)]

    broken = []
    for target in targets:
        file, _, heading = target.partition("#")
        led_to = (path.parent / file).resolve() if file else path
        if not led_to.exists() or (heading and heading not in headings(led_to)):
            broken.append(target)

    assert broken == []


def headings(path: Path) -> set[str]:
    """Return the anchors of a document, made as the usual renderers make them."""
    titles = re.findall(r"^#{1,6} (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """The command that readers are given is the one that is known to pass."""
    (command,) = (
        block.text.strip() for block in blocks(ROOT / "README.md") if block.text.strip().endswith(".venv/bin/pytest")
    )

    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_the_page_of_endpoints_lists_those_the_server_has() -> None:
    """A route that is not on the page is found by nobody; one that is only there is a lie."""
    page = (ROOT / "docs" / "compatibility.md").read_text("utf-8")

    assert set(re.findall(r"`([A-Z]+ /[^`]*)`", page)) == {f"{route.method} {route.path}" for route in ROUTES}
    refused = {path for row in page.splitlines() if row.endswith("| 501 |") for path in re.findall(r"`(/[^`]*)`", row)}
    assert refused == {family.prefix for family in FAMILIES}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("lateron dev", "stop_server\nlateron dev > server.log 2>&1 &\nstart_server"),
        (
            "export A=1\n.venv/bin/lateron serve --data-dir d\n",
            "stop_server\nexport A=1\n.venv/bin/lateron serve --data-dir d > server.log 2>&1 &\nstart_server",
        ),
        ("lateron dev --help | head", "lateron dev --help | head"),
    ],
)
def test_a_server_runs_on_while_the_next_blocks_are_tried(text: str, script: str) -> None:
    """It is the reader's first terminal."""
    block = Block("a.md", 1, "bash", text, None)

    assert block.script(0) == f"echo '--- a.md:1'\n{script}\nsettle"
