"""agent.conf as people and their editors write it, and how a mistake in it is named: by file and line."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, Lab, output
from tests.harness.machines.host import BackedUpHost
from tests.harness.steps import backup, reach_hosts
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import of
from zborg.model import Endpoint, Host, Status
from zborg.model.text.remedy import parse
from zborg.planning.hosts.agent_version import answer_of, judge

UTF8_TEXTS = ("é", "日本", "😀", "\u00a0x", "\uffff", "\U0010ffff", "~ ascii !")
OTHER_BYTES = (
    b"\xe9",
    b"caf\xe9x",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xe2\x82",
)


def rewrite(host: BackedUpHost, data: bytes) -> None:
    (host.confdir / "agent.conf").write_bytes(data)


def conf(host: BackedUpHost) -> bytes:
    return (host.confdir / "agent.conf").read_bytes()


@pytest.mark.parametrize("key", ["path", "exclude", "exclude_if_present"])
def test_what_is_not_utf8_is_refused_by_file_and_line(agent: Lab, key: str) -> None:
    """borg ends with a PackException: it records its command line in the archive."""
    before = conf(agent.host)
    for name in OTHER_BYTES:
        rewrite(agent.host, before + key.encode() + b" = /srv/" + name + b"\n")
        refused = agent.host.local("--seal")
        assert refused.returncode == 2, name
        assert f"{agent.host.confdir}/agent.conf line 7: {key} is not UTF-8" in refused.stderr, name


def test_utf8_of_every_length_is_backed_up(agent: Lab) -> None:
    paths = [agent.host.data / text for text in UTF8_TEXTS]
    for path in paths:
        path.mkdir()
        (path / "file").write_text("x")
    agent.configure("exclude = */née", paths=tuple(paths))
    assert output(agent.ok("create", "web1", A1))["archive"]["stats"]["nfiles"] == len(paths)


def test_a_name_below_a_path_may_be_any_bytes(agent: Lab) -> None:
    Path(os.fsdecode(os.fsencode(agent.data) + b"/caf\xe9")).write_text("x")
    agent.ok("create", "web1", A1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\xef\xbb\xbf", b"\n"),
        (b"", b"\r\n"),
        (b"\xef\xbb\xbf", b"\r\n"),
        (b"\xef\xbb\xbf# a comment\r\n\r\n", b"\r\n"),
    ],
)
def test_marks_and_line_ends_of_other_systems_are_no_mistake(agent: Lab, before: bytes, after: bytes) -> None:
    rewrite(agent.host, before + conf(agent.host).replace(b"\n", after))
    assert output(agent.ok("create", "web1", A2))["archive"]["stats"]["nfiles"] > 0


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf16_is_named_as_such(agent: Lab, encoding: str) -> None:
    rewrite(agent.host, ("\ufeff" + conf(agent.host).decode()).encode(encoding))
    refused = agent.host.local("--seal")
    assert refused.returncode == 2
    assert f"{agent.host.confdir}/agent.conf line 1: the file is UTF-16" in refused.stderr


def test_a_carriage_return_within_a_line_stays_a_mistake(agent: Lab) -> None:
    rewrite(agent.host, conf(agent.host) + b"path = /srv\r/x\n")
    assert "agent.conf line 7: a control character" in agent.host.local("--seal").stderr


@pytest.mark.parametrize(
    "mistake",
    [b"colour = red\n", b"path = relative\n", b"exclude = /srv/caf\xe9\n", b"keep_daily = 0\n", b"no key\n"],
)
def test_host_test_prints_the_command_that_shows_the_line(vault: LocalVault, mistake: bytes) -> None:
    host = vault.add("web1")
    number = conf(host).count(b"\n") + 1
    rewrite(host, conf(host) + mistake)
    found = of(reach_hosts(vault.context(), []), "web1")
    assert found.status is Status.FAILED and f"agent.conf line {number}: " in found.message, found
    sentence, commands = parse(found.remedy)
    assert sentence.startswith("on web1, as root")
    (line,) = commands
    shown = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
    assert shown == mistake


# --- paths that are not there: visible before the next backup fails ------------------------------------


@pytest.mark.parametrize(("report_paths", "named"), [("no", False), ("yes", True)])
def test_host_test_is_as_strict_about_paths_as_a_backup(
    vault: LocalVault, report_paths: str, named: bool
) -> None:
    host = vault.add("web1")
    gone, link = host.directory / "gone-4711", host.directory / "link-4711"
    link.symlink_to(host.data)
    for path, words in ((gone, "names what"), (link, "names a symbolic link instead of what it points to")):
        host.setup("web1", [host.data, path], extra_conf=[f"report_paths = {report_paths}"])
        tested = of(reach_hosts(vault.context(), ()), "web1")
        done = of(backup(vault.context()), "web1")
        for outcome in (tested, done):
            assert outcome.status is Status.FAILED, outcome
            assert f"{host.confdir}/agent.conf {words}" in outcome.message
            assert "line 6" in outcome.message
            assert (path.name in outcome.message) == named
            (command,) = parse(outcome.remedy)[1]
            typed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
            assert typed.stdout == f"path = {path}\n", "what is printed works when typed"


def test_a_path_that_a_hook_makes_is_a_warning(vault: LocalVault) -> None:
    host = vault.add("web1")
    dump = host.directory / "dump"
    host.setup("web1", [host.data, dump], extra_conf=[f"before = mkdir -p {dump}"])
    assert of(reach_hosts(vault.context(), ()), "web1").status is Status.WARNING
    assert of(backup(vault.context()), "web1").status is Status.OK


def test_an_agent_that_says_nothing_of_paths_is_not_doubted() -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC)
    said = f"agent 1\nname web1\nborg 1.4.5\nclock {int(now.timestamp())}\nalarm no\ninitialised yes"
    host = Host("web1", Endpoint("root", "web1.example.net", 22, "", ""), 3600, 60)
    assert judge(host, answer_of(said), now, escrow=False, sealed=False).level is Status.OK
