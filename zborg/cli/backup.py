"""zborg backup."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform


@shared("backup", quiet=True)
def backup(
    common: Common,
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Hosts to back up; none means all.", metavar="HOST...")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", "-x", help="Leave this host out.", metavar="HOST")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Start no more hosts after a failure.")
    ] = False,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Exit 0 although some hosts failed.")
    ] = False,
) -> None:
    """Back up hosts with borg, several at once. Each through one SSH session."""
    from zborg.steps.backup.step import Request
    from zborg.steps.backup.step import backup as step

    request = Request(hosts or (), exclude or (), fail_fast, allow_partial)
    perform(common, lambda run: step(run, request))
