"""zborg sink."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.errors import UsageError


def sink(
    root: Annotated[
        str, typer.Argument(help="The dataset below which is received, such as vault/zborg.", metavar="ROOT")
    ],
    raw: Annotated[bool, typer.Option("--raw", help="Receive encrypted (raw) streams as well.")] = False,
    read: Annotated[
        bool, typer.Option("--read", help="For the key of a restore: list and send, receive nothing.")
    ] = False,
) -> None:
    """The forced command on an off-site host. A sender lists and receives below ROOT, and no more."""
    from zborg.cli.offsite.forced import sink as carry_out

    if raw and read:
        raise UsageError("--raw is about what is received, and --read receives nothing")
    raise typer.Exit(carry_out(root, raw=raw, read=read))
