"""What is served from a clone takes no commit, and the host's root reads why. Real borgs, agent and sshd."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.restore.lending import Lending, backed_up, by_hand, lent
from tests.harness.watch import until
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours
from zborg.borg.storage.repository import forbid_writing
from zborg.errors import Exit, ZborgError
from zborg.interrupt import cancelled
from zborg.process import LocalRunner

WRITING = (
    ("create", "::new", "{data}"),
    ("create", "--checkpoint-interval", "1", "::new", "{data}"),
    ("rename", "::one", "two"),
    ("delete", "::one"),
    ("prune", "--keep-last", "1"),
    ("recreate", "--comment", "x", "::one"),
    ("import-tar", "::new", "{tar}"),
    ("compact",),
)
READING = (
    ("list",),
    ("info", "::one"),
    ("extract", "--dry-run", "::one"),
    ("check",),
    ("export-tar", "::one", "-"),
)


class Borg:
    """A repository with two archives, spoken to through `borg serve` as a host does."""

    def __init__(self, directory: Path, version: str) -> None:
        self.directory, self.borg, self.home = directory, borg_of(version), directory / "repository"
        (directory / "data").mkdir()
        (directory / "data" / "file").write_text("text")
        subprocess.run(["tar", "-cf", "tar", "data"], cwd=directory, check=True)
        self.ok("init", "-e", "none")
        self.ok("create", "::one", str(directory / "data"))
        self.ok("create", "::later", str(directory / "data"))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        given = [word.format(data=self.directory / "data", tar=self.directory / "tar") for word in words]
        shell = self.directory / "rsh"
        shell.write_text(
            f"#!/bin/sh\nexec {self.borg} serve --append-only --restrict-to-repository {self.home}\n"
        )
        shell.chmod(0o755)
        env = {
            "PATH": os.environ["PATH"],
            "BORG_REPO": f"ssh://x/{self.home}",
            "BORG_RSH": str(shell),
            "BORG_BASE_DIR": str(self.directory / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        return subprocess.run(
            [self.borg, *given],
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.parametrize("version", BORGS)
def test_no_commit_is_taken_and_reading_goes_on(tmp_path: Path, version: str) -> None:
    borg = Borg(tmp_path, version)
    before = borg.ok("list", "--short")
    forbid_writing(LocalRunner(), str(borg.home))
    for words in WRITING:
        done = borg.run(*words)
        assert done.returncode >= 2, (words, done)
    for words in READING:
        assert borg.run(*words).returncode == 0, words
    assert borg.ok("list", "--short") == before


@pytest.mark.parametrize("kind", ["link", "directory", "garbage", "absent"])
def test_a_config_that_is_none_is_refused_and_no_link_is_followed(tmp_path: Path, kind: str) -> None:
    elsewhere, config = tmp_path / "elsewhere", tmp_path / "home" / "config"
    elsewhere.write_text("[repository]\nid = 1\n")
    config.parent.mkdir()
    if kind == "link":
        config.symlink_to(elsewhere)
    elif kind == "directory":
        config.mkdir()
    elif kind == "garbage":
        config.write_bytes(b"\xff\0[[")
    with pytest.raises(ZborgError):
        forbid_writing(LocalRunner(), str(config.parent))
    assert elsewhere.read_text() == "[repository]\nid = 1\n"


@pytest.fixture
def uncancelled(request: pytest.FixtureRequest) -> None:
    request.addfinalizer(cancelled.clear)


@pytest.mark.usefixtures("uncancelled")
def test_the_host_s_root_is_refused_with_a_reason_and_goes_on_reading(
    vault: LocalVault, clock: Hours
) -> None:
    host, context = backed_up(vault, clock)
    lending = Lending(context)
    until(lent(host), "it is lent")
    for words in (("create", "::new", str(host.data)), ("--lock-wait", "5", "prune", "--keep-last", "1")):
        refused = by_hand(host, *words)
        assert refused.returncode >= 2
        assert "what is lent is a copy of an older state, for reading" in refused.stderr, refused.stderr
    unpatched = host.agent.read_text()
    assert unpatched.count('    refuse_to_write "$PPID"\n') == 1
    host.agent.write_text(unpatched.replace('    refuse_to_write "$PPID"\n', ""))  # an agent of before
    written = by_hand(host, "create", "::new", str(host.data))
    assert written.returncode >= 2 and "quota" in written.stderr, written.stderr
    host.agent.write_text(unpatched)
    listed = by_hand(host, "list", "--short")
    assert listed.returncode == 0 and "new" not in listed.stdout, "a path called create is no command:"
    extracted = by_hand(host, "extract", "--dry-run", f"::{listed.stdout.strip()}", "create")
    assert "for reading" not in extracted.stderr
    assert lending.end().exit is Exit.OK
