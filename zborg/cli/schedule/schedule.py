"""zborg schedule show, install, remove."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish

if TYPE_CHECKING:
    from zborg.model import Report
    from zborg.reporting.text import Line
    from zborg.steps.schedule.step import Request

_USUAL = Path("/etc/zborg/zborg.toml")

schedule = typer.Typer(
    help="What starts zborg by time: systemd's timers, or a file of cron's.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)
Cron = Annotated[bool, typer.Option("--cron", help="A file of cron's, also where systemd runs.")]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="For a package: files below it, no timer started.", metavar="DIR"),
]
Program = Annotated[str, typer.Option("--program", help="Default: this zborg.", metavar="FILE")]


@schedule.command()
@shared("schedule show")
def show(common: Common, cron: Cron = False, root: Root = None, program: Program = "") -> None:
    """Print what would be installed, and what is."""
    from zborg.model import utc_now
    from zborg.process import LocalRunner
    from zborg.steps.schedule.step import show as step

    finish(step(LocalRunner(), _request(common, root, program, by_cron=cron), utc_now), common, _texts)


@schedule.command()
@shared("schedule install")
def install(common: Common, cron: Cron = False, root: Root = None, program: Program = "") -> None:
    """Write the files and start the timers. Overwrites no file that it did not write."""
    from zborg.model import utc_now
    from zborg.process import LocalRunner
    from zborg.steps.schedule.step import install as step

    request = _request(common, root, program, by_cron=cron)
    finish(step(LocalRunner(), request, utc_now, dry_run=common.dry_run), common)


@schedule.command()
@shared("schedule remove")
def remove(common: Common, root: Root = None) -> None:
    """Stop the timers and remove what `schedule install` wrote."""
    from zborg.model import utc_now
    from zborg.planning.schedule.render import Wanted
    from zborg.process import LocalRunner
    from zborg.steps.schedule.step import Places, Request
    from zborg.steps.schedule.step import remove as step

    request = Request(Places.below(root) if root else Places(), Wanted(""))
    finish(step(LocalRunner(), request, utc_now, dry_run=common.dry_run), common)


def _request(common: Common, root: Path | None, program: str, *, by_cron: bool) -> Request:
    """With --root and no --config as for a machine of which nothing is known yet."""
    from zborg.config import find, load
    from zborg.planning.schedule.render import Wanted
    from zborg.steps.schedule.step import Places, Request

    places, path = Places.below(root) if root else Places(), program or _this_program()
    if root and not common.config:
        return Request(places, Wanted(path, report=True), by_cron)
    config = load(find(common.config or None))
    at = config.path.absolute()
    wanted = Wanted(
        program=path,
        config="" if at == _USUAL else str(at),
        received=config.storage.received,
        report=config.notify.anybody,
        secrets=config.notify.secrets,
    )
    return Request(places, wanted, by_cron, config.name)


def _this_program() -> str:
    """As it was called; a link such as /usr/local/bin/zborg is not followed."""
    return str(Path(which(sys.argv[0]) or sys.argv[0]).absolute())


def _texts(report: Report) -> list[Line]:
    """The usual lines, and the text of each file below its own."""
    from zborg.model.results import ScheduledFile
    from zborg.reporting.text import Line, render

    lines = render(report)
    for one in report.outcomes:
        if isinstance(one.result, ScheduledFile):
            lines += [Line(""), Line(f"# {one.subject}"), *map(Line, one.result.lines)]
    return lines
