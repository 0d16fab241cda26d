"""zborg holds list, place, release."""

from __future__ import annotations

import os
from datetime import date
from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform
from zborg.errors import UsageError

holds = typer.Typer(
    help="Holds on snapshots: what keeps them from being destroyed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@holds.command("list")
@shared("holds list")
def list_(
    common: Common,
) -> None:
    """List every hold; the stale ones are marked. With purpose, owner, age and end."""
    from zborg.steps.rotate.holds import list_holds

    perform(common, list_holds)


@holds.command()
@shared("holds place")
def place(
    common: Common,
    at: Annotated[
        str, typer.Argument(help="Snapshot name, label or ISO time, as for restore.", metavar="SNAPSHOT")
    ],
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Of these hosts; none means all.", metavar="HOST...")
    ] = None,
    until: Annotated[
        str, typer.Option("--until", help="The last day, 2027-01-31; none: for good.", metavar="DAY")
    ] = "",
    owner: Annotated[
        str, typer.Option("--owner", help="Whose hold it is; default: who you are.", metavar="NAME")
    ] = "",
) -> None:
    """Hold snapshots by hand. Nothing destroys them until they are released."""
    from zborg.steps.rotate.holds import Placing, place_holds

    placing = Placing(at, hosts or (), owner or _me(), _day(until))
    perform(common, lambda run: place_holds(run, placing))


def _me() -> str:
    """Who called sudo, else who is logged in."""
    return (os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or "root").lower()


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise UsageError(f"--until {text}: not a date", "write it as 2027-01-31") from error


@holds.command()
@shared("holds release")
def release(
    common: Common,
    snapshot: Annotated[
        str, typer.Argument(help="DATASET@NAME, as the list shows it.", metavar="SNAPSHOT")
    ] = "",
    tag: Annotated[str, typer.Argument(help="The hold's tag.", metavar="TAG")] = "",
    stale: Annotated[bool, typer.Option("--stale", help="Release every stale one instead.")] = False,
) -> None:
    """Release one hold, or all that are stale."""
    from zborg.steps.rotate.holds import release_hold, release_stale

    if stale == bool(snapshot and tag):
        raise UsageError("give a snapshot and a tag, or --stale", "zborg holds list")
    if stale:
        perform(common, release_stale)
    perform(common, lambda run: release_hold(run, snapshot, tag))
