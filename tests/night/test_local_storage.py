"""README's main way on real OpenZFS: zborg, the pool and a backed-up host on one machine, all as root.

The tests tell one story and stand in its order, once where zborg speaks by the zfs commands and once where it
finds python3-libzfs. The target is a second pool, reached through the guest's own sshd.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.harness.lab.inside import Inside
from tests.harness.watch import next_second
from tests.harness.worlds.world import guids, make_parent, only, outcomes
from zborg.model import NUMBERS

pytestmark = pytest.mark.lab
# Pools of their own: other tests rely on how theirs was scrubbed.
DATASET, COPY = "self/borg", "away/zborg"


@pytest.fixture(scope="module", params=["commands", "libzfs"])
def inside(request: pytest.FixtureRequest) -> Inside:
    """zborg.toml does not say which adapter: trixie has no python3-libzfs."""
    if request.param == "libzfs":
        made: Inside = request.getfixturevalue("bookworm")
    else:
        lab: Lab = request.getfixturevalue("lab")
        made = lab.inside(lab.vault)
    made.prepare(DATASET, COPY)
    made.admit_sender()
    guest = made.guest
    # Room for min_free and the slack, 1G each; the files are sparse.
    guest.sh("mkdir -p /vdev; truncate -s 4G /vdev/self /vdev/away")
    guest.sh("zpool create self /vdev/self; zpool create away /vdev/away; zpool scrub -w away")
    make_parent(guest, COPY)
    guest.sh("rm -rf /srv/data; mkdir -p /srv/data; head -c 100000 /dev/urandom >/srv/data/blob")
    return made


def test_init_makes_the_key_and_gives_each_dataset_to_the_user_of_borg_serve(inside: Inside) -> None:
    found = outcomes(inside.report("init"))
    assert found[f"{DATASET}/self"]["message"] == "created"
    assert found["borg serve"]["message"].startswith("can be started for self, behind its own uid")
    user, group, mode = inside.guest.sh(f"stat -c '%U %g %a' /{DATASET}/self").split()
    assert (user, mode) == ("root", "1770") and int(group) in NUMBERS
    inside.admit()


def test_a_backup_is_served_by_the_unprivileged_user(inside: Inside) -> None:
    done = only(inside.report("backup"))
    assert (done["status"], done["data"]["files"]) == ("ok", 1), done
    number = inside.guest.sh(f"stat -c %g /{DATASET}/self").strip()
    served = inside.guest.sh(f"find /{DATASET}/self -user root -printf '%P %g %m\\n'").splitlines()
    assert sorted(served) == [f" {number} 1770", f"config {number} 640"], "all else is its own"
    assert inside.guest.sh(f"find /{DATASET}/self ! -user root ! -user {number}") == ""
    assert inside.guest.sh(f"pgrep -u {number} || :") == ""


def test_snapshot_rotate_and_scrub(inside: Inside) -> None:
    taken = outcomes(inside.report("snapshot"))[f"{DATASET}/self"]
    assert taken["data"]["state"] == "ok"
    assert len(guids(inside.guest, f"{DATASET}/self")) == 1
    assert inside.report("rotate")["status"] == "ok"
    assert inside.report("scrub", "--start", "--wait")["status"] == "ok"


def test_the_snapshot_was_taken_by_the_adapter_that_this_guest_should_have(
    inside: Inside, request: pytest.FixtureRequest
) -> None:
    """libzfs writes who used it into the pool's history; a command writes itself."""
    taken = [line for line in inside.guest.sh("zpool history self").splitlines() if " snapshot -r" in line]
    by_library = ["zborg: zfs snapshot" in line for line in taken]
    assert by_library == [request.node.callspec.params["inside"] == "libzfs"], taken


def test_it_arrives_on_the_target(inside: Inside) -> None:
    sent = inside.report("replicate")
    assert sent["status"] == "ok", sent
    assert guids(inside.guest, f"{COPY}/self") == guids(inside.guest, f"{DATASET}/self") != {}


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
    assert guids(inside.guest, f"{COPY}/self") == guids(inside.guest, f"{DATASET}/self")
    found = inside.report("status")["outcomes"]
    (host,) = (one for one in found if one["kind"] == "host")  # the pool is called self as well
    assert "last good backup" in host["message"]
    assert {one["status"] for one in found} == {"ok"}, found
