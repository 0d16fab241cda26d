"""tunnel = "reverse": a real borgmatic behind a real sshd, and a second sshd that is the server's own."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from tests.harness.machines.borgmatic import SCRIPT, BorgmaticHost
from tests.harness.machines.sshd import Sshd
from tests.harness.steps import backup, init, restore_files, rotate, snapshot
from tests.harness.watch import HANG, until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from zborg.config import load
from zborg.errors import Exit, UsageError
from zborg.hosts import reverse
from zborg.model import P_STATE, Outcome, Reverse, State, Status
from zborg.steps.observe.status import saved

FIRST = "repo-create --encryption repokey-blake2 create"


class Fleet:
    """A vault, the server's own sshd, and hosts with borgmatic."""

    def __init__(self, vault: LocalVault) -> None:
        self.vault = vault
        # As docs/reverse.md has it.
        extra = ("DisableForwarding yes", "PermitTTY no", "ClientAliveInterval 15", "ClientAliveCountMax 4")
        self.back = Sshd(vault.directory / "back", extra).start()
        self.hosts: list[BorgmaticHost] = []

    def add(self, name: str, *, auto: bool = False, sshd_options: tuple[str, ...] = ()) -> BorgmaticHost:
        """A host without a forced command yet, and its dataset."""
        host = BorgmaticHost(
            self.vault.directory / name, self.vault.key, self.back, auto=auto, sshd_options=sshd_options
        )
        self.hosts.append(host)
        self.vault.zfs.create(f"tank/borg/{name}", {})
        return host

    def know(self, name: str, host: BorgmaticHost) -> None:
        """What zborg.toml says of it."""
        self.vault.endpoints[name] = self.vault.endpoint(host.sshd.port, host.sshd.host_key)
        self.vault.reverse[name] = Reverse(host.port, f"127.0.0.1:{self.back.port}")

    def home(self, name: str) -> Path:
        return self.vault.zfs.directory(f"tank/borg/{name}")

    def one(self, name: str, actions: str = "create", **named: str) -> BorgmaticHost:
        """A whole host: its repository is the dataset."""
        host = self.add(name)
        host.set_up(self.home(name), actions, **named)
        self.know(name, host)
        return host

    def outcome(self, name: str) -> Outcome:
        return of(backup(self.vault.context()), name)

    def close(self) -> None:
        for sshd in (self.back, *(host.sshd for host in self.hosts)):
            sshd.stop()


@pytest.fixture
def fleet(vault: LocalVault) -> Iterator[Fleet]:
    made = Fleet(vault)
    yield made
    made.close()


@pytest.fixture
def taken() -> Iterator[ExitStack]:
    """Keeps ports of 127.0.0.1 for the test."""
    with ExitStack() as stack:
        yield stack


def listen(taken: ExitStack, port: int = 0) -> int:
    """Somebody else's listener. Raises OSError when the port is not free."""
    squatter = taken.enter_context(socket.socket())
    squatter.bind(("127.0.0.1", port))
    squatter.listen()
    bound: int = squatter.getsockname()[1]
    return bound


# --- good nights ------------------------------------------------------------------------------------------


def test_borgmatic_finds_its_repository_and_the_server_sees_the_commit(fleet: Fleet) -> None:
    host = fleet.one("old1", FIRST)
    first = fleet.outcome("old1")
    assert first.status is Status.WARNING, first  # borg's advice to keep a copy of the key
    assert first.data["transaction"] > 0
    assert first.data["seconds"] > 0
    assert host.ran()
    assert host.archives(fleet.home("old1")) == 1
    assert fleet.home("old1").stat().st_mode & 0o7777 == 0o1770, (
        "or the host could destroy it: borg/storage/confine.py"
    )

    snapshot(fleet.vault.context())
    (taken,) = [s for s in fleet.vault.zfs.snapshots("tank/borg/old1") if s.name]
    assert taken.state is State.OK
    context = fleet.vault.context()
    shown = of(saved(context.config, context.runs, context.locks, context.clock()), "old1")
    assert shown.status is Status.OK, shown

    (host.data / "file").unlink()
    host.data.rmdir()
    gone = fleet.outcome("old1")
    assert (gone.status, gone.data["transaction"]) == (Status.FAILED, first.data["transaction"])
    assert "Source directories or root pattern paths do not exist" in gone.message


def test_a_host_of_qb_backup_is_imported_and_backed_up_as_it_is(fleet: Fleet) -> None:
    """Its repository behind a path of old, any host key for the server's, and nothing known but its YAML."""
    vault, directory = fleet.vault, fleet.vault.directory
    old = directory / "EMx2ft3tsA"
    old.symlink_to(vault.zfs.directory("tank/borg") / "localhost")
    host = fleet.add("localhost")
    host.set_up(old, FIRST)
    host.pin_nothing()
    (directory / "qb.yml").write_text(f"hosts:\n- hostname: localhost\n  port: {host.sshd.port}\n")
    (directory / "known_hosts").write_text(f"[localhost]:{host.sshd.port} {host.sshd.host_key}\n")
    table = {"storage": {"dataset": "tank/borg"}, "identity": str(vault.key.private)}
    back = {"port": host.port, "sshd": f"127.0.0.1:{fleet.back.port}"}
    config = directory / "zborg.toml"
    config.write_text(tomli_w.dumps({**table, "include": ["hosts.d/*.toml"], "reverse": back}))
    (directory / "hosts.d").mkdir()
    words = ["import", "qb-backup", str(directory / "qb.yml"), "--config", str(config)]
    argv = [sys.executable, "-m", "zborg.cli.main", *words, "--known-hosts", str(directory / "known_hosts")]
    subprocess.run(argv, check=True, capture_output=True, timeout=120)

    hosts = load(config).hosts
    vault.endpoints["localhost"] = hosts[0].endpoint
    context = replace(vault.context(), config=replace(vault.config, hosts=hosts))
    (outcome,) = backup(context).outcomes
    assert (outcome.subject, outcome.status) == ("localhost", Status.WARNING)
    assert "takes any host key for the server's" in outcome.remedy
    assert outcome.data["transaction"] > 0
    assert host.archives(fleet.home("localhost")) == 1


def test_a_port_of_each_run_passes_by_those_that_are_taken(
    fleet: Fleet, taken: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = fleet.add("old1", auto=True)
    host.set_up(fleet.home("old1"), FIRST)
    fleet.know("old1", host)
    ports = [listen(taken) for _ in range(4)]
    free = listen(taken)
    monkeypatch.setattr(reverse, "_PORTS", [*ports, free])
    refused = fleet.outcome("old1")
    assert refused.status is Status.FAILED
    assert "does not open port" in refused.message
    assert not host.ran()
    taken.close()
    for port in ports:
        listen(taken, port)
    assert fleet.outcome("old1").data["transaction"] > 0


def test_what_is_planned_and_made_for_such_hosts_alone(fleet: Fleet) -> None:
    fleet.one("old1")
    planned = backup(fleet.vault.context(), dry_run=True).plan[0]
    assert planned.endswith("into tank/borg/old1 by its own borgmatic")
    report = init(fleet.vault.context())
    assert report.exit is Exit.OK
    assert "borg serve" not in {one.subject for one in report.outcomes}  # nothing of ours serves them


# --- nothing is started before the way is open ------------------------------------------------------------


def test_a_port_that_somebody_has_fails_before_borgmatic_starts(fleet: Fleet, taken: ExitStack) -> None:
    host = fleet.one("old1", FIRST)
    listen(taken, host.port)
    outcome = fleet.outcome("old1")
    assert not host.ran()
    assert outcome.status is Status.FAILED
    assert outcome.message == (
        f"old1 does not open port {host.port} on its 127.0.0.1 for us; nothing was started there"
    )
    assert f"ss -ltnp sport = :{host.port}" in outcome.remedy
    assert not any(fleet.home("old1").iterdir())


def test_an_sshd_that_forwards_nothing(fleet: Fleet) -> None:
    host = fleet.add("old1", sshd_options=("AllowTcpForwarding no",))
    host.set_up(fleet.home("old1"), FIRST)
    fleet.know("old1", host)
    outcome = fleet.outcome("old1")
    assert "does not open port" in outcome.message
    assert "AllowTcpForwarding" in outcome.remedy
    assert not host.ran()


def test_a_key_that_may_open_another_port_only(fleet: Fleet) -> None:
    host = fleet.one("old1", FIRST, permit="127.0.0.1:1")
    outcome = fleet.outcome("old1")
    assert "does not open port" in outcome.message
    assert "permitlisten" in outcome.remedy
    assert not host.ran()


def test_a_lost_repository_is_not_made_anew(fleet: Fleet) -> None:
    host = fleet.one("old1", FIRST)
    fleet.vault.zfs.snapshot("tank/borg", "zborg_2026-02-12T144933Z", {P_STATE: State.OK.value})
    report = backup(fleet.vault.context())
    assert report.exit is Exit.CONFLICT
    assert "its repository was lost" in of(report, "old1").message
    assert not host.ran()


def test_a_repository_that_was_rolled_back_is_an_alarm_and_freezes(fleet: Fleet) -> None:
    host = fleet.one("old1", FIRST)
    assert fleet.outcome("old1").status.good
    home, kept = fleet.home("old1"), fleet.vault.directory / "kept"
    shutil.copytree(home, kept)
    (host.data / "new").write_text("of the second night")
    assert fleet.outcome("old1").status.good
    for entry in home.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(kept, home, dirs_exist_ok=True)
    report = backup(fleet.vault.context())
    assert report.exit is Exit.CONFLICT, of(report, "old1")
    assert "either an attack or unsafe" in of(report, "old1").message
    snapshot(fleet.vault.context())
    rotate(fleet.vault.context())
    assert set(fleet.vault.context().frozen.now()) == {"old1"}


# --- failures with words, and nothing hangs ---------------------------------------------------------------


def test_a_host_that_sees_another_key_than_the_servers(fleet: Fleet) -> None:
    host = fleet.one("old1", FIRST)
    host.pin(host.sshd.host_key)
    outcome = fleet.outcome("old1")
    assert outcome.status is Status.FAILED
    # borg does not always hear its ssh's last words before it sees the connection end.
    assert outcome.message.startswith(("the host saw another host key than the one", "Connection closed by"))
    assert "docs/reverse.md" in outcome.remedy
    assert outcome.data["log"], "its last lines go into mail"
    assert not any(fleet.home("old1").iterdir())


def test_a_server_whose_sshd_is_down(fleet: Fleet) -> None:
    fleet.one("old1", FIRST)
    fleet.back.stop()
    outcome = fleet.outcome("old1")
    assert outcome.status is Status.FAILED
    assert "connect_to 127.0.0.1 port" in outcome.message
    assert "[reverse]" in outcome.remedy


def test_a_forced_command_that_only_claims_success(fleet: Fleet) -> None:
    fleet.one("old1", command="true")
    outcome = fleet.outcome("old1")
    assert outcome.status is Status.FAILED
    assert outcome.message == "borgmatic says good, but no commit reached tank/borg/old1"


def test_a_borgmatic_that_is_not_there(fleet: Fleet) -> None:
    fleet.one("old1", command="/nonexistent/borgmatic create")
    outcome = fleet.outcome("old1")
    assert outcome.status is Status.FAILED
    assert "/nonexistent/borgmatic" in outcome.message
    assert "is borgmatic where its forced command says?" in outcome.remedy


def test_a_forced_command_that_does_not_end(fleet: Fleet) -> None:
    fleet.one("old1", command="exec sleep 600")
    fleet.vault.timeouts["old1"] = 1
    started = time.monotonic()
    assert "not finished within 1 s" in fleet.outcome("old1").message
    assert time.monotonic() - started < HANG


def test_a_borgmatic_whose_run_was_ended_stops_by_itself(fleet: Fleet) -> None:
    host = fleet.one("old1", FIRST)
    config = host.directory / "borgmatic.yaml"
    config.write_text(config.read_text() + "upload_rate_limit: 100\n")
    (host.data / "large").write_bytes(os.urandom(5_000_000))  # 50 seconds
    fleet.vault.timeouts["old1"] = 4
    assert "not finished within 4 s" in fleet.outcome("old1").message
    until(lambda: not processes(config), "borgmatic ends")


def processes(config: Path) -> str:
    return subprocess.run(["pgrep", "-f", f"borgmatic -c {config}"], capture_output=True, text=True).stdout


def test_a_connection_that_breaks_under_way(fleet: Fleet) -> None:
    fleet.one("old1", command="kill -9 $PPID")
    assert fleet.outcome("old1").message.startswith("lost the connection to old1")


def test_a_host_that_is_down(fleet: Fleet) -> None:
    fleet.one("old1").sshd.stop()
    assert "no connection to old1" in fleet.outcome("old1").message


def test_files_are_not_restored_through_it(fleet: Fleet) -> None:
    fleet.one("old1")
    with pytest.raises(UsageError, match="no agent to restore with") as caught:
        restore_files(fleet.vault.context(), "old1", ["/etc"], "")
    assert "zborg restore repo old1" in caught.value.remedy


# --- the host's script for a port of each run -------------------------------------------------------------


def scripted(command: str | None) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath} | ({} if command is None else {"SSH_ORIGINAL_COMMAND": command})
    argv = ["sh", str(SCRIPT), "sh", "-c", 'echo "$ZBORG_PORT,${SSH_ORIGINAL_COMMAND-none},$0"', "word"]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)


def test_the_script_hands_on_a_port_and_its_own_arguments() -> None:
    for port in ("1", "20000", "65535"):
        done = scripted(port)
        assert (done.returncode, done.stdout) == (0, f"{port},none,word\n")


@pytest.mark.parametrize(
    "command",
    [
        None,
        "",
        " ",
        "0",
        "022",
        "-1",
        "1 2",
        "1\n2",
        "123456",
        "2000x",
        "22 -o ProxyCommand=id",
        "-oProxyCommand=id",
        "$(id)",
        "`id`",
        "22;id",
        "22\tid",
        "२२",
        "*",
        "sh",
    ],
)
def test_the_script_takes_nothing_else(command: str | None) -> None:
    done = scripted(command)
    assert (done.returncode, done.stdout) == (2, ""), shlex.quote(str(command))
    assert done.stderr == "zborg-reverse: refused: not a port\n"
