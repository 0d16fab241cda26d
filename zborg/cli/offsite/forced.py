"""zborg sink: the forced command of a sender's key on an off-site host.

It is started for every single command of the sender, so it imports little and reads no configuration;
what it needs stands on its command line, in authorized_keys. `start` calls it without typer.

The sender may be hostile, and may start as many of these as sshd lets it: their number, the time that each
waits and the memory that it waits with are bounded here, before anything is decoded or imported.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from zborg.errors import Exit, Refused, ZborgError

if TYPE_CHECKING:
    from zborg.model import Completed

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

TASKS = 64
"""Processes and threads of the account that runs sinks; four streams at once take about 20."""
ANSWER = 900
"""Seconds for a command that is no stream, its answer read; and for a stream that is sent to move on."""
FIRST_RECORD = 300
"""Seconds for the first record of a stream. A `zfs send` on a busy pool may take minutes to begin."""

_LONGEST = 4096  # bytes of a command; the longest that zborg writes is below 1 KiB
_RECORD = 312  # bytes: zborg.zfs.begin.SIZE, which is not imported before they are here
_PRINTABLE = bytes(range(0x20, 0x7F))
_UNQUOTED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-/")


def sink(root: str, *, raw: bool = False, read: bool = False) -> int:
    """Do what SSH_ORIGINAL_COMMAND asks below `root`; the exit status, whatever happens.

    `read`: it is a reader's key, which only lists and gets snapshots sent. A refusal and a bug are a line in
    the system log and a line on stderr; neither leaves a file.
    """
    command = os.environb.get(b"SSH_ORIGINAL_COMMAND", b"")
    client = os.environb.get(b"SSH_CONNECTION", b"").partition(b" ")[0].decode("ascii", "replace")
    os.environ.clear()  # AcceptEnv may have let anything in
    os.environ["PATH"] = PATH
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # there is nothing to end in order: what arrived stays
    try:
        done = _admitted(root, command, raw=raw, read=read)
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        sys.stdout.flush()
    except ZborgError as error:
        return _refused(client, error)
    except Exception as error:
        return _broken(client, error)
    return done.status if done.status >= 0 else Exit.FAILED


def _admitted(root: str, command: bytes, *, raw: bool, read: bool) -> Completed:
    patience(ANSWER)
    _bound_tasks()
    if len(command) > _LONGEST or command.translate(None, _PRINTABLE):
        raise _refusal(f"a command that zborg never writes ({len(command)} bytes): {ascii(command[:80])}")
    text = command.decode("ascii")
    first = b"" if read else _first_record(root, text)
    from zborg.model import utc_now
    from zborg.process import LocalRunner
    from zborg.steps.offsite.sink import Sink, serve, serve_reader
    from zborg.zfs.commands import CommandZfs
    from zborg.zfs.names import dataset

    runner = LocalRunner()
    place = Sink(dataset(root), CommandZfs(runner), runner, utc_now, patience, raw, first)
    if not read:
        return serve(place, text, sys.stdin.fileno())
    _log(f"a reader asks: {text[:500]}")
    return serve_reader(place, text, sys.stdout.fileno(), _say)


def _refusal(why: str) -> Refused:
    return Refused(f"refused by the sink: {why}")


def _bound_tasks() -> None:
    """Refuse when the account has more than TASKS: by the kernel's own count, which no kill leaves wrong.

    RLIMIT_NPROC (setrlimit(2)) is compared with the real user's processes and threads at a fork, and does
    not bind root. One that is admitted may then fork as before.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard == resource.RLIM_INFINITY or hard > TASKS:
        resource.setrlimit(resource.RLIMIT_NPROC, (TASKS, hard))
    try:
        child = os.fork()
    except BlockingIOError:
        raise _refusal(f"{TASKS} processes of this account run already; try again later") from None
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


def patience(seconds: int) -> None:
    """Give up in so many seconds from now, wherever the main thread waits then; 0: no more."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(seconds)


def _too_long(number: int, frame: FrameType | None) -> None:
    raise _refusal("nothing moved for too long; what arrived of a stream is kept")


def _first_record(root: str, command: str) -> bytes:
    """The first record of a stream, waited for with as little memory as Python has.

    Of a name that needs quotes nothing is read here: the step reads it then.
    """
    opening = f"zfs receive -s -u {root}/"
    if not command.startswith(opening) or not set(command.removeprefix(opening)) <= _UNQUOTED:
        return b""
    patience(FIRST_RECORD)
    data = b""
    while len(data) < _RECORD and (chunk := os.read(sys.stdin.fileno(), _RECORD - len(data))):
        data += chunk
    return data


def _refused(client: str, error: ZborgError) -> int:
    """On stderr as any other failure of zborg's, but that a refusal begins with its code (model/codes)."""
    from zborg.model.text import remedy
    from zborg.model.text.units import printable

    _last_words()
    _log(f"{error.message} (from {client or 'no SSH connection'})")
    code = f"{error.code} " if isinstance(error, Refused) else ""
    _say(f"zborg: {code}{printable(error.message)}")
    for line, _ in remedy.lines(error.remedy):
        _say(f"  {printable(line)}")
    return int(error.exit)


def _broken(client: str, error: Exception) -> int:
    """A bug, or a machine that is out of something. The traceback goes to the log, not to the sender."""
    import traceback

    _last_words()
    _log(f"failed at a command from {client or 'no SSH connection'}: {type(error).__name__}")
    for line in "".join(traceback.format_exception(error)).splitlines()[-40:]:
        _log(line)
    words = f"it failed ({type(error).__name__}); its system log has the details"
    _say(f"zborg: E_SINK refused by the sink: {words}")
    return int(Exit.BUG)


def _last_words() -> None:
    """A minute for them, should nobody read stderr; then the kernel ends this process."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(60)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _log(words: str) -> None:
    """For the off-site's administrator: a refusal may be the only trace of a server in wrong hands, and a
    person's key is used on few days.
    """
    import syslog

    from zborg.model.text.units import printable

    syslog.openlog("zborg-sink", 0, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_WARNING, printable(words)[:1000])
