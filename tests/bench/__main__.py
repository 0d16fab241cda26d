"""`python -m tests.bench tunnel|start|fleet|plan|replicate|audit|way`."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType

from tests.bench import audit, plan, replicate, status, tunnel, way
from tests.bench.fleet import fleet


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Paired measurements.")
    which = parser.add_subparsers(dest="what", required=True)
    one = which.add_parser("tunnel", help="the ways of a backup against each other")
    one.add_argument("--small", action="store_true", help="a hundredth of the data, to see it work")
    two = which.add_parser("start", help="zborg status and history against borg --version")
    two.add_argument("--hosts", type=int, default=status.USUAL, help=f"default {status.USUAL}")
    three = which.add_parser("plan", help="rotation and replication planned for many snapshots")
    four = which.add_parser("way", help="files and calls between them, of one backup and one replication")
    four.add_argument("--moves", action="store_true", help="the busiest as well")
    five = which.add_parser("audit", help="news read without a key against borg check; the ledger")
    five.add_argument("--mebibytes", type=int, nargs="+", default=[1024, 5120], help="default 1024 5120")
    for each in (one, two, three, five):
        each.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    _fleet_options(which.add_parser("fleet", help="many hosts at once with nothing new"))
    _replicate_options(which.add_parser("replicate", help="zborg replicate against others, in the lab"))
    given = parser.parse_args()
    if given.what == "tunnel":
        tunnel.main(given.rounds, small=given.small)
    elif given.what == "start":
        status.main(given.rounds, given.hosts)
    elif given.what == "audit":
        audit.main(tuple(given.mebibytes), given.rounds)
    elif given.what == "plan":
        plan.main(given.rounds)
    elif given.what == "way":
        way.main(moves=given.moves)
    elif given.what == "replicate":
        names = [one.name for one in fields(replicate.Sizes)]
        replicate.main(replicate.Sizes(**{name: getattr(given, name) for name in names}))
    else:
        fleet.main(_sizes(given), given.json)


def _fleet_options(parser: argparse.ArgumentParser) -> None:
    usual = fleet.Sizes()
    parser.add_argument("--hosts", type=int, default=usual.hosts, help=f"default {usual.hosts}")
    parser.add_argument("--quick", action="store_true", help="one round of few runs, to see it work")
    parser.add_argument("--rounds", type=int, help=f"paired rounds (default {usual.rounds})")
    parser.add_argument(
        "--parallel", type=int, nargs="+", metavar="N", help="hosts at once, one run for each N; 0: auto"
    )
    parser.add_argument("--alone", type=int, metavar="N", help="hosts in the run of one after another")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to FILE")


def _replicate_options(parser: argparse.ArgumentParser) -> None:
    usual = replicate.Sizes()
    parser.add_argument("--datasets", type=int, default=usual.datasets, help=f"default {usual.datasets}")
    parser.add_argument(
        "--mebibytes", type=int, default=usual.mebibytes, help=f"in one stream, default {usual.mebibytes}"
    )
    parser.add_argument("--rounds", type=int, default=usual.rounds, help=f"default {usual.rounds}")
    parser.add_argument(
        "--tools", nargs="+", choices=usual.tools, default=usual.tools, help="which of them (default all)"
    )
    parser.add_argument("--keep", action="store_true", help="leave the guests running")


def _sizes(given: argparse.Namespace) -> fleet.Sizes:
    sizes = fleet.Sizes.quick(given.hosts) if given.quick else fleet.Sizes.of(given.hosts)
    asked = {key: getattr(given, key) for key in ("rounds", "parallel", "alone")}
    return replace(sizes, **{key: value for key, value in asked.items() if value is not None})


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C: everything that was started is ended
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
