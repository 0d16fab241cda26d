"""Compactions that go wrong: a borg that is killed or loses something, and a zborg that is killed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.harness.audit.vault import AuditedVault
from tests.harness.worlds.steps import world
from zborg import atomic
from zborg.hosts import SCRIPTS, serve
from zborg.model import Machine
from zborg.steps.context import Context

# In place of wall.py: behind the real one only a borg of the system could be started, and none of a test's.
_NO_WALL = "import os, sys\nos.execvp(sys.argv[4], sys.argv[4:])\n"

_BORG = """#!{python} -I
import os, signal, sys
from borg import archiver, repository
if "compact" in sys.argv:
    io = repository.LoggedIO
{what}
sys.argv[0] = "borg"
archiver.main()
"""

_KILLED = """
    left = [{count}]
    def dying(name):
        real = getattr(io, name)
        def call(*arguments, **options):
            result = real(*arguments, **options)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        setattr(io, name, call)
    for name in ("write_put", "write_delete", "write_commit", "delete_segment"):
        dying(name)
"""

# One object of those that are to be copied is left out, as a borg with a fault would.
_LOSES = """
    real = io.write_put
    lost = []
    def call(self, id, data, **options):
        if lost or id == bytes(32):
            return real(self, id, data, **options)
        lost.append(id)
        return self.segment, self.offset
    io.write_put = call
"""

# Another object in place of one: the ids are the same, and the manifest is an empty one.
_CHANGES = """
    real = io.write_put
    def call(self, id, data, **options):
        return real(self, id, bytes(len(data)), **options)
    io.write_put = call
"""


def no_wall(directory: Path, patch: pytest.MonkeyPatch) -> None:
    """Start what serves without one."""
    scripts = directory / "scripts"
    scripts.mkdir()
    shutil.copy(SCRIPTS / "serve.sh", scripts)
    (scripts / "wall.py").write_text(_NO_WALL)
    patch.setattr(serve, "SCRIPTS", scripts)


def _borg(scene: AuditedVault, what: str) -> None:
    path = scene.vault.directory / "faulty-borg"
    path.write_text(_BORG.format(python=sys.executable, what=what))
    path.chmod(0o755)
    scene.vault.borg = str(path)


def killed_borg(scene: AuditedVault, count: int) -> None:
    """The storage's borg is killed with the so manieth thing that a compaction of it writes or removes."""
    _borg(scene, _KILLED.format(count=count))


def losing_borg(scene: AuditedVault) -> None:
    """One that forgets an object."""
    _borg(scene, _LOSES)


def changing_borg(scene: AuditedVault) -> None:
    """One that writes zeros."""
    _borg(scene, _CHANGES)


class Killed(BaseException):
    """As if zborg were killed there: nothing of its own is done behind it."""


@dataclass
class Countdown:
    """Raises Killed at the so manieth effect; `left` is what was not reached."""

    left: int

    def step(self) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


class _Watched:
    """An object of which some methods count, before and behind."""

    def __init__(self, real: Any, names: Collection[str], countdown: Countdown) -> None:
        self._real, self._names, self._countdown = real, names, countdown

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return _counted(found, self._countdown) if name in self._names else found


def _counted(function: Callable[..., Any], countdown: Countdown) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        countdown.step()
        result = function(*arguments, **options)
        countdown.step()
        return result

    return call


def killable(scene: AuditedVault, countdown: Countdown, patch: pytest.MonkeyPatch) -> Context:
    """A world in which each effect on disks is counted: commands, snapshots, holds, borg, files."""
    context = world(scene.vault, scene.clock)
    patch.setattr(atomic, "write", _counted(atomic.write, countdown))
    zfs: Any = _Watched(context.storage.zfs, ("snapshot", "hold", "release"), countdown)
    runner: Any = _Watched(context.storage.runner, ("run",), countdown)
    tunnel: Any = _Watched(context.tunnel, ("compact",), countdown)
    return replace(context, storage=Machine(runner, zfs), tunnel=tunnel)
