"""Retention against the real `borg prune`."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.harness.builders.retention import BORG_RULES, EDGES, GAPS, in_our_words, ours_said, snap
from zborg.model import Policy
from zborg.planning.rotate.retention import keep_reasons

TIMELINES = "abcdefghijklmnopqrstuvwxyzABCD"  # thirty: an archive belongs to those whose letters it bears
PER_REPOSITORY = 24


_EACH = """
import json, sys
from borg.archiver import Archiver
archiver = Archiver()
for words in json.load(sys.stdin):
    assert archiver.run(archiver.parse_args(words)) == 0, words
    print("\\x1e", end="", file=sys.stderr)
"""


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
            "BORG_SELFTEST": "disabled",
        }
        self.run([["init", "-e", "none", str(self.repository)]])

    def run(self, commands: Sequence[Sequence[str]]) -> list[str]:
        """What each says, all run by one process: to start borg takes longer than what it does here."""
        done = subprocess.run(
            [sys.executable, "-c", _EACH],
            env=self.environment,
            cwd=self.source,
            input=json.dumps(commands),
            capture_output=True,
            text=True,
            check=True,
            timeout=240,
        )
        return done.stderr.split("\x1e")[:-1]

    def create(self, archives: Mapping[str, datetime]) -> None:
        stamps = {name: at.strftime("%Y-%m-%dT%H:%M:%S") for name, at in archives.items()}
        self.run(
            [
                ["create", "--timestamp", stamp, f"{self.repository}::{name}", "file"]
                for name, stamp in stamps.items()
            ]
        )

    def pruned(self, policies: Mapping[str, Policy]) -> list[dict[str, str]]:
        """Of each glob's policy: archive name to borg's reason for keeping it; pruned ones are left out."""
        found = self.run([self._prune(glob, policy) for glob, policy in policies.items()])
        return [_kept(said) for said in found]

    def _prune(self, glob: str, policy: Policy) -> list[str]:
        options = [f"--keep-{word}={getattr(policy, word)}" for word in BORG_RULES]
        if policy.within:
            options.append(f"--keep-within={policy.within // 3_600}H")
        return ["prune", "--dry-run", "--list", "--glob-archives", glob, *options, str(self.repository)]


def _kept(said: str) -> dict[str, str]:
    lines = [re.match(r"Keeping archive \(rule: (\S+) #(\d+)\): +(\S+)", line) for line in said.splitlines()]
    return {found[3]: in_our_words(found[1], int(found[2])) for found in lines if found}


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
        borg.create(archives)
        policies = {f"*{letter}*": random_policy(rng) for letter in letters}
        for (glob, policy), theirs in zip(policies.items(), borg.pruned(policies), strict=True):
            chosen = {name: at for name, at in archives.items() if glob.strip("*") in name}
            snapshots = [replace(snap(at, txg), guid=name) for txg, (name, at) in enumerate(chosen.items())]
            assert ours_said(keep_reasons(snapshots, policy, now)) == theirs, (glob, policy)
            assert theirs, "a choice of nothing would compare nothing"


def test_borg_is_installed_beside_the_tests() -> None:
    """Without it the comparison would be skipped in silence; it must fail instead."""
    assert shutil.which("borg", path=str(Path(sys.executable).parent))
