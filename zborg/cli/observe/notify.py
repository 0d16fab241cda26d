"""zborg notify."""

from __future__ import annotations

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform

notify = typer.Typer(
    help="Messages about a night's end.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@notify.callback()
def _options() -> None:
    """Messages about a night's end."""


@notify.command("test")
@shared("notify test")
def test(
    common: Common,
) -> None:
    """Send a test message to every notifier of zborg.toml. Exit 4 if any does not get it."""
    from zborg.steps.observe.notify import try_all

    perform(common, try_all)
