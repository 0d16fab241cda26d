"""docs/restore.md, run as it stands: real borg, sshd, agent and sink, on the in-memory ZFS.

What needs a real pool is run in test_restore_howto_lab.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.reader import Away, Offsite
from tests.harness.restore.howto import IN_THE_LAB, Shim, blocks, replaced
from tests.harness.steps import backup, snapshot
from tests.harness.watch import until
from tests.harness.worlds.fresh import custodian
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, snapnames, world
from zborg.interrupt import cancelled

FILES = "Files, back onto their host"
BY_HAND = "Borg by hand, on the host"
WHOLE = "A whole repository, out of a snapshot"
HERE = (
    f"{FILES}: on vault",
    f"{FILES}: on web1",
    f"{FILES}: on vault, once it is allowed",
    f"{FILES}: on web1, in the end",
    f"{BY_HAND}: on vault, and leave it there",
    f"{BY_HAND}: on web1, in a shell of its own",
    f"{WHOLE}: on vault",
    f"{WHOLE}: on vault, the off-site without a sink",
    f"{WHOLE}: on vault, the off-site behind a sink",
    "The host is gone: on rescue, with the repository in /srv/web1",
    "A history that was set aside: on vault, of a host that was rebuilt",
)


@dataclass
class Page:
    """The page with this test's names in it. Places that are written to lie below `directory`."""

    directory: Path
    host: BackedUpHost
    shim: Shim
    key: str  # what the host's owner has kept
    set_aside: dict[str, str] = field(default_factory=dict)  # where the dataset of that name is here

    @property
    def names(self) -> dict[str, str]:
        """The one table of what is replaced."""
        places = ("/srv/web1", "/restored", "/root/back", "/media/stick")
        table = {place: f"{self.directory}{place}" for place in places}
        table["etc/nginx"] = str(self.host.data).lstrip("/")
        table["/usr/local/libexec/zborg-agent"] = f"sh {self.host.agent} {self.host.confdir}"
        table["/var/lib/zborg/restore"] = str(self.host.state / "restore")
        return table | self.set_aside

    def start(self, title: str) -> subprocess.Popen[str]:
        text = replaced(blocks()[title], self.names)
        path = f"{self.directory}/bin:{Path(find_borg()).parent}:{os.environ['PATH']}"
        passphrase = self.key.partition("# Passphrase:\n")[2].splitlines()[0]
        env = {"PATH": path, "HOME": str(self.directory / "root")}
        if "on rescue" in title:  # what the person at the keyboard answers
            env |= {"BORG_PASSPHRASE": passphrase, "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
        return subprocess.Popen(
            ["sh", "-euc", text],
            cwd=self.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, title: str, expect: int = 0) -> str:
        with self.start(title) as child:
            out, err = child.communicate(timeout=120)
        assert child.returncode == expect, f"{title}\n{out}\n{err}"
        return out

    def restored(self, place: str) -> str:
        return (self.directory / place / str(self.host.data / "file").lstrip("/")).read_text()


@pytest.fixture
def page(vault: LocalVault, clock: Hours) -> Iterator[Page]:
    """web1's file "of web1" is in the page's archive and snapshot; a day later it is another one."""
    vault.state.joinpath("frozen").mkdir(exist_ok=True)
    host, context = vault.add("web1"), world(vault, clock)
    clock.now -= timedelta(minutes=19, seconds=26)
    for text in ("of web1", "changed"):
        (host.data / "file").write_text(text)
        backup(context)
        clock.tick((19 * 60 + 26) / 3600)
        snapshot(context)
        clock.tick(24)
    for place in ("srv", "root", "media/stick"):
        (vault.directory / place).mkdir(parents=True)
    with Shim(vault.directory / "bin", context) as shim:
        yield Page(vault.directory, host, shim, host.local("--key-export").stdout)


def test_every_block_of_the_page_is_run_by_a_test() -> None:
    found = blocks()
    assert set(found) == {*HERE, *IN_THE_LAB} and len(found) == len(HERE) + len(IN_THE_LAB)


def test_files_back_onto_their_host(page: Page, vault: LocalVault) -> None:
    assert snapnames(vault, "tank/borg/web1")[0] == "zborg_2026-02-12T144933Z", "as on the page"
    first, allow, again, look = HERE[:4]
    told = page.run(first)
    (line,) = [line for line in told.splitlines() if "--allow-restore" in line]
    assert line.strip() in blocks()[allow].replace("/etc/nginx", str(page.host.data)), "the line to copy"
    page.run(allow)
    page.run(again)
    assert page.run(look).split() == ["file"]
    (place,) = (page.host.state / "restore").iterdir()
    assert page.restored(str(place)) == "of web1"


def test_borg_by_hand(page: Page) -> None:
    serve, by_hand = HERE[4:6]
    waiting = page.start(serve)
    try:
        until((page.host.run / "lend" / "rsh").exists, "it is lent")
        assert "web1-2026-02-12T143007Z" in page.run(by_hand)
    finally:
        cancelled.set()  # Ctrl-C
        out, err = waiting.communicate(timeout=120)
        cancelled.clear()
    assert waiting.returncode == 0, out + err
    assert page.restored("root/back") == "of web1"


@pytest.mark.usefixtures("stick")
def test_a_whole_repository_and_the_host_is_gone(page: Page, away: Away, clock: Hours) -> None:
    """From the storage, a target, and from behind a sink; the first and the last are read on `rescue`."""
    storage, open_target, sink, rescue = HERE[6:10]
    top, near = page.directory, page.shim.context
    behind = away(near)
    for title, context in ((storage, near), (open_target, near), (sink, replace(behind, clock=clock))):
        page.shim.context = context
        page.run(title)
    secret, public = custodian(top)
    secret.rename(top / "media/stick/custodian.key")
    subprocess.run(["age", "-r", public, "-o", top / "web1.age"], input=page.key.encode(), check=True)
    for copy in ("web1", "web1-read"):
        (top / "srv" / copy).rename(top / "srv/web1")
        assert "web1-2026-02-12T143007Z" in page.run(rescue)
        assert page.restored("restored") == "of web1"
        for place in ("srv/web1", "restored"):
            shutil.rmtree(top / place)


def test_a_history_that_was_set_aside(page: Page) -> None:
    page.set_aside["tank/web1-2026"] = "tank/borg/web1"
    listed = page.run(HERE[10])
    assert "zborg_2026-02-12T144933Z" in listed and (page.directory / "srv/web1-2026/config").is_file()


@pytest.fixture
def stick(page: Page, reading: Offsite) -> None:
    (page.directory / "media/stick/offsite-read").symlink_to(reading.reader)
