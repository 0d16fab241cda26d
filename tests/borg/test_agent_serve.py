"""The storage's forced command: two verbs, and nothing that the client sends besides them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.keys import KeyPair, make_key
from tests.harness.machines.sshd import Sshd

SERVE = CHECKOUT / "zborg" / "hosts" / "serve.sh"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "borg" / "web1").mkdir(parents=True)
    (tmp_path / "scratch" / "20260212T144933Z-4f3a" / "web1").mkdir(parents=True)
    (tmp_path / "borg" / "link").symlink_to("web1")
    return tmp_path


def fake_borg(store: Path) -> str:
    """Shows what it was started with."""
    path = store / "fake-borg"
    path.write_text('#!/bin/sh\necho "$@"\npwd\n/usr/bin/env\n')
    path.chmod(0o755)
    return str(path)


def call(store: Path, command: str | None, borg: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = ["/bin/sh", str(SERVE), str(store / "borg"), str(store / "scratch"), borg]
    sent = {"PATH": os.defpath, **env}
    if command is not None:
        sent["SSH_ORIGINAL_COMMAND"] = command
    return subprocess.run(
        argv, env=sent, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
    )


@pytest.mark.parametrize(
    ("command", "parent"),
    [("serve web1", "borg"), ("read 20260212T144933Z-4f3a web1", "scratch/20260212T144933Z-4f3a")],
)
def test_what_borg_is_started_with(store: Path, command: str, parent: str) -> None:
    result = call(store, command, fake_borg(store), BORG_HOST_ID="x", BORG_REPO="/etc", LD_X="1", COMMAND="x")
    assert result.returncode == 0, result.stderr
    argv, cwd, *env = result.stdout.splitlines()
    where = store / parent
    assert argv == f"serve --append-only --restrict-to-repository {where}/web1"
    assert cwd == str(where)
    names = {line.split("=")[0] for line in env}
    assert names == {"PATH", "LC_ALL", "PWD", "BORG_HOST_ID", "BORG_BASE_DIR", "BORG_SELFTEST"}
    assert "BORG_HOST_ID=server:web1" in env


def test_memory_time_and_network_are_bounded(store: Path) -> None:
    """Without a network where an ordinary user of this system can have a namespace; else as it was."""
    borg = store / "curious-borg"
    borg.write_text("#!/bin/sh\nulimit -v\nulimit -t\nulimit -c\nid -u\nexec cat /proc/net/dev\n")
    borg.chmod(0o755)
    memory, seconds, core, user, *devices = call(store, "serve web1", str(borg)).stdout.splitlines()
    assert int(memory) <= 4 << 20
    assert int(seconds) <= 86400
    assert core == "0"
    assert user == str(os.getuid())
    alone = subprocess.run(["unshare", "--map-current-user", "--net", "true"], capture_output=True)
    names = {line.partition(":")[0].strip() for line in devices if ":" in line}
    assert (names == {"lo"}) == (alone.returncode == 0), names


def test_zborg_may_ask_for_less_memory_and_a_client_for_none(store: Path) -> None:
    borg = store / "limited-borg"
    borg.write_text("#!/bin/sh\nulimit -v\nenv\n")
    borg.chmod(0o755)
    argv = ["/bin/sh", str(SERVE), "--clean", str(store / "borg"), str(store / "scratch"), str(borg)]
    env = {"PATH": os.defpath, "COMMAND": "serve web1", "LIMIT": "1048576"}
    less = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120).stdout
    assert less.splitlines()[0] == "1048576"
    assert "LIMIT" not in less
    for wanted in ("1048576", "unlimited"):
        assert call(store, "serve web1", str(borg), LIMIT=wanted).stdout.splitlines()[0] == str(4 << 20)


@pytest.mark.parametrize(
    "command",
    [
        None,
        "",
        "serve",
        "serve web1 x",
        "serve web2",
        "serve link",
        "serve -web1",
        "serve --debug",
        "serve ../borg",
        "serve /etc",
        "serve .",
        "serve *",
        "serve web1;id",
        "serve $(id)",
        "serve web1\nid",
        "serve " + "a" * 32,
        "serve" + " " * 300 + "web1",
        "read web1",
        "read .. web1",
        "read -x web1",
        "read 20260212T144933Z-4f3a web2",
        "read 20260212T144933Z-0000 web1",
        "borg serve --append-only",
        "sh",
    ],
)
def test_everything_else_is_refused(store: Path, command: str | None) -> None:
    result = call(store, command, fake_borg(store))
    assert (result.returncode, result.stdout) == (2, "")
    assert re.match("zborg-serve: (E_NO_DIRECTORY )?refused: ", result.stderr)
    assert result.stderr.count("\n") == 1


# --- the key that serves, through a real sshd ----------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, store: Path) -> Iterator[Served]:
    """The line that `zborg init` prints, in the authorized_keys of an sshd that lets all variables in."""
    (store / "borg" / "web2").mkdir()
    key = make_key(tmp_path / "serve_ed25519")
    with Sshd(tmp_path / "storage", ["AcceptEnv *", "AllowTcpForwarding yes", "PermitTunnel yes"]) as sshd:
        forced = f"/bin/sh {SERVE} {store}/borg {store}/scratch {fake_borg(store)}"
        sshd.authorize(f'restrict,command="{forced}" {key.public}')
        yield Served(sshd, key, tmp_path / "canary")


@dataclass(frozen=True)
class Served:
    sshd: Sshd
    key: KeyPair
    canary: Path

    def ssh(self, *words: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        argv = self.sshd.client(self.key.private)
        argv = [*argv[:-1], *options, argv[-1], *(["--", *words] if words else [])]
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)


COMMANDS = [
    "",
    "sh",
    "/bin/sh -c 'touch {canary}'",
    "touch {canary}",
    "zfs list",
    "zfs destroy -r tank/borg",
    "sudo zfs list",
    "borg serve",
    "/usr/bin/borg serve --restrict-to-path /",
    "scp -t /tmp",
    "rsync --server . /tmp",
    "internal-sftp",
    "git-upload-pack x",
    "serve ../borg/web1",
    "serve ..",
    "serve /etc",
    "serve web1/../web2",
    "serve link",
    "serve web1; touch {canary}",
    "serve web1 && touch {canary}",
    "serve web1 | tee {canary}",
    "serve `touch {canary}`",
    "serve $(touch {canary})",
    "serve web1\ntouch {canary}",
    "serve web1 > {canary}",
    "serve web1 --storage-quota 0",
    "serve --umask web1",
    "read 20260212T144933Z-4f3a ../web1",
    "read ../borg web1",
    "read . web1",
    "--clean serve web1",
]


def test_the_serving_key_runs_nothing_but_its_two_verbs(served: Served) -> None:
    for command in COMMANDS:
        done = served.ssh(command.format(canary=served.canary))
        assert (done.returncode, done.stdout) == (2, ""), (command, done)
        assert re.match("zborg-serve: (E_NO_DIRECTORY )?refused: ", done.stderr), (command, done)
    assert not served.canary.exists()
    assert "serve --append-only" in served.ssh("serve web1").stdout, "what it is for"


def test_the_serving_key_opens_no_other_channel(served: Served) -> None:
    """No file transfer, no terminal, no forwarding in either direction, no variable of the client's."""
    sftp = served.ssh("sftp", options=["-s"])  # a subsystem: the forced command stands there too
    assert (sftp.returncode, sftp.stdout) == (2, "")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(0)
        through = served.ssh(options=["-W", f"127.0.0.1:{port}"])
        assert through.returncode == 255 and "administratively prohibited" in through.stderr, through
        with pytest.raises(BlockingIOError):
            listening.accept()
    back = served.ssh("serve web1", options=["-R", "0:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes"])
    assert back.returncode == 255 and "remote port forwarding failed" in back.stderr, back
    terminal = served.ssh("serve web1", options=["-tt"])
    assert "PTY allocation request failed" in terminal.stderr, terminal
    sent = {
        "BORG_REPO": "/etc",
        "BORG_PASSCOMMAND": f"touch {served.canary}",
        "LD_PRELOAD": "x",
        "COMMAND": "x",
    }
    options = [word for name, value in sent.items() for word in ("-o", f"SetEnv={name}={value}")]
    assert not {
        line.split("=")[0] for line in served.ssh("serve web1", options=options).stdout.splitlines()
    } & {*sent}
    assert not served.canary.exists()


def test_a_host_is_backed_up_through_it(tmp_path: Path, store: Path) -> None:
    """The whole way of `[storage] ssh`: an ssh to the host joined to an ssh to the storage."""
    with BackedUpHost(tmp_path / "host") as host, BackedUpHost(tmp_path / "storage") as storage:
        host.setup("web1", [host.data])
        (host.data / "file").write_text("content")
        command = f"/bin/sh {SERVE} {store}/borg {store}/scratch {find_borg()}"
        (storage.sshd.directory / "authorized_keys").write_text("")
        storage.sshd.authorize(f'restrict,command="{command}" {storage.key.public}')
        serve = [*storage.sshd.client(storage.key.private), "serve web1"]
        for words in (("init", "web1"), ("create", "web1", "web1-2026-01-01T000000Z"), ("list", "web1", "1")):
            joined = host.verb(store / "borg", *words, serve=serve)
            assert (joined.status, joined.serve_status) == (0, 0), joined
        (store / "borg" / "web2").mkdir()
        other = host.verb(store / "borg", "list", "web1", "1", serve=[*serve[:-1], "serve web2"])
        assert other.status != 0 and "PathNotAllowed" in other.stderr, "one repository a session"
