"""README's main way on real OpenZFS: zborg, the pool and a backed-up host on one machine, all as root.

The tests tell one story and stand in its order.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.harness.inside import Inside
from tests.harness.watch import next_second
from tests.harness.world import guids, only, outcomes

pytestmark = pytest.mark.lab
DATASET = "self/borg"  # a pool of its own: other tests rely on how their own was scrubbed


@pytest.fixture(scope="module")
def inside(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Inside:
    made = Inside(lab.vault)
    made.install(tmp_path_factory.mktemp("inside"))
    made.prepare(DATASET)
    # Room for min_free and the slack, 1G each; the file is sparse.
    lab.vault.sh("truncate -s 4G /vdev/self; zpool create self /vdev/self")
    lab.vault.sh("rm -rf /srv/data; mkdir -p /srv/data; head -c 100000 /dev/urandom >/srv/data/blob")
    return made


def test_init_makes_the_key_and_gives_each_dataset_to_the_user_of_borg_serve(inside: Inside) -> None:
    found = outcomes(inside.report("init"))
    assert found[f"{DATASET}/self"]["message"] == "created"
    assert found["borg serve"]["message"] == "can be started for self"
    assert inside.guest.sh(f"stat -c '%U %G %a' /{DATASET}/self").strip() == "root zborg-serve 1770"
    inside.admit()


def test_a_backup_is_served_by_the_unprivileged_user(inside: Inside) -> None:
    done = only(inside.report("backup"))
    assert (done["status"], done["data"]["files"]) == ("ok", 1), done
    served = inside.guest.sh(f"find /{DATASET}/self -user root -printf '%P %g %m\\n'").splitlines()
    assert sorted(served) == [" zborg-serve 1770", "config zborg-serve 640"], "all else is its own"
    assert inside.guest.sh("pgrep -u zborg-serve || :") == ""


def test_snapshot_rotate_and_scrub(inside: Inside) -> None:
    taken = outcomes(inside.report("snapshot"))[f"{DATASET}/self"]
    assert taken["data"]["state"] == "ok"
    assert len(guids(inside.guest, f"{DATASET}/self")) == 1
    assert inside.report("rotate")["status"] == "ok"
    assert inside.report("scrub", "--start", "--wait")["status"] == "ok"


def test_a_file_comes_back_through_a_clone(inside: Inside) -> None:
    (listed,) = inside.report("restore", "list", "self")["outcomes"]
    before = inside.guest.sh("sha256sum /srv/data/blob; rm /srv/data/blob").split()[0]
    agent = "/usr/local/libexec/zborg-agent"
    inside.guest.ssh([agent, "--allow-restore", listed["subject"], "1000000", "/srv/data/blob"])
    done = only(inside.report("restore", "files", "self", "/srv/data/blob"))
    back = Path(done["data"]["restored"]) / "srv/data/blob"
    assert inside.guest.sh(f"sha256sum {back}").split()[0] == before
    assert "zborg-scratch/" not in inside.guest.sh("zfs list -H -o name -r self")


def test_the_night_in_one_command_and_what_status_says_of_it(inside: Inside) -> None:
    next_second()
    # What the last test lost, too: far less than usual would be a warning.
    inside.guest.sh("echo more >/srv/data/more; head -c 100000 /dev/urandom >/srv/data/blob")
    assert inside.report("run")["status"] == "ok"
    assert len(guids(inside.guest, f"{DATASET}/self")) == 2
    found = outcomes(inside.report("status"))
    assert "last good backup" in found["self"]["message"]
    assert {one["status"] for one in found.values()} == {"ok"}, found
