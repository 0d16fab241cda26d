"""A host with the agent of November 2026, whose reasons have no codes yet: nobody has to update it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.harness.checkout import CHECKOUT
from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import backup, list_snapshots, restore_files, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, of, world
from zborg.borg.log import BorgLog
from zborg.borg.verdict import judge
from zborg.errors import Exit
from zborg.hosts.agent import script
from zborg.model import Outcome, Speaker, Status

OLDER = (CHECKOUT / "tests" / "golden" / "agents" / "agent-2026-11.sh").read_text(encoding="utf-8")
DAY = 86400
CODE = re.compile(r"\b[EN]_[A-Z]")
Fault = Callable[[BackedUpHost], None]


@pytest.fixture
def host(vault: LocalVault) -> BackedUpHost:
    vault.backup["prune_every"] = DAY
    return vault.add("web1", agent=OLDER, extra_conf=("keep_last = 1",))


def night(vault: LocalVault, clock: Hours) -> Outcome:
    clock.tick()
    return of(backup(world(vault, clock)), "web1")


def verb(vault: LocalVault, clock: Hours, *words: str) -> tuple[BorgLog, Status]:
    """One verb, as steps run it: what was heard, and what it came to."""
    log = BorgLog("web1", "tank/borg/web1")

    def listen(speaker: Speaker, lines: Sequence[str]) -> None:
        log.feed_lines(lines, speaker)

    context = world(vault, clock)
    status = context.tunnel.verb(context.config.hosts[0], words, listen)
    return log, judge(status, log).status


def archives(vault: LocalVault, clock: Hours) -> list[str]:
    log, status = verb(vault, clock, "list", "web1", "99")
    assert status is Status.OK, log.last
    return [one["name"] for one in log.json()["archives"]]


def test_it_is_backed_up_pruned_sampled_and_restored(
    vault: LocalVault, clock: Hours, host: BackedUpHost
) -> None:
    """The whole way of a host: made by `init`, two nights of which the second prunes, a sample, and back."""
    assert host.agent.read_text() == OLDER
    first = night(vault, clock)
    assert (first.status, first.message) == (Status.OK, ""), first
    clock.tick(25)
    (host.data / "umläut").write_text("odd")
    second = night(vault, clock)
    assert (second.status, "pruned" in second.data) == (Status.OK, True), second
    assert archives(vault, clock) == [second.data["archive"]]
    snapshot(world(vault, clock))
    (listed,) = list_snapshots(world(vault, clock), "web1").outcomes

    sample = "web1-2026-12-01T000000Z"
    assert verb(vault, clock, "sample", "web1", sample)[1] is Status.OK
    assert sample in archives(vault, clock)

    clock.tick()
    host.local("--allow-restore", listed.subject, "10000000", str(host.data)).check_returncode()
    shutil.rmtree(host.data)
    report = restore_files(world(vault, clock), "web1", [str(host.data)], listed.subject)
    assert report.exit is Exit.OK, report.outcomes
    restored = Path(f"{report.outcomes[0].data['restored']}{host.data}")
    assert {one.name: one.read_text() for one in restored.iterdir()} == {"file": "of web1", "umläut": "odd"}


# --- its reasons -----------------------------------------------------------------------------------------

NO_SPACE = """\
echo '{"type": "log_message", "time": 1.5, "message": "[Errno 28] No space left on device", \
"levelname": "ERROR", "name": "borg.archiver", "msgid": "OSError"}' >&2
exit 2
"""


def conf(*lines: str, borg: str = "exit 0\n") -> Fault:
    """These lines in agent.conf, and a borg that is this script."""

    def plant(host: BackedUpHost) -> None:
        program = host.directory / "stand-in"
        program.write_text(f"#!/bin/sh\n{borg}")
        program.chmod(0o755)
        with (host.confdir / "agent.conf").open("a") as file:
            file.writelines(f"{line}\n" for line in (f"borg = {program}", *lines))

    return plant


def lose(path: str) -> Fault:
    """A file or directory of the agent's is gone."""

    def plant(host: BackedUpHost) -> None:
        gone = host.directory / path
        gone.rename(gone.with_name("lost"))

    return plant


def spoil_nonce(host: BackedUpHost) -> None:
    (memory,) = (host.state / "borg/.config/borg/security").iterdir()
    (memory / "nonce").write_text("")


def raise_alarm(host: BackedUpHost) -> None:
    (host.state / "alarm").write_text("2026-12-01T00:00:00Z the server showed an older state\n")


def name_a_link(host: BackedUpHost) -> None:
    link = host.state / "link"
    link.symlink_to(host.data)
    conf(f"path = {link}")(host)


FAULTS: dict[str, Fault] = {
    "no borg": conf("borg = /nonexistent/borg"),
    "no passphrase": lose("etc/passphrase"),
    "no repository": lose("state/repository-id"),
    "no key": lose("state/borg/.config/borg/keys"),
    "a broken file": spoil_nonce,
    "an alarm": raise_alarm,
    "a bad line": conf("paht = /srv"),
    "a link": name_a_link,
    "a missing path": conf("path = /nonexistent"),
    "a failed before": conf("before = false"),
    "a failed after": conf("after = false"),
    "not now": conf("min_interval = 20h"),
    "too long": conf("max_time = 1s", borg="exec sleep 60\n"),
    "no room": conf(borg=NO_SPACE),
}


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalVault]:
    """A vault with a host that has a repository."""
    vault = LocalVault(tmp_path_factory.mktemp("older"))
    host, clock = vault.add("web1"), Hours()
    assert night(vault, clock).status is Status.OK
    for place in (host.state, host.confdir):
        shutil.copytree(place, vault.directory / "saved" / place.name)
    yield vault
    vault.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_reader_sees_of_it_what_today_s_agent_shows(initialised: LocalVault, fault: str) -> None:
    vault, clock = initialised, Hours()
    host = vault.hosts["web1"]
    seen = []
    for agent in (OLDER, script()):
        host.agent.write_text(agent)
        for place in (host.state, host.confdir):
            shutil.rmtree(place)
            shutil.copytree(vault.directory / "saved" / place.name, place)
        (host.state / "last-create").write_text(f"{int(time.time())}\n")
        FAULTS[fault](host)
        outcome = night(vault, clock)
        assert not CODE.search(f"{outcome.message} {outcome.data}")
        seen.append(_shown(outcome))
    assert seen[0] == seen[1]
    assert not seen[0][0].startswith("ok"), "a fault that no agent minds"


def _shown(outcome: Outcome) -> list[str]:
    """Without what differs between any two runs: figures, and the pid in the last words of borg serve."""
    log = [line for line in outcome.data.get("log", []) if not line.startswith("storage: ")]
    texts = (f"{outcome.status.value} {outcome.message}", outcome.remedy, *log)
    return [re.sub(r"\d+ (KiB|seconds)", r"N \1", text) for text in texts]
