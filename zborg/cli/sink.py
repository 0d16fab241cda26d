"""zborg sink: the forced command of a sender's key on an off-site host.

It is started for every single command of the sender, so it imports little and reads no configuration;
what it needs stands on its command line, in authorized_keys. `start` calls it without typer.
"""

from __future__ import annotations

import os
import signal
import sys

from zborg.errors import Exit, ZborgError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def sink(root: str, *, raw: bool = False, read: bool = False) -> int:
    """Do what SSH_ORIGINAL_COMMAND asks below `root`; the exit status. Raises ZborgError for refusals.

    `read`: it is a reader's key, which only lists and gets snapshots sent.
    """
    from zborg.model import utc_now
    from zborg.process import LocalRunner
    from zborg.steps.sink import Sink, serve, serve_reader
    from zborg.zfs.commands import CommandZfs
    from zborg.zfs.names import dataset

    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    os.environ.clear()  # AcceptEnv may have let anything in
    os.environ["PATH"] = PATH
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # there is nothing to end in order: what arrived is kept
    runner = LocalRunner()
    place = Sink(dataset(root), CommandZfs(runner), runner, utc_now, raw)
    try:
        if read:
            _log(f"a reader asks: {command[:500]}")
            done = serve_reader(place, command, sys.stdout.fileno(), _say)
        else:
            done = serve(place, command, sys.stdin.fileno())
    except ZborgError as error:
        _log(error.message)
        raise
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    sys.stdout.flush()
    return done.status if done.status >= 0 else Exit.FAILED


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _log(words: str) -> None:
    """For the off-site's administrator: a refusal may be the only trace of a server in wrong hands, and a
    person's key is used on few days.
    """
    import syslog

    from zborg.model.words import printable

    syslog.openlog("zborg-sink", 0, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_WARNING, printable(words))
