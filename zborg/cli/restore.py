"""zborg restore list, files, repo, serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zborg.cli.command.options import Common, shared
from zborg.cli.command.perform import perform

restore = typer.Typer(
    help="Bring files back from a snapshot.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

HostName = Annotated[str, typer.Argument(help="The host, as zborg.toml names it.", metavar="HOST")]
At = Annotated[
    str,
    typer.Option(
        "--at",
        help="Snapshot name, label, or a time (2026-02-12T14:49, 14:49, yesterday, monday):"
        " of a time the newest good one not later.",
        metavar="WHEN",
    ),
]
From = Annotated[
    str, typer.Option("--from", help="A target's copy instead of the storage's.", metavar="TARGET")
]

Identity = Annotated[
    str,
    typer.Option(
        "--identity",
        help="With --from: the private key that may read there (docs/restore.md).",
        metavar="FILE",
    ),
]


Aside = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="A history that was set aside, by its full name there.",
        metavar="NAME",
    ),
]


@restore.command("list")
@shared("restore list")
def list_(
    common: Common,
    host: HostName,
    target: From = "",
    identity: Identity = "",
    dataset: Aside = "",
) -> None:
    """List the snapshots a host can be restored from, oldest first."""
    from zborg.steps.restore.listing import list_snapshots
    from zborg.steps.restore.source import Source

    perform(common, lambda run: list_snapshots(run, host, Source(target, identity, dataset)))


@restore.command()
@shared("restore files")
def files(
    common: Common,
    host: HostName,
    paths: Annotated[
        list[str],
        typer.Argument(help="Absolute paths of files or directories on the host.", metavar="PATH..."),
    ],
    at: At = "",
) -> None:
    """Bring files back onto their host. Into a fresh directory there; its root must allow it first."""
    from zborg.steps.restore.files import Request, restore_files

    perform(common, lambda run: restore_files(run, Request(host, paths, at)))


@restore.command()
@shared("restore repo")
def repo(
    common: Common,
    host: HostName,
    to: Annotated[
        Path, typer.Option("--to", help="A directory on this machine, empty or new.", metavar="DIR")
    ],
    at: At = "",
    target: From = "",
    identity: Identity = "",
    dataset: Aside = "",
) -> None:
    """Copy a host's whole repository out of a snapshot. For the holder of its key."""
    from zborg.steps.restore.repository import Request, restore_repo
    from zborg.steps.restore.source import Source

    request = Request(host, to, at, Source(target, identity, dataset))
    perform(common, lambda run: restore_repo(run, request))


@restore.command()
@shared("restore serve")
def serve(
    common: Common,
    host: HostName,
    at: At = "",
    target: From = "",
    identity: Identity = "",
) -> None:
    """Lend a snapshot to its host. Its root runs borg by hand there; Ctrl-C ends it."""
    from zborg.steps.restore.lend import Request, restore_serve
    from zborg.steps.restore.source import Source

    source = Source(target, identity)
    perform(common, lambda run: restore_serve(run, Request(host, at, source)))
