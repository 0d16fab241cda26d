"""Paths of a restore: one rule on both sides, names of any bytes. Real agent, sshd and borgs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.machines.agent import A2, Lab
from tests.harness.machines.borgs import BORGS, borg_of
from tests.harness.machines.host import BackedUpHost
from tests.harness.restore.howto import Shim
from tests.harness.steps import backup, restore_files, snapshot
from tests.harness.worlds.local import LocalVault
from tests.harness.worlds.steps import Hours, world
from zborg.errors import UsageError
from zborg.hosts.agent import script
from zborg.hosts.tunnel import quote
from zborg.model.text import remedy
from zborg.planning.restore.paths import MOST_BYTES, MOST_PATHS, encoded, is_restorable, restorable

GOOD = [
    *("/etc", "/etc/", "/a b", "/a\tb", "/\x1b[31m", "/caf\udce9", "/é", "/...", "/.a", "/a.", "/a.."),
    *("/..a/b", "/-a", "/*", "/$(id)", "/'", "/\\0057"),
]
BAD = [
    *("", "/", "//", "///", "etc", ".", "..", "~", "-a", "/a/../b", "/a/./b", "/a//b", "//a", "/a//"),
    *("/.", "/..", "/./", "/a/..", "/a/.", "/a/../", "/../a", "/a\nb", "/a\n"),
]


def agent_takes(paths: list[str]) -> list[bool]:
    """What the script's own is_path says."""
    (rule,) = re.findall(r"(?m)^is_path\(\) .*$", script())
    code = f'newline=\'\n\'\n{rule}\nfor path in "$@"; do is_path "$path" && echo yes || echo no; done'
    done = subprocess.run(
        ["sh", "-fuc", code, "sh", *map(os.fsencode, paths)],
        env={"LC_ALL": "C", "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [word == "yes" for word in done.stdout.split()]


def test_both_sides_take_the_same_paths() -> None:
    assert all(map(is_restorable, GOOD)) and not any(map(is_restorable, BAD))
    assert agent_takes([*GOOD, *BAD]) == [True] * len(GOOD) + [False] * len(BAD)


@given(st.lists(st.text(st.sampled_from("/.a\n\udce9\x07 "), max_size=9), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_both_sides_take_the_same_of_any_paths(paths: list[str]) -> None:
    assert agent_takes(paths) == [is_restorable(one) for one in paths]


@given(st.lists(st.text(st.sampled_from("/.ab\n\udce9"), max_size=9), min_size=1, max_size=4))
def test_what_is_refused_is_offered_in_a_form_that_is_taken(paths: list[str]) -> None:
    try:
        assert all(map(is_restorable, restorable("web1", [f"/{one}" for one in paths])))
    except UsageError as error:
        assert error.message.isprintable()
        _, commands = remedy.parse(error.remedy)
        for line in commands:
            typed = _typed(line)
            assert typed[:4] == ["zborg", "restore", "files", "web1"]
            assert all(map(is_restorable, typed[4:]))


def _typed(line: str) -> list[str]:
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, timeout=120
    )
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.unit
def test_of_a_name_with_a_line_feed_the_directory_is_offered() -> None:
    with pytest.raises(UsageError) as caught:
        restorable("web1", ["/srv/dir/a\nb", "/etc/../opt//x"])
    assert remedy.parse(caught.value.remedy)[1] == ("zborg restore files web1 /srv/dir /opt/x",)
    assert "$'/srv/dir/a\\x0ab'" in caught.value.message


@pytest.mark.unit
def test_each_path_once_and_none_below_another() -> None:
    assert restorable("web1", ["/a", "/a/b", "/a", "/ab", "/c/d", "/c/"]) == ["/a", "/ab", "/c"]


def test_what_the_agent_s_command_cannot_hold_is_refused_here(agent: Lab) -> None:
    """And what is not refused here is taken there: as many paths, of as many bytes, as are allowed."""
    many = [f"/{number:03}{'é' * 7}" for number in range(MOST_PATHS)]
    assert encoded(many) == sum(len(quote(one)) + 1 for one in many) > MOST_BYTES - 2000, "near either limit"
    assert restorable("web1", many) == many
    agent.configure("restore = yes")
    done = agent.restore(A2, "x", *map(Path, many))
    assert "more than 200 words" not in done.stderr and "too long" not in done.stderr
    for paths in ([*many, "/more"], [f"/{'é' * 1500}"]):
        with pytest.raises(UsageError, match="too much for one command of web1's agent"):
            restorable("web1", paths)


# --- names of any bytes ---------------------------------------------------------------------------------

LATIN, BELL, BOTH = b"caf\xe9", b"a\x07\tb\r", b"it's \xff\x1b[31m \\0101 $(id)"


@pytest.fixture
def odd(vault: LocalVault, clock: Hours) -> Iterator[tuple[LocalVault, BackedUpHost, Shim]]:
    """A host with such names in its one good snapshot, and a `zborg` for a shell."""
    host, context = vault.add("web1"), world(vault, clock)
    for name in (LATIN, BELL, BOTH):
        place = os.fsencode(host.data) + b"/" + name
        Path(os.fsdecode(place)).mkdir()
        Path(os.fsdecode(place), "inside").write_bytes(name)
    Path(host.data, "line\nfeed").write_text("by its directory")
    backup(context)
    clock.tick()
    snapshot(context)
    clock.tick()
    with Shim(vault.directory / "bin", context) as shim:
        yield vault, host, shim


def in_bash(vault: LocalVault, host: BackedUpHost, line: str) -> subprocess.CompletedProcess[bytes]:
    """A printed line, typed: on the host where it begins with the agent, else here."""
    line = line.replace("/usr/local/libexec/zborg-agent", f"sh {host.agent} {host.confdir}")
    env = {"PATH": f"{vault.directory}/bin:{os.environ['PATH']}", "HOME": str(vault.directory)}
    argv = ["bash", "-c", line]
    return subprocess.run(argv, env=env, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)


@pytest.mark.parametrize("name", [LATIN, BELL, BOTH])
def test_a_name_of_any_bytes_is_restored_by_what_is_printed(
    odd: tuple[LocalVault, BackedUpHost, Shim], name: bytes
) -> None:
    """The first line is the user's; the others are copied from what zborg printed."""
    vault, host, shim = odd
    path = os.fsencode(host.data) + b"/" + name
    refused = in_bash(vault, host, remedy.command("zborg", "restore", "files", "web1", os.fsdecode(path)))
    assert refused.returncode == 4, refused
    allow, again = [
        line.strip()
        for line in refused.stdout.decode().splitlines()
        if " /usr/" in line or " zborg restore files" in line
    ]
    allowed = in_bash(vault, host, allow)
    assert allowed.returncode == 0, allowed
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", allowed.stdout), "nothing steers root's terminal"
    shim.context.clock.tick()  # type: ignore[attr-defined]  # it is turned by hand
    done = in_bash(vault, host, again)
    assert done.returncode == 0, done
    (restored,) = (host.state / "restore").iterdir()
    assert (Path(f"{restored}{os.fsdecode(path)}") / "inside").read_bytes() == name


def test_a_name_with_a_line_feed_comes_back_with_its_directory(
    odd: tuple[LocalVault, BackedUpHost, Shim],
) -> None:
    vault, host, shim = odd
    refused = in_bash(
        vault, host, remedy.command("zborg", "restore", "files", "web1", f"{host.data}/line\nfeed")
    )
    assert refused.returncode == 2
    line = refused.stderr.decode().splitlines()[-1].strip()
    assert _typed(line)[4:] == [str(host.data)]
    host.local("--allow-restore", "zborg_2026-02-12T154933Z", "1000000", f"{host.data}/").check_returncode()
    done = in_bash(vault, host, line)
    assert done.returncode == 0, done
    (restored,) = (host.state / "restore").iterdir()
    assert Path(f"{restored}{host.data}", "line\nfeed").read_text() == "by its directory"


def test_a_dry_run_prints_lines_that_can_be_typed(odd: tuple[LocalVault, BackedUpHost, Shim]) -> None:
    _, host, shim = odd
    path = f"{host.data}/{os.fsdecode(LATIN)}"
    plan = restore_files(shim.context, "web1", [path], "", dry_run=True).plan
    allow, again = plan[-3].strip(), plan[-1].strip()
    assert _typed(allow)[-1] == path
    assert path in _typed(again) and all(line.isprintable() for line in plan)


@pytest.mark.parametrize("version", BORGS)
def test_either_borg_finds_such_a_name(agent: Lab, version: str) -> None:
    agent.configure("restore = yes", borg=borg_of(version))
    for name in (LATIN, BELL, BOTH):
        Path(agent.data, os.fsdecode(name)).write_bytes(name)
    agent.ok("create", "web1", A2)
    for number, name in enumerate((LATIN, BELL, BOTH)):
        path = Path(agent.data, os.fsdecode(name))
        done = agent.restore(A2, f"r{number}", path)
        assert done.status == 0, done.stderr
        assert Path(f"{agent.restored(f'r{number}')}{path}").read_bytes() == name


def test_a_path_that_root_did_not_allow_is_reported_on_one_line(agent: Lab) -> None:
    agent.allow(agent.data)
    done = agent.restore(A2, "r", Path("/srv/a\rzborg-agent: \x1b[2J"))
    assert "did not allow this path: /srv/a?zborg-agent: ?[2J" in done.stderr
