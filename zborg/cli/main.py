"""The top floor: flags in, one step called, report rendered, exit code out."""

from __future__ import annotations

import errno
import json
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Annotated, NoReturn

import typer

# typer brings its own copy of click and exports no base class of its usage errors; those of the
# click package, installed or not, are never raised.
from typer._click.exceptions import ClickException

from zborg.cli import backup, lifecycle, replicate, restore, status
from zborg.errors import ConfigError, Exit, ZborgError
from zborg.interrupt import cancelled
from zborg.model.words import printable

app = typer.Typer(
    name="zborg",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich doubles the time of --help
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"zborg {version('zborg')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Self-hosted server backups: borg through SSH, ZFS snapshots, replication, restores."""


# In the order of a life, which is how --help shows them.
_COMMANDS: dict[str, Callable[..., None]] = {
    "init": lifecycle.init,
    "backup": backup.backup,
    "snapshot": lifecycle.snapshot,
    "rotate": lifecycle.rotate,
    "replicate": replicate.replicate,
    "scrub": lifecycle.scrub,
    "run": lifecycle.night,
    "status": status.status,
}
for name, command in _COMMANDS.items():
    app.command(name)(command)
app.add_typer(restore.restore, name="restore")


def run() -> NoReturn:
    """The console script. Whatever happens, the exit code is one of zborg.errors.Exit."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    sys.exit(_guarded())


def _guarded() -> int:
    try:
        result = app(standalone_mode=False)
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
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return _bug()
        print(f"zborg: cannot write: {error.strerror}", file=sys.stderr)
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
    if error.remedy:
        print(f"  -> {printable(error.remedy)}", file=sys.stderr)


def _tell_script(code: Exit, message: str, remedy: str = "", problems: tuple[str, ...] = ()) -> None:
    """Whoever asked for JSON gets JSON, also when there is no report."""
    if "--json" not in sys.argv:
        return
    facts = {"zborg": 1, "status": "failed", "exit": int(code), "message": message}
    print(json.dumps(facts | {"remedy": remedy, "problems": list(problems)}, indent=1))


def _bug() -> int:
    """A traceback is for us: saved where the user can find it, and not thrown at them."""
    with tempfile.NamedTemporaryFile("w", prefix="zborg-bug-", suffix=".txt", delete=False) as file:
        traceback.print_exc(file=file)
    words = traceback.format_exc().strip().splitlines()[-1]
    _tell_script(Exit.BUG, f"this is a bug in zborg: {words}", f"please report it with {file.name}")
    print(f"zborg: this is a bug in zborg: {words}", file=sys.stderr)
    print(f"  -> please report it with {file.name}", file=sys.stderr)
    return int(Exit.BUG)


if __name__ == "__main__":
    run()
