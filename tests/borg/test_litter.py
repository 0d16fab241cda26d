"""What lies in a new host's dataset before its repository is made: litter goes, the rest is kept."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.harness.steps import backup, init
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from zborg.borg.storage.litter import clear_litter
from zborg.borg.storage.repository import entries
from zborg.model import Outcome, Status
from zborg.model.text.remedy import parse
from zborg.process import LocalRunner

WEB = "tank/borg/web1"


def backed_up(vault: LocalVault) -> Outcome:
    return of(backup(vault.context()), "web1")


def home(vault: LocalVault) -> Path:
    vault.add("web1")
    return vault.zfs.directory(WEB)


@pytest.mark.parametrize(
    "names",
    [
        [".zfs/"],
        ["lost+found/"],
        [".DS_Store"],
        ["._.", "Thumbs.db", ".Trash-1000/", ".nfs000000000012"],
        [".zfs/", "lost+found/", ".DS_Store", ".fseventsd/"],
    ],
)
def test_a_repository_is_made_whatever_harmless_lies_there(vault: LocalVault, names: list[str]) -> None:
    place = home(vault)
    for name in names:
        (place / name).mkdir() if name.endswith("/") else (place / name).write_bytes(b"x" * 100)
    outcome = backed_up(vault)
    assert outcome.status is Status.OK, outcome
    assert (place / "config").exists() and not (place / ".zfs").exists()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        ({"photos/a": 1}, "photos"),
        ({"lost+found/#123": 1}, "lost+found"),  # fsck found something of somebody's
        ({".DS_Store": 1 << 20}, ".DS_Store"),  # too large to be what it is called
        ({"two words": 1}, "'two words'"),
        ({"config": 1, "data/0/1": 1 << 20}, "config, data"),
    ],
)
def test_what_is_not_harmless_is_named_and_kept(vault: LocalVault, make: dict[str, int], named: str) -> None:
    place = home(vault)
    for name, size in make.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"x" * size)
    outcome = backed_up(vault)
    assert outcome.status is Status.CONFLICT and named in outcome.message, outcome
    kind = "a repository that this host does not know" if "config" in make else "files that are no repository"
    assert kind in outcome.message and str(place) in outcome.message
    assert all((place / name).exists() for name in make)


def test_the_remedy_keeps_all_under_a_free_name_and_the_next_backup_is_good(vault: LocalVault) -> None:
    place = home(vault)
    (place / "photos").mkdir()
    vault.zfs.create(f"{WEB}-1", {})
    sentence, commands = parse(backed_up(vault).remedy)
    assert sentence.startswith("the first on this machine, as root")
    rename, make = map(shlex.split, commands)
    assert rename == ["zfs", "rename", WEB, f"{WEB}-2"] and make == ["zborg", "init", "web1"]
    del vault.zfs._all[WEB]  # as renamed: the in-memory ZFS knows no rename
    place.rename(place.with_name("web1-2"))
    assert init(vault.context(), ["web1"]).exit == 0
    assert backed_up(vault).status is Status.OK
    assert (place.with_name("web1-2") / "photos").is_dir()


def test_init_hides_snapshots_of_old_datasets_and_of_new_ones(vault: LocalVault) -> None:
    vault.add("web1")
    vault.add("db1", dataset=False)
    init(vault.context())
    for name in ("tank/borg", WEB, "tank/borg/db1"):
        assert vault.zfs._all[name].properties["snapdir"] == "hidden"


def test_no_link_and_nothing_below_is_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "home", tmp_path / "outside"
    (inside / "photos").mkdir(parents=True)
    outside.mkdir()
    (inside / "photos" / ".DS_Store").touch()
    (inside / "lost+found").symlink_to(outside)
    (inside / "Thumbs.db").symlink_to(inside / "photos")
    clear_litter(LocalRunner(), str(inside))
    assert set(entries(LocalRunner(), str(inside))) == {"photos", "lost+found", "Thumbs.db"}
    assert (inside / "photos" / ".DS_Store").exists() and outside.is_dir()
