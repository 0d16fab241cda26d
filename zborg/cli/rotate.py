"""zborg rotate."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform
from zborg.errors import UsageError


@shared("rotate", quiet=True)
def rotate(
    common: Common,
    freeze: Annotated[
        list[str] | None, typer.Option("--freeze", help="Rotate this host no more.", metavar="HOST")
    ] = None,
    release: Annotated[
        list[str] | None,
        typer.Option("--release", help="Rotate it again: the alarm is clear.", metavar="HOST"),
    ] = None,
) -> None:
    """Destroy the snapshots that no rule keeps. --dry-run shows each verdict with its reasons."""
    from zborg.steps.rotate import freeze as freezing
    from zborg.steps.rotate.step import rotate as step

    if (freeze or release) and (common.dry_run or (freeze and release)):
        raise UsageError("--freeze and --release stand alone, without --dry-run", "zborg status")
    if freeze:
        perform(common.named("rotate --freeze"), lambda run: freezing.freeze(run, freeze))
    if release:
        perform(common.named("rotate --release"), lambda run: freezing.release(run, release))
    perform(common, step)
