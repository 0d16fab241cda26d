"""zborg doctor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish
from zborg.errors import ConfigError

if TYPE_CHECKING:
    from zborg.config import Config
    from zborg.model import Finding
    from zborg.planning.doctor.starts import Parsed
    from zborg.steps.context import Context

_MAILERS = "/usr/sbin:/usr/lib:/usr/bin:/usr/local/sbin"  # where cron finds a sendmail


@shared("doctor")
def doctor(
    common: Common,
    hosts: Annotated[
        list[str] | None, typer.Argument(help="Hosts to look at; none means all.", metavar="HOST...")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Look at this area alone, such as hosts.", metavar="AREA"),
    ] = None,
) -> None:
    """Look at all that a backup depends on, and name each remedy. Changes nothing, anywhere."""
    from zborg.config import find
    from zborg.config.salvage import salvage
    from zborg.hosts.ssh.probe import accepted_variables
    from zborg.model import utc_now
    from zborg.process import LocalRunner
    from zborg.steps.doctor.step import DoctorInputs
    from zborg.steps.doctor.step import doctor as step

    path = find(common.config or None)
    found, mistakes = salvage(path)
    adapter, errors = _adapter(found)
    if found and errors:  # it is reported; the rest can still be asked by the commands
        found = replace(found, storage=replace(found.storage, zfs="commands"))
    with ExitStack() as closing:
        context, trouble = _compose(common, found, closing)
        inputs = DoctorInputs(
            path=path,
            config=found,
            mistakes=(*mistakes, *errors, *trouble),
            context=context,
            local=LocalRunner(),
            clock=utc_now,
            adapter=adapter,
            accepted_variables=accepted_variables,
            parser=parsed,
            more=(("notify", _notifiers),),
        )
        report = step(inputs, hosts or (), only or ())
    finish(report, common)


def parsed(words: Sequence[str]) -> Parsed:
    """A command line as zborg would take it; nothing of it is run."""
    from typer._click.exceptions import ClickException
    from typer.core import TyperGroup

    from zborg.cli.main import application
    from zborg.planning.doctor.starts import Parsed

    if not words or words[0].startswith("-") or "--help" in words:  # it would be printed at once
        return Parsed(" ".join(words[:1]), error="" if words else "no command is named")
    try:
        group = typer.main.get_group(application(words))
        context = group.make_context("zborg", list(words))
        name, found, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        if found is None or isinstance(found, TyperGroup):  # `zborg host list`: none of these is of a night
            return Parsed(" ".join(words[:2]))
        inner = found.make_context(name, rest, parent=context)
    except ClickException as error:
        return Parsed(error=error.format_message())
    return Parsed(name or "", dict(inner.params))


def _compose(
    common: Common, config: Config | None, closing: ExitStack
) -> tuple[Context | None, tuple[ConfigError, ...]]:
    """A world whose state lies in a temporary directory, as a dry run's does: nothing of ours is touched."""
    from zborg.cli.command.compose import compose

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
    from zborg.cli.command.compose import chosen

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
        yield _nobody(config)
    for name, wrong, fix in troubles(config.notify):
        if wrong:
            yield Finding(f"notify, {name}", Status.WARNING, wrong, fix)
        else:
            yield Finding(f"notify, {name}", Status.OK, "can be reached")


def _nobody(config: Config) -> Finding:
    """cron's mail is a notifier as well, where this machine can send one."""
    from shutil import which

    from zborg.model import Finding, Status
    from zborg.model.text.remedy import remedy

    if which("sendmail", path=_MAILERS):
        words = "none is configured: what cron mails is all that reaches anybody"
        return Finding("notify", Status.SKIPPED, words)
    words = "none is configured, and this machine has no sendmail for cron: a bad night reaches nobody"
    first = f"docs/notify.md has the lines for [notify] in {config.path}; to try them:"
    return Finding("notify", Status.WARNING, words, remedy("zborg notify test", first=first))
