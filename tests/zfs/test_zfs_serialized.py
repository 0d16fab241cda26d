"""py-libzfs's dictionaries, in the shape that 0.0+git20230207 gave on OpenZFS 2.1.11."""

from __future__ import annotations

from typing import Any

import pytest

from zborg.errors import ZborgError
from zborg.model import P_RUN, P_STATE
from zborg.zfs.serialized import DATASET, SNAPSHOT, datasets, snapshots

pytestmark = pytest.mark.unit


def listed(name: str, columns: list[str], kind: str = "FILESYSTEM", **values: str) -> dict[str, Any]:
    known = {"guid": "7", "createtxg": "12", "creation": "1770907773", "used": "24576", "userrefs": "0"}
    known |= {"available": "1024", "written": "0", "mounted": "yes", "mountpoint": f"/{name}"}
    known |= {"encryption": "off", "receive_resume_token": "", "clones": ""} | values
    table = {column: {"rawvalue": known[column], "source": "NONE"} for column in columns if column != "name"}
    return {"name": name, "type": kind, "properties": table, "children": []}


def test_a_tree_is_all_its_file_systems_in_the_order_of_zfs() -> None:
    top, sub, beside = (listed(name, DATASET) for name in ("tank/a", "tank/a/x", "tank/a-b"))
    volume = listed("tank/a/v", DATASET, "VOLUME")
    top["children"] = [sub, volume]
    assert [one.name for one in datasets([top, beside])] == ["tank/a", "tank/a-b", "tank/a/x"]


def test_what_zfs_calls_none_or_leaves_empty_is_nothing() -> None:
    (one,) = datasets([listed("tank/a", DATASET, mountpoint="none", mounted="no", receive_resume_token="")])
    assert (one.mountpoint, one.mounted, one.resume_token, one.encrypted) == (None, False, None, False)
    (two,) = datasets([listed("tank/a", DATASET, receive_resume_token="1-a-b-c", encryption="aes-256-gcm")])
    assert (two.resume_token, two.encrypted, two.mountpoint) == ("1-a-b-c", True, "/tank/a")


def test_properties_are_zborgs_and_its_own() -> None:
    one = listed("tank/a@s", SNAPSHOT)
    one["properties"] |= {
        P_RUN: {"rawvalue": "r1", "source": "LOCAL"},
        P_STATE: {"rawvalue": "ok\ntank/a@t\tzborg:state\tok", "source": "RECEIVED"},
        "zborg:transaction": {"rawvalue": "1", "source": "INHERITED"},
        "other:x": {"rawvalue": "1", "source": "LOCAL"},
    }
    other = listed("tank/a@t", SNAPSHOT, createtxg="9", userrefs="2", clones="tank/c,tank/d")
    first, second = snapshots([one, other])
    assert second.properties == {P_RUN: "r1", P_STATE: "ok\ntank/a@t\tzborg:state\tok"}
    assert (first.snapname, first.properties, first.holds, first.clones) == ("t", {}, 2, ("tank/c", "tank/d"))


@pytest.mark.parametrize("column", ["guid", "createtxg", "creation", "used", "userrefs"])
def test_what_is_no_number_is_refused(column: str) -> None:
    for value in ("", "-1", "1e9", "many"):
        with pytest.raises(ZborgError, match="printed something else"):
            snapshots([listed("tank/a@s", SNAPSHOT, **{column: value})])
