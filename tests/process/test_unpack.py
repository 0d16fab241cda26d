"""zborg/unpack.py against hostile streams of tar."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

import zborg
from tests.harness.builders.tar import END, entry

UNPACK = Path(zborg.__file__).parent / "unpack.py"


def unpack(to: Path, stream: bytes) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(UNPACK), str(to)], input=stream, capture_output=True, timeout=120
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def to(tmp_path: Path) -> Path:
    (tmp_path / "to").mkdir(mode=0o700)
    return tmp_path / "to"


PAX = b"28 path=../../escaped-by-pax\n"


def test_modes_owners_and_times_of_the_sender_are_not_taken(to: Path) -> None:
    stream = entry("./data", tarfile.DIRTYPE, mode=0o1777, uid=1000)
    stream += entry("./data/tool", data=b"#!", mode=0o6755, uid=1000, gid=1000, mtime=0)
    done = unpack(to, stream + END)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr) == {"files": 1, "skipped": 0, "names": []}
    tool, data = (to / "data/tool").stat(), (to / "data").stat()
    assert (oct(tool.st_mode), tool.st_uid, tool.st_gid) == ("0o100600", os.geteuid(), os.getegid())
    assert (oct(data.st_mode), data.st_uid) == ("0o40700", os.geteuid())
    assert tool.st_mtime > 10**9


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (tarfile.SYMTYPE, {"linkname": "/etc"}),
        (tarfile.LNKTYPE, {"linkname": "not-there"}),
        (tarfile.CHRTYPE, {"devmajor": 1, "devminor": 5}),
        (tarfile.BLKTYPE, {"devmajor": 7}),
        (tarfile.FIFOTYPE, {}),
        (tarfile.CONTTYPE, {}),
        (b"Z", {}),
    ],
)
def test_what_is_neither_file_nor_directory_is_left_out_and_reported(
    to: Path, kind: bytes, fields: dict[str, Any]
) -> None:
    done = unpack(to, entry("x", kind, **fields) + entry("y", data=b"fine") + END)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr) == {"files": 1, "skipped": 1, "names": ["x"]}
    assert [one.name for one in to.iterdir()] == ["y"]


def test_nothing_is_written_through_a_link_of_the_stream(to: Path) -> None:
    """First a link to elsewhere, then a file below its name."""
    stream = entry("x", tarfile.SYMTYPE, linkname=str(to.parent)) + entry("x/pwned", data=b"!")
    done = unpack(to, stream + END)
    assert done.returncode == 0 and not (to.parent / "pwned").exists()
    assert (to / "x/pwned").is_file() and not (to / "x").is_symlink()


def test_a_further_name_of_a_file_becomes_a_copy(to: Path) -> None:
    """An honest tar sends the second of two hard links so."""
    done = unpack(to, entry("a", data=b"text") + entry("b", tarfile.LNKTYPE, linkname="./a") + END)
    assert json.loads(done.stderr)["files"] == 2
    assert (to / "b").read_bytes() == b"text" and (to / "b").stat().st_nlink == 1


@pytest.mark.parametrize(
    "stream",
    [
        entry("../escaped", data=b"!"),
        entry("a/../../escaped", data=b"!"),
        entry("/tmp/escaped", data=b"!"),
        entry("..", tarfile.DIRTYPE),
        entry("./PaxHeaders", tarfile.XHDTYPE, PAX) + entry("x", data=b"!"),
        entry("a", data=b"1") + entry("b", tarfile.LNKTYPE, linkname="../../etc/passwd"),
        entry("a", data=b"1") + entry("./a", data=b"2"),
        entry("a", data=b"1") + entry("a/b", data=b"2"),
        entry("a", data=b"1") + b"garbage" * 200,
        entry("a", data=b"1") + b"garbage".ljust(512, b"\0"),
        b"garbage".ljust(512, b"\0"),
        entry("./PaxHeaders", tarfile.XHDTYPE, size=8 << 30),
        b"".join(entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"x\0") for _ in range(3000)),
        entry("a", data=b"1") + END + bytes(2 << 20),
    ],
    ids=lambda stream: repr(stream[:12]),
)
def test_what_no_honest_sender_sends_ends_it(to: Path, stream: bytes) -> None:
    done = unpack(to, stream + END)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert [one.name for one in to.parent.iterdir()] == ["to"] and not Path("/tmp/escaped").exists()


def test_a_header_of_gigabytes_does_not_take_the_machine_s_memory(to: Path) -> None:
    header = to.parent / "header"
    made = tarfile.TarInfo("./PaxHeaders")
    made.type, made.size = tarfile.XHDTYPE, 8 << 30
    header.write_bytes(made.tobuf(tarfile.GNU_FORMAT))
    script = f"(cat {header}; head -c 900000000 /dev/zero) | {sys.executable} -I -S {UNPACK} {to}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "MemoryError" in done.stderr, done.stderr


@pytest.mark.parametrize("length", [0, 100, 512, 1200, 2560, 2700])
def test_a_stream_that_ends_too_soon_is_no_archive(to: Path, length: int) -> None:
    """A whole file of 2000 bytes is 2560 in the stream; then its end is what is missing."""
    done = unpack(to, (entry("a", data=b"x" * 2000) + entry("b", data=b"y"))[:length])
    assert done.returncode == 1 and "Traceback" not in done.stderr


def test_a_directory_that_others_may_enter_is_refused(to: Path) -> None:
    to.chmod(0o755)
    assert "0700" in unpack(to, END).stderr
    to.chmod(0o700)
    (to / "there").touch()
    assert "empty" in unpack(to, END).stderr


@pytest.mark.parametrize("pack", [["tar", "-cf", "-", "."], ["busybox", "tar", "-cf", "-", "."]])
def test_the_tars_of_these_systems_are_understood(to: Path, pack: list[str]) -> None:
    """Long names, names that are not UTF-8, empty files and directories, a size over one record."""
    source = to.parent / "source"
    deep = source / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    (deep / "empty").touch()
    (deep / os.fsdecode(b"caf\xe9")).write_bytes(os.urandom(300_000))
    (source / "hard").hardlink_to(deep / "empty")
    sent = subprocess.run(pack, cwd=source, capture_output=True, check=True, timeout=120).stdout
    done = unpack(to, sent)
    assert done.returncode == 0, done.stderr
    subprocess.run(["diff", "-r", str(source), str(to)], check=True)


def test_python_s_tar_of_each_format_is_understood(to: Path) -> None:
    for number, form in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=form) as archive:
            info = tarfile.TarInfo(f"é{'n' * 90}")
            info.size, info.mtime = 3, 1.5
            archive.addfile(info, io.BytesIO(b"abc"))
        place = to / str(number)
        place.mkdir(mode=0o700)
        assert unpack(place, made.getvalue()).returncode == 0
        assert [one.read_bytes() for one in place.iterdir()] == [b"abc"]
