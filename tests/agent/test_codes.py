"""Codes: what the scripts print, what zborg reads and what the documentation lists are the same."""

from __future__ import annotations

import re

import pytest

from tests.harness.checkout import CHECKOUT
from zborg.borg.log import BorgLog
from zborg.borg.meaning import Meaning
from zborg.borg.verdict import judge
from zborg.errors import CommandFailed, HasChildren, SinkRefused
from zborg.hosts import SCRIPTS
from zborg.hosts.agent import script
from zborg.hosts.ssh.reasons import explain
from zborg.model import Endpoint, Speaker
from zborg.model.codes import Agent, Serve, Sink, uncoded
from zborg.model.codes.lines import agent_reason, sink_code, without_codes
from zborg.zfs.output import messages

pytestmark = pytest.mark.unit

CODE = re.compile(r"\b[EN]_[A-Z_]+\b")
CONF = "/etc/zborg/agent.conf"
AT = Endpoint("root", "127.0.0.1", 22, "ssh-ed25519 AAAA", "id")


def test_the_agent_prints_the_codes_that_we_know() -> None:
    assert set(CODE.findall(script())) == set(Agent)


def test_serve_prints_the_codes_that_we_know() -> None:
    texts = [(SCRIPTS / name).read_text(encoding="utf-8") for name in ("serve.sh", "wall.py")]
    assert set(CODE.findall("".join(texts))) == set(Serve)


def test_the_documentation_lists_each_once() -> None:
    text = (CHECKOUT / "docs" / "agent.md").read_text(encoding="utf-8")
    (chapter,) = re.findall(r"(?ms)^## Codes$(.*?)(?=^## )", text)
    listed = re.findall(r"(?m)^\| `(\w+)` \| ([a-z]+) \|", chapter)
    speakers = {"agent": Agent, "storage": Serve, "sink": Sink}
    assert sorted(listed) == sorted((str(code), name) for name, kind in speakers.items() for code in kind)


def test_the_words_of_an_old_agent_have_the_code_of_a_new_one() -> None:
    """Each message of today's agent for which an old one was understood by its words."""
    coded = re.findall(r'(?:say|die \d+|refuse) ([EN]_[A-Z_]+) "([^"]*)"', script())
    values = {"$1": "web1", "$confdir": "/etc/zborg", "$kib": "5", "$place": "/run", "$cache": "/var/cache"}
    values |= {
        "$number": "7",
        "$warnings_log": "/var/log/w",
        "$no_key": "the key file of this repository is gone: put",
    }
    understood = set()
    for code, text in coded:
        for name, value in values.items():
            text = text.replace(name, value)
        if code == Agent.BROKEN:
            text = "broken: /var/lib/zborg/repository-id"
        if found := uncoded.agent_code(text):
            understood.add(found)
            assert found == code, text
    assert understood >= {Agent.NOT_ALLOWED, Agent.RESTORE_OFF, Agent.CONF, Agent.NO_KEY, Agent.MEMORY}


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (
            2,
            Agent.PASSPHRASE,
            "refused: /etc/zborg/passphrase must be there, belong to root, and so on",
        ),
        (2, Agent.NO_REPOSITORY, "refused: this host has no repository yet: init comes first"),
        (2, Agent.REPOSITORY, "refused: this host has a repository; a second init needs root on this host"),
        (2, Agent.NO_KEY, "refused: the key file of this repository is gone: put its safe copy back"),
        (2, Agent.NO_PATHS, f"refused: no path in {CONF}"),
        (2, Agent.CONF, f"refused: {CONF} line 7: unknown key"),
        (
            2,
            Agent.LINK,
            f"refused: {CONF} names a symbolic link instead of what it is: line 6, line 7",
        ),
        (2, Agent.RESTORE_LIMIT, "restore stopped: over 10 bytes, or too little free space; nothing is left"),
        (2, Agent.RESTORE_OFF, "refused: restore is off on this host"),
        (67, Agent.TOO_LONG, "create stopped: it took longer than 2 seconds"),
        (68, Agent.BROKEN, "broken: /var/lib/zborg/borg/.config/borg/security/5a/nonce"),
        (69, Agent.ROOM, "no room: 0 KiB left in /run"),
        (75, Agent.BUSY, "busy: pid 5 is at work on this host"),
        (76, Agent.ALARM, "ALARM: the server showed an older state"),
        (77, Agent.PATH_MISSING, f"the rest is backed up, but {CONF} names what is not there: line 6"),
        (78, Agent.NOT_NOW, "not now: this host allows backups from 0 to 4 o'clock"),
        (79, Agent.HOOK, "hook before number 1 failed with 3: nothing is backed up"),
        (101, Agent.NOT_IN_ARCHIVE, "restore failed: a path is not in the archive"),
        (127, Agent.NO_BORG, "borg is not installed here (or set borg in agent.conf)"),
        (137, Agent.MEMORY, "the kernel ended processes for lack of memory meanwhile"),
    ],
)
def test_a_reader_sees_the_same_with_and_without_codes(status: int, code: Agent, text: str) -> None:
    before, after = shown(status, text), shown(status, f"{code} {text}")
    assert before == after
    assert not CODE.search("".join(map(str, after)))


def shown(status: int, text: str) -> tuple[Meaning, list[str]]:
    log = BorgLog("web1", "tank/borg/web1")
    for line in ("clock 1796041314", text):
        log.feed(f"zborg-agent: {line}")
    return judge(status, log), log.last


def test_a_code_counts_and_not_the_words_behind_it() -> None:
    log = BorgLog("web1")
    log.feed("zborg-agent: E_NO_KEY refused: in other words, or another language")
    assert judge(2, log).remedy.startswith("restore the key from its safe copy")
    assert judge(2, log).message == "zborg-agent: refused: in other words, or another language"


def test_a_code_of_a_newer_agent_is_no_code_and_not_shown() -> None:
    reason = agent_reason("zborg-agent: E_FROM_NEXT_YEAR refused: init comes first, or so")
    assert reason and (reason.code, reason.line) == (None, "zborg-agent: refused: init comes first, or so")


def test_only_the_speakers_own_code_is_left_out() -> None:
    text = "zborg-serve: E_NO_WALL refused\nzborg-agent: E_CONF x\nzborg: E_SINK y\nfile E_SINK z\nE_CONF"
    assert without_codes(text) == "zborg-serve: refused\nzborg-agent: x\nzborg: y\nfile E_SINK z\nE_CONF"


def test_what_borg_serve_is_refused_for_is_shown_without_its_code() -> None:
    log = BorgLog("web1")
    log.feed("zborg-agent: clock 1796041314")
    log.feed("zborg-serve: E_NO_DIRECTORY refused: /tank/borg/web1 is not a directory", Speaker.STORAGE)
    assert log.last == ["storage: zborg-serve: refused: /tank/borg/web1 is not a directory"]
    assert judge(2, log).message == "storage: zborg-serve: refused: /tank/borg/web1 is not a directory"


def test_an_answer_that_the_agent_refuses_names_the_lines_of_its_conf() -> None:
    refused = f"zborg-agent: E_CONF refused: {CONF} line 7: unknown key\n"
    error = explain("web1", AT, 2, refused)
    assert "sed -n '7p;' /etc/zborg/agent.conf" in error.remedy
    assert "E_CONF" not in error.message and "line 7: unknown key" in error.message
    assert explain("web1", AT, 2, refused.replace("E_CONF ", "")).remedy == error.remedy
    assert explain("web1", AT, 2, f"E_CONF {CONF} line 7").remedy == "", "not the agent's"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (Sink.ROOT, "the forced command of this key is for vault/a, and vault/b is not below it"),
        (Sink.COMMAND, "it does not do 'sh'"),
        (Sink.REFUSED, "a clone: its origin could never be destroyed"),
    ],
)
def test_a_sinks_refusal_is_a_type_with_and_without_codes(code: Sink, words: str) -> None:
    said = [f"zborg: {begin}refused by the sink: {words}" for begin in (f"{code} ", "")]
    errors = [messages.explain(CommandFailed(("ssh",), 4, one), ("zfs", "list")) for one in said]
    for error in errors:
        assert isinstance(error, SinkRefused) and error.code == code
        assert error.message == f"zfs list failed: zborg: refused by the sink: {words}"
        assert error.remedy == errors[0].remedy


def test_what_zfs_refuses_is_no_refusal_of_a_sink() -> None:
    assert sink_code("cannot receive: permission denied\n") is None
    abort = ("zfs", "receive", "-A", "vault/a")
    children = CommandFailed(abort, 1, "cannot destroy 'vault/a': dataset already exists")
    assert isinstance(messages.explain(children, abort), HasChildren)
    assert not isinstance(messages.explain(children, ("zfs", "create", "vault/a")), HasChildren)
