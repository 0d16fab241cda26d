"""What `zfs allow` prints, as grants; and for every other text an error of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.doctor.clinic import DELEGATED
from zborg.errors import ZborgError
from zborg.model.storage.grants import EVERYONE, Grant
from zborg.zfs.output.allowed import argv, grants, knows_append

pytestmark = pytest.mark.unit

_MORE = """\
---- Permissions on vault/zborg --------------------------------------
Permission sets:
\t@keep hold,release
\t@all @keep,destroy
Create time permissions:
\tdestroy,mount
Local permissions:
\tuser anna @all,send
\tgroup (unknown: 4711) mount
Local+Descendent permissions:
\tuser zborg-sink create,mount,receive:append,userprop
\teveryone diff
---- Permissions on vault --------------------------------------------
Descendent permissions:
\tuser bert rollback
"""


def words(*names: str) -> frozenset[str]:
    return frozenset(names)


def test_one_account() -> None:
    allowed = words("create", "mount", "receive:append", "userprop")
    assert grants(DELEGATED) == (Grant("vault/zborg", "user", "zborg-sink", allowed, allowed, below=True),)
    assert grants("") == ()
    assert argv("vault/zborg") == ("zfs", "allow", "vault/zborg")


def test_sets_parents_groups_and_everyone() -> None:
    anna, unknown, sink, everyone, bert = grants(_MORE)
    assert anna.permissions == words("hold", "release", "destroy", "send")
    assert (anna.given, anna.below) == (words("@all", "send"), False)
    assert (unknown.kind, unknown.who) == ("group", "(unknown: 4711)")
    assert (sink.who, sink.below) == ("zborg-sink", True)
    assert (everyone.kind, everyone.who, everyone.permissions) == (EVERYONE, "", words("diff"))
    assert (bert.dataset, bert.permissions) == ("vault", words("rollback"))


@pytest.mark.parametrize(
    ("kernel", "known"),
    [
        ("2.1.11-1", False),
        ("2.3.0-1", False),
        ("2.3.4-1", None),
        ("2.3.9-0+deb13u1", True),
        ("2.4.0-rc1", True),
    ],
)
def test_the_kernels_release_tells_whether_it_knows_receive_append(kernel: str, known: bool | None) -> None:
    said = f"zfs-2.3.9-0+deb13u1\nzfs-kmod-{kernel}\n"
    assert knows_append(said) is known
    assert knows_append(said, grants(DELEGATED)) is True, "somebody holds it"
    assert knows_append("zfs_version_userland: no") is None


def test_a_set_that_names_itself_ends() -> None:
    text = _MORE.replace("\t@keep hold,release\n", "\t@keep @all\n")
    assert "destroy" in grants(text)[0].permissions


@pytest.mark.parametrize("text", ["cannot open 'vault': no such pool\n", "\tuser anna destroy\n"])
def test_what_is_no_answer_is_an_error(text: str) -> None:
    with pytest.raises(ZborgError, match="something else than permissions"):
        grants(text)


_PIECES = st.sampled_from(
    [*_MORE.splitlines(keepends=True), "\n", "\t", "user ", "x", ",", "@all", "-", "\x00"]
)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)))
def test_any_text_is_grants_or_an_error_of_ours(text: str) -> None:
    try:
        found = grants(text)
    except ZborgError:
        return
    assert all(one.dataset and one.kind in ("user", "group", EVERYONE) for one in found)
