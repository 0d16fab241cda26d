"""Why no session came to be (docs/failures.md, 44): no common algorithm, or a key that ssh would not use.

Each is tried in both ways of connecting, against a real sshd, and its remedy is typed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness.machines.keys import make_key
from tests.harness.machines.sshd import Sshd
from zborg.errors import CommandFailed, HostKeyChanged, KeyRefused, NoCommonAlgorithm
from zborg.hosts.operator import shown_host_key
from zborg.hosts.ssh.connection import SshRunner
from zborg.hosts.ssh.failure import connection_failed
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.hosts.ssh.identity import check_identity
from zborg.hosts.ssh.reasons import explain
from zborg.model import Endpoint
from zborg.model.text import remedy
from zborg.process import LocalRunner
from zborg.streams import pump

NOBODY = 65534
OLD_KEX = "diffie-hellman-group1-sha1"


class Machine:
    """An sshd with these lines of configuration, and a key that it takes."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory, self.sshd = directory, Sshd(directory / "sshd", options).start()
        pair = make_key(directory / "id")
        self.sshd.authorize(pair.public)
        self.identity, self.host_key = pair.private, self.sshd.host_key

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.sshd.user, "127.0.0.1", self.sshd.port, self.host_key, str(self.identity))

    def runner(self) -> SshRunner:
        write_known_hosts(self.directory / "known_hosts", {"web1": self.endpoint})
        return SshRunner("web1", self.endpoint, self.directory / "known_hosts", LocalRunner())

    def by_paramiko(self) -> CommandFailed | None:
        runner = self.runner()
        try:
            assert runner.run(["echo", "here"]).stdout == "here\n"
        except CommandFailed as error:
            return error
        finally:
            runner.close()
        return None

    def by_openssh(self) -> CommandFailed | None:
        child = self.runner().start(["true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        status = pump({"it": child}, lambda _, __: None, timeout=120)["it"]
        return connection_failed("web1", self.endpoint, child, ()) if status else None

    def type_there(self, text: str) -> None:
        """The commands of a remedy on this machine, whose sshd_config lies elsewhere."""
        first, commands = remedy.parse(text)
        assert first == "on web1, as root:"
        config = str(self.sshd.directory / "sshd_config")
        for line in commands:
            if line == "systemctl reload sshd":
                os.kill(self.sshd.pid, signal.SIGHUP)
                time.sleep(0.2)  # the listening socket is closed and opened anew
                continue
            line = line.replace("sshd -t", f"sshd -t -f {config}").replace("/etc/ssh/sshd_config", config)
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
            assert done.returncode == 0, (line, done.stderr)


Way = Callable[[Machine], CommandFailed | None]
WAYS = (Machine.by_paramiko, Machine.by_openssh)
CTR, CHACHA = "aes128-ctr,aes256-ctr", "chacha20-poly1305@openssh.com"
_OFFERS = [
    # paramiko speaks ctr and not chacha20, what zborg lets OpenSSH use is the other way round.
    (Machine.by_openssh, (f"Ciphers {CTR}",), "cipher", "aes128-ctr, aes256-ctr"),
    (Machine.by_paramiko, (f"Ciphers {CHACHA}",), "cipher", CHACHA),
    # Of the ciphers that zborg lets OpenSSH use none needs a MAC.
    (Machine.by_paramiko, (f"Ciphers {CTR}", "MACs umac-64@openssh.com"), "MAC", "umac-64@openssh.com"),
    *((way, (f"KexAlgorithms {OLD_KEX}",), "key exchange", OLD_KEX) for way in WAYS),
    *((way, ("HostKeyAlgorithms ssh-rsa",), "host key type", "ssh-rsa") for way in WAYS),
]


@pytest.mark.parametrize(("way", "options", "what", "theirs"), _OFFERS)
def test_no_common_algorithm_names_both_offers_and_the_remedy_works(
    tmp_path: Path, way: Way, options: tuple[str, ...], what: str, theirs: str
) -> None:
    rsa = tmp_path / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-C", "", "-f", rsa], check=True)
    machine = Machine(tmp_path, *options, f"HostKey {rsa}")
    if what == "host key type":
        machine.host_key = " ".join(Path(f"{rsa}.pub").read_text().split()[:2])
    try:
        error = way(machine)
        assert isinstance(error, NoCommonAlgorithm), error
        assert not error.retryable
        words = f"and this server have no {what} in common: it offers {theirs}; this server offers "
        ours = error.message.partition(words)[2]
        assert error.message.startswith(f"web1 ({machine.endpoint}) ")
        assert ours and "nothing" not in ours and theirs not in ours
        machine.type_there(error.remedy)
        assert way(machine) is None
    finally:
        machine.sshd.stop()


@pytest.mark.parametrize("way", WAYS)
def test_a_host_with_keys_of_old_kinds_alone_is_not_the_pinned_one(tmp_path: Path, way: Way) -> None:
    machine = Machine(tmp_path, "HostKeyAlgorithms ssh-rsa,ssh-dss")
    dsa = tmp_path / "dsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "dsa", "-N", "", "-C", "", "-f", dsa], check=True)
    machine.sshd.stop()
    try:
        config = machine.sshd.directory / "sshd_config"
        machine.sshd._extra = ("HostKeyAlgorithms ssh-dss", f"HostKey {dsa}")
        machine.sshd.start(machine.sshd.port)
        assert "ssh-dss" in config.read_text()
        error = way(machine)
        assert isinstance(error, HostKeyChanged), error
        assert not error.retryable
        assert "no key of type ssh-ed25519, which is pinned; it offers ssh-dss; this server" in error.message
        assert "nothing was sent" in error.message
        with pytest.raises(
            NoCommonAlgorithm, match="no host key type in common: it offers ssh-dss"
        ) as caught:
            shown_host_key("web1", replace(machine.endpoint, host_key=""))
        assert caught.value.remedy == error.remedy
        first, commands = remedy.parse(error.remedy)
        assert (first, commands[0]) == ("on web1, as root:", "ssh-keygen -A")
    finally:
        machine.sshd.stop()


def test_what_the_other_side_offers_never_becomes_part_of_a_command(tmp_path: Path) -> None:
    endpoint = Endpoint("root", "web1", 22, make_key(tmp_path / "host").public, "/nonexistent")
    offer = "aes128-ctr,$(reboot),x;reboot,'" + ",y" * 500
    said = f"Unable to negotiate with 10.0.0.1 port 22: no matching cipher found. Their offer: {offer}"
    error = explain("web1", endpoint, 255, said)
    assert isinstance(error, NoCommonAlgorithm)
    assert "reboot" not in error.message + error.remedy
    assert len(error.message + error.remedy) < 1000


# --- our own key ----------------------------------------------------------------------------------------


def spoil(machine: Machine, fault: str) -> None:
    key = machine.identity
    if fault == "mode":
        key.chmod(0o644)
    elif fault == "missing":
        key.unlink()
    elif fault == "passphrase":
        run = ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(key)]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    elif fault == "passphrase, PEM":
        run = ["ssh-keygen", "-q", "-p", "-m", "PEM", "-N", "secret", "-f", str(key)]
        key.unlink()
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(key)], input="y", text=True)
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    elif fault == "cut":
        key.write_bytes(key.read_bytes()[:200])
    else:
        key.write_text("garbage\n")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fault", "reason", "commands"),
    [
        ("mode", "has mode 0644: others can read it", ["chmod 0600 {}"]),
        ("missing", "does not exist", ["zborg init"]),
        ("passphrase", "has a passphrase", ["ssh-keygen -p -N '' -f {}"]),
        ("passphrase, PEM", "has a passphrase", ["ssh-keygen -p -N '' -f {}"]),
        ("cut", "is no private key, or only a part of one", ["mv {} {}.unusable", "zborg init"]),
        ("garbage", "is no private key, or only a part of one", ["mv {} {}.unusable", "zborg init"]),
    ],
)
def test_a_key_that_ssh_would_not_use_is_not_the_host_refusing_it(
    tmp_path: Path, way: Way, fault: str, reason: str, commands: list[str]
) -> None:
    machine = Machine(tmp_path)
    try:
        spoil(machine, fault)
        error = way(machine)
        assert isinstance(error, KeyRefused), error
        assert not error.retryable
        assert error.message == f"the key {machine.identity} {error.message.split(' ', 3)[3]}"
        assert reason in error.message
        assert "refuses" not in error.message
        assert list(remedy.parse(error.remedy)[1]) == [
            one.format(*[machine.identity] * 2) for one in commands
        ]
    finally:
        machine.sshd.stop()


@pytest.mark.parametrize("fault", ["mode", "passphrase", "garbage"])
def test_the_remedy_for_the_key_works_when_typed(tmp_path: Path, fault: str) -> None:
    machine = Machine(tmp_path)
    asks = tmp_path / "askpass"
    asks.write_text("#!/bin/sh\necho secret\n")
    asks.chmod(0o700)
    try:
        spoil(machine, fault)
        for way in WAYS:
            error = way(machine)
            for line in remedy.parse(error.remedy)[1] if error else ():
                if line == "zborg init":  # makes the key: test_steps_init.py
                    make_key(machine.identity)
                    machine.sshd.authorize(machine.identity.with_suffix(".pub").read_text())
                    continue
                env = {**os.environ, "SSH_ASKPASS": str(asks), "SSH_ASKPASS_REQUIRE": "force"}
                subprocess.run(["bash", "-c", line], check=True, env=env, stdout=subprocess.DEVNULL)
            assert way(machine) is None
    finally:
        machine.sshd.stop()


def test_a_key_of_another_account_is_named_with_its_owner(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        pair = make_key(Path(place) / "id")
        endpoint = Endpoint("root", "web1", 22, pair.public, str(pair.private))
        os.seteuid(NOBODY)
        try:
            with pytest.raises(KeyRefused) as caught:
                check_identity(endpoint)
        finally:
            os.seteuid(0)
        reason = f"nobody cannot read the key {pair.private}, which belongs to root: Permission denied"
        assert caught.value.message == reason
        subprocess.run(["bash", "-c", remedy.parse(caught.value.remedy)[1][0]], check=True)
        os.seteuid(NOBODY)
        try:
            check_identity(endpoint)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
def test_a_good_key_of_any_form_is_no_fault(tmp_path: Path, kind: str, form: str) -> None:
    path = tmp_path / "id"
    argv = ["ssh-keygen", "-q", "-t", kind, "-m", form, "-N", "", "-f", str(path)]
    subprocess.run(argv, check=True)
    check_identity(Endpoint("root", "web1", 22, path.with_suffix(".pub").read_text(), str(path)))
