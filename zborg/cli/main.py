"""The top floor: flags in, one step called, report rendered, exit code out."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Annotated, NoReturn

import typer

# typer brings its own copy of click and exports no base class of its usage errors; those of the
# click package, installed or not, are never raised.
from typer._click.exceptions import ClickException

from zborg.cli.command.output import drained, printing
from zborg.errors import ConfigError, Exit, ZborgError
from zborg.interrupt import cancelled
from zborg.model.text import os_errors, remedy
from zborg.model.text.units import printable

_FILES = 8192


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"zborg {version('zborg')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Self-hosted server backups: borg through SSH, ZFS snapshots, replication, restores."""


# Where each is, in the order of a life, which is how --help shows them.
_COMMANDS = {
    "init": "init.init",
    "backup": "backup.backup",
    "snapshot": "snapshot.snapshot",
    "audit": "audit.audit.audit",
    "compact": "audit.compact.compact",
    "undelete": "audit.undelete.undelete",
    "rotate": "rotate.rotate",
    "replicate": "replicate.replicate",
    "verify": "audit.verify.verify",
    "drill": "audit.drill.drill",
    "scrub": "scrub.scrub",
    "run": "night.night",
    "status": "observe.status.status",
    "doctor": "doctor.doctor",
    "history": "observe.history.history",
    "report": "observe.report.report",
    "log": "observe.log.log",
    "ledger": "audit.ledger.ledger",
    "escrow": "escrow.escrow.escrow",
    "sink": "offsite.sink.sink",
    "restore": "restore.restore",
    "holds": "holds.holds",
    "host": "hosts.host.host",
    "schedule": "schedule.schedule.schedule",
    "import": "hosts.import_qb_backup.import_",
    "notify": "observe.notify.notify",
}


def application(words: Sequence[str]) -> typer.Typer:
    """What these words ask for: to import and to read all of them is a tenth of each start."""
    app = typer.Typer(
        name="zborg",
        no_args_is_help=True,
        rich_markup_mode=None,  # rich doubles the time of --help
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="zborg help COMMAND, or COMMAND -h, has the options of a command.",
    )
    app.callback()(_options)
    for name in set(words[:1]) & _COMMANDS.keys() or _COMMANDS:
        module, _, attribute = _COMMANDS[name].rpartition(".")
        found = getattr(import_module(f"zborg.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def run() -> NoReturn:
    """The console script. Whatever happens, the exit code is one of zborg.errors.Exit."""
    _own_streams()
    _many_files()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    words = _without_help(sys.argv[1:])
    sys.exit(drained(guarded(lambda: application(words)(words, standalone_mode=False))))


def _without_help(words: Sequence[str]) -> list[str]:
    """`help host add` is `host add --help`."""
    return [*words[1:], "--help"] if words[:1] == ["help"] else list(words)


def _own_streams() -> None:
    """Closed by the caller they would be None here, and their numbers those of the next files we open."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, "r" if number == 0 else "w", encoding="utf-8")  # noqa: SIM115  # for good
            setattr(sys, name, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a host's text in a locale without its characters
        sys.stdout.reconfigure(errors="backslashreplace")


def _many_files() -> None:
    """Five descriptors for each host at work: with the usual 1024, 200 at once would fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def guarded(work: Callable[[], object]) -> int:
    """The exit code of what `work` returns or raises; every failure is printed as text."""
    try:
        result = work()
        with printing():  # what is still buffered
            pass
    except ClickException as error:
        error.show()
        _tell_script(Exit.USAGE, error.format_message())
        return int(Exit.USAGE)
    except (typer.Abort, KeyboardInterrupt):
        return int(Exit.INTERRUPTED)
    except ZborgError as error:
        _tell(error)
        return int(error.exit)
    except OSError as error:
        if error.errno not in os_errors.MACHINE:
            return _bug()
        _tell(ZborgError(*os_errors.describe(error)))
        return int(Exit.FAILED)
    except Exception:
        return _bug()
    return result if isinstance(result, int) else int(Exit.OK)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """The first signal ends the work in order (both sides, locks, report); a second one at once."""
    if cancelled.is_set():
        raise KeyboardInterrupt
    cancelled.set()


def _tell(error: ZborgError) -> None:
    problems = error.problems if isinstance(error, ConfigError) else ()
    _tell_script(error.exit, error.message, error.remedy, problems)
    for problem in problems:
        print(f"  {printable(problem)}", file=sys.stderr)
    print(f"zborg: {printable(error.message)}", file=sys.stderr)
    for line, _ in remedy.lines(error.remedy):
        print(f"  {printable(line)}", file=sys.stderr)


def _tell_script(code: Exit, message: str, remedy: str = "", problems: tuple[str, ...] = ()) -> None:
    """With --json the output is JSON, also when there is no report."""
    if "--json" not in sys.argv:
        return
    facts = {"zborg": 1, "status": "failed", "exit": int(code), "message": message}
    with suppress(OSError):  # stderr has the message as well
        print(json.dumps(facts | {"remedy": remedy, "problems": list(problems)}, indent=1))


def _bug() -> int:
    """A traceback is for us: saved where the user can find it, and not thrown at them."""
    import tempfile
    import traceback

    trace = traceback.format_exc()
    try:
        with tempfile.NamedTemporaryFile("w", prefix="zborg-bug-", suffix=".txt", delete=False) as file:
            file.write(trace)
        first = "report it with this, once you have read it:"
        look = remedy.remedy(remedy.command("cat", file.name), first=first)
    except OSError as error:
        look = f"report it with what you did; its traceback could not be saved: {error.strerror}"
    words = f"this is a bug in zborg: {trace.strip().splitlines()[-1]}"
    _tell_script(Exit.BUG, words, look)
    print(f"zborg: {words}", file=sys.stderr)
    for line, _ in remedy.lines(look):
        print(f"  {line}", file=sys.stderr)
    return int(Exit.BUG)


if __name__ == "__main__":
    run()
