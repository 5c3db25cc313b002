"""The page of all endpoints, docs/api.md: written from the description that the server itself serves.

``python -m tools.reference`` brings it up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lateron.api.openapi import document

PAGE: Final = Path(__file__).parent.parent / "docs" / "api.md"

_TOP: Final = """# Endpoints

<!-- Written by `python -m tools.reference` from the description of the API; do not edit. -->

All endpoints of a server, as its own description has them (`GET /openapi.json`). Each takes a token as
`Authorization: Bearer <token>` unless it says *public*; a refusal has a status of 400 or more, and says why as
`{"error": "..."}`. Which of them QStash has too stands in [compatibility.md](compatibility.md), where answers differ in
[differences.md](differences.md).
"""


def page() -> str:
    """Return the page as it should be."""
    described: dict[str, Any] = document()
    operations = [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]
    lines = [_TOP]
    for tag in (one["name"] for one in described["tags"]):
        lines.append(f"## {tag}\n")
        for method, path, operation in operations:
            if tag in operation.get("tags", ()):
                lines += _operation(method, path, operation)
    return "\n".join(lines)


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    public = " *Public.*" if operation.get("security") == [] else ""
    yield f"### {operation['summary']}\n"
    yield f"`{method} {path}`{public}\n"
    if "description" in operation:
        yield f"{operation['description'].strip()}\n"
    parameters = [_described(parameter) for parameter in operation.get("parameters", ())]
    if parameters:
        yield "| parameter | in | |"
        yield "|---|---|---|"
        for name, place, text in parameters:
            yield f"| `{name}` | {place} | {_cell(text)} |"
        yield ""
    for status, answer in operation.get("responses", {}).items():
        yield from _answer(status, answer)


def _described(parameter: dict[str, Any]) -> tuple[str, str, str]:
    text = parameter.get("description", "")
    if "example" in parameter:
        text += f" Such as `{_plain(parameter['example'])}`."
    return parameter["name"], parameter["in"], text.strip()


def _answer(status: str, answer: dict[str, Any]) -> Iterator[str]:
    if "$ref" in answer:  # Errors, which are all alike.
        return
    yield f"`{status}` {answer.get('description', '')}\n"
    examples = [content["example"] for content in answer.get("content", {}).values() if "example" in content]
    for example in examples:
        yield f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
