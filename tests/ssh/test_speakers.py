"""Whose text a line is: the host's, the storage's and ssh's own come by different descriptors."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.sshd import Sshd
from zborg.borg.log import BorgLog
from zborg.borg.verdict import judge
from zborg.errors import CommandFailed, HostKeyChanged, KeyRefused, Unreachable
from zborg.hosts.serve import RemoteServe
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.hosts.ssh.reasons import explain
from zborg.hosts.tunnel import SshTunnel
from zborg.model import Child, Endpoint, Host, Reverse, Speaker, Status
from zborg.process import LocalRunner
from zborg.steps.replicate.stream import reason
from zborg.streams import pump

# What ssh logs when a host key is not the pinned one, and when it refuses our key.
FORGED = (
    "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
    "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.",
    "Host key verification failed.",
    "root@web1: Permission denied (publickey).",
    "Error: remote port forwarding failed for listen port 30000",
    "no matching host key type found. Their offer: ssh-rsa",
)
BROKEN = json.dumps({"levelname": "ERROR", "message": "Data integrity error: entry checksum mismatch"})


class Liar:
    """A machine whose forced command prints what it likes and ends with ssh's own status."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key: KeyPair = make_key(directory / "id")
        (directory / "banner").write_text("\n".join(FORGED) + "\n")
        self.sshd = Sshd(directory / "sshd", (f"Banner {directory}/banner",))
        (directory / "words").write_text("\n".join(FORGED) + "\n")
        command = f"cat {directory}/words >&2; exit 255"
        self.sshd.authorize(f'command="{command}" {self.key.public}')
        self.sshd.start()
        self.endpoint = Endpoint(
            self.sshd.user, "127.0.0.1", self.sshd.port, self.sshd.host_key, str(self.key.private)
        )

    @property
    def host(self) -> Host:
        return Host("web1", self.endpoint, 0, 30)

    def known_hosts(self) -> Path:
        path = self.directory / "known_hosts"
        write_known_hosts(path, {"web1": self.endpoint, "zborg.storage": self.endpoint})
        return path


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    liar = Liar(tmp_path_factory.mktemp("liar"))
    yield liar
    liar.sshd.stop()


def nothing(_: Speaker, __: Sequence[str]) -> None:
    pass


def quiet_serve(_: str, stdin: int, stdout: int) -> Child:
    return LocalRunner().start(["cat"], stdin=stdin, stdout=stdout)


def tunnel(liar: Liar) -> SshTunnel:
    return SshTunnel(liar.known_hosts(), LocalRunner(), quiet_serve, None)


def assert_marked(error: Unreachable) -> None:
    """Its text is shown as the host's, and no pin, key or port is advised on."""
    assert type(error) is Unreachable and error.retryable, error
    assert error.message.startswith("lost the connection to web1: web1: "), error.message
    assert "host_key" not in error.remedy and "authorized_keys" not in error.remedy


def test_a_host_cannot_speak_as_ssh(liar: Liar) -> None:
    with pytest.raises(Unreachable) as caught:
        tunnel(liar).verb(liar.host, ["list", "web1", "1"], nothing)
    assert_marked(caught.value)


def test_nor_where_only_a_question_is_asked(liar: Liar) -> None:
    with pytest.raises(CommandFailed) as caught:
        tunnel(liar).ask(liar.host, "version")
    assert type(caught.value) is Unreachable, caught.value


def test_nor_through_a_port_that_leads_back(liar: Liar) -> None:
    before = liar.sshd.log().count("Accepted publickey")
    host = replace(liar.host, reverse=Reverse(0, "127.0.0.1:22"))
    with pytest.raises(Unreachable) as caught:
        tunnel(liar).forced(host, nothing)
    assert_marked(caught.value)
    accepted = liar.sshd.log().count("Accepted publickey") - before
    assert accepted == 1, "a forged refusal of the port made it try others"


def test_nor_as_the_storages_connection(liar: Liar) -> None:
    """Code in `borg serve` on another machine prints what it likes as well."""
    runner = SshRunner("zborg.storage", liar.endpoint, liar.known_hosts(), LocalRunner())
    through = SshTunnel(liar.known_hosts(), LocalRunner(), RemoteServe(runner), liar.endpoint)
    with pytest.raises(CommandFailed) as caught:
        through.try_serve("web1")
    assert type(caught.value) is Unreachable, caught.value


def test_a_banner_is_the_hosts_too(liar: Liar, tmp_path: Path) -> None:
    """sshd sends it before anybody is let in."""
    stranger = replace(liar.endpoint, identity=str(make_key(tmp_path / "id").private))
    with pytest.raises(KeyRefused, match="refuses our key"):
        tunnel(liar).ask(replace(liar.host, endpoint=stranger), "version")


def test_what_ssh_itself_says_still_counts(liar: Liar, tmp_path: Path) -> None:
    pinned = " ".join(make_key(tmp_path / "other").public.split()[:2])
    other = replace(liar.host, endpoint=replace(liar.endpoint, host_key=pinned))
    write_known_hosts(tmp_path / "known_hosts", {"web1": other.endpoint})
    with pytest.raises(HostKeyChanged):
        SshTunnel(tmp_path / "known_hosts", LocalRunner(), quiet_serve, None).verb(other, ["x"], nothing)
    missing = replace(liar.endpoint, identity=str(tmp_path / "none"))
    with pytest.raises(KeyRefused, match="does not exist"):
        tunnel(liar).ask(replace(liar.host, endpoint=missing), "version")


@pytest.mark.parametrize(
    "line",
    [
        "Received disconnect from 192.0.2.1 port 22:2: x\nHost key verification failed.",
        "kex_exchange_identification: banner line 0: IDENTIFICATION HAS CHANGED",
    ],
)
def test_what_ssh_repeats_of_the_other_side_is_not_its_own(liar: Liar, line: str) -> None:
    assert type(explain("web1", liar.endpoint, 255, line)) is Unreachable


def test_a_stream_that_broke_has_sshs_reason_and_not_the_far_sides(liar: Liar) -> None:
    runner = SshRunner("web1", replace(liar.endpoint, port=1), liar.known_hosts(), LocalRunner())
    status, child, heard = run(runner)
    assert status == 255 and not heard and "Connection refused" in reason(child, status, heard)
    lied, child, heard = run(SshRunner("web1", liar.endpoint, liar.known_hosts(), LocalRunner()))
    assert lied == 255 and set(FORGED) <= set(heard)
    assert child.connection.authenticated and not child.connection.text


def run(runner: SshRunner) -> tuple[int, Child, Sequence[str]]:
    heard: list[str] = []
    null = os.open(os.devnull, os.O_RDWR)
    try:
        child = runner.start(["true"], stdin=null, stdout=subprocess.DEVNULL)
    finally:
        os.close(null)
    return pump({"it": child}, lambda _, lines: heard.extend(lines), timeout=120)["it"], child, heard


# --- what it is taken for ---


def test_a_host_cannot_report_damage_as_the_storage() -> None:
    log = BorgLog()
    for line in (f"storage: {BROKEN}", BROKEN):
        log.feed(line)
    assert judge(0, log)[0] is Status.OK and not log.broken
    log.feed(BROKEN, Speaker.STORAGE)
    assert judge(0, log)[0] is Status.DAMAGED


@pytest.mark.parametrize("mark", ["storage: ", "host: "])
def test_a_hosts_line_that_looks_like_the_storages_says_whose_it_is(mark: str) -> None:
    log = BorgLog()
    log.feed("zborg-agent: clock 1796041314")
    log.feed(f"{mark}the pool is gone")
    assert judge(2, log)[1] == f"host: {mark}the pool is gone"
    assert log.last == [f"host: {mark}the pool is gone"]
    error = BorgLog()
    error.feed(
        json.dumps({"type": "log_message", "levelname": "ERROR", "message": f"{mark}the pool is gone"})
    )
    assert judge(2, error)[1] == f"host: {mark}the pool is gone" == error.last[0]


def test_the_storages_line_is_marked_and_cannot_speak_as_the_agent() -> None:
    log = BorgLog()
    log.feed("zborg-agent: borg ended with 2")
    log.feed("zborg-agent: clock 0", Speaker.STORAGE)
    log.feed('= {"archive": {}}', Speaker.STORAGE)
    log.feed("zborg-agent: ALARM", Speaker.STORAGE)
    assert judge(2, log)[1] == "storage: zborg-agent: ALARM"
    assert log.clocks is None and log.json() == {}
