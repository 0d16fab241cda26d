"""zborg init, snapshot, rotate, scrub, run, sink."""

from __future__ import annotations

from typing import Annotated

import typer

from zborg.cli.options import Common, ConfigFile, DryRun, Json, Quiet, Verbose
from zborg.cli.perform import perform
from zborg.errors import UsageError


def init(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(help="Hosts to make datasets for; none means all.", metavar="HOST..."),
    ] = None,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    dry_run: DryRun = False,
) -> None:
    """Make what is missing: state directory, key, datasets. What is there is left as it is."""
    from zborg.steps.init import init as step

    perform(
        Common("init", config, as_json, verbose, dry_run),
        lambda context: step(context, hosts or (), dry_run=dry_run),
        make_state=True,
    )


def snapshot(
    label: Annotated[
        str | None,
        typer.Option("--label", help="Take one also without news, and call it so.", metavar="WORD"),
    ] = None,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Snapshot all repositories at one instant, unless nothing is new. Marks what each backup came to."""
    from zborg.steps.snapshot import snapshot as step

    perform(
        Common("snapshot", config, as_json, verbose, dry_run, quiet),
        lambda context: step(context, label=label, dry_run=dry_run),
    )


def rotate(
    freeze: Annotated[
        list[str] | None, typer.Option("--freeze", help="Rotate this host no more.", metavar="HOST")
    ] = None,
    release: Annotated[
        list[str] | None,
        typer.Option("--release", help="Rotate it again: the alarm is clear.", metavar="HOST"),
    ] = None,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Destroy the snapshots that no rule keeps. --dry-run shows each verdict with its reasons."""
    from zborg.steps import freeze as freezing
    from zborg.steps.rotate import rotate as step

    common = Common("rotate", config, as_json, verbose, dry_run, quiet)
    if (freeze or release) and (dry_run or (freeze and release)):
        raise UsageError("--freeze and --release stand alone, without --dry-run", "zborg status")
    if freeze:
        perform(common, lambda context: freezing.freeze(context, freeze), told=False)
    if release:
        perform(common, lambda context: freezing.release(context, release), told=False)
    perform(common, lambda context: step(context, dry_run=dry_run))


def scrub(
    start: Annotated[bool, typer.Option("--start", help="Start a scrub of the storage's pool.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the running scrub has ended.")] = False,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Verify every pool's last scrub: age and errors. Starts one only when told to."""
    from zborg.steps.scrub import scrub as step

    perform(
        Common("scrub", config, as_json, verbose, dry_run, quiet),
        lambda context: step(context, start=start, wait=wait, dry_run=dry_run),
    )


def night(
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Exit 0 although some hosts failed.")
    ] = False,
    config: ConfigFile = "",
    as_json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """The whole night: backup, snapshot, rotate, replicate, scrub. The worst exit code stands."""
    from zborg.steps.night import night as step

    perform(
        Common("run", config, as_json, verbose, dry_run, quiet),
        lambda context: step(context, allow_partial=allow_partial, dry_run=dry_run),
    )


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
    from zborg.cli.sink import sink as carry_out

    if raw and read:
        raise UsageError("--raw is about what is received, and --read receives nothing")
    raise typer.Exit(carry_out(root, raw=raw, read=read))
