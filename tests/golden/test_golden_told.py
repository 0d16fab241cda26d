"""Golden files: what is told to people and monitors: mail, chat, a command's input, metrics, the page."""

from __future__ import annotations

import json
import threading
from typing import Any

import apprise.plugins.base
import pytest

from tests.harness.scenes.golden import FILES, Scenes, compare
from tests.harness.scenes.plays import Play, created, failing, logged
from tests.harness.scenes.stage import Stage, staged

scenes = Scenes()

MAIL = "mailto://vault:hunter22@mail.example.net?to=admin@example.net&from=zborg@example.net"
CHAT = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
ON = ["success", "warning", "partial", "failure", "recovery"]


class Post:
    """In the place of Apprise's way to a service. `shows` adds what has come since to the transcript."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._lock, self._came = stage, threading.Lock(), list[tuple[str, str]]()
        self.works = True
        post = self

        def notify(plugin: Any, **given: Any) -> bool:
            attached = [one.name for one in given["attach"] or ()]
            head = f"title: {given['title']}\ntype: {given['notify_type']}, {given['body_format']}\n"
            head += f"attached: {', '.join(attached)}\n" if attached else ""
            with post._lock:
                post._came.append((type(plugin).__name__, f"{head}\n{given['body']}"))
            if not post.works:
                raise OSError("the service says: 550 no such user hunter22")
            return True

        stage.monkeypatch.setattr(apprise.plugins.base.NotifyBase, "notify", notify)

    def shows(self) -> None:
        for service, text in sorted(self._came):
            self._stage.shows(f"by {service}", text)
        self._came.clear()
        path = self._stage.directory / "told"
        if path.exists():
            self._stage.shows("told to the command", json.dumps(json.loads(path.read_text()), indent=1))
            path.unlink()


def notify(*urls: str, **more: Any) -> dict[str, Any]:
    return {"urls": list(urls), "on": ON, "command": ["/usr/bin/tee", "told"], **more}


@scenes
def notify_nights(stage: Stage) -> None:
    """A good night, a bad one, and one in which all is good again."""
    post = Post(stage)
    bad = failing("PassphraseWrong", "passphrase <b>supplied</b> is incorrect, see https://evil.example", 2)
    stage.hosts({"web1": Play(), "web2": Play()}, notify=notify(MAIL, CHAT))
    stage.pools()
    for play in (Play(), bad, Play()):
        stage.plays["web1"] = play
        stage.zborg("run")
        post.shows()
        stage.clock.tick(days=1)
    stage.zborg("status")
    stage.shows_runs("notify")


@scenes
def notify_statuses(stage: Stage) -> None:
    """A message for each status that a command may end with, with a subject of one's own."""
    post = Post(stage)
    subject = "$SERVER $COMMAND $STATUS $SUCCEEDED/$FAILED/$SKIPPED of $TOTAL in $RUNTIME for $$5"
    stage.hosts({"web1": Play()}, notify=notify(CHAT, subject=subject))
    warned = Play(
        (logged("WARNING", "", "BackupIOError"), *created()[:1], "zborg-agent: borg ended with 1"), 1
    )
    ends = {
        "warning": warned,
        "skipped": Play(("zborg-agent: not now",), 78, commits=False),
        "busy": Play((), 75, commits=False),
        "conflict": failing("Cache.RepositoryReplay", "Cache is newer than repository"),
        "damaged": failing("IntegrityError", "Data integrity error: Segment entry checksum mismatch"),
        "failed": failing("Exception", "borg says so"),
    }
    for name, play in ends.items():
        stage.says(name)
        stage.plays["web1"] = play
        stage.zborg("backup", "--quiet")
        post.shows()
    stage.says("interrupted, and a good one again")
    stage.plays["web1"] = Play()
    stage.zborg("backup", "--quiet")
    post.shows()


@scenes
def notify_steps(stage: Stage) -> None:
    """The other commands whose end is told of, and those of which nothing is told."""
    post = Post(stage)
    stage.hosts({"web1": Play(), "web2": Play()}, notify=notify(CHAT, on=["failure", "warning", "partial"]))
    stage.zborg("snapshot")
    stage.zborg("replicate", "--quiet")
    stage.zborg("scrub", "--quiet")
    post.shows()
    stage.zborg("rotate", "--dry-run")
    stage.breaks(stage.zfs, ["snapshots"], "cannot open 'tank': pool I/O is currently suspended")
    stage.zborg("rotate", "--quiet")
    post.shows()


@scenes
def notify_digest(stage: Stage) -> None:
    """A week, and the digest of it."""
    post = Post(stage)
    stage.hosts({"web1": Play(), "web2": Play()}, notify=notify(MAIL, CHAT, digest="weekly"))
    for number in range(9):
        stage.plays["web2"] = failing("PassphraseWrong", "wrong") if number == 4 else Play()
        stage.night()
        stage.says(f"night {number + 1}")
        post.shows()
    stage.shows_runs("notify")


@scenes
def notify_test(stage: Stage) -> None:
    """To try all, and what becomes of who cannot be reached."""
    post = Post(stage)
    stage.zborg("notify", "test")
    stage.config(notify=notify(MAIL, CHAT))
    stage.zborg("notify", "test", "--dry-run")
    stage.zborg("notify", "test")
    post.shows()
    post.works = False
    stage.zborg("notify", "test")
    stage.zborg("notify", "test", "--json")
    stage.zborg("scrub", "--quiet")
    stage.zborg("status")
    stage.config(notify=notify("nonsense://${PASSWORD}", "discord://x", command=["/nonexistent"]))
    stage.zborg("notify", "test")
    stage.zborg("notify", "test", "--json")
    stage.zborg("scrub")
    stage.zborg("status")
    stage.zborg("notify")
    stage.shows_runs()


@scenes
def notify_misconfigured(stage: Stage) -> None:
    """A mistake in zborg.toml is told of by what can still be read of it."""
    post = Post(stage)
    stage.config("web1", notify=notify(CHAT), backup={"paralel": 3})
    stage.zborg("run")
    post.shows()
    stage.zborg("status")


@scenes
def metrics(stage: Stage) -> None:
    """The textfile after a first, a bad and a good night."""
    place = stage.directory / "zborg.prom"
    bad = failing("PassphraseWrong", "passphrase supplied is incorrect")
    stage.hosts({"web1": Play(), "web2": bad}, metrics={"textfile": str(place)})
    stage.zborg("scrub", "--quiet")
    stage.shows("zborg.prom", place.read_text())
    stage.night()
    stage.shows("zborg.prom", place.read_text())
    stage.plays["web2"] = Play(created(files=3))
    stage.night()
    stage.shows("zborg.prom", place.read_text())
    stage.config("web1", "web2", metrics={"textfile": "/nonexistent/zborg.prom"})
    stage.zborg("scrub", "--quiet")


@scenes
def report(stage: Stage) -> None:
    """The page, where it is written and to whom it is sent."""
    post = Post(stage)
    stage.hosts({"web1": Play(), "web2": Play()}, notify=notify(CHAT))
    stage.zborg("report", "--dry-run")
    for number in range(5):
        stage.plays["web1"] = Play(
            created(files=1000 + number, original=(number + 5) << 30, new=number << 20)
        )
        stage.plays["web2"] = failing("Exception", "borg says so") if number == 3 else Play()
        stage.pools(free=(500 - 9 * number) << 30)
        stage.night()
    post.shows()
    stage.zborg("report", "--dry-run", "--mail", "--to", "page.html")
    stage.zborg("report", "--to", "page.html")
    stage.zborg("report", "--json", "--days", "3")
    stage.zborg("report", "--mail")
    post.shows()
    stage.zborg("report", "--to", "state")
    stage.zborg("report", "--to", "/nonexistent/page.html")
    stage.zborg("report", "--days", "0")
    stage.shows("page.html", (stage.directory / "page.html").read_text())


@pytest.mark.parametrize("name", scenes)
def test_it_reads_like_its_golden_file(name: str) -> None:
    with staged() as stage:
        scenes[name](stage)
    compare(FILES / f"{name}.txt", stage.text)
