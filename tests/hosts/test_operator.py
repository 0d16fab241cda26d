"""The operator's own way onto a host: their agent, their key, sudo; no step further at another host key."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from tests.harness.machines.keys import make_key
from tests.harness.worlds.fresh import FreshHost
from zborg.errors import CommandFailed, HostKeyChanged, Unreachable
from zborg.hosts.enrol import OperatorEntry
from zborg.hosts.operator import by_operator, shown_host_key
from zborg.hosts.ssh.connection import Authenticate, SshRunner
from zborg.model import Endpoint
from zborg.process import LocalRunner

# As little of the script as shows that it came, whole, and was given its words.
SCRIPT = 'main() { printf "uid %s\\nverb %s\\n" "$(id -u)" "$1"; }\nmain "$@" </dev/null\n'


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshHost]:
    with FreshHost(tmp_path_factory.mktemp("operator") / "host") as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's home: no key and no agent but the test's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


def endpoint(host: FreshHost, user: str = "root") -> Endpoint:
    return Endpoint(user, "127.0.0.1", host.port, host.host_key, "")


def probe(
    host: FreshHost, authenticate: Authenticate, at: Endpoint | None = None, *, sudo: bool = False
) -> str:
    runner = SshRunner("web1", at or endpoint(host), Path("/nonexistent"), LocalRunner(), authenticate)
    try:
        return OperatorEntry(runner, SCRIPT, sudo=sudo).probe().values["uid"]
    finally:
        runner.close()


def test_the_shown_host_key_is_the_machines(host: FreshHost) -> None:
    assert shown_host_key("web1", endpoint(host)) == host.host_key


def test_a_named_key_and_those_of_home_open(host: FreshHost, home: Path) -> None:
    assert probe(host, by_operator(str(host.operator.private))) == "0"
    with pytest.raises(Unreachable, match="you have no SSH key here") as failure:
        probe(host, by_operator(""))
    assert "--operator-key" in failure.value.remedy
    (home / ".ssh" / "id_ed25519").write_bytes(host.operator.private.read_bytes())
    assert probe(host, by_operator("")) == "0"


def test_the_agents_keys_open(host: FreshHost, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_key(home / "other")
    started = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True).stdout
    found = dict(re.findall(r"^(SSH_\w+)=([^;]+);", started, re.MULTILINE))
    try:
        env = os.environ | found
        for key in (other.private, host.operator.private):
            subprocess.run(["ssh-add", "-q", str(key)], check=True, env=env, capture_output=True)
        monkeypatch.setenv("SSH_AUTH_SOCK", found["SSH_AUTH_SOCK"])
        assert probe(host, by_operator("")) == "0"
    finally:
        os.kill(int(found["SSH_AGENT_PID"]), 15)


def test_a_key_that_does_not_open_or_cannot_be_read_is_said(host: FreshHost, home: Path) -> None:
    other = make_key(home / "other")
    with pytest.raises(Unreachable, match=r"takes none of your keys \(1 tried\)"):
        probe(host, by_operator(str(other.private)))
    for text in ("no key", other.private.read_text()[:200]):
        (home / "broken").write_text(text)
        with pytest.raises(Unreachable, match="cannot be used"):
            probe(host, by_operator(str(home / "broken")))
    locked = home / "locked"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(locked)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    with pytest.raises(Unreachable, match="cannot be used") as failure:
        probe(host, by_operator(str(locked)))
    assert "ssh-agent" in failure.value.remedy


def test_more_keys_than_sshd_takes_are_said(host: FreshHost, home: Path) -> None:
    """MaxAuthTries is 6."""
    text = host.operator.private
    keys = [paramiko.PKey.from_path(make_key(home / f"other{n}").private) for n in range(7)]
    keys.append(paramiko.PKey.from_path(text))
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(Unreachable, match=r"takes none of your keys \(\d tried\)") as failure,
    ):
        patch.setattr("zborg.hosts.operator._usual", lambda: iter(keys))
        probe(host, by_operator(""))
    assert "--operator-key" in failure.value.remedy


def test_another_host_key_ends_it_before_any_login(host: FreshHost, tmp_path: Path) -> None:
    other = " ".join(make_key(tmp_path / "other").public.split()[:2])
    before = (host.directory / "log").read_text().count("Accepted publickey")
    with pytest.raises(HostKeyChanged):
        probe(host, by_operator(str(host.operator.private)), replace(endpoint(host), host_key=other))
    assert (host.directory / "log").read_text().count("Accepted publickey") == before


def test_another_user_needs_sudo_without_a_password(host: FreshHost) -> None:
    """sudo itself is not at hand everywhere: two that behave like it."""
    authenticate = by_operator(str(host.operator.private))
    host.sh(
        "printf '#!/bin/sh\\nshift\\nexec \"$@\"\\n' >/usr/local/sbin/sudo; chmod +x /usr/local/sbin/sudo"
    )
    host.sh("ln -sf /usr/local/sbin/sudo /usr/local/bin/sudo")
    assert probe(host, authenticate, sudo=True) == "0"
    host.sh("printf '#!/bin/sh\\necho sudo: a password is required >&2\\nexit 1\\n' >/usr/local/sbin/sudo")
    with pytest.raises(CommandFailed, match="web1, probe: sudo: a password is required") as failure:
        probe(host, authenticate, sudo=True)
    assert "sudo without a password" in failure.value.remedy


def test_an_account_without_a_shell_is_said(host: FreshHost) -> None:
    host.sh("cp /etc/passwd /etc/passwd.kept; sed -i '/^root:/s|[^:]*$|/bin/false|' /etc/passwd")
    try:
        with pytest.raises(CommandFailed, match=r"web1, probe: no shell began there \(status 1\)"):
            probe(host, by_operator(str(host.operator.private)))
    finally:
        host.sh("mv /etc/passwd.kept /etc/passwd")
