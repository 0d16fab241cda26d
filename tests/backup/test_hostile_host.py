"""A host whose root is the enemy: all that reaches `borg serve` is of his choosing, and so is his borg.

Real `borg serve` by serve.sh, as an unprivileged user, started both ways: as zborg's child, and by a
forced command. The tests share one storage; each asserts that all that was stored is still stored.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.harness.machines.borgs import borg_of
from tests.harness.machines.host import BackedUpHost
from tests.harness.machines.hostile.rpc import Refused, Rpc
from tests.harness.machines.sshd import Sshd
from tests.harness.processes.unprivileged import USER, Unprivileged, as_nobody
from tests.harness.steps import backup, init, restore_files, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, snapnames, world
from zborg.errors import Exit
from zborg.hosts import SCRIPTS
from zborg.hosts.serve import LocalServe, RemoteServe
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.hosts.tunnel import Serve
from zborg.model import Endpoint
from zborg.process import LocalRunner

MANIFEST = bytes(32)


@dataclass
class Attacked:
    """A storage with two archives of web1 and one of web2, a snapshot of both, and web1's root at work."""

    vault: LocalVault
    clock: Hours
    host: BackedUpHost
    raw: str
    before: dict[str, str]

    @property
    def root(self) -> Path:
        return self.vault.zfs.directory("tank/borg")

    def session(self) -> Rpc:
        """What the tunnel gives to web1."""
        assert self.vault.serve is not None
        return Rpc(self.vault.serve, "serve web1")

    def borg(self, *words: str) -> tuple[int, str]:
        """A borg command of the enemy's choice through the real tunnel: (borg's status, all it said)."""
        wrapper = self.host.directory / "hostile-borg"
        yes = "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes BORG_DELETE_I_KNOW_WHAT_I_AM_DOING=YES"
        yes += " BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"
        wrapper.write_text(f"#!/bin/sh\n{yes} exec {borg_of('1.4')} {shlex.join(words)}\n")
        wrapper.chmod(0o755)
        self.host.setup("web1", [self.host.data], borg=str(wrapper), extra_conf=["report_paths = yes"])
        (host,) = (one for one in self.vault.config.hosts if one.name == "web1")
        said: list[str] = []
        words_of_verb = ["create", "web1", "web1-2026-02-12T000000Z"]
        status = self.vault.tunnel().verb(host, words_of_verb, lambda _, lines: said.extend(lines))
        return status, "\n".join(said)


def stored(root: Path) -> dict[str, str]:
    """Every segment, and what makes a directory a repository, by its hash."""
    files = [*root.glob("*/data/*/*"), *root.glob("*/config"), *root.glob("*/README")]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def intact(attacked: Attacked) -> None:
    assert attacked.before.items() <= stored(attacked.root).items()


@pytest.fixture(scope="module", params=["child of zborg, borg 1.4", "forced command, borg 1.2"])
def attacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    directory = tmp_path_factory.mktemp("attacked")
    directory.chmod(0o711)
    vault, clock = LocalVault(directory), Hours()
    vault.user, vault.borg = USER, str(Path(borg_of(request.param[-3:])).resolve())
    way = as_child if request.param.startswith("child") else by_forced_command
    with way(vault) as vault.serve:
        yield prepared(vault, clock)
    vault.close()


def as_user(vault: LocalVault, number: int | None = None) -> list[str]:
    reached = [vault.directory, Path(sys.prefix), Path(sys.base_prefix)]
    return as_nobody(reached, vault.directory / "covers", number)


@contextmanager
def as_child(vault: LocalVault) -> Iterator[Serve]:
    """With the host's own number."""

    def runner(own: int | None, env: Mapping[str, str]) -> Unprivileged:
        return Unprivileged(as_user(vault, own), env)

    yield LocalServe(vault.config.storage, vault.zfs, runner)


@contextmanager
def by_forced_command(vault: LocalVault) -> Iterator[Serve]:
    """sshd runs as the tests do, so it is the forced command that gives up its rights."""
    nobody = as_user(vault)
    vault.elsewhere = vault.endpoint(1, "ssh-ed25519 AAAA")
    installed, forced = vault.directory / "zborg-serve", vault.directory / "forced"
    shutil.copy(SCRIPTS / "serve.sh", installed)
    shutil.copy(SCRIPTS / "wall.py", vault.directory / "zborg-wall.py")
    places = [str(vault.zfs.directory(name)) for name in ("tank/borg", "tank/zborg-scratch")]
    forced.write_text(f"exec {shlex.join([*nobody, '/bin/sh', str(installed), *places, vault.borg])}\n")
    with Sshd(vault.directory / "storage") as sshd:
        sshd.authorize(f'restrict,command="/bin/sh {forced}" {vault.key.public}')
        endpoint = Endpoint("root", "127.0.0.1", sshd.port, sshd.host_key, str(vault.key.private))
        known_hosts = vault.directory / "known_storage"
        write_known_hosts(known_hosts, {"zborg.storage": endpoint})
        yield RemoteServe(SshRunner("zborg.storage", endpoint, known_hosts, LocalRunner()))


def prepared(vault: LocalVault, clock: Hours) -> Attacked:
    for name in ("web1", "web2"):
        vault.add(name, dataset=False)
    made = init(world(vault, clock))
    assert made.exit is Exit.OK, made.outcomes
    for _ in range(2):
        (vault.hosts["web1"].data / "file").write_text(f"of web1 at {clock.now}")
        report = backup(world(vault, clock))
        assert report.exit is Exit.OK, report.outcomes
        clock.tick()
    snapshot(world(vault, clock))
    root = vault.zfs.directory("tank/borg")
    (root / "alias").symlink_to("web2")
    return Attacked(vault, clock, vault.hosts["web1"], snapnames(vault, "tank/borg/web1")[-1], stored(root))


# --- other repositories -------------------------------------------------------------------------------


OTHERS = [
    "./web2",
    "./../borg/web2",
    "./alias",
    "./web1/../web2",
    "./web1/data",
    "./new",
    "./",
    "~/x",
    "{root}/web2",
    "/etc",
]


HOW: list[dict[str, object]] = [
    {},
    {"create": True, "make_parent_dirs": True},
    {"lock": False, "exclusive": False},
]


def test_no_other_repository_is_opened_or_made_or_told_from_one_that_is_not_there(attacked: Attacked) -> None:
    with attacked.session() as rpc:
        for place, how in product(OTHERS, HOW):
            with pytest.raises(Refused) as refused:
                rpc.call("open", path=place.format(root=attacked.root).encode(), **how)
            assert refused.value.kind == "PathNotAllowed", place
            with pytest.raises(Refused, match="NoneType"):  # nothing is open
                rpc.call("destroy")
    intact(attacked)
    assert {path.name for path in attacked.root.iterdir()} == {"web1", "web2", "alias", "zborg-ledger"}


def test_borg_itself_gets_no_further(attacked: Attacked) -> None:
    assert attacked.borg("list", "ssh://x/./web1")[0] == 0, "the way is open for its own"
    for words in ("list {url}", "create {url}::x /etc/hostname", "init -e none {url}"):
        status, said = attacked.borg(*words.format(url="ssh://x/./web2").split())
        assert status != 0 and "path not allowed" in said.lower(), said
    intact(attacked)


# --- its own repository -------------------------------------------------------------------------------


def everything_deleted(rpc: Rpc) -> None:
    """Each object deleted, then a commit that asks for all the cleaning up there is."""
    rpc.call("put", id=b"z" * 32, data=b"z")
    for number in rpc.call("list", limit=1000):
        rpc.call("delete", id=number)
    rpc.call("commit", save_space=True, compact=True, threshold=0.0, cleanup_commits=True)


def manifest_replaced(rpc: Rpc) -> None:
    rpc.call("put", id=MANIFEST, data=b"nothing")
    rpc.call("commit", compact=True, threshold=0.0)


def cut_off(rpc: Rpc) -> None:
    """Uncommitted, then undone: the clearing up of what is unfinished must stop at the last commit."""
    rpc.call("put", id=b"x" * 32, data=b"x" * 100_000)
    rpc.call("rollback")
    rpc.call("put", id=b"x" * 32, data=b"x")


def lock_broken(rpc: Rpc) -> None:
    rpc.call("break_lock")
    rpc.call("open", path=b"/./web1", lock=False, append_only=False, exclusive=True)
    everything_deleted(rpc)


@pytest.mark.parametrize("attack", [everything_deleted, manifest_replaced, cut_off, lock_broken])
def test_what_borg_allows_takes_no_byte_away(attacked: Attacked, attack: Callable[[Rpc], None]) -> None:
    with attacked.session() as rpc:
        rpc.call("open", path=b"/./web1", append_only=False, exclusive=True)
        attack(rpc)
    intact(attacked)


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("destroy", {}, "append-only"),
    ("check", {"repair": True}, "append-only"),
    ("save_key", {"keydata": b"x"}, "PermissionError"),
    ("save_key", {"keydata": b"x\r[repository]\rappend_only = 0"}, "PermissionError"),
    ("compact_segments", {"threshold": 0.0}, "InvalidRPCMethod"),
    ("__init__", {}, "InvalidRPCMethod"),
]


def test_what_would_take_bytes_away_or_rewrite_the_configuration_is_refused(attacked: Attacked) -> None:
    with attacked.session() as rpc:
        rpc.call("open", path=b"/./web1", append_only=False, exclusive=True)
        for method, arguments, why in REFUSED:
            with pytest.raises(Refused, match=why):
                rpc.call(method, **arguments)
    intact(attacked)


def test_an_object_larger_than_borg_s_own_ends_the_session_or_is_refused(attacked: Attacked) -> None:
    """Hardly more than a message may hold is refused; what no message may hold ends `borg serve`."""
    for megabytes in (21, 64):
        with attacked.session() as rpc:
            rpc.call("open", path=b"/./web1")
            with pytest.raises((Refused, EOFError, BrokenPipeError)):
                rpc.call("put", id=b"y" * 32, data=b"y" * (megabytes << 20))
    intact(attacked)


def test_a_repository_that_was_to_be_made_anew_is_not_destroyed(attacked: Attacked) -> None:
    """borg forgets append-only where open failed for create=True. What holds is that config is root's."""
    with attacked.session() as rpc:
        with pytest.raises(Refused, match="AlreadyExists"):
            rpc.call("open", path=b"/./web1", create=True)
        with pytest.raises(Refused, match="PermissionError"):
            rpc.call("destroy")
    intact(attacked)


@pytest.mark.parametrize(
    "words",
    [
        ["delete", "ssh://x/./web1::web1-2026-02-12T144933Z"],
        ["prune", "--keep-last", "1", "ssh://x/./web1"],
        ["compact", "--cleanup-commits", "--threshold", "0", "ssh://x/./web1"],
        ["delete", "--force", "ssh://x/./web1"],
        ["check", "--repair", "ssh://x/./web1"],
    ],
)
def test_borg_s_own_commands_take_no_byte_away(attacked: Attacked, words: list[str]) -> None:
    attacked.borg(*words)
    intact(attacked)


def test_what_the_host_deleted_comes_back_from_the_snapshot(attacked: Attacked) -> None:
    """Last: nothing of it is left for borg, and all of it for ZFS."""
    with attacked.session() as rpc:
        rpc.call("open", path=b"/./web1")
        everything_deleted(rpc)
    assert "web1-2026-" not in attacked.borg("list", "ssh://x/./web1")[1]
    vault, clock, lost = attacked.vault, attacked.clock, attacked.host.data / "file"
    before = lost.read_text()
    lost.unlink()
    attacked.host.setup("web1", [attacked.host.data])
    attacked.host.local("--allow-restore", attacked.raw, "1000000", str(lost)).check_returncode()
    clock.tick()
    report = restore_files(world(vault, clock), "web1", [str(lost)], attacked.raw)
    assert report.exit is Exit.OK, report.outcomes
    assert (Path(report.outcomes[0].data["restored"]) / str(lost).lstrip("/")).read_text() == before
