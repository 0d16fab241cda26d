"""Locks that borg left (docs/failures.md, 20): broken when nobody can hold them, and only then. Real borg.

Each host lives in a pid namespace of its own, so that its agent does not see the borgs of other tests.
"""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.harness.machines.host import BackedUpHost, find_borg, locked
from tests.harness.places import ALONE
from tests.harness.steps import backup
from tests.harness.watch import children, next_second
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from zborg.errors import Exit
from zborg.hosts.tunnel import SshTunnel
from zborg.model import Host, Status

NAME = "left-locks"  # the storage is this machine, and other tests have their web1 here
WORDS = "breaks a lock that is left"


@pytest.fixture
def host(vault: LocalVault) -> BackedUpHost:
    """Backed up once."""
    made = vault.add(NAME, place=ALONE)
    assert backup(vault.context()).exit is Exit.OK
    next_second()
    return made


def home(vault: LocalVault) -> Path:
    return vault.zfs.directory(f"tank/borg/{NAME}")


def warnings(vault: LocalVault) -> list[str]:
    return [event.message for event in vault.events if event.kind == "warning"]


def another_borg(vault: LocalVault, *prefix: str) -> AbstractContextManager[None]:
    return locked(home(vault), vault.directory / "elsewhere", *prefix)


def inside(host: BackedUpHost) -> tuple[str, ...]:
    """A command that starts another where the host lives."""
    assert host.sshd._process is not None
    (first,) = children(host.sshd._process.pid)
    return ("nsenter", "--target", str(first), "--pid", "--mount")


def test_a_lock_that_a_killed_borg_left_is_broken(vault: LocalVault, host: BackedUpHost) -> None:
    with another_borg(vault):
        pass  # and kill -9
    assert list(home(vault).glob("lock.exclusive/elsewhere*")) != []
    outcome = of(backup(vault.context()), NAME)
    assert outcome.status is Status.OK, outcome
    assert [WORDS in words for words in warnings(vault)] == [True]
    assert not (home(vault) / "lock.exclusive").exists()


def test_a_lock_left_in_the_host_s_cache_is_broken(vault: LocalVault, host: BackedUpHost) -> None:
    (config,) = (host.state / "borg" / ".cache").rglob("config")
    lock = config.parent / "lock.exclusive"
    lock.mkdir()
    (lock / "elsewhere@1.2-3").touch()
    outcome = of(backup(vault.context()), NAME)
    assert outcome.status is Status.OK, outcome
    assert [WORDS in words for words in warnings(vault)] == [True]
    assert not lock.exists()


def test_no_lock_is_broken_while_a_borg_runs_on_the_host(vault: LocalVault, host: BackedUpHost) -> None:
    with another_borg(vault, *inside(host)):
        outcome = of(backup(vault.context()), NAME)
        assert list(home(vault).glob("lock.exclusive/elsewhere*")) != []
    assert (outcome.status, outcome.message) == (Status.BUSY, f"locked: a borg runs on {NAME}")
    assert warnings(vault) == []


def test_no_lock_is_broken_while_a_borg_serve_of_it_runs(vault: LocalVault, host: BackedUpHost) -> None:
    """As after a cut that the storage's sshd has not noticed; no lock of zborg's names this process."""
    with another_borg(vault):
        pass
    argv = [find_borg(), "serve", "--append-only", "--restrict-to-repository", str(home(vault))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as serve:
        outcome = of(backup(vault.context()), NAME)
        assert list(home(vault).glob("lock.exclusive/elsewhere*")) != []
        assert outcome.status is Status.BUSY
        assert outcome.message.endswith(f"borg serve of its repository runs on the storage, pid {serve.pid}")
        serve.kill()
    assert warnings(vault) == []


def test_no_lock_is_broken_when_the_agent_does_not_say(
    vault: LocalVault, host: BackedUpHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One from before there was break-lock."""
    real = SshTunnel.ask

    def ask(self: SshTunnel, host: Host, *words: str) -> str:
        told = real(self, host, *words).splitlines()
        return "\n".join(line for line in told if not line.startswith("borg_runs "))

    monkeypatch.setattr(SshTunnel, "ask", ask)
    with another_borg(vault):
        pass
    outcome = of(backup(vault.context()), NAME)
    assert outcome.status is Status.BUSY
    assert "its agent does not say" in outcome.message
    assert list(home(vault).glob("lock.exclusive/elsewhere*")) != []


def test_a_host_that_allows_no_second_try_is_not_called_skipped(
    vault: LocalVault, host: BackedUpHost
) -> None:
    """The try that met the lock counts for its interval: the lock is gone, but nothing was backed up."""
    (host.state / "last-create").unlink()
    host.setup(NAME, [host.data], extra_conf=["min_interval = 1h"])
    with another_borg(vault):
        pass
    report = backup(vault.context())
    outcome = of(report, NAME)
    assert (report.exit, outcome.status) == (Exit.FAILED, Status.FAILED), outcome
    assert "not now: this host allows a backup every 3600 seconds" in outcome.message
    assert not list(home(vault).glob("lock.exclusive/elsewhere*"))


def test_damage_that_the_first_try_met_and_mended_is_told(vault: LocalVault, host: BackedUpHost) -> None:
    """A power failure leaves both: a lock in the cache, and an index of the repository that is broken."""
    (cache,) = (host.state / "borg" / ".cache" / "borg").glob("*/config")
    (cache.parent / "lock.exclusive").mkdir()
    (cache.parent / "lock.exclusive" / "elsewhere@1.2-3").touch()
    (index,) = home(vault).glob("index.*")
    index.write_bytes(b"\0" * index.stat().st_size)
    report = backup(vault.context())
    outcome = of(report, NAME)
    assert (report.exit, outcome.status) == (Exit.DAMAGE, Status.DAMAGED), outcome
    assert outcome.data["files"] == 1, "and the second try made its archive"
