"""doctor on real OpenZFS: what it prints for an off-site is done literally there, and does what it says.

One story, in the order of its tests.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Lab
from tests.harness.worlds.world import World

pytestmark = pytest.mark.lab

ROOT = "vault/examined"
_USER = ["setpriv", "--reuid", "zborg-sink", "--regid", "zborg-sink", "--init-groups", "sh", "-c"]


@pytest.fixture(scope="module")
def examined(lab: Lab) -> World:
    """An off-site with a parent and nothing else. Its zborg lives here: the pool is on another machine."""
    world = lab.world("examined", copy=ROOT)
    # Another module may have left the account of a sink, with its connection and its home, which is root's.
    lab.offsite.sh(
        "pkill -KILL -u zborg-sink || :; userdel zborg-sink 2>/dev/null || :; rm -rf /home/zborg-sink"
    )
    lab.offsite.sh("groupdel keepers 2>/dev/null || :")
    lab.offsite.sh("zfs create vault/source; echo data >/vault/source/data; zfs snapshot vault/source@one")
    lab.offsite.sh("echo more >/vault/source/more; zfs snapshot vault/source@two")
    world.write_config(hosts={}, targets={})
    storage = world.settings["storage"] | world._endpoint(lab.offsite) | {"dataset": ROOT, "received": True}
    world.write_config(hosts={}, targets={}, storage=storage)
    return world


def off_site(world: World) -> list[dict[str, Any]]:
    done = world.zborg("doctor", "--only", "off-site", "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout)["outcomes"]
    return [one for one in found if one["status"] != "ok"]


def commands(world: World) -> list[str]:
    """Every line to copy of what is wrong now."""
    found = off_site(world)
    return [line for one in found for line in one["data"].get("commands") or [one["remedy"]]]


def as_sink(world: World, command: str) -> bool:
    """Whether it works in a shell of that account's."""
    assert world.offsite is not None
    return world.offsite.ssh([*_USER, command], check=False, timeout=120).returncode == 0


def test_what_is_printed_makes_an_off_site(examined: World) -> None:
    assert examined.offsite is not None
    lines = commands(examined)
    assert "zfs allow -u zborg-sink receive:append,create,mount,userprop vault/examined" in lines
    assert sum(line.startswith("zfs set ") for line in lines) == 3, "the three limits"
    for line in lines:
        examined.offsite.sh(line)
    (door,) = off_site(examined)
    assert "no key may come in as zborg-sink" in door["message"]
    (line,) = door["data"]["commands"]
    examined.offsite.sh("install -d -m 0755 /home/zborg-sink /home/zborg-sink/.ssh")
    examined.offsite.sh(line.replace("SERVER_KEY", examined.key.public))
    assert off_site(examined) == []


def test_that_account_receives_and_destroys_nothing(examined: World) -> None:
    """Whatever the sink is asked: these are the kernel's answers to a shell of that account."""
    assert examined.offsite is not None
    examined.offsite.sh("zfs send vault/source@one >/tmp/one; zfs send -i @one vault/source@two >/tmp/two")
    assert as_sink(examined, f"zfs receive -s -u {ROOT}/web1 </tmp/one")
    assert as_sink(examined, f"zfs receive -s -u {ROOT}/web1 </tmp/two")
    for refused in (
        f"zfs destroy {ROOT}/web1@one",
        f"zfs rollback {ROOT}/web1@one",
        f"zfs receive -F -s -u {ROOT}/web1 </tmp/one",
        f"zfs set mountpoint=/mnt {ROOT}/web1",
    ):
        assert not as_sink(examined, refused), refused
    held = examined.offsite.sh(f"zfs list -H -t snapshot -o name -r {ROOT}").split()
    assert held == [f"{ROOT}/web1@one", f"{ROOT}/web1@two"]


_TOO_MUCH = f"""
zfs allow -u zborg-sink destroy,mountpoint,receive {ROOT}
zfs allow -d -e rollback {ROOT}
groupadd -f keepers
zfs allow -g keepers destroy vault
zfs allow -s @all rename,promote vault
zfs allow -u nobody @all vault
"""


def test_too_much_is_named_and_taken_back_by_what_is_printed(examined: World) -> None:
    assert examined.offsite is not None
    examined.offsite.sh(_TOO_MUCH)
    found = off_site(examined)
    assert sorted(one["message"].partition(":")[0] for one in found) == [
        "everyone may rollback on vault/examined",
        "group keepers may destroy on vault",
        "user nobody may promote, rename on vault",
        "user zborg-sink may destroy, mountpoint on vault/examined",
        "zborg-sink holds receive on vault/examined",
    ]
    assert {one["status"] for one in found} == {"failed"}
    for one in found:
        examined.offsite.sh(one["remedy"])
    assert off_site(examined) == []


def test_a_server_sees_that_there_is_no_sink(examined: World) -> None:
    """With root's account there: all of the parent is asked, and the lines for a sink are printed."""
    assert examined.offsite is not None
    target = {"offsite": examined._endpoint(examined.offsite) | {"dataset": ROOT}}
    storage = {"dataset": "tank/examined"} | examined._endpoint(examined.vault)
    config = examined.variant("server", storage=storage, targets=target)
    done = examined.zborg("doctor", "--only", "targets", "--json", "--config", config)
    (one,) = json.loads(done.stdout)["outcomes"]
    assert (one["status"], "has no sink there" in one["message"]) == ("warning", True), one
    assert "receive:append" in one["data"]["commands"][1]
