"""zborg restore list, zborg restore files."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.options import Common, ConfigFile, DryRun, Json, Verbose
from zborg.cli.perform import perform

restore = typer.Typer(
    help="Bring files back from a snapshot.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

HostName = Annotated[str, typer.Argument(help="The host, as zborg.toml names it.")]


@restore.command("list")
def list_(
    host: HostName,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """List the snapshots a host can be restored from, oldest first."""
    from zborg.steps.restore import list_snapshots

    perform(
        Common("restore list", config, as_json, verbose, dry_run),
        lambda context: list_snapshots(context, host),
    )


@restore.command()
def files(
    host: HostName,
    paths: Annotated[list[str], typer.Argument(help="Absolute paths of files or directories on the host.")],
    at: Annotated[
        str, typer.Option("--at", help="Snapshot name or ISO time; the newest good one not later is used.")
    ] = "",
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """Bring files back onto their host. Into a fresh directory there; its root must allow it first."""
    from zborg.steps.restore import restore_files

    perform(
        Common("restore files", config, as_json, verbose, dry_run),
        lambda context: restore_files(context, host, paths, at, dry_run=dry_run),
    )
