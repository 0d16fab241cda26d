"""The sink on real OpenZFS: a server replicates through it; then the server is in wrong hands.

The off-site guest has zborg, an account whose key has the sink as forced command, and a parent with limits,
as docs/sink.md says. The tests tell one story and stand in its order.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Lab
from tests.harness.builders.sink import REFUSED
from tests.harness.worlds.world import World, guids, outcomes
from zborg.hosts.ssh.connection import ssh_argv
from zborg.hosts.ssh.host_keys import write_known_hosts
from zborg.model import P_RUN, P_STATE, Endpoint
from zborg.model.storage.zfs import P_ARRIVED
from zborg.zfs import argv

pytestmark = pytest.mark.lab

ROOT, SOURCE = "vault/sunk", "tank/sunk"
FIRST, SECOND = (f"zborg_2026-02-{day}T144933Z" for day in (12, 13))
PERMISSIONS = "receive:append,create,mount,userprop"

# docs/sink.md, "Setting it up".
_OFFSITE = f"""
id zborg-sink >/dev/null 2>&1 || useradd --system --home-dir /home/zborg-sink --shell /bin/sh zborg-sink
install -d -m 0755 /home/zborg-sink /home/zborg-sink/.ssh
zfs create -o mountpoint=none -o canmount=off -o readonly=on -o volmode=none \
    -o quota=300M -o snapshot_limit=40 -o filesystem_limit=20 {ROOT}
zfs allow -u zborg-sink {PERMISSIONS} {ROOT}
"""
_SOURCE = f"""
zfs create {SOURCE}
zfs create {SOURCE}/db1
head -c 4000000 /dev/urandom >/{SOURCE}/db1/data
zfs snapshot {SOURCE}/db1@{FIRST}
zfs create {SOURCE}/web1
echo "of web1" >/{SOURCE}/web1/data
zfs snapshot -o {P_RUN}=20260212T144933Z-4f3a -o {P_STATE}=ok {SOURCE}/web1@{FIRST}
head -c 1000000 /dev/urandom >/{SOURCE}/web1/more
zfs snapshot -o {P_STATE}=failed {SOURCE}/web1@{SECOND}
"""


@pytest.fixture(scope="module")
def sunk(lab: Lab) -> Iterator[World]:
    lab.inside(lab.offsite)
    lab.offsite.sh(_OFFSITE)
    lab.offsite.sh(f"zborg sink {ROOT} 2>/dev/null || :")  # as root, who can keep what Python compiles
    lab.vault.sh(_SOURCE)
    world = lab.world("sunk", dataset=SOURCE, copy=ROOT)
    admit(world)
    world.write_config(hosts={})
    target = world.settings["targets"]["offsite"]
    target["ssh"] = target["ssh"].replace("root@", "zborg-sink@")
    world.write_config(hosts={}, targets={"offsite": target})
    world.report("init")  # the state directory
    write_known_hosts(world.directory / "known_hosts", {"sink": endpoint(world)})
    yield world
    subprocess.run([*client(world), "-O", "exit", "sink"], capture_output=True, timeout=120, check=False)


def admit(world: World, option: str = "") -> None:
    """The server's key, with the sink as its forced command."""
    assert world.offsite is not None
    forced = f'restrict,command="/usr/local/bin/zborg sink {option}{ROOT}" {world.key.public}\n'
    world.offsite.write("/home/zborg-sink/.ssh/authorized_keys", forced, mode=0o644)
    # A connection keeps the forced command that it began with.
    leave = [*client(world), "-O", "exit", "sink"]
    subprocess.run(leave, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)


def endpoint(world: World) -> Endpoint:
    assert world.offsite is not None
    guest = world.offsite
    return Endpoint("zborg-sink", guest.address, guest.port, guest.host_key, str(world.key.private))


def client(world: World) -> list[str]:
    """One connection for all: a new one costs the guest a second."""
    return ["ssh", "-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-S", f"{world.directory}/control"]


def ask(world: World, command: str, send: str = "") -> tuple[int, str]:
    """A command with the server's key, and on its stdin what a shell line on the server prints."""
    sender = world.vault.remote().argv(["sh", "-c", send or ":"])
    asking = ssh_argv("sink", endpoint(world), world.directory / "known_hosts", command)
    with subprocess.Popen(sender, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as sending:
        done = subprocess.run(
            [*client(world), *asking[1:]],
            stdin=sending.stdout,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    return done.returncode, done.stderr


def bring(world: World, send: str, name: str = "web1") -> tuple[int, str]:
    return ask(world, shlex.join(argv.receive(f"{ROOT}/{name}")), send)


def everything(world: World) -> str:
    """All that is there: names, guids, and every property that somebody set."""
    assert world.offsite is not None
    listed = world.offsite.sh(f"zfs list -Hp -r -t all -o name,guid,origin,mounted {ROOT}")
    return listed + world.offsite.sh(f"zfs get -Hp -r -s local,received all {ROOT}")


def properties(world: World, full: str) -> dict[str, str]:
    assert world.offsite is not None
    listed = world.offsite.sh(f"zfs get -Hp -s local -o property,value all {full}")
    return dict(line.split("\t", 1) for line in listed.splitlines())


# --- an honest server -------------------------------------------------------------------------------


def test_replicate_goes_through_the_sink(sunk: World) -> None:
    """One of its streams was cut before, and is resumed."""
    status, words = bring(sunk, f"zfs send -L -e -c {SOURCE}/db1@{FIRST} | head -c 2000000", "db1")
    assert status == 1 and "Partially received snapshot is saved" in words
    report = sunk.report("replicate")
    assert report["status"] == "ok", report
    assert outcomes(report)[f"offsite:{ROOT}/db1"]["data"]["bytes"] < 3_000_000
    assert sunk.offsite is not None
    there = guids(sunk.offsite, ROOT)
    assert there == guids(sunk.vault, SOURCE) and len(there) == 3
    first, second = (properties(sunk, f"{ROOT}/web1@{name}") for name in (FIRST, SECOND))
    assert (first[P_RUN], first[P_STATE], second[P_STATE]) == ("20260212T144933Z-4f3a", "ok", "failed")
    assert first[P_ARRIVED] <= second[P_ARRIVED] and first[P_ARRIVED].startswith("2")
    assert "yes" not in sunk.offsite.sh(f"zfs list -H -r -o mounted {ROOT}")


def test_the_pool_is_seen_through_the_sink(sunk: World) -> None:
    found = outcomes(sunk.report("scrub", expect=None))["offsite:vault"]
    assert "scrub" in found["message"] and found["data"]["health"] == "ONLINE"


_LOCKED = f"""
zfs create -o encryption=on -o keyformat=passphrase -o pbkdf2iters=100000 \\
    -o keylocation=file:///proc/version {SOURCE}/locked
echo secret >/{SOURCE}/locked/data
zfs snapshot {SOURCE}/locked@{FIRST}
zfs snapshot {SOURCE}/locked@{SECOND}
"""


def test_a_sink_that_takes_raw_streams_gets_what_is_encrypted(sunk: World) -> None:
    """With the rights that it has, and without a key. What another sink says of them is below."""
    assert sunk.offsite is not None
    sunk.vault.sh(_LOCKED)
    admit(sunk, "--raw ")
    try:
        for since, raw in (("", FIRST), (f"-i @{FIRST}", SECOND)):
            done = bring(sunk, f"zfs send -w -L -e -c {since} {SOURCE}/locked@{raw}", "locked")
            assert done == (0, ""), done
    finally:
        admit(sunk)
    assert guids(sunk.offsite, f"{ROOT}/locked") == guids(sunk.vault, f"{SOURCE}/locked")
    shown = ["zfs", "get", "-Hp", "-o", "value", "encryption,keystatus,mounted", f"{ROOT}/locked"]
    assert sunk.offsite.ssh(shown).stdout.split() == ["aes-256-gcm", "unavailable", "no"]
    sunk.vault.sh(f"zfs destroy -r {SOURCE}/locked")
    sunk.offsite.sh(f"zfs destroy -r {ROOT}/locked")


# --- the off-site's own zborg -----------------------------------------------------------------------

_OWN = f"""
name = "offsite"
[storage]
dataset = "{ROOT}"
received = true
[snapshots.keep]
last = 1
"""


def own(world: World, *words: str) -> dict[str, Any]:
    """The off-site's own zborg, as its root's cron runs it."""
    assert world.offsite is not None
    done = world.offsite.ssh(["zborg", *words, "--json"], check=False, timeout=120)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_cut_stream_whose_snapshot_is_gone_is_given_up_by_the_off_site(sunk: World) -> None:
    """Row 1 of every list of failures; a sender cannot do it, and must not be able to."""
    assert sunk.offsite is not None
    db, gone, after = f"{SOURCE}/db1", "zborg_2026-02-15T144933Z", "zborg_2026-02-16T144933Z"
    sunk.vault.sh(f"head -c 4000000 /dev/urandom >/{db}/more; zfs snapshot {db}@{gone}")
    bring(sunk, f"zfs send -L -e -c -i @{FIRST} {db}@{gone} | head -c 2000000", "db1")
    sunk.vault.sh(f"zfs destroy {db}@{gone}; zfs snapshot {db}@{after}")
    report = sunk.report("replicate", expect=3)
    left, done = (outcomes(report)[f"offsite:{ROOT}/{name}"] for name in ("db1", "web1"))
    assert "lets no sender give one up" in left["message"] and done["status"] == "ok", report
    sunk.offsite.write("/etc/zborg/zborg.toml", _OWN)
    own(sunk, "init")
    before = guids(sunk.offsite, ROOT)
    rotated = own(sunk, "rotate")
    assert "gave up a cut stream" in str(rotated["outcomes"]) and guids(sunk.offsite, ROOT) == before
    assert sunk.report("replicate")["status"] == "ok"
    assert guids(sunk.offsite, ROOT) == guids(sunk.vault, SOURCE)


def test_the_off_site_rotates_by_arrival(sunk: World) -> None:
    """All came today. One has been here for 40 days, says root; its name is not asked."""
    assert sunk.offsite is not None
    before = guids(sunk.offsite, ROOT)
    sunk.offsite.sh("sed -i 's/20[0-9-]*T[0-9:]*Z/2026-01-01T00:00:00Z/g' /var/lib/zborg/arrivals.json")
    sunk.offsite.sh(
        f"zfs set zborg:arrived=$(date -u -d '40 days ago' +%Y-%m-%dT%H:%M:%SZ) {ROOT}/db1@{FIRST}"
    )
    rotated = outcomes(own(sunk, "rotate"))
    assert rotated[f"{ROOT}/db1"]["data"]["destroyed"] == [FIRST]
    assert "the last snapshot arrived" in rotated[ROOT]["message"]
    assert guids(sunk.offsite, ROOT) == {k: v for k, v in before.items() if k != f"/db1@{FIRST}"}
    (shown, *_) = own(sunk, "status")["outcomes"]
    assert (shown["kind"], shown["status"]) == ("arrivals", "ok"), shown


# --- the server in wrong hands ----------------------------------------------------------------------

_EVIL = f"""
zfs create -o encryption=off {SOURCE}-evil
evil={SOURCE}-evil
zfs snapshot {SOURCE}/web1@zborg_2020-01-01T000000Z
zfs snapshot {SOURCE}/web1@zborg_2099-01-01T000000Z
zfs snapshot {SOURCE}/web1@zborg_2026-03-01T000000Z
zfs set zborg:arrived=2020-01-01T00:00:00Z {SOURCE}/web1
zfs clone {SOURCE}/web1@{SECOND} $evil/clone
zfs snapshot $evil/clone@zborg_2026-03-01T000000Z
zfs create -V 10M $evil/volume
zfs snapshot $evil/volume@zborg_2026-03-01T000000Z
echo passphrase | zfs create -o encryption=on -o keyformat=passphrase $evil/raw
zfs snapshot $evil/raw@zborg_2026-03-01T000000Z
zfs snapshot -r $evil@zborg_2026-03-01T000000Z 2>/dev/null || :
"""
_MARCH = "zborg_2026-03-01T000000Z"
_WEB = f"{SOURCE}/web1"
_BIG = f"{SOURCE}-evil@zborg_2026-03-02T000000Z"


@pytest.fixture(scope="module")
def evil(sunk: World) -> World:
    sunk.vault.sh(_EVIL)
    return sunk


_STREAMS = [
    (f"zfs send -i @{SECOND} {_WEB}@zborg_2020-01-01T000000Z", "web1", "is not later than"),
    (f"zfs send -i @{SECOND} {_WEB}@zborg_2099-01-01T000000Z", "web1", "is of the future"),
    (f"zfs send -R {_WEB}@{_MARCH}", "new", "a package of streams"),
    (f"zfs send -p -i @{SECOND} {_WEB}@{_MARCH}", "web1", "a package of streams"),
    (f"zfs send -I @{FIRST} {_WEB}@{_MARCH}", "web1", "a package of streams"),
    (f"zfs send {_WEB}@{_MARCH}", "web1", "a full stream, and the newest held"),
    (f"zfs send -i @{FIRST} {_WEB}@{_MARCH}", "web1", "an increment on guid"),
    (f"zfs send -i {_WEB}@{SECOND} {SOURCE}-evil/clone@{_MARCH}", "web1", "a clone"),
    (f"zfs send {SOURCE}-evil/volume@{_MARCH}", "new", "something else than a file system"),
    (f"zfs send -w {SOURCE}-evil/raw@{_MARCH}", "new", "a raw stream"),
]


def test_hostile_streams_change_nothing(evil: World) -> None:
    before = everything(evil)
    for send, into, why in _STREAMS:
        status, words = bring(evil, send, into)
        assert status == 4 and why in words, (send, words)
    assert everything(evil) == before


def test_hostile_commands_change_nothing(evil: World) -> None:
    """All of them are in test_zfs_sink.py; these come by a real ssh to a real pool."""
    before = everything(evil)
    for name in ("receive -F", "destroy -r", "rollback", "a semicolon", "a newline between", "dots"):
        command = REFUSED[name].replace("vault/zborg", ROOT)
        status, words = ask(evil, command, f"zfs send -i @{SECOND} {_WEB}@{_MARCH}")
        assert status == 4 and "refused by the sink" in words, (name, words)
    assert everything(evil) == before


def test_a_mark_cannot_be_changed(evil: World) -> None:
    before = everything(evil)
    for full in (f"{ROOT}/web1@{SECOND}", f"{ROOT}/web1@{FIRST}"):
        status, words = ask(evil, shlex.join(argv.set_properties([full], {P_STATE: "ok"})))
        assert status == 4 and "refused by the sink" in words
    assert everything(evil) == before


_SHELL = [
    f"zfs destroy {ROOT}/web1@{FIRST}",
    f"zfs destroy -r {ROOT}/web1",
    f"zfs rollback -r {ROOT}/web1@{FIRST}",
    f"zfs rename {ROOT}/web1 {ROOT}/web9",
    f"zfs rename {ROOT}/web1@{FIRST} @x",
    f"zfs hold x {ROOT}/web1@{FIRST}",
    f"zfs bookmark {ROOT}/web1@{FIRST} '#x'",
    f"zfs clone {ROOT}/web1@{FIRST} {ROOT}/clone",
    f"zfs snapshot {ROOT}/web1@x",
    f"zfs send {ROOT}/web1@{FIRST} | head -c 1 | grep -q .",
    f"zfs set mountpoint=/mnt {ROOT}/web1",
    f"zfs set readonly=off {ROOT}/web1",
    f"zfs set quota=none {ROOT}",
    f"zfs set snapshot_limit=none {ROOT}",
    f"zfs allow -u zborg-sink destroy {ROOT}",
    f"zfs mount {ROOT}/web1",
    f"zfs create -V 10M {ROOT}/volume",
    f"zfs receive -F -s -u {ROOT}/web1@{_MARCH} </tmp/full",
    f"zfs receive -F -s -u {ROOT}/web1@{_MARCH} </tmp/back",
    "zpool scrub vault",
    "zpool destroy vault",
]


def test_even_a_shell_of_that_user_can_destroy_nothing(evil: World) -> None:
    """The second wall: the kernel's, should the first have a hole."""
    assert evil.offsite is not None
    for name, base in (("full", ""), ("back", f"-i @{FIRST}")):
        sending = evil.vault.remote().argv(["sh", "-c", f"zfs send {base} {_WEB}@{_MARCH}"])
        with subprocess.Popen(sending, stdout=subprocess.PIPE) as sender:
            keep = evil.offsite.remote().argv(["sh", "-c", f"cat >/tmp/{name}; chmod 644 /tmp/{name}"])
            subprocess.run(keep, stdin=sender.stdout, check=True, timeout=120)
    before = everything(evil)
    script = "".join(f"{line} >/dev/null 2>&1 && echo {shlex.quote(line)}\n" for line in _SHELL)
    as_user = ["setpriv", "--reuid", "zborg-sink", "--regid", "zborg-sink", "--init-groups", "sh"]
    assert evil.offsite.ssh(as_user, input=script, check=False).stdout == ""
    assert everything(evil) == before


def test_floods_end_at_the_parents_limits(evil: World) -> None:
    """Nothing that is held goes. What comes later stays out, but a server can withhold that anyway."""
    assert evil.offsite is not None
    before = guids(evil.offsite, ROOT)
    evil.offsite.sh(f"zfs set filesystem_limit=3 snapshot_limit={len(before) + 1} {ROOT}")
    assert bring(evil, f"zfs send {_WEB}@{_MARCH}", "flood1")[0] == 0
    status, words = bring(evil, f"zfs send {_WEB}@{_MARCH}", "flood2")
    assert status == 1 and "exceeded" in words, words
    evil.offsite.sh(f"zfs set filesystem_limit=20 {ROOT}")
    status, words = bring(evil, f"zfs send -i @{SECOND} {_WEB}@{_MARCH}")
    assert status == 1 and "exceeded" in words, words
    evil.offsite.sh(f"zfs destroy -r {ROOT}/flood1; zfs set snapshot_limit=40 {ROOT}")
    assert guids(evil.offsite, ROOT) == before


def test_a_stream_over_the_quota_ends_there(evil: World) -> None:
    assert evil.offsite is not None
    before = guids(evil.offsite, ROOT)
    evil.vault.sh(f"head -c 60000000 /dev/urandom >/{SOURCE}-evil/big; zfs snapshot {_BIG}")
    evil.offsite.sh(f"zfs set quota=30M {ROOT}")
    status, words = bring(evil, f"zfs send {_BIG}", "big")
    evil.offsite.sh(f"zfs set quota=300M {ROOT}; zfs receive -A {ROOT}/big || :")
    assert status == 1 and ("quota exceeded" in words or "out of space" in words), words
    assert guids(evil.offsite, ROOT) == before


def test_after_all_of_it_the_honest_snapshots_are_there(evil: World) -> None:
    evil.vault.sh(f"zfs destroy {_WEB}@zborg_2020-01-01T000000Z%{_MARCH}")
    assert evil.report("replicate")["status"] == "ok"
    assert evil.offsite is not None
    here, there = guids(evil.vault, SOURCE), guids(evil.offsite, ROOT)
    assert there == {
        name: guid for name, guid in here.items() if name != f"/db1@{FIRST}"
    }  # by arrival, above
