"""Paths of a restore: which are taken, in which form, and what is offered for the others."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zborg.errors import UsageError
from zborg.planning.restore.paths import MOST_BYTES, MOST_PATHS, encoded, is_restorable, restorable

pytestmark = pytest.mark.unit

PATHS = st.text(st.sampled_from("/.ab\n ")).map(lambda text: f"/{text}")


@pytest.mark.parametrize("path", ["/etc", "/etc/", "/a b", "/a/..b", "/...", "/\udcff"])
def test_a_path_as_find_prints_it_is_taken(path: str) -> None:
    assert is_restorable(path)


@pytest.mark.parametrize("path", ["", "/", "etc", "/a//b", "/./a", "/a/..", "/a/.", "/..", "/a\nb"])
def test_any_other_form_is_not(path: str) -> None:
    assert not is_restorable(path)


def test_what_lies_below_another_goes_with_it() -> None:
    assert restorable("web1", ["/etc/ssh", "/etc/", "/etcetera", "/etc"]) == ["/etc", "/etcetera"]


@pytest.mark.parametrize(
    ("path", "instead"),
    [("/a//b/../c", "/a/c"), ("/a/new\nline", "/a"), ("//etc/./x", "/etc/x")],
)
def test_the_same_in_an_accepted_form_is_offered_as_a_command(path: str, instead: str) -> None:
    with pytest.raises(UsageError) as caught:
        restorable("web1", [path])
    assert caught.value.remedy.splitlines()[-1].split() == ["zborg", "restore", "files", "web1", instead]


@pytest.mark.parametrize("path", ["etc", "/", "/../..", "\n"])
def test_what_has_no_accepted_form_gets_a_sentence(path: str) -> None:
    with pytest.raises(UsageError, match="not a path that web1") as caught:
        restorable("web1", [path])
    assert "absolute" in caught.value.remedy


def test_as_many_and_as_long_as_the_agent_takes() -> None:
    assert len(restorable("web1", [f"/{n}" for n in range(MOST_PATHS)])) == MOST_PATHS
    with pytest.raises(UsageError, match="191 paths"):
        restorable("web1", [f"/{n}" for n in range(MOST_PATHS + 1)])
    longest = "/" + "x" * (MOST_BYTES - 2)
    assert restorable("web1", [longest]) == [longest]
    with pytest.raises(UsageError, match=f"{MOST_BYTES + 1} bytes"):
        restorable("web1", [f"{longest}x"])


def test_a_byte_that_must_be_quoted_takes_five() -> None:
    assert encoded(["/a"]) == 3
    assert encoded(["/ä"]) == 2 + 2 * 5
    assert encoded(["/\udcff", "/b"]) == 2 + 5 + 3


@given(st.lists(PATHS, min_size=1, max_size=5))
def test_what_is_taken_is_restorable_and_no_path_covers_another(paths: list[str]) -> None:
    try:
        found = restorable("web1", paths)
    except UsageError:
        assert not all(map(is_restorable, paths))
        return
    assert all(map(is_restorable, found))
    assert all(any(f"{path}/".startswith(f"{one}/") for one in found) for path in paths)
    assert not [1 for one in found for other in found if one != other and one.startswith(f"{other}/")]


@given(st.lists(PATHS, min_size=1, max_size=5))
def test_a_command_that_is_offered_is_accepted(paths: list[str]) -> None:
    try:
        restorable("web1", paths)
    except UsageError as error:
        _, found, command = error.remedy.rpartition("zborg restore files web1 ")
        if found:
            assert restorable("web1", shlex.split(command))
