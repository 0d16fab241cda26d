"""escrow prove: on a custodian's machine, that a sealed key opens the repository of today.

No network, no zborg.toml: age opens what was sealed, and borg lists a repository of one object, the manifest.
Key and passphrase are in memory alone: borg reads them from anonymous files (memfd_create), which are in no
file system and end with this process, however it ends. What lies in the private directory is ciphertext.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from zborg.borg.escrow.listing import Listed, Reason, argv, build, environment, failed, listed
from zborg.errors import CommandFailed, UsageError, ZborgError
from zborg.model import Outcome, Report, Status, utc_now
from zborg.model.escrow.challenge import Case, Challenge, OtherForm, answer, parse
from zborg.model.escrow.sealed import Exported, exported, recipients
from zborg.model.results import KeyProved
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import counted, moment, printable
from zborg.planning.doctor.this_machine import borg_fault
from zborg.process import LocalRunner
from zborg.state.runs import new_run
from zborg.steps.context import conclude, outcome_of

_KIND = "escrow"
_MEMORY = "/dev/shm"  # noqa: S108  # a directory of our own in it
_LARGEST = 64 << 20  # bytes of a challenge; one of a host has some KiB
_AGE, _BORG = 60.0, 300.0  # seconds: to derive a key takes some on a small machine
_NOT_FOUND = 127
_SEALED_WRONG = "what the host has sealed is no key of a backup"


@dataclass(frozen=True)
class Request:
    """The challenge, and the custodian's secret key."""

    file: Path
    identity: Path


def prove(request: Request) -> Report:
    """One outcome for each host in the challenge, whose remedy is the line to send back.

    Of a machine that need not be a server: no run is recorded. Raises UsageError, and ZborgError where age or
    borg is missing.
    """
    began = utc_now()
    challenge = _challenge(request.file)
    if began > challenge.until:
        raise ZborgError(
            f"the challenge is too old: its answers were taken until {moment(challenge.until)}",
            on("the server", "zborg escrow challenge --to new.challenge"),
        )
    if not request.identity.is_file() or not os.access(request.identity, os.R_OK):
        look = command("ls", "-l", str(request.identity))
        raise UsageError(f"{request.identity} is no file that can be read: it should hold a secret key", look)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no key behind either
    outcomes = [_one(request, challenge, case) for case in challenge.cases]
    status, code = conclude(outcomes)
    return Report(
        "escrow prove", new_run(began), challenge.server, began, utc_now(), status, code, tuple(outcomes)
    )


def _challenge(path: Path) -> Challenge:
    first = "a challenge is a file that was made on the server, and is given to you as it is; what is there:"
    look = remedy(command("ls", "-l", str(path)), first=first)
    try:
        with path.open(encoding="utf-8") as file:
            return parse(file.read(_LARGEST))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", look) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: it is no challenge of zborg's", look) from error
    except OtherForm as error:
        raise UsageError(f"{path}: {error}", look) from error
    except ValueError as error:
        raise UsageError(f"{path} is no whole challenge: {error}", look) from error


def _one(request: Request, challenge: Challenge, case: Case) -> Outcome:
    """One host, whatever happens to it, as an outcome; but for a program that is missing."""
    try:
        return _proved(request, challenge, case)
    except _Missing:
        raise
    except Exception as error:
        return outcome_of(_KIND, case.host, error)


class _Missing(ZborgError):
    """A program that all of it needs."""


def _proved(request: Request, challenge: Challenge, case: Case) -> Outcome:
    found = _list(case, _opened(request.identity, challenge, case))
    if found is None:
        words = (
            "the sealed key opens the repository, but there is no archive in it: nothing can be shown by that"
        )
        return Outcome(
            _KIND,
            case.host,
            Status.FAILED,
            words,
            _on_server(challenge, command("zborg", "backup", case.host)),
        )
    word = answer(case.bound, found.archives, found.newest, found.newest_id).word
    words = f"the sealed key opens the repository: {counted(found.archives, 'archive')}, the newest of "
    fix = remedy(
        command("zborg", "escrow", "accept", word),
        first=f"send this line to {printable(challenge.server) or 'the server'}, where root types it:",
    )
    result = KeyProved(repository=case.repository, archives=found.archives, newest=found.newest, answer=word)
    return Outcome(_KIND, case.host, Status.OK, words + moment(found.newest), fix, result)


def _on_server(challenge: Challenge, line: str) -> str:
    return on(printable(challenge.server) or "the server", line)


# --- what was sealed ----------------------------------------------------------------------------------------


def _opened(identity: Path, challenge: Challenge, case: Case) -> Exported:
    """Raises ZborgError, with what is wrong in words of its own."""
    reseal = _on_server(challenge, command("zborg", "escrow", "reseal", case.host))
    try:
        recipients(case.sealed)
    except ValueError as error:
        raise ZborgError(f"what the host has sealed is garbage: {error}", reseal) from error
    try:
        done = LocalRunner().run(
            ["age", "--decrypt", "--identity", str(identity)], stdin=case.sealed, timeout=_AGE
        )
    except CommandFailed as error:
        _is_there(error, "age")
        words = f"{identity} does not open what was sealed: it was sealed for others, or is damaged"
        raise ZborgError(f"{words} ({_last(error.stderr)})", reseal) from error
    try:
        found = exported(done.stdout)
    except ValueError as error:
        raise ZborgError(f"{_SEALED_WRONG}: {error}", reseal) from None
    if found.repository == case.repository:
        return found
    if found.host == case.host:
        words = f"the sealed key is of a repository that was replaced, {found.repository[:8]}: "
        raise ZborgError(f"{words}what lies there now is {case.repository[:8]}", reseal)
    owner = printable(found.host) or "another host"
    words = (
        f"the sealed key is that of {owner}, of the repository {found.repository[:8]}, and not of {case.host}"
    )
    raise ZborgError(words, reseal)


def _is_there(error: CommandFailed, program: str) -> None:
    """Raises _Missing where the program is not there at all."""
    if error.status == _NOT_FOUND:
        package = {"borg": "borgbackup"}.get(program, program)
        words = f"{program} is missing on this machine: a proof needs age, and borg 1.2 or 1.4"
        raise _Missing(words, command("apt-get", "install", package)) from error


def _last(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return printable(lines[0])[:200] if lines else "age does not say why"


# --- the repository -----------------------------------------------------------------------------------------


def _list(case: Case, key: Exported) -> Listed | None:
    """Raises ZborgError when the key does not open it."""
    where = _MEMORY if os.path.isdir(_MEMORY) and os.access(_MEMORY, os.W_OK | os.X_OK) else None  # noqa: PTH112
    with TemporaryDirectory(prefix="zborg-prove-", dir=where) as name:
        place = Path(name)
        try:
            home = build(place, case.repository, case.manifest)
        except ValueError as error:
            raise ZborgError(f"the challenge is damaged: {error}", "ask for it once more") from error
        with _in_memory(key.key) as key_file, _in_memory(key.passphrase) as passphrase:
            runner = LocalRunner(env=environment(place, key_file, passphrase))
            try:
                done = runner.run(argv(home), timeout=_BORG)
            except CommandFailed as error:
                _is_there(error, "borg")
                raise _not_opened(runner, case, error) from error
    try:
        return listed(done.stdout)
    except ValueError as error:
        raise ZborgError(str(error), "borg --version") from error


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A path that a child of ours reads it from, for as long as the block lasts."""
    if not sys.platform.startswith("linux"):
        raise ZborgError("a proof is made on Linux: elsewhere the key would have to lie in a file")
    descriptor = os.memfd_create("zborg")
    try:
        os.write(descriptor, data)
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _not_opened(runner: LocalRunner, case: Case, error: CommandFailed) -> ZborgError:
    reason, words = failed(error.stderr)
    fix = on(case.host, "/usr/local/libexec/zborg-agent --seal")
    if reason is Reason.PASSPHRASE:
        return ZborgError("the passphrase that was sealed does not open the key that was sealed with it", fix)
    if reason is Reason.KEY:
        return ZborgError(f"{_SEALED_WRONG}: borg cannot read its key", fix)
    if fault := _borg_fault(runner):
        return ZborgError(fault, command("apt-get", "install", "borgbackup"))
    text = "the sealed key does not open the manifest: it is another key under this repository's id, or the "
    return ZborgError(f"{text}manifest was changed ({printable(words)[:200]})", fix)


def _borg_fault(runner: LocalRunner) -> str:
    """What is wrong with the borg of this machine, where that is why."""
    try:
        return borg_fault(runner.run(["borg", "--version"], timeout=_BORG).stdout)
    except CommandFailed as error:
        return f"borg does not run on this machine: {_last(error.stderr)}"
