"""`borg check --repository-only` of one clone, as a program of its own on the storage.

    python3 -I -S -c TEXT HOME BORG NEED SECONDS FIRST LAST

The text of wall.py stands on stdin. borg runs as the user whose files they are, inside the wall that is also
around `borg serve`, and with its limits: what it parses may have been made by a hostile host. FIRST to LAST
are the numbers of hosts: under one of these nobody else has files. On stdout come, in this order:

    wall WORDS          as `borg serve` reports it; none when borg was not started
    ended STATUS        its exit status, or less than 0: the signal that ended it
    timeout             instead of `ended`
    line TEXT           the last ones that it printed, in ASCII

Nothing but the standard library of Python 3.9. checker.py beside it is the caller.
"""

from __future__ import annotations

import codecs
import os
import resource
import select
import signal
import sys
import time
import types

_MEMORY, _PROCESSOR = 4 << 30, 86400  # bytes and seconds, as in serve.sh, which has the reasons
_KEPT, _LINES = 64 << 10, 20  # bytes of its output, lines of these
_WALL = "zborg-serve: wall "
_NOT_STARTED = 126  # as of a shell; borg has no such status
_DEATH, _DUMPABLE = 1, 4  # PR_SET_PDEATHSIG and PR_SET_DUMPABLE of linux/prctl.h
_PATH = "/usr/local/bin:/usr/bin:/bin"


def main(home: str, borg: str, need: str, seconds: str, first: str, last: str) -> None:
    """Check it, and print what came of it."""
    facts = os.stat(os.path.join(home, "data"), follow_symlinks=False)
    for path in (home, os.path.join(home, "config")):  # of a clone: check writes its configuration anew
        if os.path.lexists(path):
            os.chown(path, facts.st_uid, facts.st_gid, follow_symlinks=False)
    wall = types.ModuleType("wall")
    exec(compile(sys.stdin.read(), "wall.py", "exec"), wall.__dict__)
    codecs.lookup("ascii")  # which wall.py writes with: that user need not reach this Python's files
    own = "uid" if int(first) <= facts.st_uid <= int(last) else ""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        for descriptor in (1, 2):
            os.dup2(writing, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        try:
            _become(facts, home)
            wall._libc.prctl(_DEATH, signal.SIGKILL, 0, 0, 0)
            # Who has changed its user may not write to /proc/self, where the wall sets up its namespace.
            wall._libc.prctl(_DUMPABLE, 1, 0, 0, 0)
            wall.main([home, own, need, borg, "check", "--repository-only", home])
        except SystemExit:  # of the wall, which has printed why
            pass
        except BaseException as error:
            os.write(2, f"zborg-check: {type(error).__name__}: {error}\n".encode("ascii", "replace"))
        os._exit(_NOT_STARTED)
    os.close(writing)
    _report(pid, *_output(reading, time.monotonic() + float(seconds)))


def _become(facts: os.stat_result, home: str) -> None:
    """The user whose files they are, with the environment of `borg serve`."""
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _PROCESSOR),
    ):
        hard = resource.getrlimit(limit)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (least, least))
    if not os.geteuid():
        os.setgroups([])
        os.setresgid(facts.st_gid, facts.st_gid, facts.st_gid)
        os.setresuid(facts.st_uid, facts.st_uid, facts.st_uid)
    os.umask(0o077)
    os.chdir(home)
    os.environ.clear()
    os.environ.update(
        PATH=_PATH,
        LC_ALL="C",
        BORG_HOST_ID="server:check",
        BORG_BASE_DIR=os.path.join(home, ".zborg-check"),  # in the clone, and gone with it
        BORG_SELFTEST="disabled",
        BORG_EXIT_CODES="legacy",
    )


def _output(reading: int, deadline: float) -> tuple[bytes, bytes, bool]:
    """The first and the last bytes that it printed, and whether it ended in time."""
    first, last = b"", b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return first, last, False
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            return first, last, True
        first = first if len(first) >= _KEPT else first + chunk
        last = (last + chunk)[-_KEPT:]


def _report(pid: int, first: bytes, last: bytes, in_time: bool) -> None:
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    begun = _plain(first.partition(b"\n")[0])
    if begun.startswith(_WALL):
        print(f"wall {begun[len(_WALL) :]}")
    ended = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    print(f"ended {ended}" if in_time else "timeout")
    for line in last.split(b"\n")[-_LINES:]:
        if line:
            print(f"line {_plain(line)}")


def _plain(line: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in line)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{error.filename or 'the clone'}: {error.strerror}")
