"""Commands, locks and Debian packages: the few helpers every lab module needs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tests.lab.errors import CommandFailed, LabError

Say = Callable[[str], None]
Lock = contextlib.AbstractContextManager[None]


def run(
    argv: Sequence[str], *, input: str | None = None, timeout: float = 60, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `argv` and return its text output.

    Raises CommandFailed, with the error text, when it does not end within `timeout` seconds
    or, with `check`, when its status is not 0.
    """
    try:
        done = subprocess.run(
            list(argv),
            # Never the caller's own input: a command must not wait for a terminal.
            input=input or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]}: not installed on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, None, _as_text(error.stderr)) from error
    if check and done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stderr)
    return done


def _as_text(output: object) -> str:
    # TimeoutExpired carries bytes even when text was asked for.
    return output.decode(errors="replace") if isinstance(output, bytes) else str(output or "")


def run_logged(argv: Sequence[str], log: Path, *, timeout: float, tick: Callable[[], None]) -> None:
    """Run a long command with its output appended to `log`, calling `tick` about once a second.

    Raises CommandFailed with the last lines of the log. However this function is left, no
    process of the command's group stays behind.
    """
    deadline = time.monotonic() + timeout
    with log.open("ab") as out:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while _still_runs(child) and time.monotonic() < deadline:
            tick()
    finally:
        end_group(child)
    if child.returncode != 0:
        timed_out = time.monotonic() >= deadline
        raise CommandFailed(argv, None if timed_out else child.returncode, tail(log))


def _still_runs(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(1)
    except subprocess.TimeoutExpired:
        return True
    return False


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child started in a session of its own, with its descendants, if it still runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(20)


def tail(path: Path, lines: int = 25) -> str:
    """The last `lines` lines of a text file; empty when it cannot be read."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


@contextlib.contextmanager
def locked(path: Path, *, timeout: float, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the kernel lock of `path`; it ends with the process, so a crash leaves none behind.

    `waiting` is called once if another process holds it; LabError after `timeout` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    with path.open("a") as handle:
        if not _try_lock(handle.fileno()):
            waiting()
            while not _try_lock(handle.fileno()):
                if time.monotonic() > deadline:
                    raise LabError(f"{path}: another process held the lock for {timeout:.0f} s")
                time.sleep(0.2)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def missing_packages(names: Iterable[str]) -> list[str]:
    """The Debian packages of `names` that are not installed on this machine, in order."""
    return [name for name in names if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", name]
    return run(query, check=False).stdout == "installed"


def require_packages(names: Iterable[str], log: Path, say: Say) -> None:
    """Install what is missing of `names` when root; otherwise LabError that names it."""
    missing = missing_packages(names)
    if not missing:
        return
    if os.geteuid() != 0:
        raise LabError(f"missing Debian packages, install them as root: {' '.join(missing)}")
    say(f"installing: {' '.join(missing)}")
    # scripts/setup installs its own, perhaps at this moment: one after the other, and after anybody else.
    with locked(Path("/run/lock/zborg-packages"), timeout=1800):
        wait_for_dpkg = ["-o", "DPkg::Lock::Timeout=600"]
        run_logged(["apt-get", "update", "-q"], log, timeout=600, tick=lambda: None)
        install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *wait_for_dpkg, "install"]
        options = ["-q", "-y", "--no-install-recommends"]
        run_logged([*install, *options, *missing], log, timeout=1800, tick=lambda: None)
