"""A server that shows anything but this host's repository, as this host left it, gets no byte of a backup.

And the host keeps an alarm, so that the next try does not run. What it sent is seen from the served side.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, Lab
from tests.harness.machines.host import find_borg
from tests.harness.machines.join import Joined

A3 = "web1-2026-01-03T000000Z"
PUT = b"\xa3put"  # the name of the call that stores data, as borg packs it
REPLAY = "Cache.RepositoryReplay"
NEW = 300_000  # bytes that the backup would bring


@dataclass(frozen=True)
class Server:
    """The other end. It writes down all that the host sends."""

    lab: Lab

    @property
    def repository(self) -> Path:
        return self.lab.root / "web1"

    def sent(self) -> bytes:
        return (self.lab.host.directory / "sent").read_bytes()

    def stored(self) -> dict[str, str]:
        """What lies in the repository's segments."""
        files = (p for p in (self.repository / "data").rglob("*") if p.is_file())
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def verb(self, *words: str) -> Joined:
        env = f"BORG_BASE_DIR={self.lab.root}/.borg BORG_HOST_ID=server:web1"
        serve = f"{find_borg()} serve --append-only --restrict-to-repository {self.repository}"
        listen = f"tee {self.lab.host.directory}/sent | {env} {serve}"
        return self.lab.verb(*words, serve=("sh", "-c", f"cd {self.lab.root} && {listen}"))


@pytest.fixture
def server(agent: Lab) -> Server:
    """It holds one good backup, and the host has something new."""
    made = Server(agent)
    first = made.verb("create", "web1", A1)
    assert first.status == 0, first.stderr
    assert PUT in made.sent(), "a backup is seen"
    (agent.data / "new").write_bytes(secrets.token_bytes(NEW))
    return made


# --- What it may show instead ---------------------------------------------------------------------


def older_state(server: Server) -> None:
    old = server.lab.root / "old"
    shutil.copytree(server.repository, old)
    assert server.verb("sample", "web1", A2).status == 0
    replace(server, old)


def same_state_under_a_new_id(server: Server) -> None:
    config = server.repository / "config"
    config.write_text(re.sub(r"(?m)^id = .*$", f"id = {'ab' * 32}", config.read_text()))


def unencrypted(server: Server) -> None:
    replace(server, forge(server, "none"))


def unencrypted_under_its_id(server: Server) -> None:
    own = (server.lab.host.state / "repository-id").read_text().strip()
    forged = forge(server, "none")
    config = forged / "config"
    config.write_text(re.sub(r"(?m)^id = .*$", f"id = {own}", config.read_text()))
    replace(server, forged)


def authenticated_only(server: Server) -> None:
    """Signed and in the clear; the server knows its passphrase, the host another."""
    replace(server, forge(server, "authenticated-blake2"))


def another_hosts(server: Server) -> None:
    """Of the same server's, and keyed as all are."""
    other = Lab(server.lab.host.directory / "other", "sh", "auto")
    with other.host:
        other.init()
        other.ok("create", "web1", A1)
    replace(server, other.root / "web1")


def forge(server: Server, mode: str) -> Path:
    """A repository of the server's own making."""
    place = server.lab.root / "forged"
    env = {
        "PATH": os.defpath,
        "BORG_BASE_DIR": str(server.lab.root / ".forger"),
        "BORG_PASSPHRASE": "server's",
    }
    subprocess.run([find_borg(), "init", "-e", mode, place], env=env, check=True, capture_output=True)
    return place


def replace(server: Server, other: Path) -> None:
    shutil.rmtree(server.repository)
    other.rename(server.repository)


TRICKS = [older_state, same_state_under_a_new_id, unencrypted, unencrypted_under_its_id, another_hosts]


# --- What it gets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trick", "codes"),
    [*((trick, "modern") for trick in TRICKS), (older_state, "legacy"), (another_hosts, "legacy")],
)
def test_a_trick_gets_nothing_and_is_an_alarm(
    server: Server, trick: Callable[[Server], None], codes: str
) -> None:
    """With legacy exit codes borg 1.4 ends as 1.2 does: its status tells nothing."""
    lab = server.lab
    trick(server)
    if codes == "legacy":
        lab.configure(borg=lab.script("legacy", f'BORG_EXIT_CODES=legacy exec {find_borg()} "$@"\n'))
    before = server.stored()
    result = server.verb("create", "web1", A3)
    assert result.status == 76 and "zborg-agent: E_ALARM ALARM: the server showed" in result.stderr, (
        result.stderr
    )
    assert_nothing_was_sent(server, before)
    alarm = lab.host.state / "alarm"
    assert "the server showed" in alarm.read_text() and alarm.stat().st_mode & 0o777 == 0o600
    assert b"alarm yes" in lab.host.call("version").stdout
    for words in (
        ("create", "web1", A3),
        ("sample", "web1", A3),
        ("list", "web1", "1"),
        ("break-lock", "web1"),
    ):
        later = lab.host.call(" ".join(words))
        assert later.returncode == 76 and str(alarm) in later.stderr.decode()
        assert later.stdout == b"", "borg has not spoken"


def assert_nothing_was_sent(server: Server, before: dict[str, str]) -> None:
    assert server.stored() == before
    assert PUT not in server.sent()
    assert len(server.sent()) < NEW // 10


def test_a_repository_that_the_passphrase_does_not_open_gets_nothing(server: Server) -> None:
    """It cannot be told from a passphrase that root has changed: no alarm, and no byte."""
    authenticated_only(server)
    before = server.stored()
    assert server.verb("create", "web1", A3).status == 52
    assert_nothing_was_sent(server, before)


@pytest.mark.parametrize("words", [("sample", "web1", A3), ("prune", "web1")])
def test_no_verb_writes_to_an_older_state(server: Server, words: tuple[str, ...]) -> None:
    server.lab.configure("keep_last = 1")
    older_state(server)
    before = server.stored()
    result = server.verb(*words)
    assert result.status == 76 and "older state" in result.stderr
    assert_nothing_was_sent(server, before)
    assert (server.lab.host.state / "alarm").exists()


def test_the_status_alone_tells_it(agent: Lab) -> None:
    """Should a borg say it in other words."""
    for status, reason in ((64, "older state"), (42, "not this host's"), (62, "not this host's")):
        agent.configure(borg=agent.script("terse", f"exit {status}\n"))
        result = agent.verb("create", "web1", A1, serve=("true",))
        assert result.status == 76 and reason in result.stderr
        (agent.host.state / "alarm").unlink()
    agent.configure(borg=agent.script("terse", "exit 73\n"))
    assert agent.verb("create", "web1", A1, serve=("true",)).status == 73, "a lock is no alarm"


def test_a_file_name_is_no_alarm(agent: Lab) -> None:
    """What would be one in borg's own words may stand in a name."""
    (agent.data / '", "msgid": "Cache.RepositoryReplay"}').write_text("x")
    agent.configure(
        "report_paths = yes", paths=(agent.data, agent.data / '", "msgid": "Cache.RepositoryReplay"}-gone')
    )
    assert agent.verb("create", "web1", A1).status == 77
    assert not (agent.host.state / "alarm").exists()


def test_a_lost_key_is_not_the_servers_doing(server: Server) -> None:
    keys = server.lab.host.state / "borg/.config/borg/keys"
    (key,) = keys.iterdir()
    key.rename(server.lab.host.directory / "aside")
    for words in (("create", "web1", A3), ("list", "web1", "1")):
        refused = server.lab.host.call(" ".join(words))
        assert refused.returncode == 2 and b"the key file of this repository is gone" in refused.stderr
    assert not (server.lab.host.state / "alarm").exists()


def test_root_ends_an_alarm(server: Server) -> None:
    """Either it was a mistake and is mended, or the host begins anew."""
    shutil.copytree(server.repository, server.lab.root / "true")
    older_state(server)
    assert server.verb("create", "web1", A3).status == 76
    alarm = server.lab.host.state / "alarm"
    alarm.unlink()
    assert server.verb("create", "web1", A3).status == 76, "it is seen again"
    alarm.unlink()
    (server.lab.host.state / "repository-id").unlink()
    shutil.rmtree(server.repository)
    server.repository.mkdir()
    assert server.verb("init", "web1").status == 0
    assert server.verb("create", "web1", A3).status == 0


def test_another_hosts_name_is_refused(agent: Lab) -> None:
    """borg would take it for a repository that has moved; the agent does not even ask."""
    for words in (
        ("create", "web2", "web2" + A1[4:]),
        ("init", "web2"),
        ("list", "web2", "1"),
        ("prune", "web2"),
    ):
        result = agent.host.call(" ".join(words))
        assert (result.returncode, result.stdout) == (2, b"") and b"called web1" in result.stderr


@pytest.mark.parametrize("way", ["by its status", "by its log"])
def test_an_alarm_is_kept_although_its_words_cannot_be_said(tmp_path: Path, enrolled: Path, way: str) -> None:
    """The server may hang up as soon as it sees that it was seen."""
    lab = Lab(tmp_path, "sh", "cat")
    told = "".join(
        f"{json.dumps(line)}\n" for line in ({"levelname": "ERROR"}, {"name": "b", "msgid": REPLAY})
    )
    log = lab.host.directory / "log"
    log.write_text(told if way == "by its log" else "")
    status = 2 if way == "by its log" else 64
    lab.init(enrolled).configure(
        "report_paths = yes", borg=lab.script("terse", f"sleep 1; cat {log} >&2; exit {status}\n")
    )
    with lab.host:
        with lab.host.pair(lab.root, "create", "web1", A1, serve=("sleep", "9")) as pair:
            lab.agent_pid()
            pair.left.kill()
        lab.assert_clean()
    assert "older state" in (lab.host.state / "alarm").read_text()
