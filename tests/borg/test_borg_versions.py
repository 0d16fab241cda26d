"""Host and storage each with borg 1.2 (Debian 12's package) and 1.4, in every pair, through the real tunnel.

borg 1.2 has no BORG_EXIT_CODES, fewer msgids and another order of log lines: what zborg makes of
them has to be the same.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import backup, list_snapshots, restore_files, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, snapnames, world
from zborg.errors import Exit
from zborg.model import Speaker, Status
from zborg.steps.context import Context

SECRET = "payroll-4711"


def pair(vault: LocalVault, clock: Hours, host: str, storage: str) -> tuple[BackedUpHost, Context]:
    """web1 with borg `host`, the storage with borg `storage`."""
    vault.borg = borg_of(storage)
    made = vault.add("web1")
    made.setup("web1", [made.data], borg=borg_of(host))
    return made, world(vault, clock)


def backed_up(context: Context, clock: Hours) -> None:
    report = backup(context)
    assert report.exit is Exit.OK, report.outcomes
    clock.tick()


@pytest.mark.parametrize("storage", BORGS)
@pytest.mark.parametrize("host", BORGS)
def test_what_was_backed_up_comes_back(vault: LocalVault, clock: Hours, host: str, storage: str) -> None:
    source, context = pair(vault, clock, host, storage)
    said = context.tunnel.ask(context.config.hosts[0], "version")
    assert f"borg {host}." in said
    large = source.data / "large"
    large.write_bytes(bytes(range(256)) * 5000)
    backed_up(context, clock)
    (source.data / "umläut and\nline").write_text("odd")
    backed_up(context, clock)
    snapshot(context)
    clock.tick()
    (listed,) = list_snapshots(context, "web1").outcomes
    assert listed.data["state"] == "ok"
    before = contents(source.data)
    assert len(before) == 3
    source.local("--allow-restore", listed.subject, "10000000", str(source.data)).check_returncode()
    shutil.rmtree(source.data)
    report = restore_files(context, "web1", [str(source.data)], "")
    assert report.exit is Exit.OK, report.outcomes
    restored = Path(report.outcomes[0].data["restored"])
    assert contents(restored / str(source.data).lstrip("/")) == before


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


# --- borg 1.2 on the host: the words ------------------------------------------------------------------


def wrong_passphrase(vault: LocalVault, host: BackedUpHost) -> None:
    (host.confdir / "passphrase").write_text("wrong")


def lost_key(vault: LocalVault, host: BackedUpHost) -> None:
    for key in (host.state / "borg/.config/borg/keys").iterdir():
        key.unlink()


def rolled_back(vault: LocalVault, host: BackedUpHost) -> None:
    home = vault.zfs.directory("tank/borg/web1")
    shutil.rmtree(home)
    shutil.copytree(vault.directory / "older", home)


def no_repository(vault: LocalVault, host: BackedUpHost) -> None:
    """Only its history is left, which is what says that there was one."""
    for path in vault.zfs.directory("tank/borg/web1").iterdir():
        if path.name != "transactions":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def missing_path(vault: LocalVault, host: BackedUpHost) -> None:
    host.setup("web1", [host.data, host.data / SECRET], borg=borg_of("1.2"))


CASES: list[tuple[Callable[[LocalVault, BackedUpHost], None], Status, str]] = [
    (wrong_passphrase, Status.FAILED, "the host's passphrase does not open its key"),
    (lost_key, Status.FAILED, "the key file of this repository is gone"),
    (rolled_back, Status.CONFLICT, "ALARM"),
    (no_repository, Status.DAMAGED, "no valid repository"),
    (missing_path, Status.FAILED, "agent.conf names what is not there: line 6"),
]


@pytest.mark.parametrize("storage", BORGS)
def test_failures_of_borg_1_2_are_told_as_those_of_1_4(vault: LocalVault, clock: Hours, storage: str) -> None:
    host, context = pair(vault, clock, "1.2", storage)
    home = vault.zfs.directory("tank/borg/web1")
    backed_up(context, clock)
    shutil.copytree(home, vault.directory / "older")
    backed_up(context, clock)
    shutil.copytree(vault.directory / "web1", vault.directory / "kept")
    shutil.copytree(home, vault.directory / "newer")
    for break_it, status, words in CASES:
        break_it(vault, host)
        outcome = of(backup(context), "web1")
        assert (outcome.status, words in outcome.message) == (status, True), (break_it, outcome)
        assert SECRET not in str(outcome)
        clock.tick()
        for kept, place in (("kept/state", host.state), ("kept/etc", host.confdir), ("newer", home)):
            shutil.rmtree(place)
            shutil.copytree(vault.directory / kept, place)
    backed_up(context, clock)


def test_a_path_that_is_not_in_the_archive_is_a_failed_restore(vault: LocalVault, clock: Hours) -> None:
    """borg 1.2 has no msgid for it and ends with 1, a mere warning."""
    host, context = pair(vault, clock, "1.2", "1.4")
    backed_up(context, clock)
    snapshot(context)
    clock.tick()
    (raw,) = snapnames(vault, "tank/borg/web1")
    host.local("--allow-restore", raw, "1000000", "/nope").check_returncode()
    report = restore_files(context, "web1", ["/nope"], raw)
    assert report.exit is Exit.FAILED
    assert "a path is not in the archive" in report.outcomes[0].message


def hear(heard: list[str], _: Speaker, lines: Sequence[str]) -> None:
    heard.extend(lines)


@pytest.mark.parametrize("storage", BORGS)
def test_no_file_name_leaves_a_host_with_borg_1_2(vault: LocalVault, clock: Hours, storage: str) -> None:
    """Progress, statistics and a warning that names the file, all through the agent's filters."""
    host, context = pair(vault, clock, "1.2", storage)
    (host.data / SECRET).write_text("x")
    (host.data / f'{SECRET}, "levelname": "ERROR"').write_text("x")
    backed_up(context, clock)
    (machine,) = context.config.hosts
    for report_paths, told in (("no", False), ("yes", True)):
        conf = [f"report_paths = {report_paths}"]
        host.setup("web1", [host.data, host.data / f"{SECRET}-gone"], borg=borg_of("1.2"), extra_conf=conf)
        said: list[str] = []
        archive = f"web1-{clock.now:%Y-%m-%dT%H%M%SZ}"
        listen = functools.partial(hear, said)
        assert context.tunnel.verb(machine, ["create", "web1", archive], listen) == 77
        assert any('"archive_progress"' in line for line in said)
        assert (SECRET in "\n".join(said)) == told, said
        clock.tick()
