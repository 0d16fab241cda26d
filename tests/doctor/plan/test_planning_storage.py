"""doctor's judges of datasets and pools: each fault by itself, and the finding when there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zborg.model import Dataset, Endpoint, Finding, Status, Storage, Target
from zborg.model.storage.grants import EVERYONE, Grant
from zborg.model.storage.mounting import Mounting
from zborg.planning.backup.memory import SERVE_LIMIT, Room
from zborg.planning.doctor import storage as judge
from zborg.planning.doctor.memory import auto_finding, memory_finding
from zborg.planning.doctor.storage import Account, StorageFacts

pytestmark = pytest.mark.unit

GIB = 1 << 30
ROOT, WEB = "tank/borg", "tank/borg/web1"
NAS = Endpoint("root", "nas", 22, "key", "id")
STORAGE = Storage(ROOT, None, "borg", "borg", min_free=GIB, slack=GIB)
OFFSITE = Target("offsite", NAS, "vault/zborg", 60)


def dataset(name: str, available: int = 10 * GIB) -> Dataset:
    return Dataset(name, "1", True, f"/{name}", 0, available)


FACTS = StorageFacts(
    STORAGE,
    {ROOT: dataset(ROOT), WEB: dataset(WEB)},
    {"web1": WEB},
    dataset(STORAGE.reserve),
    str(GIB),
)


def only(found: tuple[Finding, ...]) -> Finding:
    (one,) = found
    return one


def test_a_storage_with_its_hosts_and_its_reserve_is_good() -> None:
    assert only(judge.storage(FACTS)) == Finding(
        "storage", Status.OK, f"{ROOT}: 1 dataset of hosts, each mounted at its place, with room"
    )
    nobody = judge.storage(replace(FACTS, hosts={}))
    assert only(nobody).message == f"{ROOT} is there, and zborg.toml names no host yet"


UNMOUNTED = Mounting(WEB, False, f"/{WEB}", "on", False)


@pytest.mark.parametrize(
    ("facts", "subject", "level", "words", "remedy"),
    [
        (replace(FACTS, datasets={}), ROOT, Status.FAILED, "dataset does not exist", "zborg init"),
        (
            replace(FACTS, datasets={ROOT: dataset(ROOT)}),
            WEB,
            Status.FAILED,
            "there is no dataset for web1",
            "zborg init web1",
        ),
        (
            replace(FACTS, mountings={WEB: UNMOUNTED}),
            WEB,
            Status.FAILED,
            "no backup is taken, so that none lands on the disk below",
            f"zfs mount {WEB}",
        ),
        (
            replace(FACTS, datasets={ROOT: dataset(ROOT), WEB: dataset(WEB, GIB - 1)}),
            WEB,
            Status.FAILED,
            "left, less than min_free = 1.0 GiB",
            f"zfs list -o space,quota,refquota {WEB}",
        ),
        (
            replace(FACTS, reserve=None),
            STORAGE.reserve,
            Status.WARNING,
            "nothing keeps 1.0 GiB of the pool back",
            "zborg init",
        ),
        (
            replace(FACTS, reserved=str(GIB - 1)),
            STORAGE.reserve,
            Status.WARNING,
            "it keeps less than slack = 1.0 GiB back",
            f"zfs set refreservation={GIB} {STORAGE.reserve}",
        ),
        (
            replace(FACTS, reserved="none", storage=replace(STORAGE, endpoint=NAS)),
            STORAGE.reserve,
            Status.WARNING,
            "it keeps less than slack",
            "on the storage (nas), as root:",
        ),
    ],
)
def test_each_fault_of_the_storage_is_named(
    facts: StorageFacts, subject: str, level: Status, words: str, remedy: str
) -> None:
    found = only(judge.storage(facts))
    assert (found.subject, found.level) == (subject, level)
    assert words in found.message and remedy in found.remedy


def test_a_storage_that_is_to_keep_nothing_back_needs_no_reserve() -> None:
    facts = replace(FACTS, storage=replace(STORAGE, slack=0), reserve=None)
    assert only(judge.storage(facts)).level is Status.OK


# --- how datasets are set ---------------------------------------------------------------------------

SET = {"checksum": "on", "recordsize": "1048576", "atime": "off", "quota": "0", "refquota": "0"}
LIMITED = SET | {"quota": str(GIB)}


def test_what_suits_borg_is_good() -> None:
    found = only(judge.stored(STORAGE, {ROOT: SET, WEB: LIMITED}))
    assert (found.subject, found.level) == ("properties", Status.OK)
    assert only(judge.stored(STORAGE, {ROOT: SET | {"recordsize": "131072"}})).level is Status.OK
    assert only(judge.stored(STORAGE, {ROOT: SET | {"recordsize": "-"}})).level is Status.OK


@pytest.mark.parametrize(("key", "wrong", "level", "right"), [(*row[:3], row[4]) for row in judge._WRONG])
def test_a_wrong_property_is_named_where_it_was_set(key: str, wrong: str, level: Status, right: str) -> None:
    here = only(judge.stored(STORAGE, {ROOT: SET, WEB: LIMITED | {key: wrong}}))
    assert (here.subject, here.level) == (WEB, level)
    assert here.message.startswith(f"{key}={wrong}: ") and here.remedy == f"zfs set {key}={right} {WEB}"
    inherited = only(judge.stored(STORAGE, {ROOT: SET | {key: wrong}, WEB: LIMITED | {key: wrong}}))
    assert inherited.subject == ROOT, "what is inherited is told once"


def test_small_records_are_named_where_they_were_set() -> None:
    small = {"recordsize": "65536"}
    here = only(judge.stored(STORAGE, {ROOT: SET, WEB: LIMITED | small}))
    assert (here.subject, here.level, here.remedy) == (WEB, Status.WARNING, f"zfs set recordsize=1M {WEB}")
    inherited = only(judge.stored(STORAGE, {ROOT: SET | small, WEB: LIMITED | small}))
    assert inherited.subject == ROOT


def test_hosts_without_a_quota_are_told_together() -> None:
    hosts = [f"{ROOT}/web{number}" for number in range(1, 8)]
    found = only(judge.stored(replace(STORAGE, endpoint=NAS), {ROOT: SET} | dict.fromkeys(hosts, SET)))
    assert (found.subject, found.level) == (ROOT, Status.WARNING)
    assert "no quota: web1, web2, web3, web4, web5 and 2 more could fill the pool" in found.message
    assert found.remedy.count("zfs set quota=500G") == len(hosts)
    refquota = judge.stored(STORAGE, {ROOT: SET, WEB: SET | {"refquota": str(GIB)}})
    assert only(refquota).level is Status.OK


# --- targets ----------------------------------------------------------------------------------------


def test_features_that_a_stream_may_need_are_compared() -> None:
    used = {
        "lz4_compress": "active",
        "large_blocks": "active",
        "encryption": "enabled",
        "bookmarks": "active",
    }
    assert list(judge.features(used, {"lz4_compress": "active", "large_blocks": "enabled"}, OFFSITE)) == []
    (off,) = judge.features(used, {"lz4_compress": "disabled", "large_blocks": "active"}, OFFSITE)
    assert "pool vault of offsite has lz4_compress disabled" in off.message
    assert "zpool set feature@lz4_compress=enabled vault" in off.remedy
    (unknown,) = judge.features(used, {"lz4_compress": "active"}, OFFSITE)
    assert "OpenZFS on offsite does not know large_blocks" in unknown.message
    assert (unknown.level, unknown.remedy) == (Status.WARNING, "upgrade OpenZFS on offsite")


PARENT = {"mountpoint": "none", "canmount": "off", "readonly": "on"}
LIMITS = {"quota": "4T", "snapshot_limit": "20000", "filesystem_limit": "200"}


def test_a_parent_that_mounts_nothing_and_has_limits_is_good() -> None:
    assert list(judge.parent("vault/zborg", PARENT | LIMITS, "", limits=True)) == []
    assert list(judge.parent("vault/zborg", PARENT, "", limits=False)) == []
    assert list(judge.parent("vault/zborg", {}, "", limits=False)) == [], (
        "what could not be asked is no fault"
    )


@pytest.mark.parametrize(
    ("key", "value"), [("mountpoint", "/vault"), ("canmount", "on"), ("readonly", "off")]
)
def test_a_parent_that_is_set_otherwise_is_an_error(key: str, value: str) -> None:
    (found,) = judge.parent("vault/zborg", PARENT | {key: value}, "offsite", limits=False)
    assert found.level is Status.FAILED
    assert found.message.startswith(f"{key} of vault/zborg is {value}, not {PARENT[key]}: ")
    assert "on offsite, as root:" in found.remedy
    assert f"zfs set {key}={PARENT[key]} vault/zborg" in found.remedy


@pytest.mark.parametrize("key", LIMITS)
@pytest.mark.parametrize("value", judge._NONE)
def test_a_limit_that_is_not_set_is_a_warning(key: str, value: str) -> None:
    (found,) = judge.parent("vault/zborg", PARENT | LIMITS | {key: value}, "", limits=True)
    assert (found.level, found.remedy) == (Status.WARNING, f"zfs set {key}={LIMITS[key]} vault/zborg")


# --- delegation; by the adapter's own words in test_doctor_offsite.py ----------------------------------

MAY = frozenset({"receive:append", "create"})


def delegated(*given: Grant, append: bool | None = True, where: str = "") -> tuple[Finding, ...]:
    account = Account("sink", "vault/zborg", given, ("backup",), MAY, append, "zfs allow LINE")
    return judge.delegation(account, where)


def grant(permissions: set[str], *, on: str = "vault/zborg", below: bool = True, kind: str = "user") -> Grant:
    who = {"user": "sink", "group": "backup", EVERYONE: ""}[kind]
    return Grant(on, kind, who, frozenset(permissions), frozenset(permissions), below)


@pytest.mark.parametrize("kind", ["user", "group", EVERYONE])
def test_rights_count_whoever_they_were_given_to(kind: str) -> None:
    assert only(delegated(grant(set(MAY), kind=kind))).level is Status.OK


def test_what_was_given_on_the_parent_alone_does_not_count_below() -> None:
    found = only(delegated(grant({*MAY, "destroy"}, on="vault", below=False)))
    assert found.message == "sink has no create, receive:append on vault/zborg"


def test_what_no_sender_needs_is_a_warning() -> None:
    found = only(delegated(grant({*MAY, "snapshot"})))
    assert (found.level, found.remedy) == (Status.WARNING, "zfs unallow -u sink snapshot vault/zborg")


def test_receive_by_two_grants_is_taken_from_the_one_that_has_it() -> None:
    found = only(delegated(grant({"create"}), grant({"receive"}, on="vault"), append=None))
    assert (found.subject, found.level) == ("vault", Status.FAILED)
    assert found.remedy == "zfs unallow -u sink receive vault\nzfs allow LINE"
    older = only(delegated(grant({"create"}), grant({"receive"}), append=False, where="offsite"))
    assert (older.level, older.remedy) == (Status.WARNING, "upgrade OpenZFS on offsite")


# --- memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 4, 30])
def test_memory_for_hostile_hosts(parallel: int) -> None:
    enough = memory_finding("nas", parallel, parallel * SERVE_LIMIT, "/z.toml")
    assert (enough.level, enough.remedy) == (Status.OK, "")
    short = memory_finding("nas", parallel, parallel * SERVE_LIMIT - 1, "/z.toml")
    assert short.level is Status.WARNING and "nas has " in short.message
    assert f"set parallel = {max(1, parallel - 1)} in /z.toml" in short.remedy


def test_a_machine_with_no_room_for_one_is_told_to_serve_one() -> None:
    assert "parallel = 1 in" in memory_finding("nas", 2, 1, "/z.toml").remedy


def test_memory_with_auto_says_how_many_it_permits() -> None:
    limits = {f"web{n}": 1 << 30 for n in range(30)} | {"new": 4 << 30}
    found = auto_finding("nas", Room(24 << 30, limits))
    assert (found.level, found.remedy) == (Status.OK, "")
    assert found.message == (
        "parallel = auto: at most 24 hosts at once; their borg serves may take 24.0 GiB in all, "
        "nas has 24.0 GiB"
    )
    short = auto_finding("nas", Room(1 << 30, {"new": 4 << 30}))
    assert (short.level, "at most 1 host at once" in short.message) == (Status.WARNING, True)
    assert short.remedy.endswith("zborg doctor")
    unknown = auto_finding("nas", Room(None, limits))
    assert unknown.level is Status.OK and "at most 4 hosts at once, for the memory of nas" in unknown.message
