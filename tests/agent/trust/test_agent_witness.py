"""A host keeps the checkpoints that it is given with `create`, and a hostile server can do no more with them.

The agent by sh, bash and busybox, over real sshd; borg is a stand-in where nothing of it is needed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.machines.agent import A1, A2, Lab
from tests.harness.machines.host import encode
from tests.harness.watch import HANG
from zborg.planning.ledger.host_witness import MOST, parse

ROOT, SIGNATURE = "A" * 43 + "=", "B" * 91 + "="
DAY = 86400


def word(size: int = 123, origin: str = "backup1/1f2e3d4c") -> str:
    return f"{origin}@{size}@{ROOT}@{SIGNATURE}"


@pytest.fixture(params=["sh", "busybox", "bash"])
def lab(request: pytest.FixtureRequest, tmp_path: Path, enrolled: Path) -> Iterator[Lab]:
    """A host whose borg is a stand-in that always ends well."""
    made = Lab(tmp_path, "busybox" if request.param == "busybox" else "sh", "auto")
    if request.param == "bash":
        (place := made.host.directory / "bash").mkdir()
        (place / "sh").symlink_to("/bin/bash")
        text = made.host.agent.read_text()
        made.host.agent.write_text(text.replace("\nsh=/bin/sh\n", f"\nsh={place}/sh\n"))
    made.init(enrolled).configure(borg=made.script("stand-in", "exit 0\n"))
    with made.host:
        yield made


def create(lab: Lab, *words: str, archive: str = A1) -> subprocess.CompletedProcess[bytes]:
    return lab.host.call(encode(["create", "web1", archive, *words]), timeout=HANG)


def stored(lab: Lab) -> Path:
    return lab.host.state / "witness"


def older(lab: Lab, seconds: int = DAY) -> None:
    """As if all had been given so much earlier."""
    lines = [line.partition(" ") for line in stored(lab).read_text().splitlines()]
    stored(lab).write_text("".join(f"{int(at) - seconds} {rest}\n" for at, _, rest in lines))


def sizes(lab: Lab) -> list[int]:
    done = lab.host.call("witness", timeout=HANG)
    assert done.returncode == 0, done.stderr
    return [one.note.checkpoint.size for one in parse(done.stdout.decode())]


def state(lab: Lab) -> str:
    lines = lab.host.call("version", timeout=HANG).stdout.decode().splitlines()
    (found,) = (line for line in lines if line.startswith("witness "))
    return found.removeprefix("witness ")


def test_it_keeps_what_it_is_given_in_order(lab: Lab) -> None:
    """One a night; the same again adds nothing, and an earlier one behind a later one is kept as it came."""
    assert (state(lab), sizes(lab)) == ("none", [])
    assert create(lab, word(5)).returncode == 0
    assert stored(lab).stat().st_mode & 0o777 == 0o600
    create(lab, word(5))
    assert (state(lab), sizes(lab)) == ("5", [5])
    for size in (9, 7):
        older(lab)
        create(lab, word(size))
    assert (state(lab), sizes(lab)) == ("7", [5, 9, 7])
    create(lab, archive=A2)
    assert sizes(lab) == [5, 9, 7], "a server that gives none changes nothing"


def test_a_server_cannot_push_out_the_others_in_a_night(lab: Lab) -> None:
    create(lab, word(5))
    for size in range(6, 10):
        assert create(lab, word(size)).returncode == 0
    assert sizes(lab) == [5]
    older(lab, 13 * 3600)
    create(lab, word(10))
    assert sizes(lab) == [5, 10]


def test_the_newest_are_kept(lab: Lab) -> None:
    lines = "".join(f"{1_700_000_000 + n} {word(n)}\n" for n in range(1, MOST + 1))
    stored(lab).write_text(lines)
    stored(lab).chmod(0o600)
    create(lab, word(MOST + 1))
    found = sizes(lab)
    assert (len(found), found[0], found[-1]) == (MOST, 2, MOST + 1)
    assert len(lab.host.call("witness").stdout) < 64 << 10, "what the server takes for an answer"


def hostile_words() -> list[str]:
    good = word()
    return [
        "x",
        "-",
        "--help",
        "/etc/passwd",
        "../../etc/shadow",
        "$(touch CANARY)",
        "`id`",
        good * 2,
        f"{good} ",
        f" {good}",
        f"x {good}",
        f"{good}\n",
        f"{good}\n{good}",
        f"\n{good}",
        f"{good}\r",
        f"{good}\x1b[2J",
        f"{good}\0",
        f"-{good}",
        f"/{good}",
        f"../{good}",
        f"\xff{good}",
        word(0),
        word(10**18),
        word(origin="b" * 101),
        word(origin="back up"),
        good.replace("@", " "),
        good.replace("=", ""),
        good[:-1],
        "A" * 10_000,
        good + "A" * 10_000,
        "\\0101",
    ]


def test_any_other_word_is_refused_and_nothing_runs(lab: Lab) -> None:
    """Newlines, control characters, what looks like a path, an option, a command; 10 kB of it."""
    ran = lab.host.directory / "ran"
    lab.configure(borg=lab.script("trap", f"echo ran >>{ran}\n"))
    create(lab, word(5))
    ran.unlink()
    before = stored(lab).read_bytes()
    for one in hostile_words():
        done = create(lab, one)
        assert (done.returncode, done.stdout) == (2, b""), (one, done)
        assert done.stderr.count(b"\n") == 1 and b"zborg-agent: refused: " in done.stderr, (one, done)
    for words in (("",), (word(), word()), ("x", word())):
        assert create(lab, *words).returncode in (0, 2)
    for raw in ("witness x", f"witness {word()}", f"sample web1 {A1} {word()}", f"prune web1 {word()}"):
        assert lab.host.call(raw).returncode == 2, raw
    assert stored(lab).read_bytes() == before or sizes(lab) == [5]
    assert not ran.exists() or ran.read_text() == "ran\n", "create with an empty word is create"


def broken_files() -> dict[str, str]:
    line = f"1700000000 {word()}"
    return {
        "empty": "",
        "garbage before": f"garbage\n{line}\n",
        "garbage behind": f"{line}\ngarbage\n",
        "a torn line": f"{line}\n{line[:50]}",
        "a line with more in it": f"{line} && touch x\n",
        "a blank line": f"{line}\n\n",
        "control characters": f"{line}\n\x1b[2J{line}\n",
    }


@pytest.mark.parametrize("kind", broken_files())
def test_a_broken_file_is_shown_to_nobody_and_stops_no_backup(lab: Lab, kind: str) -> None:
    stored(lab).write_text(broken_files()[kind])
    stored(lab).chmod(0o600)
    done = create(lab, word(9))
    assert done.returncode == 0 and b"zborg-agent: N_WITNESS " in done.stderr, done
    assert stored(lab).read_text() == broken_files()[kind]
    shown = lab.host.call("witness")
    assert (shown.returncode, shown.stdout) == (68, b""), shown
    assert b"E_BROKEN broken: " in shown.stderr
    assert state(lab) == "broken"


@pytest.mark.parametrize("how", ["link", "directory", "fifo", "others may read it"])
def test_what_is_no_file_of_root_s_alone_is_not_read(lab: Lab, how: str) -> None:
    place = stored(lab)
    target = lab.host.directory / "elsewhere"
    target.write_text(f"1700000000 {word()}\n")
    target.chmod(0o600)
    if how == "link":
        place.symlink_to(target)
    elif how == "directory":
        place.mkdir(0o700)
    elif how == "fifo":
        os.mkfifo(place, 0o600)
    else:
        place.write_text(target.read_text())
        place.chmod(0o644)
    before = target.read_bytes()
    assert create(lab, word(9)).returncode == 0
    assert lab.host.call("witness", timeout=HANG).returncode == 68
    assert target.read_bytes() == before


def test_a_full_disk_stops_no_backup_and_tears_no_line(lab: Lab) -> None:
    """Nothing can be written beside it: all of it stays as it was, and the server is given the reason."""
    create(lab, word(5))
    older(lab)
    before = stored(lab).read_bytes()
    Path(f"{stored(lab)}.new").mkdir()  # as a disk without room: the new file cannot be made
    done = create(lab, word(9))
    assert done.returncode == 0 and b"N_WITNESS " in done.stderr, done
    assert stored(lab).read_bytes() == before
    Path(f"{stored(lab)}.new").rmdir()
    Path(f"{stored(lab)}.new").symlink_to("/dev/full")  # it can be made, and takes no byte
    done = create(lab, word(9))
    assert done.returncode == 0 and b"N_WITNESS " in done.stderr, done
    assert stored(lab).read_bytes() == before and not Path(f"{stored(lab)}.new").is_symlink()
    assert create(lab, word(9)).returncode == 0 and sizes(lab) == [5, 9]


def test_an_alarm_keeps_it_from_being_given_and_not_from_being_shown(lab: Lab) -> None:
    """It may be what shows what the server did."""
    create(lab, word(5))
    older(lab)
    (lab.host.state / "alarm").write_text("2026-12-01T00:00:00Z the server showed an older state\n")
    assert create(lab, word(9)).returncode == 76
    assert sizes(lab) == [5]
