"""doctor's judges of this machine: each fault by itself, and the finding when there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zborg.errors import ConfigError
from zborg.model import Finding, Status
from zborg.planning.doctor import this_machine
from zborg.planning.doctor.this_machine import STATE_FREE, FileFacts, KeyFacts, ProgramFacts, StateFacts

pytestmark = pytest.mark.unit

ME = 1000
KEY = KeyFacts(FileFacts("/k", there=True, mode=0o600, uid=ME), "ssh-ed25519 AAAA", "", "ssh-ed25519 AAAA")
STATE = StateFacts(FileFacts("/s", there=True, mode=0o700, uid=ME), (), 10 * STATE_FREE)


def of_file(mode: int = 0o600, uid: int = ME) -> FileFacts:
    return FileFacts("/k", there=True, mode=mode, uid=uid)


def only(found: tuple[Finding, ...]) -> Finding:
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("key", "level", "words", "remedy"),
    [
        (replace(KEY, file=FileFacts("/k", there=False)), Status.FAILED, "no such key", "zborg init"),
        (replace(KEY, file=of_file(0o640)), Status.FAILED, "mode is 0640", "chmod 0600 /k"),
        (replace(KEY, file=of_file(uid=7)), Status.FAILED, "belongs to user 7", "chown root /k"),
        (replace(KEY, public="", why="it is encrypted"), Status.FAILED, "it is encrypted", "ssh-keygen -p"),
        (
            replace(KEY, beside="ssh-rsa B"),
            Status.WARNING,
            "half of another key",
            "ssh-keygen -y -f /k >/k.pub",
        ),
    ],
)
def test_a_key_that_ssh_would_refuse_is_named_with_its_remedy(
    key: KeyFacts, level: Status, words: str, remedy: str
) -> None:
    found = only(this_machine.keys([KEY, key], ME))
    assert (found.subject, found.level) == ("/k", level)
    assert words in found.message and remedy in found.remedy


@pytest.mark.parametrize("key", [KEY, replace(KEY, beside=""), replace(KEY, file=of_file(uid=0))])
def test_a_key_of_ours_or_of_roots_is_fine_with_or_without_its_public_half(key: KeyFacts) -> None:
    assert only(this_machine.keys([key], ME)).level is Status.OK


def test_the_two_keys_of_the_storage_may_not_be_one() -> None:
    twin = replace(KEY, file=FileFacts("/serve", there=True, mode=0o600, uid=ME))
    (found,) = this_machine.same_key(KEY, twin)
    assert found.subject == "/serve" and "zborg init" in found.remedy
    assert list(this_machine.same_key(KEY, replace(twin, public="ssh-ed25519 BBBB"))) == []
    unread = replace(KEY, public="")
    assert list(this_machine.same_key(unread, unread)) == [], "two keys that cannot be read are not alike"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (replace(STATE, directory=FileFacts("/s", there=False)), ["does not exist"]),
        (replace(STATE, missing=("locks", "runs")), ["has no locks and no runs"]),
        (replace(STATE, directory=replace(STATE.directory, mode=0o750)), ["mode is 0750"]),
        (replace(STATE, directory=replace(STATE.directory, uid=7)), ["belongs to user 7"]),
        (replace(STATE, free=STATE_FREE - 1), ["without room"]),
        (
            StateFacts(FileFacts("/s", there=True, mode=0o777, uid=7), (), 0),
            ["mode", "user 7", "without room"],
        ),
    ],
)
def test_each_fault_of_the_state_directory_is_told(state: StateFacts, words: list[str]) -> None:
    found = this_machine.state(state, ME)
    assert [one.level for one in found] == [Status.FAILED] * len(words)
    assert all(word in one.message and one.remedy for one, word in zip(found, words, strict=True))


def test_the_least_free_space_is_enough() -> None:
    assert only(this_machine.state(replace(STATE, free=STATE_FREE), ME)).level is Status.OK


@pytest.mark.parametrize(
    ("name", "said", "level", "words"),
    [
        ("ssh", None, Status.FAILED, "ssh cannot be run on nas: why"),
        ("borg", "borg 1.1.18", Status.FAILED, "too old"),
        ("borg", "borg 1.5.0", Status.FAILED, "newer than zborg knows"),
        ("borg", "borg 2.0.0b25", Status.FAILED, "serves those of borg 1 without append-only"),
        ("borg", "command not what it seems", Status.FAILED, "cannot be read"),
        ("zfs", "zfs-2.0.3-1 zfs-kmod-2.0.3-1", Status.WARNING, "OpenZFS 2.0 is too old"),
        ("zfs", "zfs-2.3.2-1 zfs-kmod-2.2.7-1", Status.WARNING, "module is 2.2.7, the zfs command 2.3.2"),
    ],
)
def test_a_program_of_another_age_is_told(name: str, said: str | None, level: Status, words: str) -> None:
    found = only(this_machine.programs([ProgramFacts(name, said, "why", "apt-get install it", "nas")]))
    assert found.level is level and words in found.message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("borg", "borg 1.2.0"),
        ("borg", "borg 1.4.5"),
        ("zfs", "zfs-2.1.11-1 zfs-kmod-2.1.11-1"),
        ("zfs", "zfs-2.3.2-1 zfs-kmod-2.3.2-2"),
        ("zfs", "zfs-2.3.2-1"),
        ("zfs", "a fork without numbers"),
        ("ssh", ""),
    ],
)
def test_a_program_that_zborg_knows_or_cannot_judge_is_fine(name: str, said: str) -> None:
    assert only(this_machine.programs([ProgramFacts(name, said, "why", "remedy")])).level is Status.OK


def test_a_mistake_stands_under_its_file_and_all_others_under_config() -> None:
    errors = [
        ConfigError("/etc/my z.toml: two mistakes", problems=("one", "two"), file="/etc/my z.toml"),
        ConfigError("/etc/my z.toml is not what it is about"),
    ]
    found = list(this_machine.mistakes(errors, ["/etc/my z.toml"]))
    assert [(one.subject, one.message) for one in found] == [
        ("/etc/my z.toml", "one"),
        ("/etc/my z.toml", "two"),
        ("config", "/etc/my z.toml is not what it is about"),
    ]


def test_files_that_all_can_read_and_folders_that_others_can_write_are_told() -> None:
    files = [FileFacts("/c", there=True, mode=mode) for mode in (0o600, 0o640, 0o644)]
    folders = [FileFacts("/d", there=True, mode=mode) for mode in (0o755, 0o775, 0o757)]
    found = list(this_machine.config_files(files, folders))
    assert [(one.subject, one.level, one.remedy) for one in found] == [
        ("/c", Status.WARNING, "chmod 0600 /c"),
        ("/d", Status.FAILED, "chmod go-w /d"),
        ("/d", Status.FAILED, "chmod go-w /d"),
    ]
