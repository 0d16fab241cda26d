"""The host's agent: real sshd, real borg, dash and busybox, with and without Python on the host."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, NAMES, SNAPSHOT, Lab, output, over_fifos
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.join import Pair


@pytest.mark.parametrize(
    ("shell", "connector", "fifos"),
    [("sh", "python", False), ("sh", "cat", True), ("busybox", "auto", False), ("busybox", "python", True)],
)
def test_life_of_a_host(tmp_path: Path, shell: str, connector: str, fifos: bool) -> None:
    lab = Lab(tmp_path, shell, connector)
    if fifos:
        over_fifos(lab)
    with lab.host:
        version = lab.host.call("version").stdout.decode().splitlines()
        assert version[:2] == ["agent 1", "name web1"] and version[2].startswith("borg 1.")
        assert abs(int(version[3].removeprefix("clock ")) - time.time()) < 60
        assert version[4:7] == ["restore no", "initialised no", "alarm no"]
        # Whether borg runs, where others may use it, is for test_agent_verbs.py.
        assert version[8:12] == ["prune no", "escrow no", "paths yes", "passphrase yes"]
        conf = f"conf {lab.host.confdir}/agent.conf"
        assert version[12:16] == [conf, "absent none", "links none", "before no"]
        assert version[16].startswith("shell /")

        early = lab.verb("create", "web1", A1)
        assert early.status == 2 and "init comes first" in early.stderr
        lab.init()
        again = lab.verb("init", "web1")
        assert again.status == 2 and "repository-id" in again.stderr
        lab.ok("create", "web1", A1)
        second = output(lab.ok("create", "web1", A2))
        assert second["archive"]["name"] == A2
        assert second["archive"]["stats"]["nfiles"] == len(NAMES)
        archives = output(lab.ok("list", "web1", "1"))["archives"]
        assert [a["name"] for a in archives] == [A2]

        refused = lab.restore(A1, "one", lab.data)
        assert refused.status == 2 and "--allow-restore" in refused.stderr
        lab.allow(lab.data)
        result = lab.restore(A1, "one", lab.data)
        assert result.status == 0, result.stderr
        there = lab.restored("one")
        said = output(result)
        assert said["restored"] == str(there) and said["files"] == len(NAMES)
        back = there / lab.data.relative_to("/")
        assert {p.name: p.read_bytes() for p in back.iterdir()} == {
            p.name: p.read_bytes() for p in lab.data.iterdir()
        }
        assert there.stat().st_mode & 0o777 == 0o700
        assert lab.restore(A1, "two", lab.data).status == 2, "a permission serves once"


# --- A hostile server -----------------------------------------------------------------------------


def test_environment_of_the_client_is_dropped(lab: Lab, tmp_path: Path) -> None:
    """AcceptEnv * is set in this sshd, and `restrict` does not stop it."""
    canary = tmp_path / "canary"
    evil = tmp_path / "evil"
    evil.mkdir()
    for tool in ("cat", "find", "flock", "mktemp", "borg", "env", "sh", "id", "logger"):
        (evil / tool).write_text(f"#!/bin/sh\necho {tool} >>{canary}\n")
        (evil / tool).chmod(0o755)
    pollution = {
        "BORG_PASSCOMMAND": f"touch {canary}",
        "BORG_PASSPHRASE": "wrong",
        "BORG_RSH": f"touch {canary}",
        "BORG_BASE_DIR": str(evil),
        "BORG_LOGGING_CONF": str(canary),
        "PYTHONPATH": str(evil),
        "PATH": f"{evil}:/usr/bin:/bin",
        "COMMAND": "list web1 1",
        "ENV": str(evil / "cat"),
        "IFS": "w",
    }
    (evil / "borg.py").write_text(f"open({str(canary)!r}, 'w')")
    settings = " ".join(f'"{key}={value}"' for key, value in pollution.items())
    argv = lab.host.ssh("create", "web1", A1, options=[f"SetEnv {settings}"])
    borg = [find_borg(), "serve", "--append-only", "--restrict-to-repository", str(lab.root / "web1")]
    env = {"PATH": os.defpath, "BORG_BASE_DIR": str(lab.root / ".borg")}
    with Pair(argv, borg, tmp_path, right_cwd=lab.root, right_env=env) as pair:
        result = pair.wait(20)
    assert result.status == 0, result.stderr
    assert not canary.exists(), canary.read_text()
    # The test is worth something only if sshd does pass such variables on.
    assert lab.host.call("version", f"SetEnv {settings}").stdout.startswith(b"agent 1")


# --- The configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("pathh = /etc", "line 6: unknown key"),
        ("path = etc", "path is absolute"),
        ("path = -rf", "path is absolute"),
        ("path = /etc/../root", "path is absolute"),
        ("report_paths = maybe", "yes or no"),
        ("state_dir = /tmp/a b", "A-Za-z0-9"),
        ("borg = borg", "absolute"),
        ("compression = lz4 --debug", "compression"),
        ("lock_wait = soon", "a number"),
        ("nonsense", "not key = value"),
        ("path =", "no value"),
    ],
)
def test_configuration_errors(tmp_path: Path, line: str, complaint: str) -> None:
    host = BackedUpHost(tmp_path)
    host.setup("web1", [host.data])
    with open(host.confdir / "agent.conf", "a") as file:
        file.write(line + "\n")
    result = host.local("--key-export")
    assert result.returncode == 2 and complaint in result.stderr


def test_files_that_others_could_change_are_refused(lab: Lab) -> None:
    conf, secret = lab.host.confdir / "agent.conf", lab.host.confdir / "passphrase"
    for path, mode in (
        (conf, 0o620),
        (conf, 0o602),
        (secret, 0o640),
        (secret, 0o604),
        (lab.host.confdir, 0o777),
        (lab.host.state, 0o750),
        (lab.host.run, 0o701),
    ):
        good = path.stat().st_mode & 0o7777
        path.chmod(mode)
        result = lab.host.verb(lab.root, "create", "web1", A1)
        path.chmod(good)
        assert result.status == 2 and str(path) in result.stderr, (path, oct(mode), result.stderr)
    os.chown(conf, 65534, 65534)
    assert lab.host.verb(lab.root, "create", "web1", A1).status == 2
    os.chown(conf, os.getuid(), os.getgid())
    lab.ok("create", "web1", A1)


def test_configuration_is_text_and_never_run(lab: Lab, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    odd = lab.data / NAMES[-1]
    lab.configure(
        f"exclude = $(touch {canary})",
        f"exclude = `touch {canary}`; touch {canary}",
        "exclude = -e --debug *",
        "exclude = /etc/p*",
        "report_paths = yes",
        "exclude_if_present = .no backup",
        "one_file_system = yes",
        "# a comment",
        "   compression  =  zstd,3   ",
        paths=(odd, lab.data / NAMES[3]),
    )
    result = output(lab.ok("create", "web1", A1))
    assert result["archive"]["stats"]["nfiles"] == 2
    assert "--exclude=/etc/p*" in result["archive"]["command_line"]
    assert not canary.exists() and not Path("pwned").exists()


def test_setup_makes_a_secret_once(tmp_path: Path) -> None:
    host = BackedUpHost(tmp_path)
    host.setup("web1", [host.data])
    secret = host.confdir / "passphrase"
    first = secret.read_text()
    assert len(first) == 64 and secret.stat().st_mode & 0o777 == 0o600
    host.local("--setup", "web1").check_returncode()
    assert secret.read_text() == first
    assert "name = web2" in host.local("--setup", "web2").stderr
    assert host.local("--key-export").returncode == 2
    for words in (
        ("--allow-restore", "x", "1", "/etc"),
        ("--allow-restore", SNAPSHOT, "1", "etc"),
        ("create",),
    ):
        assert host.local(*words).returncode == 2
