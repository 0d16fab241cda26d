"""zborg.borg.log: what borg and the agent say, and what it means."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.machines.host import find_borg
from zborg.borg.known import by_msgid
from zborg.borg.log import BorgLog, Counts, lock_is_held, statistics
from zborg.borg.verdict import judge
from zborg.model import Speaker, Status


def message(level: str, text: str, msgid: str = "") -> str:
    return json.dumps({"type": "log_message", "levelname": level, "message": text, "msgid": msgid})


def log_of(*lines: str | tuple[Speaker, str]) -> BorgLog:
    """Of the host's lines, and of those that name another speaker."""
    log = BorgLog()
    for line in lines:
        speaker, text = (Speaker.HOST, line) if isinstance(line, str) else line
        log.feed(text, speaker)
    return log


def served(line: str) -> tuple[Speaker, str]:
    return Speaker.STORAGE, line


def ended(status: int) -> str:
    """What the agent says when borg ran, whatever it came to."""
    return f"zborg-agent: borg ended with {status}"


CLOCK = "zborg-agent: clock 1796041314"  # what the agent says first


# --- judge --------------------------------------------------------------------------------------------

EXPECTED = {
    "LockTimeout": Status.BUSY,
    "LockError": Status.BUSY,
    "PassphraseWrong": Status.FAILED,
    "PasscommandFailure": Status.FAILED,
    "NoPassphraseFailure": Status.FAILED,
    "KeyfileNotFoundError": Status.FAILED,
    "Repository.DoesNotExist": Status.FAILED,
    "Repository.InvalidRepository": Status.DAMAGED,
    "Repository.CheckNeeded": Status.DAMAGED,
    "IntegrityError": Status.DAMAGED,
    "DecompressionError": Status.DAMAGED,
    "FileIntegrityError": Status.DAMAGED,
    "NoManifestError": Status.DAMAGED,
    "Repository.ObjectNotFound": Status.DAMAGED,
    "TAMInvalid": Status.CONFLICT,
    "TAMRequiredError": Status.CONFLICT,
    "ArchiveTAMInvalid": Status.CONFLICT,
    "ArchiveTAMRequiredError": Status.CONFLICT,
    "Cache.CacheInitAbortedError": Status.CONFLICT,
    "Cache.RepositoryIDNotUnique": Status.CONFLICT,
    "Repository.InsufficientFreeSpaceError": Status.FAILED,
    "Cache.RepositoryReplay": Status.CONFLICT,
    "Cache.RepositoryAccessAborted": Status.CONFLICT,
    "Cache.EncryptionMethodMismatch": Status.CONFLICT,
}


def test_the_table_below_is_whole() -> None:
    assert set(EXPECTED) == set(by_msgid("web1"))


@pytest.mark.parametrize("msgid", sorted(EXPECTED))
@pytest.mark.parametrize("status", [2, 13, 73, 105])
def test_a_known_msgid_decides_whatever_the_status(msgid: str, status: int) -> None:
    judged, words, remedy = judge(status, log_of(message("ERROR", "borg's own words", msgid)))
    assert judged is EXPECTED[msgid]
    assert words
    assert remedy, "everything we know has a way out"


def test_every_known_msgid_is_one_of_borgs() -> None:
    """A msgid is the qualified name of the exception's class: misspelled, it would never match."""
    borg = importlib.import_module("borg")
    Error = importlib.import_module("borg.helpers").Error
    for module in ("archive", "cache", "remote", "repository", "locking", "crypto.key", "crypto.nonces"):
        importlib.import_module(f"borg.{module}")
    assert list(pkgutil.iter_modules(borg.__path__))
    names, classes = set(), [Error]
    while classes:
        cls = classes.pop()
        names.add(cls.__qualname__)
        classes += cls.__subclasses__()
    assert set(by_msgid("web1")) <= names


@pytest.mark.parametrize(
    ("status", "lines", "expected", "words"),
    [
        (0, [], Status.OK, ""),
        (0, [message("WARNING", "x")], Status.OK, ""),
        (1, [message("WARNING", "file changed"), ended(1)], Status.WARNING, "file changed"),
        (100, [ended(100)], Status.WARNING, "borg warned"),
        (105, [message("WARNING", "a"), message("WARNING", "b"), ended(105)], Status.WARNING, "a / b"),
        (126, [ended(126)], Status.WARNING, "borg warned"),
        (77, [], Status.FAILED, "a path of agent.conf is not there"),
        (
            77,
            ["zborg-agent: not there: path number 2"],
            Status.FAILED,
            "zborg-agent: not there: path number 2",
        ),
        (1, [message("ERROR", "broken")], Status.FAILED, "broken"),
        (107, [message("ERROR", "broken")], Status.FAILED, "broken"),
        (2, [ended(2)], Status.FAILED, "borg ended with status 2"),
        (99, [ended(99)], Status.FAILED, "borg ended with status 99"),
        (2, [], Status.FAILED, "the session on the host ended with status 2 before the agent started"),
        (-15, [], Status.FAILED, "borg ended with status -15"),
        (75, [], Status.BUSY, "another verb runs on the host"),
        (75, ["zborg-agent: busy: create"], Status.BUSY, "zborg-agent: busy: create"),
        (76, [], Status.CONFLICT, "the host raised an alarm"),
        (76, ["zborg-agent: alarm: x"], Status.CONFLICT, "zborg-agent: alarm: x"),
        (
            76,
            [message("ERROR", "No key file", "KeyfileNotFoundError"), ended(42), "zborg-agent: ALARM: x"],
            Status.CONFLICT,
            "zborg-agent: ALARM: x",
        ),
        (78, ["zborg-agent: not now: x"], Status.SKIPPED, "zborg-agent: not now: x"),
        (79, ["zborg-agent: hook before x"], Status.FAILED, "zborg-agent: hook before x"),
        (79, [ended(0), "zborg-agent: hook after x"], Status.WARNING, "zborg-agent: hook after x"),
        (127, [], Status.FAILED, "there is no agent on the host"),
    ],
)
def test_statuses(status: int, lines: list[str], expected: Status, words: str) -> None:
    judged, found, _ = judge(status, log_of(*lines))
    assert (judged, found) == (expected, words)


@pytest.mark.parametrize("status", [1, *range(100, 127)])
def test_warnings_are_borg_s_and_nobody_else_s(status: int) -> None:
    """An agent or a shell that ends with 1 before borg ran has done nothing."""
    assert judge(status, log_of(ended(status)))[0] is Status.WARNING
    assert judge(status, log_of(ended(status), *("filler" for _ in range(99))))[0] is Status.WARNING
    assert judge(status, BorgLog())[0] is Status.FAILED


@pytest.mark.parametrize(
    ("msgid", "last", "expected"),
    [
        ("OSError", "OSError: [Errno 5] Input/output error", Status.DAMAGED),
        ("OSError", "OSError: [Errno 52] Invalid exchange", Status.DAMAGED),
        ("OSError", "OSError: [Errno 28] No space left on device", Status.FAILED),
        (
            "PermissionError",
            "PermissionError: [Errno 13] Permission denied: '/t/web1/data/0/2'",
            Status.FAILED,
        ),
        (
            "FileNotFoundError",
            "FileNotFoundError: [Errno 2] No such file: '/t/web1/data/0/2'",
            Status.DAMAGED,
        ),
        ("FileNotFoundError", "FileNotFoundError: [Errno 2] No such file: '/t/web1'", Status.FAILED),
        ("MemoryError", "MemoryError", Status.FAILED),
        ("ValueError", "ValueError: invalid literal", Status.DAMAGED),
    ],
)
def test_what_borg_serve_falls_over_is_damage_or_not(msgid: str, last: str, expected: Status) -> None:
    at_serve = f'Traceback (most recent call last):\n  File "/x/borg/remote.py", line 252, in serve\n{last}'
    assert judge(2, log_of(message("ERROR", at_serve, msgid)))[0] is expected
    on_host = f'Traceback (most recent call last):\n  File "/x/borg/cache.py", line 25, in open\n{last}'
    assert judge(2, log_of(message("ERROR", on_host, msgid)))[0] is Status.FAILED


@pytest.mark.parametrize("text", ["", " ", "\n \t\n", None, 7, ["x"]])
def test_an_error_without_words_is_an_error(text: object) -> None:
    line = json.dumps({"type": "log_message", "levelname": "ERROR", "message": text, "msgid": ""})
    assert judge(2, log_of(line))[0] is Status.FAILED


def test_a_host_that_talks_without_end_fills_nothing() -> None:
    log = BorgLog()
    for _ in range(50):
        log.feed("= " + "A" * 1_000_000)
        log.feed(message("ERROR", "A" * 1_000_000))
        log.feed(message("WARNING", "A" * 1_000_000))
        log.feed("A" * 1_000_000)
    kept = (log.stdout.decode(), *log.plain, *log.warnings.texts, *(text for _, text in log.errors))
    assert sum(map(len, kept)) < 17 << 20
    assert log.json() == {}


@given(status=st.integers(-64, 255), lines=st.lists(st.text(max_size=80), max_size=5))
def test_nothing_but_status_0_is_ok(status: int, lines: list[str]) -> None:
    judged, words, _ = judge(status, log_of(*lines))
    assert (judged is Status.OK) == (status == 0)
    assert status == 0 or words


# --- the last words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([message("ERROR", "first"), message("ERROR", "last")], "last"),
        # That the connection closed is what borg sees of somebody else's reason.
        (
            [message("ERROR", "closed", "ConnectionClosed"), served("zborg-serve: refused: too long")],
            "storage: zborg-serve: refused: too long",
        ),
        (
            [message("ERROR", "closed", "ConnectionClosedWithHint")],
            "borg serve ended on the storage without a reason: perhaps killed for lack of memory",
        ),
        (["zborg-agent: refused: x", "zborg-agent: borg ended with 2"], "zborg-agent: refused: x"),
        (
            [CLOCK, "usage: borg", "borg: error: no such option --x", "more"],
            "borg: error: no such option --x",
        ),
        ([CLOCK, "a", "b", "c", "d"], "b / c / d"),
        ([CLOCK, "", "   "], "borg ended with status 2"),
        ([message("ERROR", "borg's"), "zborg-agent: ours"], "borg's"),
    ],
)
def test_whose_words_are_told(lines: list[str | tuple[Speaker, str]], expected: str) -> None:
    assert judge(2, log_of(*lines))[1] == expected


def test_only_the_newest_plain_lines_are_kept() -> None:
    log = log_of(*(f"line {number}" for number in range(1000)))
    assert log.plain == [f"line {number}" for number in range(960, 1000)]


# --- progress -----------------------------------------------------------------------------------------


def test_progress_gives_counts_and_nothing_else_does() -> None:
    log = BorgLog()
    line = json.dumps({"type": "archive_progress", "nfiles": 12, "original_size": 3456, "path": "/secret"})
    assert log.feed(line) == Counts(12, 3456, "/secret")  # if the host lets it out
    assert log.feed(json.dumps({"type": "archive_progress", "finished": True})) is None, "it has no counts"
    assert log.feed('{"type": "archive_progress", "nfiles": "many"}') == Counts(0, 0)
    for other in (message("INFO", "x"), "= text", "text", "", "{", "[1]", '{"type": "later"}'):
        assert log.feed(other) is None


def test_json_of_the_prefixed_lines_alone() -> None:
    log = log_of('= {"archive":', "zborg-agent: in between", '=  {"name": "a"}}')
    assert log.json() == {"archive": {"name": "a"}}
    assert log_of("= {torn").json() == {}
    assert log_of().json() == {}


LINES = st.one_of(
    st.text(),
    st.text().map("= ".__add__),
    st.just("{" + '"a":{' * 3000),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["log_message", "archive_progress"])},
        optional={
            key: st.none() | st.integers() | st.text() | st.lists(st.integers())
            for key in ("levelname", "message", "msgid", "nfiles", "original_size")
        },
    ).map(json.dumps),
)


@given(lines=st.lists(LINES, max_size=8), status=st.integers(-20, 255))
def test_no_line_whatever_raises(lines: list[str], status: int) -> None:
    log = log_of(*lines)
    judged, words, remedy = judge(status, log)
    assert isinstance(judged, Status)
    assert isinstance(words, str)
    assert isinstance(remedy, str)
    assert isinstance(log.json(), dict)
    assert all(isinstance(value, int | float) for value in statistics(log.json()).values())


# --- statistics ---------------------------------------------------------------------------------------


def test_statistics_of_a_real_archive(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(os.urandom(5000))
    env = {"BORG_BASE_DIR": str(tmp_path / "base"), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    env["BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"] = "yes"

    def borg(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [find_borg(), "--log-json", *words]
        return subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert borg("init", "-e", "none", "repo").returncode == 0
    done = borg("create", "--json", "repo::a", "data")
    assert done.returncode == 0
    found = statistics(log_of(*(f"= {line}" for line in done.stdout.splitlines())).json())
    assert (found["files"], found["original_bytes"]) == (1, 5000)
    assert found["new_bytes"] >= 5000
    assert found["compressed_bytes"] >= 5000
    assert found["seconds"] >= 0
    again = borg("create", "--json", "repo::a", "data")
    judged, words, _ = judge(again.returncode, log_of(*again.stderr.splitlines()))
    assert (judged, words) == (Status.FAILED, "Archive a already exists")
    missing = borg("list", "nothing-here")
    judged, words, _ = judge(missing.returncode, log_of(*missing.stderr.splitlines()))
    assert (judged, words) == (Status.FAILED, "there is no repository in the dataset")


@pytest.mark.parametrize("created", [{}, {"archive": 1}, {"archive": {"stats": []}}, {"archive": None}])
def test_missing_statistics_are_none(created: dict[str, object]) -> None:
    assert statistics(created) == {}


def test_a_full_disk_is_told_as_such_and_borg_s_list_of_versions_is_not() -> None:
    """As borg 1.4 reported a ZFS quota through `borg serve`: a traceback, then its platform."""
    log = BorgLog()
    for message in (
        "Borg server: Traceback (most recent call last):\n  ...\nOSError: [Errno 122] Disk quota exceeded",
        "Borg server: Platform: Linux vault 6.12\nBorg server: SSH_ORIGINAL_COMMAND: None\n",
    ):
        log.feed(json.dumps({"type": "log_message", "levelname": "ERROR", "message": message}))
    status, message, remedy = judge(2, log)
    assert (status, message) == (Status.FAILED, "the storage is full")
    assert "quota" in remedy


def test_an_error_with_a_traceback_is_told_by_its_last_line() -> None:
    log = BorgLog()
    text = "Traceback (most recent call last):\n  ...\nValueError: too short"
    log.feed(json.dumps({"type": "log_message", "levelname": "ERROR", "message": text}))
    log.feed(
        json.dumps({"type": "log_message", "levelname": "ERROR", "message": "Platform: Linux web1 6.12"})
    )
    assert judge(2, log)[1] == "ValueError: too short"


def test_warnings_are_told_where_the_host_lets_them_out() -> None:
    log = BorgLog()
    log.feed(json.dumps({"type": "log_message", "levelname": "WARNING", "message": "/x: file changed"}))
    log.feed(ended(1))
    assert judge(1, log)[:2] == (Status.WARNING, "/x: file changed")
    hidden = BorgLog()
    hidden.feed(json.dumps({"type": "log_message", "levelname": "WARNING"}))
    hidden.feed(ended(1))
    assert judge(1, hidden)[:2] == (Status.WARNING, "borg warned")


@pytest.mark.parametrize(
    ("status", "lines", "held"),
    [
        (2, [{"type": "log_message", "levelname": "ERROR", "msgid": "LockTimeout", "message": "x"}], True),
        (73, [], True),
        (2, [{"type": "log_message", "levelname": "ERROR", "msgid": "LockError", "message": "x"}], False),
        (2, [], False),
        (0, [], False),
    ],
)
def test_a_held_lock_is_told_by_its_msgid_and_then_by_the_status(
    status: int, lines: list[dict[str, str]], held: bool
) -> None:
    """borg 1.2 has no modern exit codes."""
    log = BorgLog()
    for line in (*map(json.dumps, lines), f"zborg-agent: borg ended with {status}"):
        log.feed(line)
    assert lock_is_held(status, log) is held


def test_the_last_lines_of_the_host_stay_whatever_the_storage_says() -> None:
    """borg serve answers a host that hung up with a traceback."""
    log = BorgLog()
    log.feed("zborg-agent: borg is not installed")
    log.feed(json.dumps({"type": "log_message", "levelname": "ERROR", "message": "Traceback\nthe reason"}))
    for number in range(30):
        log.feed(f"line {number}", Speaker.STORAGE)
    assert log.last == [
        *(f"storage: line {number}" for number in range(22, 30)),
        "zborg-agent: borg is not installed",
        "Traceback",
        "the reason",
    ]
