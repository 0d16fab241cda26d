"""The lines that root of an off-site host runs, and that the documents show."""

from __future__ import annotations

import pytest

from tests.harness.checkout import CHECKOUT
from zborg.errors import ZborgError
from zborg.zfs.delegation import FREEBSD, READER, lines, reading_lines

pytestmark = pytest.mark.unit

ROOT = "vault/zborg"
DOCS = CHECKOUT / "docs"


def test_the_sinks_account() -> None:
    assert lines(ROOT, "zborg-sink", "Linux") == (
        "useradd --system --home-dir /home/zborg-sink --shell /bin/sh zborg-sink",
        "zfs allow -u zborg-sink receive:append,create,mount,userprop vault/zborg",
    )
    assert lines(ROOT, "zborg-sink", FREEBSD, append=False) == (
        "pw useradd zborg-sink -d /home/zborg-sink -s /bin/sh",
        "zfs allow -u zborg-sink receive,create,mount,userprop vault/zborg",
    )


@pytest.mark.parametrize("system", ["Linux", FREEBSD])
def test_no_account_may_destroy_and_the_reader_may_only_send(system: str) -> None:
    *_, allowed = reading_lines(ROOT, READER, system)
    assert allowed == "zfs allow -u zborg-read send vault/zborg"
    for line in (*lines(ROOT, "zborg-sink", system), *reading_lines(ROOT, READER, system)):
        assert not {"destroy", "rollback", "mountpoint", "quota", "rename"} & set(
            line.replace(",", " ").split()
        )


def test_a_name_that_zfs_does_not_allow_is_refused() -> None:
    with pytest.raises(ZborgError, match="not a name ZFS allows"):
        lines("vault/../x", "zborg-sink", "Linux")


def test_the_documents_say_the_same() -> None:
    for line in lines(ROOT, "zborg-sink", "Linux"):
        for page in (DOCS / "sink.md", DOCS.parent / "README.md"):
            assert f"    {line}\n" in page.read_text()
    for line in reading_lines(ROOT, READER, "Linux"):
        assert f"    {line}\n" in (DOCS / "sink.md").read_text()
