"""Golden files: everything that the backup of a host can come to."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tests.harness.scenes.golden import FILES, Scenes, compare
from tests.harness.scenes.plays import (
    Play,
    created,
    cut,
    ended,
    failing,
    logged,
    of_ssh,
    overtime,
    served,
    silent,
    stalled_by,
    stops,
)
from tests.harness.scenes.stage import Stage, staged

scenes = Scenes()

CONF = "/etc/zborg/agent.conf"
SERVE = 'Traceback\n  File "borg/remote.py", line 381, in serve\n    {}'
KNOWN = {
    "lock": "LockTimeout",
    "locked": "LockError",
    "passphrase": "PassphraseWrong",
    "passcommand": "PasscommandFailure",
    "no-passphrase": "NoPassphraseFailure",
    "no-key": "KeyfileNotFoundError",
    "no-repository": "Repository.DoesNotExist",
    "invalid": "Repository.InvalidRepository",
    "check-needed": "Repository.CheckNeeded",
    "full": "Repository.InsufficientFreeSpaceError",
    "replayed": "Cache.RepositoryReplay",
    "aborted": "Cache.RepositoryAccessAborted",
    "mismatch": "Cache.EncryptionMethodMismatch",
    "integrity": "IntegrityError",
    "unpack": "DecompressionError",
    "file-integrity": "FileIntegrityError",
    "no-manifest": "NoManifestError",
    "lacks": "Repository.ObjectNotFound",
    "tam": "TAMInvalid",
    "archive-tam": "ArchiveTAMInvalid",
    "stranger": "Cache.CacheInitAbortedError",
}


def record(stage: Stage, *words: str) -> None:
    """The backup of all, as text and as it is saved, and what status makes of it."""
    stage.zborg("backup", *words)
    stage.zborg("status")
    stage.shows_runs()


def unexplained(*lines: object, status: int = 2) -> Play:
    return Play((*lines, ended(status)), status, commits=False)  # type: ignore[arg-type]  # lines of a play


@scenes
def backup_known_errors(stage: Stage) -> None:
    """Each message id of borg's that is known."""
    own = {"lock": Play(failing(KNOWN["lock"], "locked").lines, 73, False, {"borg_runs": "yes"})}
    stage.hosts({name: failing(msgid, "borg's own words") for name, msgid in KNOWN.items()} | own)
    record(stage)


@scenes
def backup_stopped_by_agent(stage: Stage) -> None:
    """Each exit status of the agent's own, and its refusals."""
    agent = "zborg-agent: "
    cache = f"{agent}cache set aside: /var/lib/zborg/borg/.cache/broken-1"
    refusals = {
        "no-borg": "borg is not installed",
        "no-secret": "/etc/zborg/passphrase must be there",
        "init-first": "init comes first",
        "second-init": "a second init needs root",
        "key-gone": "the key file of this repository is gone",
        "no-path": f"no path in {CONF}",
        "odd": "something that nobody knows",
    }
    stage.hosts(
        {name: stops(2, f"{agent}{words}") for name, words in refusals.items()}
        | {
            "too-long": stops(67, f"{agent}ended after 23h (max_time)"),
            "broken-file": stops(68, f"{agent}broken: /var/lib/zborg/borg/.config/borg/security/5a/nonce"),
            "no-room": stops(69, f"{agent}no room: 0 KiB left in /run"),
            "no-room-at-all": stops(69),
            "busy": stops(75, f"{agent}another verb runs: create web1"),
            "busy-mute": stops(75),
            "alarm": stops(76, f"{agent}ALARM: the repository is older than what was seen"),
            "path-gone": stops(77, f"{agent}not there: /srv/gone ({CONF} line 3)"),
            "not-now": stops(78, f"{agent}not now: at most 1 backup in 20h"),
            "hook-before": stops(79, f"{agent}before failed with status 1"),
            "hook-after": Play((*created(), f"{agent}after failed with status 1"), 79),
            "conf": stops(2, f"{agent}{CONF} names what is not known: line 7: paht"),
            "no-agent": stops(127, "sh: 1: zborg-agent: not found"),
            "signed": Play((f"{agent}archives signed: 3", ended(2)), 2, False, then=Play()),
            "cache": Play((cache, ended(2)), 2, False, then=Play()),
            "cache-again": stops(2, cache),
        }
    )
    record(stage)


@scenes
def backup_warnings(stage: Stage) -> None:
    """borg ends well and has warned."""
    denied = logged("WARNING", "/root/secret: Permission denied", "BackupPermissionError")
    stage.hosts(
        {
            "unread": Play((denied, *created()[:1], ended(1)), 1),
            "unread-many": Play((denied, denied, denied, denied, *created()[:1], ended(105)), 105),
            "unread-quiet": Play(
                (
                    logged("WARNING", "", "BackupPermissionError"),
                    "zborg-agent: warnings are in /var/lib/zborg/warnings.log",
                    *created()[:1],
                    ended(105),
                ),
                105,
            ),
            "io-error": Play((logged("WARNING", "", "BackupIOError"), *created()[:1], ended(1)), 1),
            "changed": Play(
                (
                    logged("WARNING", "/var/log/syslog: file changed", "FileChangedWarning"),
                    *created()[:1],
                    ended(100),
                ),
                100,
            ),
            "mute": Play((*created()[:1], ended(1)), 1),
            "skewed": Play(clock=700.0),
            "no-clock": Play(clock=None),
            "no-wall": Play(wall=None),
        }
    )
    record(stage)


@scenes
def backup_unexplained(stage: Stage) -> None:
    """What borg's own words do not say, and what lies around it."""
    closed = logged("ERROR", "Connection closed by remote host", "ConnectionClosedWithHint")
    memory = "zborg-agent: the kernel ended processes for lack of memory meanwhile"
    errors = {
        "serve-full": SERVE.format("OSError: [Errno 28] No space left on device"),
        "host-full": "OSError: [Errno 28] No space left on device: '/var/lib/zborg/borg/.cache'",
        "serve-unreadable": SERVE.format("OSError: [Errno 5] Input/output error: '/tank/data/0/7'"),
        "segment-gone": SERVE.format("FileNotFoundError: [Errno 2] No such file: '/tank/data/0/7'"),
        "nonsense": SERVE.format("ValueError: invalid literal"),
        "denied": SERVE.format("PermissionError: [Errno 13] Permission denied: '/tank/borg/denied/data'"),
    }
    stage.hosts(
        {
            name: failing("ValueError" if name == "nonsense" else "Exception", text)
            for name, text in errors.items()
        }
        | {
            "serve-ended": unexplained(closed),
            "serve-said": unexplained(closed, served("zborg-serve: refused: no such directory")),
            "killed": unexplained(status=137),
            "killed-memory": unexplained(memory, status=137),
            "terminated": unexplained(status=143),
            "usage": unexplained("usage: borg create", "borg create: error: unrecognized arguments: --x"),
            "mute": Play((), 1, commits=False, clock=None),
            "mute-banner": Play(("This account is currently not available.",), 1, commits=False, clock=None),
            "garbled": unexplained(served("Got unexpected RPC data format from client", "ERROR")),
            "status-only": unexplained(status=3),
            "mended": Play((served("integrity check of the hints file failed", "WARNING"), *created())),
        }
    )
    record(stage)


@scenes
def backup_no_connection(stage: Stage) -> None:
    """ssh does not come to the agent, or breaks."""
    stage.write("unusable", "no key\n")
    stage.hosts(
        {
            "refused": Play(raises=silent("ssh: connect to host refused port 22: Connection refused")),
            "penalty": Play(raises=silent("kex_exchange_identification: Connection reset by peer")),
            "key-changed": Play(
                raises=silent(
                    "REMOTE HOST IDENTIFICATION HAS CHANGED!\nSHA256:"
                    + "a" * 43
                    + ".\nHost key verification failed."
                )
            ),
            "key-unusable": Play(raises=silent("root@key-unusable: Permission denied (publickey).")),
            "key-refused": Play(raises=silent("root@key-refused: Permission denied (publickey).")),
            "ciphers": Play(
                raises=silent(
                    "Unable to negotiate with 192.0.2.7 port 22: no matching cipher found. "
                    "Their offer: 3des-cbc"
                )
            ),
            "cut": Play(raises=cut),
            "overtime": Play(raises=overtime),
            "stalled": Play(raises=stalled_by(storage=False)),
            "stalled-storage": Play(raises=stalled_by(storage=True)),
        },
        hosts={"overtime": {"timeout": "3h"}, "key-unusable": {"identity": "unusable"}},
    )
    record(stage)


@scenes
def backup_not_begun(stage: Stage) -> None:
    """Facts of the storage that keep a backup from its beginning, and ends that are no good ones."""
    names = (
        "unmounted",
        "lost",
        "in-the-way",
        "older",
        "renamed",
        "unmade",
        "empty",
        "lazy",
        "few",
        "locked",
    )
    stage.hosts({name: Play() for name in names}, hosts={"few": {"min_files": 5000}})
    stage.config(*names, "no-dataset", hosts={"few": {"min_files": 5000}})
    stage.zborg("backup", "lost", shown=False)
    stage.zborg("snapshot", shown=False)
    stage.zfs.unmount("tank/borg/unmounted")
    for name in ("lost", "in-the-way", "older", "renamed", "unmade"):
        for entry in stage.home(name).iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (stage.home("in-the-way") / "holiday.jpg").write_text("sun")
    (stage.home("older") / "config").write_text("[repository]\n")
    (stage.home("older") / "data" / "0").mkdir(parents=True)
    for number in range(4):
        (stage.home("older") / "data" / "0" / str(number)).write_text("s" * 2000)
    stage.plays["older"] = Play(answer={"initialised": "no"})
    stage.plays["renamed"] = Play(answer={"name": "web7"})
    stage.plays["unmade"] = Play(others={"init": failing("Exception", "no entropy")})
    stage.plays["empty"] = Play(created(files=0, original=0))
    stage.plays["lazy"] = Play(commits=False)
    with stage.locked("host-locked"):
        stage.zborg("backup", "--dry-run")
        record(stage)


@scenes
def backup_usual_and_not(stage: Stage) -> None:
    """A week of usual nights, then an archive that is doubted, a shrunken one, and a prune."""
    plays = {
        "web1": Play(),
        "web2": Play(answer={"prune": "yes"}),
        "web3": Play(answer={"prune": "yes"}),
        "web4": Play(),
    }
    stage.hosts(plays, backup={"prune_every": "7d"})
    for _ in range(4):
        stage.zborg("backup", shown=False)
        stage.clock.tick(days=1)
    stage.plays["web1"] = Play(created(files=90, original=30 << 20))
    stage.plays["web3"].others = {"prune": failing("IntegrityError", "Data integrity error")}
    stage.clock.tick(days=5)
    stage.zborg("backup")
    stage.plays["web3"].others = {"prune": failing("Exception", "no prune")}
    stage.clock.tick(days=8)
    stage.zborg("backup", "--json")
    stage.zborg("status", "--verbose")
    stage.zborg("history", "web1")
    stage.columns = 200
    stage.zborg("history", "web1", "--days", "60")
    stage.zborg("history", "--days", "60")
    stage.zborg("history", "web2", "--json")


@scenes
def backup_of_a_left_lock(stage: Stage) -> None:
    """borg's lock is held by nobody: it is broken, and the verb tried again."""
    locked = failing("LockTimeout", "Failed to create/acquire the lock (timeout).", 73)
    stage.hosts(
        {
            "web1": replace(locked, then=Play()),
            "web2": replace(locked, answer={"borg_runs": "yes"}),
            "web3": replace(locked, answer={"borg_runs": None}),
            "web4": replace(locked, others={"break-lock": failing("Exception", "no")}),
        }
    )
    record(stage)


@scenes
def backup_options(stage: Stage) -> None:
    """What the command line changes."""
    bad = failing("PassphraseWrong", "passphrase supplied is incorrect")
    stage.hosts({"web1": bad, "web2": Play(), "web3": Play()})
    for words in (
        ("--fail-fast",),
        ("--exclude", "web1"),
        ("web2", "--quiet"),
        ("web1", "--quiet"),
        ("--allow-partial",),
        ("web2", "--verbose"),
        ("web1", "--json"),
        ("--dry-run", "--json"),
        ("web9",),
        ("--json", "web9"),
    ):
        stage.zborg("backup", *words)


@scenes
def backup_of_a_fleet(stage: Stage) -> None:
    """Hosts with a borgmatic of their own, through a port that leads back."""
    refused = "Remote: Permission denied (publickey)."
    stage.hosts(
        {
            "good": Play(()),
            "warned": Play(("/etc/x: file changed while we backed it up",)),
            "lazy": Play((), commits=False),
            "refused": Play((refused, "summary:"), 1, commits=False),
            "damaged": Play(("Data integrity error: Segment entry checksum mismatch",), 1, commits=False),
            "nobody": Play((of_ssh("connect_to 127.0.0.1 port 22: failed."),), 1, commits=False),
            "missing": Play(("sh: borgmatic: not found",), 127, commits=False),
            "mute": Play((), 2, commits=False),
        },
        backup={"tunnel": "reverse"},
    )
    record(stage)


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    compare(FILES / f"{name}.txt", stage.text)
