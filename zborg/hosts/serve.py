"""The storage's side of a tunnel: `borg serve` for one repository, on this machine or by SSH.

Both ways run zborg/hosts/serve.sh, which checks the command and confines borg to one repository:
over SSH as the forced command of a key, here as a child of the unprivileged user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zborg.hosts import SCRIPTS
from zborg.hosts.ssh import SshRunner
from zborg.model import Child, Runner, Storage, Zfs

_NOWHERE = "/nonexistent"  # serve.sh refuses what is not a directory


class LocalServe:
    """Starts `borg serve` here. `runner` makes a Runner of the storage's user with an environment."""

    def __init__(self, storage: Storage, zfs: Zfs, runner: Callable[[Mapping[str, str]], Runner]) -> None:
        self._storage, self._zfs, self._runner = storage, zfs, runner
        self._root = ""

    def __call__(self, command: str, stdin: int, stdout: int) -> Child:
        """`command` as serve.sh documents it: "serve NAME" or "read RUN NAME"."""
        self._root = self._root or self._place(self._storage.dataset)
        scratch = self._place(self._storage.scratch) if command.startswith("read ") else _NOWHERE
        # The text of the script as an argument: the unprivileged user may not be able to read our files.
        script = (SCRIPTS / "serve.sh").read_text()
        argv = ["sh", "-c", script, "zborg-serve", "--clean", self._root, scratch, self._storage.borg]
        return self._runner({"COMMAND": command}).start(argv, stdin=stdin, stdout=stdout)

    def _place(self, dataset: str) -> str:
        """Its mountpoint. A parent need not be mounted itself for what is mounted below it."""
        found = next((d for d in self._zfs.datasets(dataset) if d.name == dataset), None)
        return found.mountpoint if found and found.mountpoint else _NOWHERE


class RemoteServe:
    """Starts it on the storage, where serve.sh is the forced command of `runner`'s key."""

    def __init__(self, runner: SshRunner) -> None:
        self._runner = runner

    def __call__(self, command: str, stdin: int, stdout: int) -> Child:
        return self._runner.start_command(command, stdin=stdin, stdout=stdout)
