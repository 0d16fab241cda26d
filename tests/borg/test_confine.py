"""Whose a repository is (borg/storage/confine.py), and that root follows no link below a host's dataset."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.harness.machines.hostile.intruder import fill
from tests.harness.steps import backup, init
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.borg.storage.confine import below, confine
from zborg.borg.storage.repository import (
    Begun,
    RepositoryConfig,
    begun_and_confined,
    configs,
    last_transactions,
    repository_id,
    serving,
)
from zborg.errors import Exit, ZborgError
from zborg.model import NUMBERS, Status
from zborg.process import LocalRunner

STORAGE = LocalRunner()
NOBODY = 65534


@pytest.fixture
def homes(tmp_path: Path) -> list[Path]:
    """Two repositories as one account wrote them."""
    made = [tmp_path / "borg" / name for name in ("web1", "web2")]
    for home in made:
        fill(home)
        for path in (home, *home.rglob("*")):
            os.lchown(path, NOBODY, NOBODY)
    return made


def owned(homes: list[Path], account: str = "", **more: bool) -> list[int]:
    found = confine(STORAGE, [str(home) for home in homes], account, **more)  # type: ignore[arg-type]  # options of any kind
    return [found[str(home)].uid for home in homes]


def facts(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def test_each_host_has_a_number_of_its_own_that_stays(homes: list[Path]) -> None:
    first, second = owned(homes)
    assert first != second and {first, second} <= set(NUMBERS)
    for home, number in zip(homes, (first, second), strict=True):
        assert facts(home) == (0, number, 0o1770), "root's: there only what is one's own may be removed"
        assert facts(home / "config") == (0, number, 0o640), "or a host could destroy its repository"
        assert facts(home / "data" / "0" / "1")[:2] == (number, number)
    assert facts(homes[0].parent)[2] == 0o711, "who is in one does not list the others"
    assert owned(homes) == [first, second]
    found = confine(STORAGE, [str(home) for home in homes], look=True)
    assert not any(one.changed for one in found.values())


def test_a_migration_that_was_killed_half_way_is_done_by_the_next(homes: list[Path]) -> None:
    """The directory changes last, so that it says whether all below it was changed."""
    (number, _) = owned(homes, look=True)
    assert facts(homes[0])[1] == NOBODY, "only looked at"
    for path in list(homes[0].rglob("*"))[:5]:  # as far as the first came
        os.lchown(path, number, number)
    assert owned(homes)[0] == number
    whose = {facts(path)[:2] for path in homes[0].rglob("*") if path.name != "config"}
    assert whose == {(number, number)}


def test_of_two_with_the_same_number_the_later_one_gets_another(homes: list[Path]) -> None:
    """A copy that came back under another name has the number of the original."""
    first, _ = owned(homes)
    for path in homes[1].rglob("*"):
        os.lchown(path, first, first)
    os.chown(homes[1], 0, first)
    assert confine(STORAGE, [str(homes[1])], look=True)[str(homes[1])].changed
    again = owned(homes)
    assert again[0] == first and again[1] != first
    assert facts(homes[1] / "data" / "0" / "1")[:2] == (again[1], again[1])


def test_an_account_can_own_it_and_give_it_back(homes: list[Path]) -> None:
    """As for a host whose `borg serve` an sshd starts, or a storage elsewhere."""
    assert owned(homes, "nobody") == [NOBODY, NOBODY]
    assert facts(homes[0])[:1] == (0,) and facts(homes[0] / "data")[0] == NOBODY
    assert set(owned(homes)) <= set(NUMBERS)
    with pytest.raises(ZborgError, match="there is no user nosuchuser") as missing:
        owned(homes, "nosuchuser")
    assert "useradd --system nosuchuser" in missing.value.remedy


def test_a_mode_that_the_host_set_meanwhile_does_not_stay(homes: list[Path]) -> None:
    owned(homes)
    (homes[0] / "config").chmod(0o666)
    owned(homes)
    assert facts(homes[0] / "config")[2] == 0o640


def test_what_has_a_commit_is_confined_by_the_command_that_reads_it(homes: list[Path]) -> None:
    (homes[0] / "transactions").write_text("transaction 7, UTC time 2026-02-12T14:49:33.123456\n")
    assert begun_and_confined(STORAGE, str(homes[0]), "") == Begun(7)
    assert facts(homes[0])[1] in NUMBERS
    assert facts(homes[0] / "config") == (0, facts(homes[0])[1], 0o640)
    with pytest.raises(ZborgError, match="there is no user nosuchuser"):
        begun_and_confined(STORAGE, str(homes[0]), "nosuchuser")


def test_its_form_is_seen_by_the_same_command(homes: list[Path]) -> None:
    (homes[0] / "transactions").write_text("transaction 7, UTC time 2026-02-12T14:49:33.123456\n")
    (homes[0] / "packs").mkdir()
    assert begun_and_confined(STORAGE, str(homes[0]), "") == Begun(7, 2)


@pytest.mark.parametrize("text", [None, "", "somebody's own file\n"])
def test_what_has_no_commit_is_left_as_it_is(homes: list[Path], text: str | None) -> None:
    """It may be files of somebody's, which are refused and not given away."""
    before = [facts(path) for path in (homes[0], *sorted(homes[0].rglob("*")))]
    (homes[0] / "transactions").unlink(missing_ok=True)
    if text is not None:
        (homes[0] / "transactions").write_text(text)
    assert begun_and_confined(STORAGE, str(homes[0]), "") == Begun(0)
    left = sorted(path for path in homes[0].rglob("*") if path.name != "transactions")
    assert all(facts(path) in before for path in (homes[0], *left))


def test_a_repository_that_this_run_makes_is_confined_before_its_first_archive(vault: LocalVault) -> None:
    """There was no commit when it was looked for, so nothing was given away then."""
    vault.add("web1")
    assert backup(vault.context()).exit is Exit.OK
    home = vault.zfs.directory("tank/borg/web1")
    assert (facts(home)[2], facts(home / "config")[2]) == (0o1770, 0o640)


# --- links, pipes and races ---------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of root's outside, that says what a repository would say."""
    path = tmp_path / "outside" / "secret"
    path.parent.mkdir()
    path.write_text("id = " + "f" * 64 + "\ntransaction 7, UTC time 2026-02-12T14:49:33\n")
    path.chmod(0o600)
    return path


def test_no_link_in_the_place_of_a_file_is_followed(homes: list[Path], secret: Path) -> None:
    home = homes[0]
    for name in ("config", "transactions"):
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(secret)
    (home / "data" / "1").symlink_to(secret.parent)
    before = facts(secret), facts(secret.parent)
    owned(homes)
    assert (facts(secret), facts(secret.parent)) == before
    assert last_transactions(STORAGE, [str(home)]) == {}
    assert repository_id(STORAGE, str(home)) == "" and configs(STORAGE, [str(home)]) == {
        str(home): RepositoryConfig()
    }


def test_a_directory_in_the_place_of_a_dataset_is_no_link_either(homes: list[Path], secret: Path) -> None:
    link = homes[0].parent / "web3"
    link.symlink_to(secret.parent)
    before = facts(secret.parent)
    with pytest.raises(ZborgError):
        confine(STORAGE, [str(link)])
    assert facts(secret.parent) == before


def test_a_pipe_keeps_nobody_waiting(homes: list[Path]) -> None:
    home = homes[0]
    for name in ("config", "transactions"):
        (home / name).unlink(missing_ok=True)
        os.mkfifo(home / name)
    there = [str(home)]
    assert len(below(STORAGE, there, "own", "nobody", "", "", "0", "0", timeout=120)) == 1
    assert below(STORAGE, there, "last", timeout=120) == [""]
    assert below(STORAGE, there, "config", timeout=120) == ["- - -"]


@pytest.mark.parametrize(
    "number", [b"no id", b"a" * 63, b"A" * 64, b"a" * 64 + b"\r", b"\xff" * 64, b"a b" * 30]
)
def test_an_id_that_a_host_made_up_is_none(homes: list[Path], number: bytes) -> None:
    home = homes[0]
    (home / "config").write_bytes(b"[repository]\nid = " + number + b"\nkey = secret\n")
    assert configs(STORAGE, [str(home)]) == {str(home): RepositoryConfig(has_key=True)}


def test_config_under_a_second_name_stays_root_s(homes: list[Path]) -> None:
    owned(homes)
    os.link(homes[0] / "config", homes[0] / "data" / "0" / "9")
    os.chown(homes[0], 0, NOBODY)  # so that all is given away once more
    number = owned(homes)[0]
    assert facts(homes[0] / "config") == (0, number, 0o640)


def test_swapping_config_for_a_link_meanwhile_changes_nothing_outside(
    homes: list[Path], secret: Path
) -> None:
    """What took 15 tries: between looking at a name and changing it stood another file there."""
    home, before = homes[0], facts(secret)
    with _swapping(home, secret):
        for _ in range(15):
            os.chown(home, NOBODY, NOBODY)
            with suppress(ZborgError):  # what is gone in the middle of it is an error, for the next run
                owned(homes)
    assert facts(secret) == before


@contextmanager
def _swapping(home: Path, secret: Path) -> Iterator[None]:
    """config and a segment's directory, each a plain one and a link to the outside by turns."""
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for name, outside in (("config", secret), ("data/0", secret.parent)):
                path, aside = home / name, home / f"{name}.aside"
                path.rename(aside)
                path.symlink_to(outside)
                path.unlink()
                aside.rename(path)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# --- who serves ---------------------------------------------------------------------------------------


def test_only_processes_of_the_host_s_own_number_count_as_its_borg_serve() -> None:
    """Anybody could start one that looks so, and keep a left lock from being broken for ever."""
    looks_so = ["--append-only", "--restrict-to-repository", "/tank/borg/confine-test"]
    argv = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", *looks_so]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"\n"
        try:
            assert serving(STORAGE, "confine-test", "71234") == ()
            assert serving(STORAGE, "confine-test", "0") == (process.pid,)
        finally:
            process.kill()


# --- a server of an older zborg -----------------------------------------------------------------------


def test_init_gives_repositories_of_one_account_to_their_hosts_but_not_during_a_backup(
    vault: LocalVault, clock: Hours
) -> None:
    vault.user = "nobody"
    vault.add("web1")
    vault.add("db1")
    for name in ("web1", "db1"):
        home = vault.zfs.directory(f"tank/borg/{name}")
        fill(home)
        for path in (home, *home.rglob("*")):
            os.lchown(path, NOBODY, NOBODY)
    context = world(vault, clock)
    with context.locks.hold("host-web1"):
        first = init(context)
    waits, done = of(first, "tank/borg/web1"), of(first, "tank/borg/db1")
    assert waits.status is Status.WARNING and "until its backup has ended" in waits.message
    assert waits.remedy == "zborg init web1"
    assert facts(vault.zfs.directory("tank/borg/web1"))[1] == NOBODY
    assert "now for number" in done.message
    assert "now for number" in of(init(world(vault, clock), ["web1"]), "tank/borg/web1").message
    assert facts(vault.zfs.directory("tank/borg/web1"))[1] in NUMBERS
    assert of(init(world(vault, clock)), "tank/borg/web1").message == "is there"
