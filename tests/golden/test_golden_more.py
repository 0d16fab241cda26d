"""Golden files: each status on every screen, what is tried again, what is interrupted, and rarer outcomes."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest

from tests.harness.checkout import GOLDEN_FILES
from tests.harness.scenes.golden import FILES, Scenes, compare
from tests.harness.scenes.plays import Play, created, cut, failing, interrupted, logged, stalled_by, stops
from tests.harness.scenes.stage import KEY, Stage, staged

scenes = Scenes()

QB = GOLDEN_FILES / "qb_backup"


@scenes
def every_status(stage: Stage) -> None:
    """A host of each, on all screens, after a night in which all were good."""
    ends = {
        "good": Play(),
        "warned": Play(
            (logged("WARNING", "", "BackupIOError"), *created()[:1], "zborg-agent: borg ended with 1"), 1
        ),
        "skipped": stops(78, "zborg-agent: not now: the host is in use"),
        "busy": stops(75),
        "failed": failing("PassphraseWrong", "passphrase supplied is incorrect"),
        "conflict": failing("Cache.RepositoryReplay", "Cache is newer than repository"),
        "damaged": failing("IntegrityError", "Data integrity error"),
    }
    for name in (*ends, "vanishing"):
        stage.host(name)
    stage.config(*ends, "vanishing")
    stage.night()
    stage.plays.update(ends)
    stage.config(*ends)
    stage.zborg("run", shown=False)
    stage.host("pending")
    stage.config(*ends, "pending")
    for words in ((), ("--json",), ("--verbose",), ("--live",), ("--live", "--json"), ("--nagios",)):
        stage.zborg("status", *words)
    stage.columns = 200
    stage.zborg("status")
    stage.zborg("host", "list")
    stage.zborg("history", "--verbose")
    stage.zborg("history", "damaged")
    stage.clock.tick(days=2)
    stage.zborg("status", "--json")
    stage.shows_runs("run")


@scenes
def pending(stage: Stage) -> None:
    """Nothing was ever done, and nothing is due yet."""
    stage.config("web1")
    stage.zborg("init", shown=False)
    for words in ((), ("--json",), ("--verbose",), ("--nagios",), ("--live", "--json")):
        stage.zborg("status", *words)
    stage.clock.tick(days=3)
    stage.zborg("status", "--json")


@scenes
def tried_again(stage: Stage) -> None:
    """A connection that is lost once, one that is lost for good, one whose host then allows no more."""
    lost = Play(raises=cut)
    stage.hosts(
        {
            "once": Play(raises=cut, then=Play()),
            "ever": lost,
            "used-up": Play(raises=cut, then=stops(78, "zborg-agent: not now: at most 1 backup in 20h")),
            "busy-then": Play(raises=cut, then=Play(stops(75).lines, 75, False, then=Play())),
        },
        backup={"retries": 2},
    )
    stage.zborg("backup")
    stage.zborg("backup", "--quiet")
    stage.shows_runs()
    stage.shows("state/zborg.log", (stage.directory / "state" / "zborg.log").read_text())


@scenes
def interruption(stage: Stage) -> None:
    """Ctrl-C in a night, in a backup and while a snapshot is lent, which is a good end."""
    stage.hosts({"web1": Play(), "web2": Play(), "web3": Play()})
    stage.night()
    stage.plays["web2"] = Play(raises=interrupted)
    stage.zborg("backup")
    stage.zborg("run")
    stage.zborg("run", "--json")
    stage.zborg("status")
    stage.zborg("restore", "serve", "web2")
    stage.zborg("restore", "serve", "web2", "--json")
    stage.shows_runs("backup", "run", "restore serve")


@scenes
def schedule(stage: Stage) -> None:
    """What starts zborg by time: shown, installed, changed by hand, removed. In a tree, as for a package."""
    root = stage.directory / "root"
    options = ("--root", str(root), "--program", "/usr/bin/zborg")
    stage.zborg("schedule", "install", "--dry-run", *options)
    stage.zborg("schedule", "install", *options)
    stage.zborg("schedule", "show", *options)
    stage.zborg("schedule", "install", "--json", *options)
    timer = root / "usr/lib/systemd/system/zborg-night.timer"
    timer.write_text(timer.read_text().replace("02:30", "04:00"))
    stage.zborg("schedule", "install", *options)
    stage.zborg("schedule", "install", "--cron", "--json", *options)
    stage.zborg("schedule", "remove", "--root", str(root), "--dry-run")
    stage.zborg("schedule", "remove", "--root", str(root))
    timer.unlink()
    stage.zborg("schedule", "install", "--cron", *options)
    stage.zborg("schedule", "show", "--cron", "--json", *options)


@scenes
def scrub_waits(stage: Stage) -> None:
    """A scrub is waited for."""
    asked = []

    def goes_on(method: str, _: tuple[object, ...]) -> None:
        asked.append(method)
        if asked.count("pool") == 3:
            stage.pools()

    stage.zfs.fail = goes_on
    stage.zborg("scrub", "--start", "--wait")
    stage.shows_runs()


@scenes
def log(stage: Stage) -> None:
    """The lines of a run, in both forms."""
    stage.hosts({"web1": Play(), "web2": failing("PassphraseWrong", "wrong")})
    stage.night()
    stage.zborg("log", "--json")
    stage.zborg("log", "20260212T023000Z-0002")
    stage.zborg("log", "20260212T023000Z-0099", "--json")
    stage.config("web1", log={"to": "none"})
    stage.zborg("log")


@scenes
def written_files(stage: Stage) -> None:
    """What commands write: drop-ins of an import, and a bundle."""
    shutil.copytree(QB, stage.directory / "qb")
    (stage.directory / "hosts.d").mkdir()
    text = (stage.directory / "zborg.toml").read_text()
    stage.write("zborg.toml", f'include = ["hosts.d/*.toml"]\n{text}')
    names = ("[foo.example.com]:22222", "[bar.example.com]:2222", "192.0.2.7")
    stage.write("known_hosts", "".join(f"{name} {KEY}\n" for name in names))
    stage.zborg("import", "qb-backup", "qb/backup.yml", "--known-hosts", "known_hosts", "--json")
    for path in sorted((stage.directory / "hosts.d").iterdir()):
        stage.shows(path.name, path.read_text())
    url = "ssh://root@web1.example.net:22"
    stage.zborg("host", "bundle", "web1", url, "--no-escrow", "--output", "bundle.sh", "--json")


@scenes
def enrolment(stage: Stage) -> None:
    """A host whose owner has run a bundle is taken in, and one whose repository cannot be made is not."""
    (stage.directory / "hosts.d").mkdir()
    text = (stage.directory / "zborg.toml").read_text()
    stage.write("zborg.toml", f'include = ["hosts.d/*.toml"]\n{text}')
    for name in ("web1", "web2"):
        stage.plays[name] = Play(others={"sample": Play()})
    stage.plays["web2"].others = {"init": failing("Exception", "no entropy")}
    for name, more in (("web1", "--dry-run"), ("web1", "--yes"), ("web1", "--json"), ("web2", "--yes")):
        line = f"zborg-accept 1 {name} ssh://root@{name}.example.net:22 {KEY} agent 1 borg 1.4.1"
        line += f" server {stage.fingerprint}"
        stage.zborg("host", "accept", line, "--no-escrow", more)
    stage.zborg("host", "accept", f"{line.partition(' server ')[0]} server SHA256:{'A' * 43}", "--no-escrow")
    stage.zborg("host", "list")
    for path in sorted((stage.directory / "hosts.d").iterdir()):
        stage.shows(path.name, path.read_text())
    stage.shows_runs()


@scenes
def storage_elsewhere(stage: Stage) -> None:
    """The pool is on another machine, whose clock goes wrong; the off-site's does too."""
    there = stage.machine("nas") | {"user": "root", "serve_identity": "serve"}
    stage.hosts({"web1": Play(), "web2": Play()}, storage=there)
    stage.zborg("init", "--dry-run")
    stage.zborg("init")
    stage.zborg("init", "--json")
    stage.pools()
    stage.zborg("run")
    stage.zfs.clock = stage.far.clock = lambda: stage.clock.now + timedelta(minutes=11)
    stage.zborg("run", "--json")
    stage.zfs.clock = lambda: stage.clock.now - timedelta(days=2)
    stage.zborg("snapshot")
    stage.plays["web1"] = Play(raises=stalled_by(storage=True))
    stage.zborg("backup")
    stage.zborg("status")


@scenes
def state_full(stage: Stage) -> None:
    """The disk under the state directory is full: the work is done, and not recorded."""
    stage.hosts({"web1": Play(), "web2": failing("PassphraseWrong", "wrong")})
    with stage.disk_full():
        stage.zborg("backup", "web1")
        stage.zborg("backup", "--json")
        stage.zborg("run")
    stage.zborg("status")


@scenes
def leftovers(stage: Stage) -> None:
    """What a killed restore and a cut stream leave is cleared by a rotation."""
    stage.hosts({"web1": Play()})
    stage.night()
    (raw,) = [one.snapname for one in stage.zfs.snapshots("tank/borg/web1")]
    scratch = "tank/zborg-scratch/20260212T010000Z-0001"
    for name in ("tank/zborg-scratch", scratch):
        stage.zfs.create(name, {})
    stage.zfs.clone(f"tank/borg/web1@{raw}", f"{scratch}/web1")
    stage.zborg("doctor", "--only", "storage")
    stage.zborg("rotate", "--dry-run")
    stage.zborg("rotate", "--json")
    stage.zborg("rotate")


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    compare(FILES / f"{name}.txt", stage.text)
