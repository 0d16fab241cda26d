"""The host's agent: real sshd, real borg, dash and busybox, with and without Python on the host."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, NAMES, SECRET, SNAPSHOT, Lab, output, wait_until
from tests.harness.machines.host import BackedUpHost, encode, find_borg
from tests.harness.machines.join import Joined, Pair

PROMPTLY = 5.0  # seconds within which every failure must have ended


@pytest.fixture
def lab(agent: Lab) -> Lab:
    return agent


@pytest.mark.parametrize(("shell", "connector"), [("sh", "python"), ("sh", "cat"), ("busybox", "auto")])
def test_life_of_a_host(tmp_path: Path, shell: str, connector: str) -> None:
    lab = Lab(tmp_path, shell, connector)
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


# --- Restores -------------------------------------------------------------------------------------


def test_restore_stays_within_what_root_allowed(lab: Lab) -> None:
    lab.ok("create", "web1", A2)
    file = lab.data / NAMES[0]
    lab.allow(file, snapshot="zborg_2026-01-01T000000Z")
    assert "another snapshot" in lab.restore(A2, "a", file).stderr
    lab.allow(file)
    for path in (lab.data, lab.data / NAMES[1], Path(f"{file}x"), Path("/etc/passwd")):
        refused = lab.restore(A2, "a", path)
        assert refused.status == 2 and "did not allow" in refused.stderr
    both = lab.restore(A2, "a", file, lab.data)
    assert both.status == 2, "one path that is allowed does not carry another in"
    permission = lab.host.state / "restore.allow"
    permission.chmod(0o644)
    assert "0600" in lab.restore(A2, "a", file).stderr
    permission.chmod(0o600)
    assert permission.exists() and not lab.restored("a").exists()
    result = lab.restore(A2, "a", file)
    assert result.status == 0, result.stderr
    assert [p.name for p in lab.restored("a").rglob("*") if p.is_file()] == [NAMES[0]]
    lab.allow(file)
    again = lab.restore(A2, "a", file)
    assert again.status == 2 and "been there before" in again.stderr
    assert permission.exists(), "what was refused has not used the permission up"


def test_restore_of_what_is_not_there_fails(lab: Lab) -> None:
    lab.ok("create", "web1", A2)
    lab.configure("restore = yes")
    absent = (lab.data / "absent", lab.data / NAMES[0])
    for number, paths in enumerate((absent, (Path("/re:.*"),), (Path("/sh:**"),))):
        result = lab.restore(A2, f"r{number}", *paths)
        assert result.status == 101 and "not in the archive" in result.stderr, result.stderr
        assert not any(line.startswith("= ") for line in result.stderr.splitlines())


def test_a_path_that_is_a_symbolic_link_is_refused(lab: Lab) -> None:
    """borg would archive the link alone, and call it a good backup of what it points to."""
    link = lab.host.directory / "link"
    link.symlink_to(lab.host.data)
    for path in (str(link), f"{link}/"):
        lab.configure(f"path = {path}")
        refused = lab.verb("create", "web1", A1)
        assert refused.status == 2
        assert "agent.conf names a symbolic link instead of what it points to: line 7\n" in refused.stderr
        assert str(link) not in refused.stderr


def test_a_path_that_is_not_there_fails_once_the_rest_is_done(lab: Lab) -> None:
    gone = lab.host.directory / "gone"
    lab.configure(f"path = {gone}", f"path = {lab.host.directory}/also-gone")
    failed = lab.verb("create", "web1", A1)
    assert failed.status == 77
    assert f"{lab.host.confdir}/agent.conf names what is not there: line 7, line 8\n" in failed.stderr
    assert str(gone) not in failed.stderr
    assert output(failed)["archive"]["stats"]["nfiles"] > 0
    gone.mkdir()
    lab.configure(f"path = {gone}")
    lab.ok("create", "web1", A2)


def test_the_whole_machine_is_a_path(tmp_path: Path) -> None:
    host = BackedUpHost(tmp_path / "host")
    host.setup("web1", [Path("/")])
    assert "path = /" in (host.confdir / "agent.conf").read_text().splitlines()


def test_restore_over_the_cap_is_stopped_and_removed(lab: Lab) -> None:
    (lab.data / "big").write_bytes(os.urandom(30_000_000))
    lab.ok("create", "web1", A2)
    lab.allow(lab.data, cap=1_000_000)
    result = lab.restore(A2, "cap", lab.data)
    assert result.status == 2 and "over 1000000 bytes" in result.stderr
    assert not lab.restored("cap").exists()
    lab.configure("restore = yes", "restore_free_floor = 99999999999999999")
    result = lab.restore(A2, "floor", lab.data)
    assert result.status == 2 and "free space" in result.stderr
    assert not lab.restored("floor").exists()


def test_watchdog_ends_a_running_extraction(lab: Lab) -> None:
    slow = lab.script("slow", "dd if=/dev/zero of=big bs=1M count=5 2>/dev/null\nexec sleep 60\n")
    lab.configure("restore = yes", "restore_max_bytes = 1000000", borg=slow)
    begun = time.monotonic()
    result = lab.restore(A2, "cap", lab.data)
    assert result.status == 2 and "over 1000000 bytes" in result.stderr
    assert time.monotonic() - begun < PROMPTLY
    assert not lab.restored("cap").exists()


def test_watchdog_ends_with_borg(lab: Lab) -> None:
    lab.configure("restore = yes", borg=lab.script("brief", "exec sleep 1\n"))
    words = ("restore", "web1", A1, "x", SNAPSHOT, str(lab.data))
    with lab.host.pair(lab.root, *words, serve=("sleep", "4")):
        pid = lab.agent_pid()
        wait_until(lambda: any("brief" in p or "sleep" in p for p in lab.processes()), lambda: "not begun")
        os.kill(pid, signal.SIGKILL)
        lab.configure()
        wait_until(lambda: len(lab.processes()) <= 2, lambda: f"left running: {lab.processes()}")
        lab.ok("list", "web1", "1")


# --- What the server learns -----------------------------------------------------------------------


def test_no_file_name_leaves_the_host(lab: Lab) -> None:
    lab.configure("exclude = *.hidden", paths=(lab.data, lab.host.data / "payroll-missing"))
    result = lab.verb("create", "web1", A1)
    assert result.status == 77, "a configured path is missing, of which borg warns as well"
    assert "BackupFileNotFoundError" in result.stderr
    assert output(result)["archive"]["stats"]["nfiles"] == len(NAMES)
    listed = lab.ok("list", "web1", "5")
    lab.allow(lab.data)
    restored = lab.restore(A1, "r", lab.data)
    assert restored.status == 0, restored.stderr
    told = result.stderr + listed.stderr
    for word in (SECRET, "hidden", str(lab.host.data), *NAMES):
        assert word not in told
        assert json.dumps(word)[1:-1] not in told
    of_borg = [line for line in told.splitlines() if not line.startswith("zborg-agent: ")]
    assert str(lab.host.confdir) not in "".join(of_borg)
    assert SECRET not in restored.stderr

    lab.configure("report_paths = yes", paths=(lab.data, lab.host.data / "payroll-missing"))
    assert SECRET in lab.verb("create", "web1", A2).stderr


def test_filters_pass_only_what_they_know(lab: Lab) -> None:
    """A borg of another version might order its keys otherwise: what is not known must stay."""
    name = json.dumps('payroll", "levelname": "ERROR", "type": "archive_progress", "finished": false}')
    lines = [
        f'{{"path": {name}, "time": 1.5, "type": "archive_progress", "finished": false}}',
        f'{{"nfiles": 1, "comment": {name}, "path": "", "time": 1.5, '
        '"type": "archive_progress", "finished": false}',
        '{"comment": "payroll", "path": "", "time": 1.5, "type": "archive_progress", "finished": false}',
        f'{{"type": "log_message", "time": 1.5, "message": {name}, "levelname": "INFO", "name": "borg"}}',
        f'{{"type": "log_message", "time": 1.5, "message": {name}, "levelname": "WARNING", "extra": {name}}}',
        f'{{"message": {name}, "current": 1, "total": 2, "info": [{name}], "operation": 1, '
        '"msgid": "extract", "type": "progress_percent", "finished": false, "time": 1.5}',
        f'{{"type": "file_status", "status": "A", "path": {name}}}',
        f'{{"{"payroll"}": 1}}',
    ]
    kept = '{"type": "log_message", "time": 1.5, "message": "the reason", "levelname": "ERROR", "name": "b"}'
    printed = [
        '{"archive": {"path": "payroll"}}',
        '"payroll": "x",',
        '"payroll",',
        "payroll",
        '"comment": "payroll"',
    ]
    log = lab.host.directory / "log.txt"
    log.write_text("".join(f"{line}\n" for line in [*lines, kept]))
    out = lab.host.directory / "out.txt"
    out.write_text("".join(f"{line}\n" for line in printed))
    lab.configure(borg=lab.script("chatty", f"cat {log} >&2\ncat {out}\n"))
    told = lab.verb("create", "web1", A1).stderr
    assert "payroll" not in told.replace('= "payroll": ""', "")
    assert "the reason" in told and '"current": 1, "total": 2' in told and '= "comment": ""' in told


# --- Every failure ends soon, with its reason -----------------------------------------------------


def bad_option(lab: Lab) -> tuple[str, ...]:
    lab.configure("compression = nonsense")
    return ()


def wrong_passphrase(lab: Lab) -> tuple[str, ...]:
    (lab.host.confdir / "passphrase").write_text("wrong")
    return ()


def missing_borg(lab: Lab) -> tuple[str, ...]:
    lab.configure(borg="/nonexistent/borg")
    return ()


def held_lock(lab: Lab) -> tuple[str, ...]:
    lock = lab.root / "web1" / "lock.exclusive"
    lock.mkdir()
    (lock / "stranger@1.99999-0").touch()
    return ()


def server_gone(lab: Lab) -> tuple[str, ...]:
    return ("true",)


def borg_cannot_run(lab: Lab) -> tuple[str, ...]:
    lab.configure(borg=lab.script("broken", "echo cannot do this >&2\nexit 9\n"))
    return ()


@pytest.mark.parametrize(
    ("arrange", "status", "reason"),
    [
        (bad_option, 2, "compression"),
        (wrong_passphrase, 52, "PassphraseWrong"),
        (missing_borg, 127, "borg is not installed"),
        (held_lock, 73, "LockTimeout"),
        (server_gone, 80, "ConnectionClosed"),
        (borg_cannot_run, 9, "cannot do this"),
    ],
)
def test_failures_end_soon_and_say_why(
    lab: Lab, arrange: Callable[[Lab], tuple[str, ...]], status: int, reason: str
) -> None:
    serve = arrange(lab)
    begun = time.monotonic()
    result = lab.verb("create", "web1", A1, serve=serve)
    assert time.monotonic() - begun < PROMPTLY
    assert reason in result.stderr and result.status in (status, status + 1), result.stderr


def test_lost_connection_and_signals(lab: Lab) -> None:
    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
        with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "4")) as pair:
            pid = lab.agent_pid()
            # Once rsh stands, its directory is gone: kill -9 leaves nothing behind.
            wait_until(lambda: lab.stands(), lambda: f"no tunnel: {lab.processes()}")
            os.kill(pid, sign)
            pair.left.wait(PROMPTLY)
        wait_until(lambda: not lab.processes(), lambda: f"left running: {lab.processes()}")
        assert not list(lab.host.run.glob("session.*")), sign
    with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "4")) as pair:
        lab.agent_pid()
        pair.left.kill()
        wait_until(lambda: not lab.processes(), lambda: f"left running: {lab.processes()}")
    lab.ok("create", "web1", A1)


def test_killed_before_borg_opened_the_tunnel(lab: Lab) -> None:
    """kill -9 of the agent, borg gone at once: the relays wait in open() and their directory stays."""
    lab.configure(borg=lab.script("assassin", "kill -9 $PPID\n"))
    with lab.host.pair(lab.root, "create", "web1", A1):
        wait_until(lambda: list(lab.host.run.glob("session.*")) != [], lambda: "no session")
        wait_until(lambda: len(lab.processes()) == 2, lambda: f"not two relays: {lab.processes()}")
        assert list(lab.host.run.glob("session.*")), "this test is about what is left behind"
        lab.configure()
        lab.ok("list", "web1", "1")
        lab.assert_clean()


@pytest.mark.parametrize("shell", ["sh", "busybox"])
def test_one_run_at_a_time(tmp_path: Path, enrolled: Path, shell: str) -> None:
    lab = Lab(tmp_path, shell, "cat")
    with lab.host:
        lab.init(enrolled).configure()
        with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "9")) as pair:
            pid = lab.agent_pid()
            wait_until(lambda: len(lab.processes()) > 6, lambda: "the tunnel does not stand")
            for process in lab.processes():
                if not process.startswith(f"{pid} "):
                    assert not lab.holds_lock(process.split()[0]), process
            second = lab.host.call(encode(["list", "web1", "1"]))
            assert second.returncode == 75 and f"pid {pid} " in second.stderr.decode()
            assert lab.host.call("version").returncode == 0
            os.kill(pid, signal.SIGKILL)
            pair.right.kill()
        wait_until(lambda: not lab.processes(), lambda: "left running")
        lab.ok("list", "web1", "1")


def test_a_pid_that_is_anothers_now_holds_no_lock(tmp_path: Path, enrolled: Path) -> None:
    """Without flock(1), as in Debian's busybox, the lock is a pid."""
    lab = Lab(tmp_path, "busybox", "cat")
    lab.init(enrolled).configure()
    lab.host.run.mkdir(mode=0o700, exist_ok=True)
    with lab.host:
        (lab.host.run / "lock.pid").symlink_to(
            str(os.getpid())
        )  # of an agent that was killed, and ours by now
        lab.ok("list", "web1", "1")
        with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "9")):
            pid = lab.agent_pid()
            second = lab.host.call(encode(["list", "web1", "1"]))
            assert second.returncode == 75 and f"pid {pid} " in second.stderr.decode()


# --- Keys and the repository ----------------------------------------------------------------------


def assert_alarmed(lab: Lab, result: Joined) -> None:
    """Said with its own status, and kept; then root has looked into it."""
    assert result.status == 76 and "ALARM: " in result.stderr, result.stderr
    (lab.host.state / "alarm").unlink()


def test_nothing_runs_after_an_alarm(lab: Lab) -> None:
    alarm = lab.host.state / "alarm"
    alarm.write_text("2026-01-01T00:00:00Z the reason\n")
    lab.configure(borg=lab.script("canary", f"touch {lab.host.directory}/ran\n"))
    for words in (
        ("create", "web1", A2),
        ("list", "web1", "1"),
        ("restore", "web1", A1, "x", SNAPSHOT, "/etc"),
    ):
        later = lab.verb(*words)
        assert later.status == 76 and str(alarm) in later.stderr and "the reason" in later.stderr
    (lab.host.state / "repository-id").unlink()
    assert lab.verb("init", "web1").status == 76
    assert not (lab.host.directory / "ran").exists()
    lab.configure()
    assert b"alarm yes" in lab.host.call("version").stdout


def test_another_repository_is_an_alarm(lab: Lab) -> None:
    security = lab.host.state / "borg/.config/borg/security"
    foreign = security / ("f" * 64)
    foreign.mkdir()
    assert_alarmed(lab, lab.verb("create", "web1", A2))
    foreign.rmdir()
    (own,) = security.iterdir()
    own.rename(security.parent / "lost")
    assert_alarmed(lab, lab.verb("create", "web1", A2))
    (security.parent / "lost").rename(own)
    lab.ok("create", "web1", A2)


def test_an_unencrypted_repository_in_its_place_gets_nothing(lab: Lab) -> None:
    repository = lab.root / "web1"
    shutil.rmtree(repository)
    env = {"PATH": os.defpath, "BORG_BASE_DIR": str(lab.root / ".forger")}
    subprocess.run([find_borg(), "init", "-e", "none", repository], env=env, check=True, capture_output=True)
    before = sum(p.stat().st_size for p in repository.rglob("*") if p.is_file())
    for words in (("list", "web1", "1"), ("create", "web1", A2)):
        begun = time.monotonic()
        result = lab.verb(*words)
        assert time.monotonic() - begun < PROMPTLY, "a question without an answer must not hang"
        assert_alarmed(lab, result)
        for foreign in (lab.host.state / "borg/.config/borg/security").iterdir():
            if foreign.name != (lab.host.state / "repository-id").read_text().strip():
                shutil.rmtree(foreign)
    assert sum(p.stat().st_size for p in repository.rglob("*") if p.is_file()) < before + 1000


def test_list_reads_an_older_state_and_create_refuses_it(lab: Lab) -> None:
    lab.ok("create", "web1", A1)
    shutil.copytree(lab.root / "web1", lab.root / "old")
    lab.ok("create", "web1", A2)
    shutil.rmtree(lab.root / "web1")
    (lab.root / "old").rename(lab.root / "web1")
    archives = output(lab.ok("list", "web1", "9"))["archives"]
    assert [a["name"] for a in archives] == [A1]
    assert_alarmed(lab, lab.verb("create", "web1", A2))


def test_a_second_init_needs_root_and_keeps_the_old_key(lab: Lab) -> None:
    lab.ok("create", "web1", A1)
    assert lab.host.local("--key-export").stdout.count("BORG_KEY ") == 1
    (lab.host.state / "repository-id").unlink()
    shutil.rmtree(lab.root / "web1")
    (lab.root / "web1").mkdir()
    lab.ok("init", "web1")
    lab.ok("create", "web1", A1)
    assert len(list((lab.host.state / "borg/.config/borg/keys").iterdir())) == 2
    exported = lab.host.local("--key-export").stdout
    assert exported.count("BORG_KEY ") == 1
    assert (lab.host.state / "repository-id").read_text().strip() in exported
    assert (lab.host.confdir / "passphrase").read_text() in exported


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
