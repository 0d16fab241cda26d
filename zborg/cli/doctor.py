"""zborg doctor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.options import Common, ConfigFile, DryRun, Json, Verbose
from zborg.cli.perform import finish
from zborg.errors import ConfigError

if TYPE_CHECKING:
    from zborg.config import Config
    from zborg.model import Finding
    from zborg.steps.context import Context


def doctor(
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Hosts to look at; none means all.", metavar="HOST...")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Look at this area alone, such as hosts.", metavar="AREA"),
    ] = None,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """Look at all that a backup depends on, and name each mend. Changes nothing, anywhere."""
    from zborg.config import find
    from zborg.config.salvage import salvage
    from zborg.hosts.knock import knock
    from zborg.model import utc_now
    from zborg.process import LocalRunner
    from zborg.steps.doctor import Bench
    from zborg.steps.doctor import doctor as step

    common = Common("doctor", config, as_json, verbose, dry_run)
    path = find(config or None)
    found, mistakes = salvage(path)
    adapter, lack = _adapter(found)
    if found and lack:  # it is told; by the commands the rest can be asked all the same
        found = replace(found, storage=replace(found.storage, zfs="commands"))
    with ExitStack() as closing:
        context, trouble = _compose(common, found, closing)
        bench = Bench(
            path=path,
            config=found,
            mistakes=(*mistakes, *lack, *trouble),
            context=context,
            local=LocalRunner(),
            clock=utc_now,
            adapter=adapter,
            knock=knock,
            more=(("notify", _notifiers),),
        )
        report = step(bench, hosts or (), only or ())
    finish(report, common)


def _compose(
    common: Common, config: Config | None, closing: ExitStack
) -> tuple[Context | None, tuple[ConfigError, ...]]:
    """A world whose state lies in a temporary directory, as a dry run's does: nothing of ours is touched."""
    from zborg.cli.compose import compose

    if config is None:
        return None, ()
    try:
        scratch = compose(replace(common, dry_run=True), make_state=True, config=config)
        return closing.enter_context(scratch), ()
    except ConfigError as error:
        return None, (error,)
    except OSError as error:
        words = f"there is no temporary directory to be had: {error.strerror}"
        return None, (ConfigError(words, "make room in /tmp, or set TMPDIR"),)


def _adapter(config: Config | None) -> tuple[str, tuple[ConfigError, ...]]:
    """Which one speaks to ZFS, and why; or why the one that zborg.toml wants cannot."""
    from zborg.cli.compose import chosen

    if config is None:
        return "", ()
    try:
        choice = chosen(config)
    except ConfigError as error:
        return "the zfs commands", (error,)
    return f"by {choice.adapter}, because {choice.why}", ()


def _notifiers(config: Config) -> Iterator[Finding]:
    from zborg.model import Finding, Status
    from zborg.notify.reach import troubles

    if not config.notify.anybody:
        yield Finding("notify", Status.OK, "[notify] names nobody: what cron mails is all that is told")
    for name, wrong, mend in troubles(config.notify):
        if wrong:
            yield Finding(f"notify, {name}", Status.WARNING, wrong, mend)
        else:
            yield Finding(f"notify, {name}", Status.OK, "can be reached")
