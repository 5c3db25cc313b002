"""``lateron completion``: the script with which a shell completes commands and options."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from lateron.cli.commands import command

completion_app = typer.Typer()


@command(completion_app, "lateron completion bash", "lateron completion zsh")
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print a script that lets a shell complete commands and options.

    For bash: eval "$(lateron completion bash)", in ~/.bashrc to keep it.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # The only door to it.

    from lateron.cli.terminal import echo

    wanted = {"prog_name": "lateron", "complete_var": "_LATERON_COMPLETE", "shell": shell}
    echo(get_completion_script(**wanted))
