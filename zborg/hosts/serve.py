"""The storage's side of a tunnel: `borg serve` for one repository, on this machine or by SSH.

Both ways run zborg/hosts/serve.sh, which checks the command and confines borg to one repository:
over SSH as the forced command of a key, here as a child with the host's own number. wall.py is around both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from zborg.errors import ZborgError
from zborg.hosts import SCRIPTS
from zborg.hosts.ssh.connection import SshRunner
from zborg.model import NUMBERS, Child, Runner, Storage, Zfs
from zborg.model.text.remedy import command as typed
from zborg.model.text.remedy import remedy

_NOWHERE = "/nonexistent"  # what serve.sh is given where a command needs no scratch
_REQUIRE = " require"
# Where `zborg init` writes them and every forced command names the first.
_INSTALLED = (
    ("serve.sh", "/usr/local/libexec/zborg-serve", "0755"),
    ("wall.py", "/usr/local/libexec/zborg-wall.py", "0644"),
)


class LocalServe:
    """Starts `borg serve` here. `runner` makes a Runner for a number, or the storage's user."""

    def __init__(
        self, storage: Storage, zfs: Zfs, runner: Callable[[int | None, Mapping[str, str]], Runner]
    ) -> None:
        self._storage, self._zfs, self._runner = storage, zfs, runner
        self.root = ""  # where the storage's dataset is mounted, once it is known
        self.limits: Mapping[str, int] = {}  # bytes for each host's `borg serve`; else serve.sh's own

    def __call__(self, command: str, stdin: int, stdout: int) -> Child:
        """`command` as serve.sh documents it: "serve NAME" or "read RUN NAME". Raises ZborgError."""
        self.root = self.root or self._place(self._storage.dataset)
        reads = command.startswith("read ")
        scratch = self._place(self._storage.scratch) if reads else _NOWHERE
        parent = scratch if reads else self.root
        runner = self._as_owner(Path(parent, *command.split()[1:]), command)
        # The text of the script as an argument: the unprivileged user may not be able to read our files.
        script = (SCRIPTS / "serve.sh").read_text()
        argv = ["sh", "-c", script, "zborg-serve", "--clean", self.root, scratch, self._storage.borg]
        return runner.start(argv, stdin=stdin, stdout=stdout)

    def _as_owner(self, home: Path, command: str) -> Runner:
        """Under the number that owns it; under the storage's user where it belongs to that account."""
        number, verb = _number(home), command.split()[0]
        required = _REQUIRE if self._storage.wall == "require" else ""
        env = {"COMMAND": command + required, "WALL": (SCRIPTS / "wall.py").read_text()}
        if verb == "serve" and home.name in self.limits:
            env["LIMIT"] = str(self.limits[home.name] >> 10)
        if number is not None:
            return self._runner(number, env | {"OWN": "uid"})
        try:
            return self._runner(None, env)
        except ZborgError as error:
            words = f"{home} was not given to a number of its host's yet"
            raise ZborgError(words, typed("zborg", "init", home.name)) from error

    def _place(self, dataset: str) -> str:
        """Its mountpoint. A parent need not be mounted itself for what is mounted below it."""
        found = next((d for d in self._zfs.datasets(dataset) if d.name == dataset), None)
        if found and found.mountpoint:
            return found.mountpoint
        if found:
            message = f"{dataset} on this machine has no mountpoint, so nothing can be served from it"
            raise ZborgError(message, remedy(typed("zfs", "get", "mountpoint", dataset)))
        pool = dataset.partition("/")[0]
        message = f"there is no dataset {dataset} on this machine: is its pool {pool} imported?"
        raise ZborgError(message, remedy(typed("zpool", "import"), first="what can be imported here:"))


def _number(home: Path) -> int | None:
    """The directory's group, if it is one that zborg gives."""
    try:
        group = home.lstat().st_gid
    except OSError:  # serve.sh says what is wrong with it
        return None
    return group if group in NUMBERS else None


class RemoteServe:
    """Starts it on the storage, where serve.sh is the forced command of `runner`'s key."""

    def __init__(self, runner: SshRunner, *, require: bool = False) -> None:
        self._runner, self._required = runner, _REQUIRE if require else ""

    def __call__(self, command: str, stdin: int, stdout: int) -> Child:
        """Start it for one forced command, its data on two file descriptors."""
        return self._runner.start_command(command + self._required, stdin=stdin, stdout=stdout)


def bring(storage: Runner) -> tuple[str, ...]:
    """Write this version's serve.sh and wall.py there, where they differ; `storage` runs as root."""
    script, written = (SCRIPTS / "bring.sh").read_text(), []
    for name, path, mode in _INSTALLED:
        argv = ["sh", "-c", script, "zborg-bring", path, mode]
        if storage.run(argv, stdin=(SCRIPTS / name).read_text()).stdout.strip():
            written.append(path)
    return tuple(written)
