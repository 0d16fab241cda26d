"""The lab's own parts, without a guest: recipe, cache, packages, commands, a dead process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.watch import until
from tests.lab import qemu, tools
from tests.lab.build import Builder
from tests.lab.cache import StageCache
from tests.lab.errors import CommandFailed, LabError
from tests.lab.guest import Guest
from tests.lab.recipe import SUITES, Stage, recipe
from tests.lab.rundir import RunDir, check_name

Run = Callable[[list[str]], None]


def quiet(text: str) -> None:
    del text


def builder(folder: Path) -> Builder:
    return Builder(recipe(), StageCache(folder / "cache"), folder / "log", quiet)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZBORG_LAB_CACHE", str(tmp_path / "lab"))
    monkeypatch.delenv("ZBORG_LAB_RUN", raising=False)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b"},
        {"suite": "bookworm"},
        {"packages": ("one", "three")},
        {"files": {"x.sh": "false"}},
        {"after": ("1234",)},
    ],
)
def test_every_part_of_a_stage_changes_its_key(change: dict[str, object]) -> None:
    stage = Stage("a", "trixie", ("one", "two"), {"x.sh": "true"})
    assert stage.changed(**change).key != stage.key


def test_the_order_of_packages_does_not_change_the_key() -> None:
    assert Stage("a", "s", ("one", "two")).key == Stage("a", "s", ("two", "one")).key


def test_a_changed_boot_script_remakes_the_disk_alone(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for stage in recipe().stages:
        for name, text in stage.files.items():
            (files / name).write_text(text)
    before = recipe(files=files)
    (files / "boot.sh").write_text("exit 1\n")
    after = recipe(files=files)
    same = [old.key == new.key for old, new in zip(before.stages, after.stages, strict=True)]
    assert same == [True, True, False]


def test_each_suite_has_a_recipe_of_its_own_and_others_are_refused() -> None:
    keys = {stage.key for suite in SUITES for stage in recipe(suite).stages}
    assert len(keys) == 3 * len(SUITES)
    with pytest.raises(ValueError, match="trixie"):
        recipe("potato")


def test_a_failed_stage_leaves_no_mark_and_is_made_again(tmp_path: Path) -> None:
    build, made = builder(tmp_path), []
    stage = build.recipe.root

    def fails(part: Path, run: Run) -> None:
        (part / "half").write_text("half")
        run(["sh", "-c", "echo the reason; exit 3"])

    def works(part: Path, run: Run) -> None:
        made.append(sorted(path.name for path in part.iterdir()))
        run(["touch", str(part / "whole")])

    with pytest.raises(LabError, match="the reason"):
        build.build_stage(stage, fails)
    assert not build.cache.has(stage)
    done = build.build_stage(stage, works)
    build.build_stage(stage, works)
    assert made == [[]], "made once, from an empty folder"
    assert [path.name for path in done.iterdir()] == ["whole"]
    assert list(build.cache.folder.iterdir()) == [done], "nothing of the failed attempt is left"


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["dpkg", "zborg-lab-no-such-package", "libc6"]
    assert tools.missing_packages(wanted) == ["zborg-lab-no-such-package"]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match="zborg-lab-no-such-package"):
        tools.require_packages(wanted, tmp_path / "log", quiet)


def test_a_command_that_fails_shows_its_error_text() -> None:
    with pytest.raises(CommandFailed, match="no space") as failure:
        tools.run(["sh", "-c", "echo no space >&2; exit 7"])
    assert (failure.value.returncode, failure.value.stderr) == (7, "no space\n")


def test_a_command_out_of_time_is_ended() -> None:
    with pytest.raises(CommandFailed) as failure:
        tools.run(["sleep", "60"], timeout=0.2)
    assert failure.value.returncode is None


def test_a_long_command_out_of_time_takes_its_children_with_it(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 60 & echo $! > {child}; wait"
    with pytest.raises(CommandFailed):
        tools.run_logged(["sh", "-c", script], tmp_path / "log", timeout=1, tick=lambda: None)
    stat = Path(f"/proc/{child.read_text().strip()}/stat")
    # Orphaned and ended; where nothing reaps orphans it is a zombie.
    until(lambda: not stat.exists() or stat.read_text().split()[2] == "Z", "it has ended")


def test_a_held_lock_is_waited_for_with_an_end(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        tools.locked(lock, timeout=1),
        pytest.raises(LabError, match="lock"),
        tools.locked(lock, timeout=0.3),
    ):
        pytest.fail("two holders")
    with tools.locked(lock, timeout=0):
        pass


def run_with_pid(folder: Path, pid: int) -> RunDir:
    run = RunDir(folder / "guest")
    run.folder.mkdir()
    run.pid_file.write_text(f"{pid}\n")
    return run


def test_a_dead_process_is_noticed(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "guest")
    argv = ["sh", "-c", "sleep 60", "-pidfile", str(run.pid_file)]
    with subprocess.Popen(argv) as child:
        run = run_with_pid(tmp_path, child.pid)
        try:
            deadline = time.monotonic() + 5
            while qemu.running_pid(run) is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert qemu.running_pid(run) == child.pid
        finally:
            qemu.kill(run)
        assert qemu.running_pid(run) is None, "dead, though nobody has reaped it yet"


def test_another_process_with_the_same_number_is_not_the_guest(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        run = run_with_pid(tmp_path, child.pid)
        assert qemu.running_pid(run) is None
        qemu.stop(run)
        assert child.poll() is None, "and it is not killed"
        child.kill()


def test_a_guest_that_never_was_up_says_so() -> None:
    guest = Guest("nobody")
    with pytest.raises(LabError, match="up nobody"):
        guest.ssh(["true"])
    with pytest.raises(LabError, match="up nobody"):
        guest.start()


def test_without_an_image_up_says_what_to_run() -> None:
    with pytest.raises(LabError, match="scripts/lab build"):
        Guest("nobody").up()


@pytest.mark.parametrize("name", ["", "-a", "a/b", "..", "A", "a" * 41])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(LabError):
        check_name(name)
