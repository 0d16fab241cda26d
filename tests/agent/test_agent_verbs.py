"""The agent's smaller verbs: a sample, pruning, stale locks, and keys sealed for custodians."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, Lab, output, wait_until, without
from tests.harness.machines.host import BackedUpHost, find_borg

DAYS = [f"web1-2026-01-0{day}T000000Z" for day in range(1, 5)]


def said(lab: Lab) -> list[str]:
    """The lines of `version`."""
    return lab.host.call("version").stdout.decode().splitlines()


def archives(lab: Lab) -> list[str]:
    return [entry["name"] for entry in output(lab.ok("list", "web1", "99"))["archives"]]


# --- sample ---------------------------------------------------------------------------------------


def test_a_sample_holds_the_configuration_alone(agent: Lab) -> None:
    made = output(agent.ok("sample", "web1", A1))
    assert (made["archive"]["name"], made["archive"]["stats"]["nfiles"]) == (A1, 1)
    agent.allow(agent.host.confdir)
    assert agent.restore(A1, "one", agent.host.confdir).status == 0
    back = agent.restored("one") / str(agent.host.confdir / "agent.conf").lstrip("/")
    assert back.read_text() == (agent.host.confdir / "agent.conf").read_text()
    assert [p.name for p in back.parent.iterdir()] == ["agent.conf"], "the passphrase is no sample"


def test_a_sample_tells_no_path(agent: Lab) -> None:
    told = agent.ok("sample", "web1", A1).stderr
    assert str(agent.host.confdir) not in told and "agent.conf" not in told


# --- prune ----------------------------------------------------------------------------------------


def test_prune_keeps_what_the_host_says_and_other_names(agent: Lab) -> None:
    for archive in DAYS:
        agent.ok("sample", "web1", archive)
    assert "prune no" in said(agent)
    refused = agent.verb("prune", "web1")
    assert refused.status == 2 and "prunes nothing" in refused.stderr
    foreign_archive(agent, "other-2025-01-01T000000Z")
    agent.configure("keep_last = 2", "keep_within = 1H")
    agent.ok("prune", "web1")
    assert len(archives(agent)) == 5, "all of this hour are kept"
    agent.configure("keep_last = 1", "keep_yearly = 1")  # of one second borg keeps one
    assert "prune yes" in said(agent)
    told = agent.ok("prune", "web1").stderr
    assert sorted(archives(agent)) == ["other-2025-01-01T000000Z", DAYS[0], DAYS[-1]]
    assert str(agent.data) not in told


def foreign_archive(agent: Lab, name: str) -> None:
    """One of another name glob, which root made with the same key."""
    env = {
        "PATH": os.defpath,
        "BORG_BASE_DIR": str(agent.host.directory / "another-base"),
        "BORG_KEYS_DIR": str(agent.host.state / "borg/.config/borg/keys"),
        "BORG_PASSCOMMAND": f"cat {agent.host.confdir}/passphrase",
    }
    argv = [find_borg(), "create", f"{agent.root}/web1::{name}", str(agent.host.confdir / "agent.conf")]
    subprocess.run(argv, env=env, check=True, capture_output=True)


@pytest.mark.parametrize(
    "line",
    [
        "keep_last = 0",
        "keep_daily = -1",
        "keep_daily = 07",
        "keep_within = 2",
        "keep_within = d",
        "keep_within = 0d",
        "keep_within = 1d --force",
    ],
)
def test_retention_that_borg_would_not_take(tmp_path: Path, line: str) -> None:
    host = BackedUpHost(tmp_path).setup("web1", [tmp_path], extra_conf=["keep_last = 1"])
    with open(host.confdir / "agent.conf", "a") as file:
        file.write(f"{line}\n")
    result = host.local("--key-export")
    assert result.returncode == 2 and line.split(" ")[0] in result.stderr


# --- break-lock -----------------------------------------------------------------------------------


@pytest.fixture(params=["sh", "busybox"])
def alone(request: pytest.FixtureRequest, tmp_path: Path, enrolled: Path) -> Iterator[Lab]:
    """A host with processes of its own, for all others on this machine may run borg too."""
    lab = Lab(tmp_path, request.param, "auto", own_pids=True)
    lab.init(enrolled).configure()
    with lab.host:
        yield lab


@contextmanager
def running(lab: Lab, *argv: str) -> Iterator[None]:
    """A process on the host, as root or a timer there may have started it."""
    (sshd,) = children(lab.host.sshd.pid)
    argv = ("nsenter", "--pid", "--target", str(sshd), "setpriv", "--pdeathsig", "KILL", *argv)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.readline() == b"started\n"
        yield
    finally:
        process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


_FAKE = """import sys, time
if not {"create", "mount", "serve"} & {*sys.argv}:  # what the agent asks of its borg ends at once
    sys.exit("borg 1.4.0")
print("started", flush=True)
time.sleep(60)
"""


def fake_borg(lab: Lab) -> str:
    """Runs as borg does, by an interpreter, until it is killed."""
    path = lab.host.directory / "tools" / "borg"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\n{_FAKE}")
    path.chmod(0o755)
    return str(path)


def test_a_stale_lock_is_broken_only_when_no_borg_runs(alone: Lab) -> None:
    stale = alone.root / "web1" / "lock.exclusive"
    stale.mkdir()
    (stale / "stranger@1.2-3").touch()
    assert "borg_runs no" in said(alone)
    borg = fake_borg(alone)
    for argv in ([borg, "create"], [sys.executable, "-I", borg, "mount"]):
        with running(alone, *argv):
            assert "borg_runs yes" in said(alone)
            refused = alone.host.verb(alone.root, "break-lock", "web1")
            assert refused.status == 75 and "busy: borg runs" in refused.stderr, refused.stderr
            assert stale.exists()
        wait_until(lambda: "borg_runs no" in said(alone), lambda: "borg is seen although it ended")
    for name in ("borg1", "borg_1.4", "borgbackup", "my-own"):
        other = Path(borg).with_name(name)
        other.symlink_to(borg)
        alone.configure(borg="" if name != "my-own" else str(other))
        with running(alone, str(other), "create"):
            assert "borg_runs yes" in said(alone), name
    alone.configure()
    # Where host and storage are one machine, this very verb has its `borg serve` there.
    with running(alone, borg, "serve", "--append-only"):
        assert "borg_runs no" in said(alone)
        alone.ok("break-lock", "web1")
    assert not stale.exists()
    alone.ok("create", "web1", A1)


def test_without_ps_a_lock_is_not_broken(agent: Lab) -> None:
    """An agent that cannot look must not say that nothing is there."""
    without(agent, "ps")
    assert "borg_runs yes" in said(agent)
    assert agent.verb("break-lock", "web1").status == 75


def test_break_lock_needs_the_agents_lock_and_a_repository(agent: Lab) -> None:
    with agent.host.pair(agent.root, "create", "web1", A1, serve=("sleep", "9")):
        wait_until(agent.stands, lambda: "the tunnel does not stand")
        second = agent.host.call("break-lock web1")
        assert second.returncode == 75 and b"is at work" in second.stderr
    (agent.host.state / "alarm").write_text("2026-01-01T00:00:00Z the reason\n")
    assert agent.verb("break-lock", "web1").status == 76


# --- escrow ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Custodian:
    """Somebody with a key of age's."""

    identity: Path

    @property
    def recipient(self) -> str:
        argv = ["age-keygen", "-y", str(self.identity)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def open(self, sealed: bytes) -> str:
        argv = ["age", "-d", "-i", str(self.identity)]
        return subprocess.run(argv, input=sealed, check=True, capture_output=True).stdout.decode()


@pytest.fixture
def custodians(tmp_path: Path) -> list[Custodian]:
    made = [Custodian(tmp_path / f"custodian{number}") for number in range(2)]
    for one in made:
        subprocess.run(["age-keygen", "-o", one.identity], check=True, capture_output=True)
    return made


def appoint(lab: Lab, *lines: str) -> Path:
    path = lab.host.confdir / "custodians"
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    return path


def test_every_custodian_can_open_what_is_sealed(agent: Lab, custodians: list[Custodian]) -> None:
    appoint(agent, "# who may", "", *(f"  {one.recipient} " for one in custodians))
    assert "escrow yes" in said(agent)
    clear = agent.host.local("--key-export").stdout
    result = agent.host.call("escrow")
    assert result.returncode == 0 and result.stderr == b""
    assert result.stdout.startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    secrets = [(agent.host.confdir / "passphrase").read_bytes(), clear.splitlines()[-2].encode()]
    assert [secret in result.stdout for secret in secrets] == [False, False]
    sealed = agent.host.local("--seal").stdout.encode()
    for one in custodians:
        assert one.open(result.stdout) == one.open(sealed) == clear
    assert "BORG_KEY " in clear and secrets[0].decode() in clear
    agent.assert_clean()


def test_escrow_needs_custodians_age_and_a_repository(agent: Lab, custodians: list[Custodian]) -> None:
    def refused(words: str) -> None:
        result = agent.host.call("escrow")
        assert (result.returncode, result.stdout) == (2, b""), result
        assert words in result.stderr.decode()

    refused("nobody to seal for")
    assert "escrow no" in said(agent)
    path = appoint(agent, "# nobody yet")
    refused("nobody to seal for")
    for line in ("age1UPPER", "age1x y", "ssh-ed25519 AAAA", "-o /tmp/x", "$(id)"):
        appoint(agent, custodians[0].recipient, line)
        refused("line 2")
        assert "escrow no" in said(agent)
    appoint(agent, custodians[0].recipient, "age1qqqq")  # the right letters, the wrong checksum
    refused("could not seal")
    appoint(agent, custodians[0].recipient)
    path.chmod(0o620)  # whoever writes there would read every backup
    refused("belong to root")
    path.chmod(0o600)
    without(agent, "age")
    refused("apt-get install age")
    assert "escrow no" in said(agent)


def test_what_is_not_whole_is_not_sealed(agent: Lab, custodians: list[Custodian]) -> None:
    """A sealed text without the key would be found out on the day it is needed."""
    appoint(agent, custodians[0].recipient)
    keys = agent.host.state / "borg/.config/borg/keys"
    for path, reason in (
        (keys, "the key file of this repository is gone"),
        (agent.host.confdir / "passphrase", "passphrase must be there"),
        (agent.host.state / "repository-id", "init comes first"),
    ):
        aside = path.rename(path.with_name("aside"))
        result = agent.host.call("escrow")
        assert (result.returncode, result.stdout) == (2, b"") and reason in result.stderr.decode(), result
        aside.rename(path)
    assert agent.host.call("escrow").returncode == 0
