"""zborg import qb-backup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish
from zborg.errors import UsageError

if TYPE_CHECKING:
    from zborg.steps.hosts.import_qb_backup import KeyOf

import_ = typer.Typer(
    help="Take over the hosts of another system.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@import_.callback()
def _options() -> None:
    """Take over the hosts of another system."""


@import_.command("qb-backup")
@shared("import qb-backup")
def qb_backup(
    common: Common,
    file: Annotated[Path, typer.Argument(help="The YAML file that qb.backup reads.", metavar="FILE")],
    known_hosts: Annotated[
        Path | None, typer.Option("--known-hosts", help="Where the hosts' keys are.", metavar="FILE")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Default: hosts.d beside zborg.toml.", metavar="DIRECTORY")
    ] = None,
) -> None:
    """Write a hosts.d file for each host of qb.backup. Names what it cannot carry over."""
    from zborg.config import find, load
    from zborg.model import utc_now
    from zborg.steps.hosts.import_qb_backup import Import, import_qb_backup

    wanted = Import(file, to, _keys_in(known_hosts))
    report = import_qb_backup(load(find(common.config or None)), wanted, utc_now, dry_run=common.dry_run)
    finish(report, common)


def _keys_in(known_hosts: Path | None) -> KeyOf:
    from zborg.hosts.ssh.host_keys import look_up
    from zborg.model.enrolment import Source
    from zborg.model.keys import fingerprint
    from zborg.planning.hosts.import_qb_backup import Pinned
    from zborg.process import LocalRunner

    if known_hosts and not known_hosts.is_file():
        raise UsageError(f"--known-hosts {known_hosts}: no such file", "the .ssh/known_hosts of who ran it")
    local = LocalRunner()

    def key_of(source: Source) -> Pinned | None:
        line = look_up(local, known_hosts, source.hostname.lower(), source.port) if known_hosts else ""
        return Pinned(line, fingerprint(line)) if line else None

    return key_of
