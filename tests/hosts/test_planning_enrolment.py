"""Enrolment, pure: what other machines print, what agent.conf can hold, which key comes and which go."""

from __future__ import annotations

import string
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zborg.errors import ConfigError, UsageError, ZborgError
from zborg.hosts.enrol import facts_of, made_of, text
from zborg.model import Endpoint, Host, Status
from zborg.model.enrolment import HostFacts, Request
from zborg.planning.hosts.accept_line import parse
from zborg.planning.hosts.agent_version import answer_of, clock_words, judge
from zborg.planning.hosts.enrol import ServerFacts, path_problems, plan
from zborg.state.escrow.sealed import Escrow
from zborg.steps.hosts.enrol import public_key

pytestmark = pytest.mark.unit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEy8/VH33qPOZMKWAAVmqzY3CMZvF8P3DXxF3nuHVINd"
NOW = datetime(2026, 2, 12, 14, 49, 33, tzinfo=UTC)
HOST = Host("web1", Endpoint("root", "web1.example.net", 22, KEY, "/etc/zborg/id_ed25519"), 3600, 60)
REQUEST = Request(HOST, "vault", f"{KEY} zborg@vault", custodians=("age1abcdefghijkl",))
SERVER = ServerFacts("tank/borg/web1", False, "/etc/zborg/hosts.d/web1.toml", False, False, False)
WORDS = st.text(alphabet=string.printable + "\x00\x1b\x85é\ud800", max_size=80)


@given(
    st.lists(
        st.one_of(
            WORDS,
            st.builds("{} {}".format, st.sampled_from(["path", "problem", "made", "borg", "clock"]), WORDS),
        )
    )
)
@example(["problem -> ", "path ", "clock 99999999999999999999", "made tree:/\n"])
def test_whatever_a_host_prints_is_read_or_passed_over(lines: list[str]) -> None:
    answer = "\n".join(lines)
    facts = facts_of(answer)
    planned = plan(REQUEST, SERVER, facts, NOW)
    assert "\n" not in "".join(planned.lines())
    assert all(made.isprintable() and ":" in made for made in made_of(answer))
    told = answer_of(answer)
    assert judge(HOST, told, NOW, escrow=True, sealed=False).level is not Status.OK
    clock_words("web1", told, NOW)


@given(WORDS)
def test_no_other_text_is_taken_for_a_bundles_line(line: str) -> None:
    with pytest.raises(UsageError):
        parse(line, "SHA256:" + "a" * 43)


@given(st.one_of(WORDS, st.builds("-----BEGIN AGE ENCRYPTED FILE-----\n{}".format, WORDS)))
@settings(max_examples=50)
def test_no_other_text_is_kept_as_a_sealed_key(tmp_path_factory: pytest.TempPathFactory, answer: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "no-escrow"
    with pytest.raises(ZborgError):
        Escrow(folder).keep("web1", "0" * 64, answer, NOW)
    assert not folder.exists()


ARMOUR = "-----BEGIN AGE ENCRYPTED FILE-----\n{}\n-----END AGE ENCRYPTED FILE-----\n"


def test_an_older_sealed_key_is_never_lost(tmp_path: Path) -> None:
    escrow = Escrow(tmp_path / "escrow")
    first, second = ARMOUR.format("AAAA"), ARMOUR.format("BBBB")
    path = escrow.keep("web1", "1" * 64, first, NOW)
    assert (path.read_text(), path.stat().st_mode & 0o777) == (first, 0o600)
    assert escrow.is_sealed("web1", "1" * 64)
    assert not escrow.is_sealed("web1", "2" * 64)
    escrow.keep("web1", "2" * 64, second, NOW)
    assert escrow.is_sealed("web1", "2" * 64)
    assert path.read_text() == second
    assert (tmp_path / "escrow" / "web1.2026-02-12T144933Z.age").read_text() == first
    path.write_text(second[:-9])
    assert not escrow.is_sealed("web1", "2" * 64), "a torn file counts for nothing"


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("/etc", True),
        ("/", True),
        ("/srv/my data/x", True),
        ("/srv/..data", True),
        ("etc", False),
        ("/etc/", False),
        ("/a//b", False),
        ("/a/../b", False),
        ("/a/.", False),
        ("/a\nb", False),
        ("/a ", False),
        ("", False),
    ],
)
def test_a_path_is_one_that_the_agent_takes(path: str, good: bool) -> None:
    request = Request(HOST, "vault", KEY, (path,))
    assert (not list(path_problems(request))) == good


def test_the_plan_names_each_change_and_its_machine() -> None:
    facts = HostFacts(
        {
            "agent": "other",
            "conf": "there",
            "custodians": "same",
            "passphrase": "yes",
            "line": "yes",
            "clock": "1770907773",
        }
    )
    planned = plan(REQUEST, SERVER, facts, NOW)
    assert [(change.machine, change.words) for change in planned.changes] == [
        ("vault", "create tank/borg/web1, without a quota"),
        ("web1", "replace /usr/local/libexec/zborg-agent (root, 0755)"),
        ("vault", "write /etc/zborg/hosts.d/web1.toml"),
        ("vault", "make the repository, and a first small archive of agent.conf alone"),
        ("vault", "keep the host's key, sealed on the host for 1 custodian"),
    ]
    done = ServerFacts("tank/borg/web1", True, "", True, True, True)
    assert plan(REQUEST, done, None, NOW).lines() == ["nothing is missing"]


@pytest.mark.parametrize(
    ("ahead", "words"), [(0, ""), (300, ""), (-300, ""), (301, "5 minutes ahead"), (-7300, "2 hours behind")]
)
def test_clocks_are_compared(ahead: int, words: str) -> None:
    told = clock_words("web1", {"clock": str(int(NOW.timestamp()) + ahead)}, NOW)
    assert words in told
    assert bool(told) == bool(words)


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "ssh-ed25519 AAAA x\nssh-ed25519 BBBB y", "ssh-ed25519 AA a\tb"]
)
def test_what_is_no_single_public_key_never_reaches_authorized_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "id.pub").write_text(text)
    with pytest.raises(ConfigError):
        public_key(str(tmp_path / "id"))


def test_the_script_is_whole_in_itself_and_quotes_what_it_is_given() -> None:
    odd = Request(HOST, "it's", KEY, ("/srv/$(id) 'x'",))
    script = text(replace(odd, server="it's\nrm -rf /"), url="ssh://root@web1.example.net:22")
    assert "\nrm -rf /" not in script.partition("\nserver=")[0]
    assert script.endswith('\n{ main "$@"; } </dev/null\n')
    assert "wanted_paths='/srv/$(id) '\"'\"'x'\"'\"''\n" in script


def test_the_missing_half_of_a_key_that_was_brought_along_is_to_be_made_of_it(tmp_path: Path) -> None:
    identity = tmp_path / "id"
    with pytest.raises(ConfigError) as caught:
        public_key(str(identity))
    assert caught.value.remedy == "zborg init"
    identity.write_text("a private key")
    with pytest.raises(ConfigError) as caught:
        public_key(str(identity))
    assert caught.value.remedy == f"ssh-keygen -y -f {identity} >{identity}.pub"


FINGERPRINT = "SHA256:" + "a" * 43
LINE = f"zborg-accept 1 web1 ssh://root@web1.example.net:22 {KEY} agent 1 borg 1.4.5 server {FINGERPRINT}"


def test_a_bundles_line_is_taken_for_the_server_that_made_the_bundle_alone() -> None:
    found = parse(f"  {LINE}\n", FINGERPRINT)
    assert (found.name, found.url, found.host_key) == ("web1", "ssh://root@web1.example.net:22", KEY)
    assert found.borg == "1.4.5"
    with pytest.raises(UsageError, match="this line is for the server with the key SHA256:aaa"):
        parse(LINE, "SHA256:" + "b" * 43)
    with pytest.raises(UsageError, match="this is no line of a bundle's"):
        parse(LINE.replace("zborg-accept 1", "zborg-accept 2"), FINGERPRINT)


@pytest.mark.parametrize("pattern", ["", " /a", "/a ", "/a\nb"])
def test_a_pattern_that_agent_conf_could_not_hold_is_a_problem(pattern: str) -> None:
    (problem,) = path_problems(replace(REQUEST, excludes=(pattern,)))
    assert problem.message.startswith(f"--exclude {pattern!r}: must be one line")
    assert list(path_problems(replace(REQUEST, excludes=("/a b", "*.iso")))) == []


def test_what_a_host_has_already_is_not_made_again() -> None:
    values = {"agent": "same", "conf": "there", "custodians": "some", "passphrase": "yes", "line": "yes"}
    clock = {"clock": str(int(NOW.timestamp()))}
    server = replace(SERVER, dataset_there=True, written=True, repository=True, sealed=True)
    assert plan(REQUEST, server, HostFacts(values | clock), NOW).lines() == ["nothing is missing"]
    new = {"agent": "other", "custodians": "none", "keepalive": "no"}
    lines = "\n".join(plan(REQUEST, SERVER, HostFacts(new | clock), NOW).lines())
    for words in (
        "replace /usr/local/libexec",
        "write /etc/zborg/custodians: age1abc",
        "ClientAliveInterval 15",
    ):
        assert words in lines
    assert "install /usr/local/libexec" in "\n".join(plan(REQUEST, SERVER, HostFacts(clock), NOW).lines())


def test_paths_that_the_hosts_own_file_overrules_are_noted() -> None:
    request = replace(REQUEST, paths=("/srv",), custodians=())
    planned = plan(request, SERVER, HostFacts({"conf": "there"}, paths=("/etc",)), NOW)
    assert "/etc/zborg/agent.conf is there and stays: --path and --exclude change nothing" in planned.remarks
    assert "web1 will back up /etc" in planned.remarks
    assert any(words.startswith("no escrow: ") for words in planned.remarks)
