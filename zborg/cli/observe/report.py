"""zborg report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish
from zborg.errors import UsageError

if TYPE_CHECKING:
    from zborg.config import Config
    from zborg.model import Report

_NAME = "report.html"  # below state_dir


@shared("report", quiet=True)
def report(
    common: Common,
    to: Annotated[str, typer.Option("--to", help="Default: report.html in state_dir.", metavar="FILE")] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="Days back.", metavar="N")] = 90,
    mail: Annotated[bool, typer.Option("--mail", help="Send it to whom [notify] names.")] = False,
) -> None:
    """One HTML page with plots: hosts, nights, pools, copies, proof. Asks nobody."""
    from zborg.config import find, load

    loaded = load(find(common.config or None))
    places = [_place(to or loaded.state_dir / _NAME)] if to or not mail else []
    finish(
        _plan(loaded, places, mail=mail) if common.dry_run else _made(loaded, places, days, mail=mail), common
    )


def _place(to: str | Path) -> Path:
    """Behind links, for a link would be replaced by the file. Raises UsageError."""
    place = Path(to).resolve()
    if place.exists() and not place.is_file():
        raise UsageError(f"{place} is no file", "--to names the file to write")
    return place


def _plan(config: Config, places: Sequence[Path], *, mail: bool) -> Report:
    from zborg.model import utc_now
    from zborg.steps.observe.html_report import planned

    return planned(config, utc_now(), [f"write {place}" for place in places], mail=mail)


def _made(config: Config, places: Sequence[Path], days: int, *, mail: bool) -> Report:
    from zborg.cli.command.compose import notifiers_of
    from zborg.cli.observe.status import saved_of
    from zborg.model import utc_now
    from zborg.reporting.report_html import html
    from zborg.state.history import History
    from zborg.steps.observe.html_report import gathered, report, send, written

    now = utc_now()
    status = saved_of(config, now)
    found = gathered(History(config.state_dir / "history.db"), config, days, now)
    page = html(found, status)
    outcomes = [written(place, page) for place in places]
    made = report(found, config, now, outcomes)
    return send(notifiers_of(config.notify), made, status, page, config) if mail else made
