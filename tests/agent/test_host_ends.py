"""Sessions that end without a reason of borg's (docs/failures.md, 36): the machine's own signs decide."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import backup, reach_hosts
from tests.harness.watch import until
from tests.harness.worlds.fresh import FreshHost
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.model import Outcome, Status
from zborg.model.text.remedy import parse

BANNER = "Authorized use only. All access is logged."
KILLED = "borg on web1 was ended by SIGKILL (exit status 137)"


def night(vault: LocalVault, clock: Hours) -> Outcome:
    clock.tick()
    return of(backup(world(vault, clock)), "web1")


def looked_at(vault: LocalVault) -> Outcome:
    return of(reach_hosts(vault.context(), ()), "web1")


@pytest.fixture
def host(vault: LocalVault, clock: Hours) -> BackedUpHost:
    """Its sshd shows a banner; backed up once."""
    banner = vault.directory / "banner"
    banner.write_text(f"{BANNER}\n")
    made = vault.add("web1", sshd_options=(f"Banner {banner}",))
    assert night(vault, clock).status is Status.OK
    return made


def stand_in(host: BackedUpHost, text: str, borg: str = "") -> None:
    """A borg that does this before it starts, or instead."""
    path = host.directory / "stand-in"
    path.write_text(f'#!/bin/sh\n{text}\nexec {borg or borg_of("1.4")} "$@"\n')
    path.chmod(0o755)
    host.setup("web1", [host.data], borg=str(path))


def borg_pid(host: BackedUpHost) -> int:
    """Of the borg that backs up this host, 0 for none."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            python = Path(words[0].decode()).name.startswith("python")
            if (
                python
                and b"create" in words
                and f"={host.state}/".encode() in (entry / "environ").read_bytes()
            ):
                return int(entry.name)
        except OSError:
            pass
    return 0


@pytest.mark.parametrize("version", BORGS)
def test_a_borg_that_was_killed_at_its_start_is_called_so(
    vault: LocalVault, clock: Hours, host: BackedUpHost, version: str
) -> None:
    """borg serve then ends with a traceback and pages about itself, sshd began with its banner."""
    stand_in(host, 'case " $* " in *" create "*) kill -9 $$ ;; esac', borg_of(version))
    outcome = night(vault, clock)
    assert (outcome.status, outcome.message.startswith(KILLED)) == (Status.FAILED, True), outcome
    assert BANNER not in outcome.message
    (command,) = parse(outcome.remedy)[1]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)


@pytest.mark.parametrize("version", BORGS)
def test_a_borg_that_was_killed_in_the_middle_is_called_so(
    vault: LocalVault, clock: Hours, host: BackedUpHost, version: str
) -> None:
    (host.data / "large").write_bytes(bytes(range(256)) * 40_000)
    argv = f'exec {borg_of(version)} --upload-ratelimit 500 "$@"'
    stand_in(host, argv)
    home = vault.zfs.directory("tank/borg/web1")
    before = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(night(vault, clock)))
    thread.start()

    def is_at_work() -> bool:
        grown = sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) > before
        return grown and borg_pid(host) > 0

    until(is_at_work, "borg is at work")
    subprocess.run(["kill", "-9", str(borg_pid(host))], check=True)
    thread.join(60)
    (outcome,) = found
    assert (outcome.status, outcome.message.startswith(KILLED)) == (Status.FAILED, True), outcome


@pytest.mark.parametrize(("signal", "name"), [("SEGV", "SIGSEGV"), ("BUS", "SIGBUS")])
def test_other_signals_have_their_names(
    vault: LocalVault, clock: Hours, host: BackedUpHost, signal: str, name: str
) -> None:
    stand_in(host, f'case " $* " in *" create "*) ulimit -c 0; kill -{signal} $$ ;; esac')
    assert f"borg on web1 was ended by {name}" in night(vault, clock).message


def test_what_the_kernel_counts_settles_that_it_was_memory(
    vault: LocalVault, clock: Hours, host: BackedUpHost
) -> None:
    """The counter is a file of ours here; the agent reads it before and after."""
    counter = host.directory / "vmstat"
    counter.write_text("nr_free_pages 1\noom_kill 4\n")
    host.agent.write_text(host.agent.read_text().replace("/proc/vmstat", str(counter)))
    text = f'case " $* " in *" create "*) sleep 1; echo oom_kill 5 >{counter}; kill -9 $$ ;; esac'
    stand_in(host, text)
    assert night(vault, clock).message == f"{KILLED}: the kernel ended processes for lack of memory meanwhile"


@pytest.mark.parametrize("version", BORGS)
def test_a_borg_serve_that_was_killed_is_the_storage_s(
    vault: LocalVault, clock: Hours, host: BackedUpHost, version: str
) -> None:
    """borg on the host then asks "Is borg working on the server?"."""
    host.setup("web1", [host.data], borg=borg_of(version))
    real, vault.borg = vault.borg, str(vault.directory / "killed-serve")
    Path(vault.borg).write_text("#!/bin/sh\nkill -9 $$\n")
    Path(vault.borg).chmod(0o755)
    outcome = night(vault, clock)
    assert outcome.message.startswith("borg serve of tank/borg/web1 ended on the storage without a reason")
    (command,) = parse(outcome.remedy)[1]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    vault.borg = real
    assert night(vault, clock).status is Status.OK


def test_an_agent_that_was_killed_is_no_banner(vault: LocalVault, clock: Hours, host: BackedUpHost) -> None:
    text = host.agent.read_text()
    assert text.count("take_lock() {") == 1
    host.agent.write_text(text.replace("take_lock() {", "take_lock() { kill -9 $$;"))
    outcome = night(vault, clock)
    assert "the agent on web1 was ended by a signal" in outcome.message
    assert BANNER not in outcome.message


# --- login shells -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "says", ["echo hello there", "printf 'agent 2\\nname web1'", "cat /etc/hostname; echo"]
)
def test_a_shell_that_prints_is_named_by_backup_and_host_test(
    vault: LocalVault, clock: Hours, host: BackedUpHost, says: str
) -> None:
    (host.sshd.directory / "home/.bashrc").write_text(f"{says}\n")
    for outcome in (night(vault, clock), looked_at(vault)):
        assert outcome.status.bad, outcome
    if "agent" not in says:
        for outcome in (night(vault, clock), looked_at(vault)):
            assert "/bin/bash on web1 prints before the agent starts" in outcome.message, outcome
            assert parse(outcome.remedy)[1] == ("zborg host test web1",)


def test_a_shell_that_prints_on_stderr_is_no_reason_for_anything(
    vault: LocalVault, clock: Hours, host: BackedUpHost
) -> None:
    (host.sshd.directory / "home/.bashrc").write_text("echo hello there >&2\n")
    assert night(vault, clock).status is looked_at(vault).status is Status.OK
    stand_in(host, 'case " $* " in *" create "*) kill -9 $$ ;; esac')
    assert night(vault, clock).message.startswith(KILLED)


def test_a_shell_that_ends_is_named_with_its_status(
    vault: LocalVault, clock: Hours, host: BackedUpHost
) -> None:
    (host.sshd.directory / "home/.bashrc").write_text("exit 3\n")
    outcome = night(vault, clock)
    assert outcome.message.startswith("the session on web1 ended with status 3 before the agent started")
    assert "status 3" in looked_at(vault).message
    assert not outcome.message.startswith("storage:")


def test_an_account_without_a_shell_is_named_and_its_remedy_works(tmp_path: Path) -> None:
    """As ssh sees it; with root's own shell changed, in a machine of its own."""
    from zborg.hosts.ssh.reasons import explain
    from zborg.model import Endpoint

    with FreshHost(tmp_path / "fresh") as fresh:
        fresh.sh("usermod --shell /usr/sbin/nologin root")
        key = fresh.operator.private
        argv = ["ssh", "-F", "none", "-T", "-i", str(key), "-p", str(fresh.port), "-o", "BatchMode=yes"]
        argv += [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "root@127.0.0.1",
            "echo in",
        ]
        refused = subprocess.run(argv, capture_output=True, text=True, timeout=120)
        endpoint = Endpoint("root", "127.0.0.1", fresh.port, fresh.host_key, str(key))
        error = explain("web1", endpoint, refused.returncode, refused.stdout)
        assert "the account root on web1 may not log in (status 1)" in error.message
        (command,) = parse(error.remedy)[1]
        fresh.sh(command)
        assert subprocess.run(argv, capture_output=True, text=True, timeout=120).stdout == "in\n"


def test_an_account_without_a_shell_is_the_reason_of_a_failed_night(
    vault: LocalVault, clock: Hours, host: BackedUpHost
) -> None:
    (host.sshd.directory / "home/.bashrc").write_text("exec /usr/sbin/nologin\n")
    for outcome in (night(vault, clock), looked_at(vault)):
        assert "on web1 may not log in (status 1)" in outcome.message, outcome
        assert "usermod --shell /bin/sh " in parse(outcome.remedy)[1][0]
