"""The options that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="The server.", show_default="QSTASH_URL, else the dev server")
]
TokenOption = Annotated[
    str | None, typer.Option("--token", metavar="TOKEN", help="The token.", show_default="QSTASH_TOKEN")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
