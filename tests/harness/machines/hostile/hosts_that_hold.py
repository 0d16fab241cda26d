"""Agents that hold a night up: one that stops, one that drips, one that invents progress.

Each answers `version` as a host without a repository, and misbehaves in the verb that follows.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.harness.machines.host import BackedUpHost

_VERSION = '[ "$SSH_ORIGINAL_COMMAND" != version ] || { echo name NAME; echo initialised no; exit; }\n'
HANGS = "kill -STOP $$\n"
# The begin of a call by borg's protocol (msgpack): four elements, of which the first has 200 bytes.
DRIPS = "printf '\\224\\331\\310'\nwhile :; do printf x; sleep 1; done\n"
LIES = """n=0
while :; do
    n=$((n + 1000000))
    printf '{"original_size": %d, "nfiles": %d, "type": "archive_progress", "finished": false}\\n' $n $n >&2
    sleep 0.3
done
"""


def misbehave(host: BackedUpHost, how: str) -> None:
    host.agent.write_text("#!/bin/sh\n" + _VERSION.replace("NAME", host.name) + how)


def end_stopped(hosts: Iterable[BackedUpHost]) -> None:
    """End the agents of these hosts: one that stopped itself outlives its sshd."""
    scripts = [str(host.agent).encode() for host in hosts]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            if any(script in entry.read_bytes().split(b"\0") for script in scripts):
                os.kill(int(entry.parent.name), signal.SIGKILL)
