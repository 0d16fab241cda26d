"""Retention against the real `borg prune`."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.harness.builders.retention import BORG_RULES, EDGES, GAPS, in_our_words, ours_said, snap
from zborg.model import Policy
from zborg.planning.rotate.retention import keep_reasons

TIMELINES = "abcdefghijklmnopqrstuvwxyzABCD"  # thirty: an archive belongs to those whose letters it bears
PER_REPOSITORY = 24


class Borg:
    """A real repository with archives of chosen instants."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repository"
        self.source = folder / "source"
        self.source.mkdir(parents=True)
        (self.source / "file").write_text("a file\n")
        self.environment = {
            "PATH": os.defpath,
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "BORG_BASE_DIR": str(folder / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        self.run("init", "-e", "none", str(self.repository))

    def run(self, *words: str) -> str:
        argv = [sys.executable, "-m", "borg", *words]
        done = subprocess.run(
            argv, env=self.environment, cwd=self.source, capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    def create(self, name: str, at: datetime) -> None:
        stamp = at.strftime("%Y-%m-%dT%H:%M:%S")
        self.run("create", "--timestamp", stamp, f"{self.repository}::{name}", "file")

    def pruned(self, glob: str, policy: Policy) -> dict[str, str]:
        """Archive name to borg's reason for keeping it; pruned ones are left out."""
        options = [f"--keep-{word}={getattr(policy, word)}" for word in BORG_RULES]
        if policy.within:
            options.append(f"--keep-within={policy.within // 3_600}H")
        command = ["prune", "--dry-run", "--list", "--glob-archives", glob, *options, str(self.repository)]
        lines = self.run(*command).splitlines()
        kept = [re.match(r"Keeping archive \(rule: (\S+) #(\d+)\): +(\S+)", line) for line in lines]
        return {found[3]: in_our_words(found[1], int(found[2])) for found in kept if found}


def random_line(rng: random.Random, now: datetime) -> list[datetime]:
    """Some edge and the years around it, some to come, and some of the last weeks, where `within` bites."""
    edge = rng.choice(EDGES)
    line = {
        edge + timedelta(seconds=rng.choice(GAPS) * rng.randint(-20, 20)) for _ in range(PER_REPOSITORY - 8)
    }
    # Half past the hour as seen from now: a policy of whole hours cannot hinge on how long the test takes.
    line |= {now - timedelta(hours=rng.randint(1, 900), minutes=30) for _ in range(8)}
    return sorted(at.replace(microsecond=0) for at in line)


def random_policy(rng: random.Random) -> Policy:
    numbers = [rng.choice([0, 0, 1, 2, 3, 5, -1]) for _ in BORG_RULES]
    policy = Policy(*numbers, *[rng.choice([0, 0, 1, 48, 500]) * 3_600])
    return replace(policy, daily=2) if policy.empty else policy


def test_thirty_timelines_through_the_real_borg_prune(tmp_path: Path) -> None:
    rng = random.Random(20260212)
    now = datetime.now(UTC)
    half = len(TIMELINES) // 2
    for part, letters in enumerate([TIMELINES[:half], TIMELINES[half:]]):
        borg = Borg(tmp_path / str(part))
        archives: dict[str, datetime] = {}
        for number, at in enumerate(random_line(rng, now)):
            member = "".join(letter for letter in letters if rng.random() < 0.7)
            archives[f"{number:02}-{member}-"] = at
        for name, at in archives.items():
            borg.create(name, at)
        for letter in letters:
            policy = random_policy(rng)
            chosen = {name: at for name, at in archives.items() if letter in name}
            snapshots = [replace(snap(at, txg), guid=name) for txg, (name, at) in enumerate(chosen.items())]
            ours = ours_said(keep_reasons(snapshots, policy, now))
            assert ours == borg.pruned(f"*{letter}*", policy), (letter, policy)


def test_borg_is_installed_beside_the_tests() -> None:
    """Without it the comparison would be skipped in silence; it must fail instead."""
    assert shutil.which("borg", path=str(Path(sys.executable).parent))
