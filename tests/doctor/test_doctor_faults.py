"""Planted faults, one test each: doctor names each with its mend, and nothing else in that area.

Real sshd, agent, borg and keys; ZFS is the in-memory one. The real one is in test_doctor_lab.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.doctor.clinic import Clinic, Plant
from tests.harness.doctor.faults import BAD, WARN, WEB, Fault, check, configured, settle
from tests.harness.doctor.planted import (
    drop_in,
    elsewhere,
    limited,
    near_clock,
    old_borg,
    passphrase,
    sick,
    stored,
    unmounted,
)
from zborg.model import Scrub, Status

FAULTS = {
    # zborg.toml and what it includes
    "zborg.toml for everybody to read": Fault(
        "config",
        lambda p: p.mode(p.clinic.toml, 0o644),
        WARN,
        "everybody on this machine can read it",
        "chmod 0600 ",
    ),
    "zborg.toml for everybody to write": Fault(
        "config", lambda p: p.mode(p.clinic.toml, 0o620), BAD, "can be written by others", "chmod go-w "
    ),
    "a key that zborg.toml does not know": Fault(
        "config",
        lambda p: p.text(p.clinic.toml, p.clinic.toml.read_text() + "paralel = 1\n"),
        BAD,
        "hosts.web1.paralel: is not known",
        "zborg doctor --only config --config ",
    ),
    "a drop-in for others to write": Fault(
        "config",
        drop_in("", 0o620),
        BAD,
        "db1.toml can be written by others",
        "chmod go-w ",
    ),
    "a drop-in that is no TOML": Fault(
        "config", drop_in("[hosts"), BAD, "db1.toml: ", "zborg doctor --only config --config "
    ),
    # the state directory
    "no state directory": Fault(
        "state", configured(state_dir=Path("/nonexistent/zborg")), BAD, "does not exist", "zborg init"
    ),
    "no folder for locks": Fault(
        "state", lambda p: p.away(p.clinic.vault.state / "locks"), BAD, "has no locks", "zborg init"
    ),
    "a state directory that is open": Fault(
        "state", lambda p: p.mode(p.clinic.vault.state, 0o755), BAD, "its mode is 0755", "chmod 0700 "
    ),
    # our keys
    "a key that is gone": Fault(
        "keys", lambda p: p.away(p.clinic.vault.key.private), BAD, "no such key", "zborg init"
    ),
    "a key for others to read": Fault(
        "keys", lambda p: p.mode(p.clinic.vault.key.private, 0o644), BAD, "its mode is 0644", "chmod 0600 "
    ),
    "a key with a passphrase": Fault(
        "keys", passphrase, BAD, "cannot be used by night", "ssh-keygen -p -N '' -f "
    ),
    "the public half of another key": Fault(
        "keys",
        lambda p: p.text(Path(f"{p.clinic.vault.key.private}.pub"), "ssh-ed25519 AAAA x\n"),
        WARN,
        "is the public half of another key",
        "ssh-keygen -y -f ",
    ),
    # programs
    "a borg of 2020": Fault(
        "programs", old_borg, BAD, "borg 1.1.17 is too old", "apt-get install borgbackup"
    ),
    "no borg": Fault(
        "programs",
        stored(borg="/nonexistent/borg"),
        BAD,
        "no repository can be served",
        "apt-get install borgbackup",
    ),
    "no pv for a bandwidth limit": Fault("programs", limited, BAD, "bandwidth_limit", "apt-get install pv"),
    "an OpenZFS of 2020": Fault(
        "zfs",
        lambda p: p.attribute(p.clinic.near, "version", "zfs-2.0.3-9\nzfs-kmod-2.0.3-9\n"),
        WARN,
        "OpenZFS 2.0 is too old",
        "upgrade OpenZFS",
    ),
    "a kernel module of another release": Fault(
        "zfs",
        lambda p: p.attribute(p.clinic.near, "version", "zfs-2.3.9-1\nzfs-kmod-2.2.7-1\n"),
        WARN,
        "the kernel's module is 2.2.7",
        "reboot",
    ),
    "a storage with another clock": Fault("zfs", near_clock, WARN, "2 hours ahead", "timedatectl"),
    # pools
    "a pool that lost a disk": Fault(
        "pool", sick(health="DEGRADED"), BAD, "the pool is DEGRADED", "zpool status"
    ),
    "a pool with damage": Fault(
        "pool", sick(errors=3), Status.DAMAGED, "3 data errors", "zpool status -v tank"
    ),
    "a pool that was never scrubbed": Fault(
        "pool", sick(scrub=Scrub.NEVER, finished=None), BAD, "never scrubbed", "zborg scrub --start"
    ),
    "a pool that is nearly full": Fault(
        "pool", sick(free=150 << 30), WARN, "of the pool is used", "zfs list"
    ),
    # datasets
    "a storage that was never made": Fault(
        "storage", stored(dataset="tank/backup"), BAD, "dataset does not exist", "zborg init"
    ),
    "a host without a dataset": Fault(
        "storage",
        lambda p: p.without(p.clinic.vault.zfs._all, WEB),
        BAD,
        "no dataset for web1",
        "zborg init web1",
    ),
    "a dataset that is not mounted": Fault("storage", unmounted, BAD, "it was unmounted", f"zfs mount {WEB}"),
    "a dataset mounted elsewhere": Fault(
        "storage", elsewhere, BAD, "its mountpoint is", f"zfs inherit mountpoint {WEB}"
    ),
    "no room": Fault(
        "storage",
        lambda p: p.attribute(p.clinic.vault.zfs, "available", 1 << 28),
        BAD,
        "less than min_free",
        "zfs list -o space",
    ),
    "no slack": Fault(
        "storage",
        lambda p: p.without(p.clinic.vault.zfs._all, "tank/zborg-slack"),
        WARN,
        "nothing keeps",
        "zborg init",
    ),
    "slack that was given free": Fault(
        "storage",
        settle("tank/zborg-slack", "refreservation", "0"),
        WARN,
        "keeps less than slack",
        "zfs set refreservation=1073741824 tank/zborg-slack",
    ),
    "atime": Fault(
        "properties", settle("tank/borg", "atime", "on"), WARN, "atime=on", "zfs set atime=off tank/borg"
    ),
    "no compression": Fault(
        "properties",
        settle("tank/borg", "compression", "off"),
        WARN,
        "compression=off",
        "zfs set compression=lz4 ",
    ),
    "small records": Fault(
        "properties",
        settle(WEB, "recordsize", "16384"),
        WARN,
        "recordsize=16384",
        f"zfs set recordsize=1M {WEB}",
    ),
    "a host that is read-only": Fault(
        "properties",
        settle(WEB, "readonly", "on"),
        BAD,
        "no backup can be written",
        f"zfs set readonly=off {WEB}",
    ),
    "no checksums": Fault(
        "properties", settle(WEB, "checksum", "off"), BAD, "cannot notice damage", "checksum=on"
    ),
    "no sync": Fault(
        "properties", settle("tank/borg", "sync", "disabled"), BAD, "a power cut", "sync=standard"
    ),
    "deduplication": Fault("properties", settle("tank/borg", "dedup", "on"), WARN, "dedup=on", "dedup=off"),
    "programs may run there": Fault(
        "properties", settle("tank/borg", "exec", "on"), WARN, "exec=on", "exec=off"
    ),
    "no quota": Fault(
        "properties", settle(WEB, "quota", "0"), WARN, "no quota: web1", f"zfs set quota=500G {WEB}"
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named_with_its_mend(clinic: Clinic, plant: Plant, name: str) -> None:
    check(clinic, plant, FAULTS[name])
