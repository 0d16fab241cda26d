"""zborg escrow status, show, reseal, challenge, prove, accept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import finish, perform

escrow = typer.Typer(
    help="Sealed keys of hosts, and proofs that they open.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

Hosts = Annotated[list[str] | None, typer.Argument(help="Default: all.", metavar="[HOST]...")]


@escrow.command()
@shared("escrow status")
def status(common: Common, hosts: Hosts = None) -> None:
    """Show how each key is sealed, of which repository, and when it was proved last."""
    from zborg.steps.escrow.show import status as step

    perform(common, lambda run: step(run, hosts or ()))


@escrow.command()
@shared("escrow show")
def show(common: Common, host: Annotated[str, typer.Argument(help="Whose key.", metavar="HOST")]) -> None:
    """Show one host's sealed key, and how a custodian opens it."""
    from zborg.steps.escrow.show import show as step

    perform(common, lambda run: step(run, host))


@escrow.command()
@shared("escrow reseal")
def reseal(common: Common, hosts: Hosts = None) -> None:
    """Let hosts seal their keys anew: other custodians, another key or passphrase."""
    from zborg.steps.escrow.reseal import reseal as step

    perform(common, lambda run: step(run, hosts or ()))


@escrow.command()
@shared("escrow challenge")
def challenge(
    common: Common,
    to: Annotated[Path, typer.Option("--to", help="The file to write.", metavar="FILE")],
    hosts: Hosts = None,
) -> None:
    """Write a file with which a custodian proves that sealed keys open repositories."""
    from zborg.steps.escrow.challenge import challenge as step

    perform(common, lambda run: step(run, hosts or (), to))


@escrow.command()
@shared("escrow prove")
def prove(
    common: Common,
    file: Annotated[Path, typer.Argument(help="The challenge.", metavar="FILE")],
    identity: Annotated[
        Path, typer.Option("--identity", "-i", help="A custodian's secret key of age.", metavar="KEY")
    ],
) -> None:
    """Answer a challenge, on a custodian's machine: no network, no zborg.toml."""
    from zborg.steps.escrow.prove import Request
    from zborg.steps.escrow.prove import prove as step

    finish(step(Request(file, identity)), common)


@escrow.command()
@shared("escrow accept")
def accept(
    common: Common,
    lines: Annotated[list[str], typer.Argument(help="What custodians sent back.", metavar="LINE...")],
) -> None:
    """Check a custodian's answer, and record it in the ledger."""
    from zborg.steps.escrow.accept import accept as step

    perform(common, lambda run: step(run, lines))
