"""A host's drill: real agent, real sshd, real borg 1.2 and 1.4; and servers that show something else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.audit import tampering
from tests.harness.machines.agent import A1, A2, NAMES, SECRET, Lab, output, wait_until
from tests.harness.machines.borgs import borg_of
from tests.harness.machines.host import find_borg
from tests.harness.machines.join import Joined

FILES = 40
MISMATCH = 70


class Drilled:
    """A host with two archives, and the repository as it was after each."""

    def __init__(self, directory: Path, enrolled: Path, shell: str, borg: str) -> None:
        self.lab = Lab(directory, shell, "auto")
        self.borg = borg
        data = self.lab.data
        for number in range(FILES):
            (data / f"file{number:02}").write_bytes(os.urandom(1000 + number))
        (data / "big").write_bytes(os.urandom(3 * 1048576 + 5))
        (data / "exact").write_bytes(os.urandom(1048576))
        (data / "empty").touch()
        (data / "too-big").write_bytes(bytes(9_000_000))
        (data / "left-out").mkdir()
        (data / "left-out" / "file").write_text("x")
        (data / "twin").write_text("x")
        (data / "brother").hardlink_to(data / "twin")
        age(data)
        self.lab.init(enrolled)
        self.configure()

    def configure(self, *extra: str, drill: str = "yes") -> None:
        conf = (f"drill = {drill}", "drill_bytes = 8000000", f"exclude = {self.lab.data}/left-*", *extra)
        self.lab.configure(*conf, borg=self.borg)

    def backed_up(self) -> Drilled:
        self.lab.ok("create", "web1", A1)
        self.keep("first")
        (self.sampled / "last").write_text("0\n")  # as if it were a day ago
        (self.lab.data / "later").write_text("later")
        age(self.lab.data)
        self.lab.ok("create", "web1", A2)
        self.keep("second")
        return self

    @property
    def sampled(self) -> Path:
        return self.lab.host.state / "drill"

    @property
    def repository(self) -> Path:
        return self.lab.root / "web1"

    def keep(self, name: str) -> None:
        shutil.copytree(self.repository, self.lab.root / name)

    def show(self, name: str) -> None:
        """The server lends this state."""
        shutil.rmtree(self.repository)
        shutil.copytree(self.lab.root / name, self.repository)

    def drill(self, archive: str = A2, **options: Any) -> Joined:
        return self.lab.verb("drill", "web1", archive, **options)

    def names(self, archive: str) -> list[str]:
        lines = (self.sampled / archive).read_text().splitlines()
        return [line.rpartition("/")[2] for line in lines if line.startswith("+ ")]


def age(directory: Path) -> None:
    """By a minute: busybox's find takes what was written in the second of the backup for changed."""
    for path in directory.rglob("*"):
        os.utime(path, (time.time() - 60,) * 2)


@pytest.fixture(scope="module", params=[("sh", "1.2"), ("busybox", "1.4")], ids=lambda one: "-".join(one))
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, enrolled: Path
) -> Iterator[Drilled]:
    shell, version = request.param
    one = Drilled(tmp_path_factory.mktemp("drilled"), enrolled, shell, borg_of(version))
    with one.lab.host:
        yield one.backed_up()


@pytest.fixture
def drilled(made: Drilled) -> Drilled:
    """As after the second backup."""
    made.configure()
    made.show("second")
    return made


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    """All files but those of the running session."""
    found = (path for path in directory.rglob("*") if path.is_file() and path.parent.name != "sshd")
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def test_the_host_reads_what_it_backed_up_and_writes_nothing(drilled: Drilled) -> None:
    drilled.configure("report_paths = yes")
    before = tree(drilled.lab.host.state)
    result = drilled.drill()
    assert result.status == 0, result.stderr
    answer = output(result)
    files = len(drilled.names(A2)) - 1
    assert answer["canary"] == "yes" and (answer["mismatched"], answer["unfinished"]) == (0, 0)
    assert files == answer["files"] == answer["sampled"] and answer["files"] > FILES
    assert answer["population"] == answer["files"] + 1, "the one that is larger than drill_bytes"
    assert SECRET not in result.stderr, "a drill answers numbers, whatever report_paths says"
    after = tree(drilled.lab.host.state)
    assert {name for name in after if before.get(name) != after[name]} == set()


def test_what_is_sampled_can_be_compared(drilled: Drilled) -> None:
    """Of all that was backed up, what has bytes of its own; and of each archive its own canary."""
    names = drilled.names(A1)
    assert len(names) == len(set(names)) and names[0] == "canary"
    assert {"empty", "too-big", "twin", "brother", "file"} & set(names) == set()
    assert {f"file{n:02}" for n in range(FILES)} | {"big", "exact", 'quo"te', NAMES[4]} <= set(names)
    assert "later" not in names and "later" in drilled.names(A2)
    canaries = {(drilled.sampled / one).read_text().splitlines()[1].split()[2] for one in (A1, A2)}
    assert len(canaries) == 2
    assert (drilled.sampled / A1).stat().st_mode & 0o777 == 0o600


def test_damage_is_found_and_counted(drilled: Drilled) -> None:
    for act in (tampering.flipped, tampering.repaired):
        drilled.show("second")
        act(drilled.repository)
        result = drilled.drill()
        assert result.status == MISMATCH and "E_DRILL what is lent is not what" in result.stderr, (
            result.stderr
        )
        assert SECRET not in result.stderr
        assert output(result)["files"] < output_of_sample(drilled)


def output_of_sample(drilled: Drilled) -> int:
    return len(drilled.names(A2)) - 1


def test_another_state_or_an_empty_repository_is_no_backup(drilled: Drilled) -> None:
    drilled.show("first")
    older = drilled.drill()
    assert older.status == MISMATCH, older.stderr
    assert drilled.drill(A1).status == 0, "for the archive that is in it, it is the right one"
    drilled.show("second")
    assert drilled.drill(A1).status == 0
    shutil.rmtree(drilled.repository)
    drilled.repository.mkdir()
    nothing = drilled.drill()
    assert nothing.status == MISMATCH, nothing.stderr
    env = {"PATH": os.defpath, "BORG_BASE_DIR": str(drilled.lab.root / ".forger"), "BORG_PASSPHRASE": "x"}
    for kind in ("none", "keyfile-blake2"):
        shutil.rmtree(drilled.repository)
        argv = [find_borg(), "init", "-e", kind, drilled.repository]
        subprocess.run(argv, env=env, check=True, capture_output=True)
        foreign = drilled.drill()
        assert foreign.status in (MISMATCH, 76), foreign.stderr
        (drilled.lab.host.state / "alarm").unlink(missing_ok=True)
        clear_security(drilled)


def clear_security(drilled: Drilled) -> None:
    security = drilled.lab.host.state / "borg/.config/borg/security"
    own = (drilled.lab.host.state / "repository-id").read_text().strip()
    for entry in security.iterdir():
        if entry.name != own:
            shutil.rmtree(entry)


def test_another_content_under_the_same_name_is_found(drilled: Drilled) -> None:
    """As if borg gave bytes that it takes for good: one file's, and the canary's."""
    sample = drilled.sampled / A2
    text = sample.read_text()
    lines = text.splitlines()
    try:
        for mark in ("#=", "#!"):
            (at, *_) = [n for n, line in enumerate(lines) if line.startswith(mark)]
            words = lines[at].split(" ", 3)
            other = [*lines[:at], " ".join([*words[:2], "0" * 64, words[3]]), *lines[at + 1 :]]
            sample.write_text("\n".join(other) + "\n")
            result = drilled.drill()
            assert result.status == MISMATCH, (mark, result.stderr)
            answer = output(result)
            assert answer["mismatched"] + answer["unfinished"] == 1
            assert answer["files"] == answer["sampled"] - (mark == "#=")
    finally:
        sample.write_text(text)


def test_a_server_that_hangs_up_proves_nothing(drilled: Drilled) -> None:
    """No damage, and no drill either."""
    serve = f"{find_borg()} serve --restrict-to-repository {drilled.repository} | dd bs=1 count=200000"
    result = drilled.drill(serve=("sh", "-c", serve))
    assert result.status not in (0, MISMATCH, 76), result.stderr
    assert output(result)["files"] < output_of_sample(drilled)


def test_what_root_did_not_allow_is_refused(drilled: Drilled) -> None:
    drilled.configure(drill="no")
    assert b"\ndrill no\n" in drilled.lab.host.call("version").stdout
    assert "E_DRILL_OFF " in drilled.drill().stderr
    drilled.configure()
    assert f"\ndrill yes\nsampled {A1} {A2}\n".encode() in drilled.lab.host.call("version").stdout
    unknown = drilled.drill("web1-2026-03-01T000000Z")
    assert unknown.status == 2 and "E_NO_SAMPLE " in unknown.stderr
    for words in (
        "drill web1",
        "drill web1 last",
        f"drill web1 {A1} /etc/passwd",
        "drill web1 ../../etc/passwd",
    ):
        assert drilled.lab.host.call(words).returncode == 2, words
    sample = drilled.sampled / A1
    sample.chmod(0o644)
    assert "E_ACCESS " in drilled.drill(A1).stderr
    sample.chmod(0o600)
    for line in ("drill_files = 0", "drill_files = 1001", "drill_bytes = 1G", "drill = maybe"):
        drilled.configure(line)
        assert "E_CONF " in drilled.drill().stderr, line


def test_killed_in_the_middle_it_leaves_nothing(drilled: Drilled) -> None:
    """The next verb finds the host as it was."""
    before = tree(drilled.lab.host.state)
    stalls = "(dd bs=1 count=200000; sleep 60)"
    serve = f"{find_borg()} serve --restrict-to-repository {drilled.repository} | {stalls}"
    with drilled.lab.host.pair(drilled.lab.root, "drill", "web1", A2, serve=("sh", "-c", serve)) as pair:
        pid = drilled.lab.agent_pid()
        wait_until(lambda: borg_runs(drilled), lambda: pair.left_stderr())
        os.kill(pid, signal.SIGKILL)
        pair.left.wait(60)
    wait_until(lambda: not drilled.lab.processes(), lambda: str(drilled.lab.processes()))
    assert drilled.lab.ok("list", "web1", "1")
    after = tree(drilled.lab.host.state)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed <= {str(drilled.lab.host.state / "python")}, "looked for again after what failed"


def borg_runs(drilled: Drilled) -> bool:
    return any("extract" in line for line in drilled.lab.processes())


def test_a_sample_a_day_of_so_many_files(drilled: Drilled) -> None:
    """Each archive costs nothing more within twenty hours; the oldest samples go."""
    drilled.configure("drill_files = 3")
    (drilled.sampled / "last").write_text("0\n")
    names = [f"web1-2026-01-{day:02}T000000Z" for day in range(3, 5)]
    for name in names:
        drilled.lab.ok("create", "web1", name)
    sampled = drilled.names(names[0])
    assert 3 <= len(sampled) <= 4, (
        "the canary and three; the one that is larger than drill_bytes may be among them"
    )
    assert not (drilled.sampled / names[1]).exists()
    assert drilled.drill(names[0]).status == 0
    real = f'{drilled.borg} "$@"; status=$?\necho changed >>{drilled.lab.data}/file00\nexit $status\n'
    drilled.lab.configure("drill = yes", borg=drilled.lab.script("changes-a-file", real))
    (drilled.sampled / "last").write_text("0\n")
    drilled.lab.ok("create", "web1", "web1-2026-01-06T000000Z")
    assert "file01" in drilled.names("web1-2026-01-06T000000Z"), "and what borg did not read so is left out"
    assert "file00" not in drilled.names("web1-2026-01-06T000000Z")
    drilled.configure("drill_files = 3")
    for day in range(1, 20):
        (drilled.sampled / f"web1-2025-12-{day:02}T000000Z").touch()
    (drilled.sampled / "last").write_text("broken")
    drilled.lab.ok("create", "web1", "web1-2026-01-07T000000Z")
    assert len(list(drilled.sampled.glob("web1-*"))) == 14 and (drilled.sampled / A1).exists()
