"""The command line of the lab: build, up, ssh, status, down."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

from tests.lab import fleet, tools
from tests.lab.build import build
from tests.lab.cache import cache_dir
from tests.lab.errors import LabError
from tests.lab.guest import Guest
from tests.lab.recipe import RUN_PACKAGES, SUITES


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 with the reason on stderr when not."""
    arguments = _parser().parse_args(argv)
    # A build ends its children when it is left: let SIGTERM leave it as Ctrl-C does.
    signal.signal(signal.SIGTERM, _leave)
    try:
        arguments.action(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/lab", description="Guests with real OpenZFS.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add = commands.add_parser("build", help="build the image that guests boot from, if needed")
    add.add_argument("--suite", choices=SUITES, default=SUITES[0], help="the Debian release")
    add.set_defaults(action=_build)

    add = commands.add_parser("up", help="boot guests, or use them if they run and answer")
    add.add_argument("--suite", choices=SUITES, default=SUITES[0], help="the Debian release")
    add.add_argument("names", nargs="+", metavar="NAME")
    add.set_defaults(action=_up)

    add = commands.add_parser("ssh", help="a shell, or one command, as root of a guest")
    add.add_argument("name", metavar="NAME")
    add.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    add.set_defaults(action=_ssh)

    add = commands.add_parser("status", help="every guest: state, port, uptime, pools")
    add.set_defaults(action=_status)

    add = commands.add_parser("down", help="end guests (all, without a name), delete their disks")
    add.add_argument("names", nargs="*", metavar="NAME")
    add.set_defaults(action=_down)
    return parser


def _say(text: str) -> None:
    print(text, flush=True)


def _build(arguments: argparse.Namespace) -> None:
    build(arguments.suite, _say)


def _up(arguments: argparse.Namespace) -> None:
    # The image may come from an earlier machine's cache: QEMU may be missing all the same.
    tools.require_packages(RUN_PACKAGES, cache_dir() / "build.log", _say)
    build(arguments.suite, _say)
    started = time.monotonic()
    for guest in fleet.up_all(arguments.names, arguments.suite):
        seconds = time.monotonic() - started
        _say(f"{guest.name}: ready, port {guest.port}, {seconds:.1f} s")


def _ssh(arguments: argparse.Namespace) -> None:
    guest = Guest(arguments.name)
    if not guest.is_running:
        raise LabError(f"{guest.name}: does not run, start it with: up {guest.name}")
    guest.remote().connect(timeout=30)
    words: list[str] = arguments.command
    # One word is shell text ('zpool list | wc -l'); several are a command, quoted as they are.
    command = ["sh", "-c", *words] if len(words) == 1 else words
    argv = guest.remote().argv(command or ["bash", "-l"], terminal=not command)
    sys.stdout.flush()
    os.execvp(argv[0], argv)


def _status(arguments: argparse.Namespace) -> None:
    del arguments
    found = fleet.status()
    _say("\n".join(str(one) for one in found) or "no guests")


def _down(arguments: argparse.Namespace) -> None:
    fleet.down(*arguments.names)
