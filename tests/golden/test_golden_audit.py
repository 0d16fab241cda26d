"""Golden files: audit and the ledger."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.harness.audit.segments import MANIFEST, commit, delete, key, put, segment
from tests.harness.scenes.golden import FILES, Scenes, compare
from tests.harness.scenes.plays import Play, ended, silent
from tests.harness.scenes.stage import Stage, staged

scenes = Scenes()


def committed(stage: Stage, host: str, number: int, *entries: bytes) -> None:
    """A transaction behind zborg's back."""
    home = stage.zfs.directory(f"tank/borg/{host}")
    (home / f"data/0/{number}").write_bytes(segment([*entries, commit()]))
    with (home / "transactions").open("a") as log:
        log.write(f"transaction {number}, UTC time 2026-02-13T03:00:00.000000\n")


@scenes
def audit(stage: Stage) -> None:
    """No ledger yet, a good night, nothing new, a host that deletes, and what a release changes."""
    stage.hosts({"web1": Play(), "web2": Play()})
    stage.config("web1", "web2", "nobody")
    stage.zborg("audit")
    stage.zborg("init", "--json")
    stage.zborg("audit")
    stage.night()
    stage.zborg("audit", "--json")
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit", "--dry-run")
    stage.zborg("audit", "web1")
    stage.zborg("audit", "--quiet")
    committed(
        stage, "web1", 8, put(key(1), b"news"), delete(key(7)), delete(key(8)), put(MANIFEST, b"m" * 500)
    )
    (stage.zfs.directory("tank/borg/web1") / "config").write_text("[repository]\nversion = 1\nid = 00\n")
    (stage.zfs.directory("tank/borg/web2") / "secret\x1b[31m").write_text("plain")
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit")
    stage.zborg("status")
    stage.zborg("holds", "list")
    stage.zborg("rotate", "--dry-run")
    stage.zborg("audit", "--json")
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit", "web1", shown=False)
    stage.zborg("status")
    stage.zborg("audit")
    stage.zborg("rotate", "--release", "web1", shown=False)
    stage.zborg("rotate", "--release", "web2", shown=False)
    (stage.zfs.directory("tank/borg/web2") / "secret\x1b[31m").unlink()
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit", "--json")
    stage.shows_runs("audit")


@scenes
def ledger(stage: Stage) -> None:
    """Shown, checked alone and with a witness, changed, exported, in a copy without a zborg.toml."""
    stage.hosts({"web1": Play(), "web2": Play()})
    stage.zborg("ledger", "show")
    stage.zborg("ledger", "check")
    stage.zborg("init", shown=False)
    stage.zborg("ledger", "show")
    for _ in range(2):
        stage.night()
    stage.zborg("ledger", "show")
    stage.zborg("ledger", "show", "web1")
    stage.zborg("ledger", "show", "nobody")
    stage.zborg("ledger", "show", "web2", "--json")
    stage.zborg("ledger", "check")
    copy = stage.directory / "copy"
    stage.zborg("ledger", "export", str(copy), "--dry-run")
    stage.zborg("ledger", "export", str(copy))
    stage.zborg("ledger", "export", str(copy))
    stage.night()
    stage.zborg("ledger", "check", "--witness", str(copy), "--json")
    stage.zborg("ledger", "check", str(copy))
    stage.zborg("ledger", "check", str(copy), "--witness", str(copy / "entries.jsonl"), "--json")
    stage.zborg("ledger", "check", str(copy), "--public-key", str(copy / "entries.jsonl"))
    stage.zborg("ledger", "check", "--witness", str(stage.directory / "id"))
    stage.zborg("ledger", "check", str(stage.directory / "nowhere"))
    lines = stage.zfs.directory("tank/borg/zborg-ledger") / "entries.jsonl"
    first, second, *rest = lines.read_text().splitlines()
    lines.write_text(
        "\n".join([first, second.replace('"clean":true', '"clean":null'), *rest, "nonsense", ""])
    )
    stage.zborg("ledger", "check", "--witness", str(copy))
    stage.zborg("ledger", "show")
    stage.zborg("ledger", "show", "--all")


@scenes
def compact(stage: Stage) -> None:
    """No ledger, nothing to free, a host that deletes, an approval, and what is held behind it."""
    stage.hosts({"web1": Play(), "web2": Play()})
    stage.waits = True
    stage.config("web1", "web2", "nobody")
    stage.zborg("compact")
    stage.zborg("init", shown=False)
    stage.zborg("compact")
    stage.zborg("backup", shown=False)
    committed(stage, "web2", 8, put(key(1), b"n" * 3000))  # before the first look: nobody judges it
    committed(stage, "web2", 9, put(key(2), b"n" * 200))
    committed(stage, "web2", 10, delete(key(2)))
    stage.night()
    stage.zborg("compact", "--json")
    stage.zborg("status")
    committed(stage, "web1", 8, put(key(1), b"n" * 9000), put(MANIFEST, b"m" * 500))
    committed(stage, "web1", 10, delete(key(1)), delete(MANIFEST), put(MANIFEST, b"m" * 400))
    stage.zborg("compact", "web1")
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit", shown=False)
    stage.zborg("compact", "web1")
    stage.zborg("compact")
    stage.zborg("compact", "web1", "--approve", "7")
    stage.zborg("compact", "--approve", "8")
    stage.zborg("rotate", "--release", "web1", shown=False)
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit", shown=False)
    stage.zborg("compact", "web1", "--approve", "8", "--approve", "10", "--dry-run")
    stage.zborg("compact", "web1", "--approve", "8", "--approve", "10", "--json")
    stage.zborg("compact", "web1")
    stage.zborg("ledger", "show", "web1")
    stage.zborg("holds", "list")
    stage.zborg("status")
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit", "web1")
    stage.zborg("status", "--json")
    stage.zborg("report", "--json")
    stage.shows_runs("compact")


@scenes
def undelete(stage: Stage) -> None:
    """Nothing to undo, a host that deletes, and the last clean point again."""
    stage.hosts({"web1": Play(), "web2": Play()})
    stage.waits = True
    stage.zborg("undelete", "web1")
    stage.zborg("init", shown=False)
    stage.night()
    stage.zborg("undelete", "web1")
    stage.zborg("undelete", "web9")
    committed(stage, "web1", 8, delete(key(1)), delete(MANIFEST), put(MANIFEST, b"m" * 400))
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit", shown=False)
    stage.zborg("undelete", "web1", "--at", "zborg_nope")
    stage.zborg("undelete", "web1", "--dry-run")
    stage.zborg("undelete", "web1")
    stage.zborg("holds", "list")
    stage.zborg("ledger", "show", "web1")
    stage.zborg("rotate", "--release", "web1", shown=False)
    committed(stage, "web1", 12, delete(key(1)), delete(MANIFEST), put(MANIFEST, b"m" * 400))
    stage.zborg("snapshot", shown=False)
    stage.zborg("audit", shown=False)
    stage.zborg("undelete", "web1", "--json")
    stage.shows_runs("undelete")


def borg(stage: Stage, *cases: str) -> None:
    """In the place of borg; `cases` are of a shell, by the repository's path."""
    text = "\n".join(["#!/bin/sh", 'case "$3" in', *cases, "esac", ""])
    stage.write("borg", text, 0o755)


def newest(stage: Stage, host: str) -> Path:
    """The files of its newest snapshot."""
    snapshot = [one for one in stage.zfs.snapshots(f"tank/borg/{host}") if one.name][-1]
    return Path(stage.zfs.contents(snapshot, ""))


@scenes
def verify(stage: Stage) -> None:
    """Before there is anything to compare with, a good one, damage, what borg finds, shares of the night."""
    plays = {"web1": Play(), "web2": Play()}
    settings: dict[str, Any] = {"storage": {"borg": str(stage.directory / "borg")}}
    borg(stage)
    stage.hosts(plays, **settings)
    stage.zborg("verify")
    stage.zborg("init", shown=False)
    stage.zborg("verify")
    for _ in range(3):
        stage.night()
    stage.zborg("verify", "--dry-run")
    stage.zborg("verify")
    stage.zborg("status")
    stage.zborg("verify", "web1", "--json")
    stage.zborg("verify", "nobody")
    stage.zborg("verify", "--at", "yesterday")
    stage.zborg("verify", "--at", "offsite")
    stage.zborg("ledger", "show")
    damaged = newest(stage, "web1") / "data/0/7"
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-1] + b"x")
    borg(stage, "*/web2) echo 'Index object count mismatch.'; exit 1 ;;")
    stage.zborg("verify")
    stage.zborg("verify", "--json")
    stage.zborg("status")
    stage.zborg("status", "--json")
    stage.zborg("holds", "list")
    stage.zborg("rotate", "--release", "web1", shown=False)
    damaged.write_bytes(good)
    borg(stage, "*/web1) echo Traceback; exit 2 ;;", "*/web2) kill -11 $$ ;;")
    stage.zborg("verify")
    (stage.directory / "borg").unlink()
    stage.zborg("verify", "web1")
    borg(stage)
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    at = [one.snapname for one in stage.zfs.snapshots("tank/borg/web1") if one.name][-1]
    stage.zborg("verify", "web1", "--at", at, "--json")
    stage.config(*plays, **settings, backup={"verify_every": "30d"})
    stage.clock.tick(days=30)
    stage.pools()
    stage.zborg("run")
    stage.zborg("status", "--json")
    stage.zborg("report", "--json")
    stage.clock.tick(days=40)
    stage.zborg("status")
    stage.shows_runs("verify")


def drilling(archive: str, *reasons: str, status: int = 0, **changed: object) -> Play:
    """A host that allows drills, and what it answers to one."""
    counts: dict[str, object] = {"files": 299, "bytes": 12_000_000, "mismatched": 0, "unfinished": 0}
    counts |= {"sampled": 300, "population": 8400, "seconds": 3, "canary": "yes"} | changed
    drill = Play((f"= {json.dumps(counts)}", *reasons, ended(status)), status, commits=False)
    return Play(answer={"drill": "yes", "sampled": archive}, others={"drill": drill})


@scenes
def drills(stage: Stage) -> None:
    """A good one, damage, a host that lies, hosts without; then nobody has had one for long."""
    stage.hosts(
        {"web1": Play(), "web2": Play(answer={"drill": "no"}), "older": Play()}, backup={"drill_every": "7d"}
    )
    stage.zborg("init", shown=False)
    stage.zborg("backup", shown=False)
    stage.zborg("snapshot", shown=False)
    (run,) = (stage.directory / "state" / "runs").glob("*.backup.json")
    (archive,) = set(re.findall(r'"archive": "(web1-[^"]+)"', run.read_text()))
    good = drilling(archive)
    stage.zborg("status")
    stage.zborg("drill", "web1")
    stage.plays["web1"] = good
    stage.zborg("drill", "--dry-run")
    stage.zborg("drill")
    stage.zborg("drill", "web1", "--json")
    stage.zborg("drill", "nobody")
    stage.zborg("replicate", shown=False)
    stage.zborg("drill", "web1", "--from", "offsite", "--json")
    stage.zborg("status", "--json")
    stage.zborg("ledger", "show")
    words = f"zborg-agent: E_DRILL what is lent is not what this host backed up as {archive}"
    stage.plays["web1"] = drilling(archive, words, status=70, mismatched=2)
    stage.zborg("drill", "web1")
    stage.zborg("drill", "web1", "--json")
    stage.zborg("status")
    stage.zborg("rotate", "--release", "web1", shown=False)
    stage.plays["web1"] = drilling(archive, mismatched=1)
    stage.zborg("drill", "web1")
    stage.plays["web1"] = replace(good, answer={"drill": "yes", "sampled": ""})
    stage.zborg("drill", "web1")
    stage.plays["web1"] = good
    stage.zborg("drill", "web1", shown=False)
    stage.clock.tick(days=8)
    stage.pools()
    stage.zborg("run")
    stage.clock.tick(days=40)
    stage.zborg("status")
    stage.zborg("doctor", "--only", "hosts")
    stage.shows_runs("drill")


def lies(stage: Stage, host: str) -> None:
    """A checkpoint that no key of this ledger's has signed, and one of another ledger."""
    (line,) = stage.tunnel.given[host][-1:]
    at, _, word = line.partition(" ")
    origin, _, rest = word.partition("@")
    forged = f"{rest[:-5]}{'AAA' if rest[-5:-2] != 'AAA' else 'BBB'}=\n"
    stage.tunnel.given[host] += [f"{at} {origin}@{forged}", f"{at} other/00000000@{rest}"]


@scenes
def witnesses(stage: Stage) -> None:
    """Hosts are given checkpoints, keep them or do not, and are asked; then root rewrites the past."""
    keeps = Play(keeps=True)
    away = Play(keeps=True, then=Play(keeps=True, raises=silent("Connection refused")))
    stage.hosts({"web1": keeps, "web2": keeps, "older": Play(), "away": away})
    stage.zborg("init", shown=False)
    stage.zborg("doctor", "--only", "ledger")
    stage.night()
    stage.zborg("backup", "--json")
    stage.zborg("ledger", "check", "--hosts")
    stage.zborg("ledger", "check", "--host", "web1", "--json")
    stage.zborg("ledger", "check", "--host", "nobody")
    stage.zborg("ledger", "check", str(stage.directory / "copy"), "--hosts")
    stage.zborg("host", "test", "web1", "--json")
    stage.zborg("doctor", "--only", "ledger")
    lies(stage, "web2")
    stage.zborg("ledger", "check", "--hosts", "--json")
    lines = stage.zfs.directory("tank/borg/zborg-ledger") / "entries.jsonl"
    lines.write_text(lines.read_text().replace('"clean":true', '"clean":null', 1))
    stage.zborg("ledger", "check", "--host", "web1", "--json")
    stage.zborg("host", "test", "web1", "web2")
    stage.zborg("history", "web1")
    stage.zborg("history", "web1", "--json")


def arrives(stage: Stage) -> None:
    """A night, whose copies get the time of their arrival, as from the off-site's sink."""
    stage.night()
    came = [one.full for one in stage.far.snapshots("vault/zborg") if not one.arrived]
    stage.far.set(came, {"zborg:arrived": f"{stage.clock.now:%Y-%m-%dT%H:%M:%SZ}"})


@scenes
def off_site_witness(stage: Stage) -> None:
    """The ledger arrives, grows, is changed by root on the server, and is accepted by hand."""
    stage.hosts({"web1": Play()})
    table = {"dataset": "vault/zborg", "received": True, "zfs": "commands"}
    own: dict[str, Any] = {"name": "offsite", "state_dir": "there", "log": {"to": "file"}, "storage": table}
    own |= {"backup": {"verify_every": "0s"}}
    stage.write("offsite.toml", tomli_w.dumps(own | {"snapshots": {"keep": {"last": 9}, "max_age": "26h"}}))
    for name in ("", "locks", "runs"):
        (stage.directory / "there" / name).mkdir(mode=0o700)
    there = ("--config", "offsite.toml")
    stage.zborg("ledger", "check", *there)
    stage.zborg("init", shown=False)
    arrives(stage)
    stage.zborg("run", *there)
    stage.zborg("doctor", *there, "--only", "ledger")
    arrives(stage)
    stage.zborg("ledger", "check", *there, "--dry-run")
    stage.zborg("run", *there, "--json")
    stage.zborg("ledger", "check", *there)
    stage.zborg("doctor", *there, "--only", "ledger", "--json")
    arrives(stage)
    stage.zborg("ledger", "check", *there)
    lines = stage.zfs.directory("tank/borg/zborg-ledger") / "entries.jsonl"
    lines.write_text(lines.read_text().replace('"clean":true', '"clean":null', 1))
    arrives(stage)
    stage.zborg("run", *there)
    stage.zborg("status", *there)
    stage.zborg("replicate", shown=False)
    stage.zborg("status")
    stage.zborg("holds", "list", *there)


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    # The ledger's first entry has the name of its key, in which is chance.
    text = re.sub(r'"root": "[0-9a-f]{64}"', '"root": "@ROOT@"', stage.text)
    text = re.sub(r"vault/[0-9a-f]{8}\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44}", "@KEY@", text)
    compare(FILES / f"{name}.txt", text)
