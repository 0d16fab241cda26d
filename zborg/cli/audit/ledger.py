"""zborg ledger show, check, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish, perform
from zborg.errors import UsageError

if TYPE_CHECKING:
    from zborg.model import Report
    from zborg.steps.context import StepRun
    from zborg.steps.ledger.check import Request

ledger = typer.Typer(
    help="What audit found each night, in a signed ledger.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@ledger.command()
@shared("ledger show")
def show(
    common: Common,
    host: Annotated[str, typer.Argument(help="Its entries alone.", metavar="HOST")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Not only the newest 20.")] = False,
) -> None:
    """List the entries, the newest last."""
    from zborg.steps.ledger.show import show as step

    perform(common, lambda run: step(run, host, everything=everything))


@ledger.command()
@shared("ledger check")
def check(
    common: Common,
    folder: Annotated[
        Path | None, typer.Argument(help="A copy of it; without, the storage's.", metavar="FOLDER")
    ] = None,
    witness: Annotated[
        list[Path] | None,
        typer.Option("--witness", help="Checkpoints or a copy that others have.", metavar="FILE"),
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option("--public-key", help="Default: the ledger's key.pub.", metavar="FILE")
    ] = None,
    all_hosts: Annotated[
        bool, typer.Option("--hosts", help="Ask all hosts which checkpoints they have.")
    ] = False,
    hosts: Annotated[
        list[str] | None, typer.Option("--host", help="Ask this one; may be repeated.", metavar="HOST")
    ] = None,
) -> None:
    """Recompute the ledger, and compare it with what witnesses have of it. A copy needs no zborg.toml."""
    from zborg.steps.ledger.check import Request, check_copy, copy_report

    asked = () if all_hosts else hosts or None
    request = Request(folder, witness or (), public_key, asked)
    if folder is None:
        perform(common, lambda run: _own(run, request))
    if asked is not None:
        raise UsageError("hosts are asked about the server's own ledger", "leave FOLDER out, on the server")
    finish(copy_report(check_copy(request)), common)


def _own(run: StepRun, request: Request) -> Report:
    """On an off-site it is the ledger that arrived."""
    from zborg.steps.ledger.check import check_own
    from zborg.steps.offsite.witness import check_arrived

    if run.context.config.storage.received:
        return check_arrived(run, request)
    return check_own(run, request)


@ledger.command()
@shared("ledger export")
def export(
    common: Common,
    folder: Annotated[Path, typer.Argument(help="A folder that is new or empty.", metavar="FOLDER")],
) -> None:
    """Copy the ledger for somebody else, with its public key and proofs for other programs."""
    from zborg.steps.ledger.export import export as step

    perform(common, lambda run: step(run, folder))
