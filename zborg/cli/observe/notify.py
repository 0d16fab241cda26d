"""zborg notify."""

from __future__ import annotations

import typer

from zborg.cli.command.options import Common, ConfigFile, DryRun, Json, Verbose
from zborg.cli.command.perform import perform

notify = typer.Typer(
    help="Who is told of a night's end.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@notify.callback()
def _options() -> None:
    """Who is told of a night's end."""


@notify.command("test")
def test(
    config: ConfigFile = "", as_json: Json = False, verbose: Verbose = False, dry_run: DryRun = False
) -> None:
    """Send a test message to every notifier of zborg.toml. Exit 4 if any does not get it."""
    from zborg.steps.observe.notify import try_all

    perform(
        Common("notify test", config, as_json, verbose, dry_run),
        lambda context: try_all(context, dry_run=dry_run),
    )
