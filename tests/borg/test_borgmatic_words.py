"""What borgmatic says on stderr, put into a status, a message and a remedy."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zborg.borg.borgmatic import BorgmaticOutput, judge
from zborg.model import Speaker, Status

pytestmark = pytest.mark.unit

# As borgmatic 2.1.10 printed it, with shorter paths.
FRAME = [
    "an.yaml: Error running configuration",
    "an.yaml: An error occurred",
    "",
    "summary:",
    "An error occurred",
]
END = ["Error running configuration", "", "Need some help? https://example.org/#issues"]
OTHER_KEY = [
    "Remote: @@@@@@@@@@@@@@@@@@@@@",
    "Remote: @    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
    "Remote: Host key for backup-master has changed and you have requested strict checking.",
    "Remote: Host key verification failed.",
    "Connection closed by remote host. Is borg working on the server?",
]
INFO = "Command '/usr/bin/borg info --log-json --json ssh://m/r' returned non-zero exit status 81."


def judged(status: int, *lines: str) -> tuple[Status, str, str]:
    told = BorgmaticOutput()
    for line in lines:
        told.feed(line)
    return judge(status, told)


@pytest.mark.parametrize(
    ("lines", "message", "remedy"),
    [
        (OTHER_KEY, "the host saw another host key", "HostKeyAlias"),
        (OTHER_KEY[-1:], "Connection closed by remote host. Is borg working", "its host key as pinned"),
        (["Remote: sh: borg: not found", OTHER_KEY[-1]], "Remote: sh: borg: not found", "as pinned"),
        (
            ["root@127.0.0.1: Permission denied (publickey).", OTHER_KEY[-1]],
            "root@127.0.0.1: Permission",
            "key",
        ),
        (["Source directories do not exist: /srv"], "Source directories do not exist: /srv", ""),
        (
            ["ssh://m/r is not a valid repository. Check repo config."],
            "ssh://m/r is not a valid",
            "repo-create",
        ),
        (["\x1b[31mUnrecognized arguments: --create\x1b[0m"], "Unrecognized arguments: --create", "dashes"),
        ([], INFO, ""),
    ],
)
def test_the_reason_is_found_in_its_frame(lines: list[str], message: str, remedy: str) -> None:
    shown = [*lines, f"ssh://m/r: {INFO}", *FRAME, "Error running actions for repository", *lines, INFO, *END]
    status, said, mend = judged(1, *shown)
    assert status is Status.FAILED
    assert said.startswith(message)
    assert remedy in mend


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Data integrity error: Segment entry checksum mismatch [segment 4, offset 8]", Status.DAMAGED),
        ("Repository has no manifest.", Status.DAMAGED),
        ('Inconsistency detected. Please run "borg check ssh://m/r".', Status.DAMAGED),
        ("Repository encryption method changed since last access, refusing to continue", Status.CONFLICT),
    ],
)
def test_damage_and_alarms_of_borg_are_told_from_other_failures(line: str, expected: Status) -> None:
    status, said, mend = judged(1, line, f"ssh://m/r: {INFO}", *FRAME, line, INFO, *END)
    assert (status, said) == (expected, line)
    assert mend


def test_a_good_end_is_good_only_without_a_word() -> None:
    assert judged(0) == (Status.OK, "", "")
    assert judged(0, "", "  ") == (Status.OK, "", "")
    treated = "Treating exit code 107 (Backup file not found) as a warning, as per borgmatic defaults"
    gone = "/gone: stat: [Errno 2] No such file or directory: '/gone'"
    assert judged(0, treated, gone, gone, treated) == (Status.WARNING, gone, "")


def test_damage_that_borg_serve_mended_in_a_good_run_is_damage() -> None:
    """As borgmatic 2.1.10 handed on what borg 1.4.5 said of an index that was overwritten."""
    broken = "Repository index missing or corrupted, trying to recover from: File failed integrity check: /r"
    status, said, mend = judged(0, f"Remote: {broken}", "Remote: Replaying segments. Please wait")
    assert status is Status.DAMAGED
    assert broken in said
    assert "pool" in mend


def test_a_host_that_takes_any_key_is_told_so() -> None:
    status, _, remedy = judged(
        0, "Remote: Warning: Permanently added '[localhost]:64064' to the list of known hosts."
    )
    assert status is Status.WARNING
    assert "pin it there" in remedy


def test_a_silent_failure_has_words() -> None:
    assert judged(3) == (Status.FAILED, "borgmatic ended with status 3", "")
    assert judged(127)[1] == "the forced command was not found"


@given(status=st.integers(-15, 254), lines=st.lists(st.text(max_size=700), max_size=250))
@example(status=1, lines=["Command '" + "' returned non-zero exit status " * 20])
@example(status=1, lines=["Remote: " + "@ " * 400] * 250)
def test_whatever_a_host_says_is_short_and_judged(status: int, lines: list[str]) -> None:
    verdict, message, remedy = judged(status, *lines)
    assert verdict in ((Status.OK, Status.WARNING) if status == 0 else (Status.FAILED,))
    assert len(message) <= 3 * 510
    assert message or verdict is Status.OK
    assert len(remedy) < 200


def test_only_our_own_ssh_says_that_nobody_listens_here() -> None:
    line = "connect_to 127.0.0.1 port 22: failed."
    assert "zborg.toml" not in judged(1, line)[2]
    told = BorgmaticOutput()
    told.feed(line, Speaker.SSH)
    assert judge(1, told) == (
        Status.FAILED,
        line,
        "is the server's sshd up there? `sshd` under [reverse] in zborg.toml",
    )
