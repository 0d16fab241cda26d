"""doctor's judges of what hosts answer, of doors and of walls: both sides of each decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from zborg.model import Endpoint, Finding, Host, Reverse, Status, Target, Wall
from zborg.planning.doctor import remote, walls
from zborg.planning.doctor.remote import AGENT, DoorFacts, HostFacts
from zborg.planning.hosts.agent_version import PRINTED, answer_of, faults, judge, shell_prints

pytestmark = pytest.mark.unit

NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
HOST = Host("web1", Endpoint("root", "web1.example.net", 22, "key", "id"), 3600, 60)
ANSWER = {
    "agent": AGENT,
    "name": "web1",
    "alarm": "no",
    "borg": "1.4.5",
    "clock": str(int(NOW.timestamp())),
    "initialised": "yes",
    "opens": "yes",
}


def said(**changed: str | None) -> str:
    values = {key: value for key, value in (ANSWER | changed).items() if value is not None}
    return "".join(f"{key} {value}\n" for key, value in values.items())


FACTS = HostFacts(HOST, said(), (), NOW, escrow=True, sealed=True, repository="ab12")


def only(found: tuple[Finding, ...]) -> Finding:
    (one,) = found
    return one


def test_a_host_that_is_well_says_its_borg_and_its_agent() -> None:
    assert only(remote.host(FACTS)) == Finding(
        "web1", Status.OK, "borg 1.4.5, agent 1, its passphrase opens its key"
    )
    assert only(remote.host(replace(FACTS, answer=said(opens=None)))).message == "borg 1.4.5, agent 1"


SEEN = [
    ("name", {"name": "db1"}, Status.CONFLICT, "the host calls itself db1", "zborg host test web1"),
    ("no name", {"name": None}, Status.CONFLICT, "calls itself nothing", "zborg host test web1"),
    ("alarm", {"alarm": "yes"}, Status.CONFLICT, "there is an alarm on web1", "cat /var/lib/zborg/alarm"),
    ("no borg", {"borg": "missing"}, Status.FAILED, "borg is missing on web1", "install borgbackup"),
    ("old borg", {"borg": "1.1.17"}, Status.FAILED, "borg 1.1.17 is too old", "zborg host test web1"),
    ("agent", {"agent": "0"}, Status.FAILED, "its agent is version 0, ours is 1", "zborg host add web1"),
    (
        "passphrase",
        {"passphrase": "no"},
        Status.FAILED,
        "/etc/zborg/passphrase on web1 is gone",
        "--setup web1",
    ),
    ("key", {"key": "no"}, Status.FAILED, "the key file of its repository is gone", "keys/web1"),
    ("opens", {"opens": "no"}, Status.FAILED, "does not open its repository's key", "cat >/etc/zborg/pass"),
    ("memory", {"memory": "no"}, Status.FAILED, "borg's memory of its repository is gone", "ls -l /var/lib"),
    ("paths", {"paths": "no"}, Status.FAILED, "nothing would be backed up", "path = /etc"),
    ("links", {"links": "/a"}, Status.FAILED, "names a symbolic link instead of what it points to: /a", ""),
    ("absent", {"absent": "/a"}, Status.FAILED, "agent.conf names what does not exist: /a", ""),
    ("hook", {"absent": "/a", "before": "yes"}, Status.WARNING, "names what does not exist", ""),
    ("conf", {"absent": "/a", "conf": "/etc/b.conf"}, Status.FAILED, "web1: /etc/b.conf names what", ""),
    ("conf?", {"absent": "/a", "conf": "b"}, Status.FAILED, "web1: /etc/zborg/agent.conf names what", ""),
    (
        "witness",
        {"witness": "broken"},
        Status.WARNING,
        "/var/lib/zborg/witness on web1 has lines that are no checkpoints",
        "witness.broken",
    ),
    ("borg 2", {"borg": "2.0.0b25"}, Status.FAILED, "borg 2.0.0b25 is refused", "zborg host test web1"),
    ("clock", {"clock": "0"}, Status.WARNING, "the clock of web1 says 1970", "timedatectl"),
    ("no clock", {"clock": None}, Status.WARNING, "web1 does not report its time", "timedatectl"),
    ("late clock", {"clock": "999999999999"}, Status.WARNING, "web1 does not report its time", "timedatectl"),
]


@pytest.mark.parametrize(
    ("changed", "level", "words", "remedy"), [row[1:] for row in SEEN], ids=[r[0] for r in SEEN]
)
def test_each_fault_of_a_host_is_named_alone(
    changed: dict[str, str | None], level: Status, words: str, remedy: str
) -> None:
    found = only(remote.host(replace(FACTS, answer=said(**changed))))
    assert (found.subject, found.level) == ("web1", level)
    assert words in found.message and remedy in found.remedy and found.remedy


def test_a_shell_that_prints_is_named_by_what_it_prints() -> None:
    found = only(remote.host(replace(FACTS, answer=f"Welcome\n{said()}")))
    assert found.level is Status.FAILED and "'Welcome'" in found.message
    answer = answer_of(f"Welcome\nback\n{said()}shell /bin/zsh\n")
    assert answer[PRINTED] == "Welcome\nback"
    printed = shell_prints("web1", answer)
    assert printed and printed.message.startswith("/bin/zsh on web1 prints before the agent starts")
    unknown = shell_prints("web1", {PRINTED: "x"})
    assert unknown and unknown.message.startswith("the login shell on web1 prints")
    assert next(faults(HOST, answer, NOW, escrow=False, sealed=False)) == printed


def test_an_answer_without_a_blank_is_no_value_and_the_first_of_a_key_counts() -> None:
    assert answer_of("agent 1\nborg\nname a\nname b\n") == {"agent": "1", "name": "a"}


def test_variables_that_a_client_may_set_are_named() -> None:
    found = only(remote.host(replace(FACTS, accepted=("ENV", "LD_PRELOAD"))))
    assert found.level is Status.FAILED and "lets us set ENV, LD_PRELOAD" in found.message
    assert "systemctl reload ssh" in found.remedy


def test_escrow_is_asked_for_where_a_repository_is_seen() -> None:
    open_key = replace(FACTS, sealed=False)
    assert only(remote.host(open_key)).message == "its key is not in escrow here"
    assert only(remote.host(replace(open_key, escrow=False))).level is Status.OK
    assert only(remote.host(replace(open_key, repository=None))).level is Status.OK
    mute = only(remote.host(replace(open_key, answer=said(escrow="no"))))
    assert "could seal it for nobody" in mute.message and "apt-get install age" in mute.remedy


def test_a_repository_on_one_side_alone_is_an_error() -> None:
    lost = only(remote.host(replace(FACTS, repository="")))
    assert lost.message == "the host has a repository, and here there is none"
    assert "zborg restore list web1" in lost.remedy
    new, rebuilt = remote.host(replace(FACTS, answer=said(initialised="no")))
    assert (new.level, new.message) == (Status.WARNING, "no repository yet")
    assert rebuilt.message == "a repository lies here, and the host knows of none"
    assert only(remote.host(replace(FACTS, answer=said(initialised="no"), repository=""))) == new


def test_a_judgement_tells_the_gravest_and_what_the_host_answers() -> None:
    good = judge(HOST, ANSWER, NOW, escrow=True, sealed=True)
    assert good.message == "answers: borg 1.4.5, agent 1; its passphrase opens its key; its key is in escrow"
    older = {key: value for key, value in ANSWER.items() if key != "opens"}
    assert judge(HOST, older, NOW, escrow=False, sealed=False).message == "answers: borg 1.4.5, agent 1"
    warned = judge(HOST, ANSWER, NOW, escrow=True, sealed=False)
    assert warned.message == "answers: borg 1.4.5, agent 1; its key is not in escrow here"
    failed = judge(HOST, ANSWER | {"borg": "missing"}, NOW + timedelta(days=1), escrow=True, sealed=False)
    assert (failed.level, failed.message) == (Status.FAILED, "borg is missing on web1")


def test_a_repository_that_holds_its_key_is_an_error_but_with_the_tunnel_of_a_port() -> None:
    ours = remote.keyed_here(HOST, "tank/borg/web1", "tank/borg")
    assert ours.level is Status.FAILED
    assert ours.remedy == "zfs rename tank/borg/web1 tank/web1-repokey\nzborg init web1\nzborg backup web1"
    reverse = remote.keyed_here(
        replace(HOST, reverse=Reverse(0, "127.0.0.1:22")), "tank/borg/web1", "tank/borg"
    )
    assert reverse.level is Status.WARNING and "docs/reverse.md" in reverse.remedy


def test_a_repository_that_borg_1_did_not_make_is_set_aside() -> None:
    found = remote.other_form(HOST, "tank/borg/web1", "is a repository of version 2")
    assert found.level is Status.FAILED
    assert found.message == "tank/borg/web1 is a repository of version 2; nothing of it is served"
    assert found.remedy.endswith("zfs rename tank/borg/web1 tank/borg/web1-other\nzborg init web1")


# --- doors ------------------------------------------------------------------------------------------

ROOT = "vault/zborg"
FORCED = f'restrict,command="/usr/local/bin/zborg sink {ROOT}"'
GOOD = f"{FORCED} ssh-ed25519 AAAA vault"
DOOR = DoorFacts("sink", "/keys", (GOOD,), False, ROOT)


def test_a_target_without_a_sink_gets_the_lines_for_one() -> None:
    target = Target("offsite", Endpoint("root", "nas", 22, "key", "id"), ROOT, 60)
    found = remote.open_door(target, ["zfs create x"])
    assert (found.subject, found.level) == ("offsite", Status.WARNING)
    assert found.message.startswith("root has no sink there") and found.remedy.endswith("zfs create x")


@pytest.mark.parametrize(
    "line", [GOOD, GOOD.replace("sink ", "sink --raw "), GOOD.replace(f'{ROOT}"', f'{ROOT} --raw"')]
)
def test_a_key_that_ends_in_the_sink_is_good(line: str) -> None:
    assert list(remote.door(replace(DOOR, lines=["# ssh-ed25519 AAAA of old", "", line]))) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ssh-ed25519 AAAA vault", ["line 1 opens a shell for sink"]),
        (GOOD.replace("zborg sink", "sh -c"), ["line 1 runs", "which is no sink below vault/zborg"]),
        (GOOD.replace(f"sink {ROOT}", "sink vault"), ["line 1 lets its key reach below vault;"]),
        (GOOD.replace("restrict,", ""), ["line 1 has no restrict"]),
        ("", ["no key may come in as sink: nothing can arrive"]),
    ],
)
def test_every_other_line_is_told_with_the_line_that_replaces_it(line: str, words: list[str]) -> None:
    (found,) = remote.door(replace(DOOR, lines=[line]))
    assert all(word in found.message for word in words)
    assert FORCED in found.remedy
    assert found.remedy.startswith("sed -i ") if line else "echo " in found.remedy


def test_authorized_keys_that_others_can_write_are_an_error() -> None:
    (found,) = remote.door(replace(DOOR, loose=True))
    assert (found.level, found.remedy) == (Status.FAILED, "chmod go-w /keys")


@pytest.mark.parametrize("machine", ["", "nas"])
def test_files_by_which_one_comes_in_are_roots(machine: str) -> None:
    assert list(walls.door("borg", [], machine)) == []
    (found,) = walls.door("borg", ["/home/borg", "/home/borg/.ssh"], machine)
    assert (found.subject, found.level) == ("borg", Status.FAILED)
    assert found.message.startswith("/home/borg, /home/borg/.ssh can be written by borg")
    assert "chown root:root /home/borg /home/borg/.ssh\nchmod u=rwX,go=rX" in found.remedy
    assert ("on nas" in found.remedy) is bool(machine)


# --- walls ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "words"), [("borg", "for borg to write in"), ("", "with a number of this host's own")]
)
def test_a_repository_that_is_not_roots_is_made_so_by_init(account: str, words: str) -> None:
    found = walls.unconfined("web1", "/tank/borg/web1", account)
    assert (found.level, found.remedy) == (Status.FAILED, "zborg init web1") and words in found.message


@pytest.mark.parametrize(("machine", "paths"), [("", ["/a"]), ("nas", ["/a", "/b", "/c"])])
def test_what_its_borg_serve_cannot_write_is_counted(machine: str, paths: list[str]) -> None:
    found = walls.unwritable("web1", "/tank/borg/web1", paths, 4711, machine)
    assert found.level is Status.FAILED
    more = " and 2 more" if len(paths) > 1 else ""
    assert f"runs as user 4711 and cannot write /a{more}: every backup of web1 fails" in found.message
    assert "chown -h 4711" in found.remedy and ("on nas" in found.remedy) is bool(machine)


@pytest.mark.parametrize(
    ("wall", "level", "words"),
    [
        (
            None,
            Status.WARNING,
            "it starts without a report of its wall: zborg-serve on this machine is older",
        ),
        (Wall(False, "", True), Status.WARNING, "no wall stands around it for web1"),
        (Wall(True, "", False), Status.WARNING, "can be started for web1, behind its own uid"),
        (Wall(True, "landlock-7", True), Status.OK, "can be started for web1, behind its own uid"),
    ],
)
def test_what_stands_around_a_borg_serve(wall: Wall | None, level: Status, words: str) -> None:
    found = walls.serving("web1", wall, "")
    assert (found.subject, found.level) == ("borg serve", level)
    assert words in found.message and bool(found.remedy) is (level is not Status.OK)


def test_hosts_whose_borg_serve_an_sshd_starts_are_told_once() -> None:
    assert list(walls.behind_sshd([])) == []
    (one,) = walls.behind_sshd(["web1"])
    (two,) = walls.behind_sshd(["web1", "db1"])
    assert "give it the agent" in one.remedy and "give each the agent" in two.remedy
    assert "around that of web1, db1:" in two.message
