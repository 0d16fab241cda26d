"""A night and a restore on real OpenZFS, real sshd and real borg, each command run as cron would run it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Lab
from tests.harness.lab.night import MIB, assert_not_mounted, both_sides, forgiven
from tests.harness.machines.host import BackedUpHost, find_borg
from tests.harness.machines.keys import make_key
from tests.harness.watch import next_second, until
from tests.harness.worlds.world import World, authorize_root, guids, only, outcomes, serve_key_beside
from zborg.model.keys import fingerprint
from zborg.model.text.remedy import parse

pytestmark = pytest.mark.lab


def run_files(world: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (world.state / "runs").iterdir()}


def held_locks(world: World) -> list[str]:
    """Owner records: what is left of a lock that was not given back."""
    return [path.name for path in (world.state / "locks").glob("*.owner")]


@pytest.fixture(scope="module")
def night(lab: Lab) -> World:
    lab.vault.sh("zfs list tank/borg >/dev/null 2>&1 && zfs destroy -r tank/borg || :")
    world = lab.world("night")
    for name in ("web1", "db1", "gone"):
        host = lab.host(world, name)
        (host.data / "report").write_text(f"the only copy of {name}'s report\n" * 100)
        (host.data / "blob").write_bytes(os.urandom(200_000))
    world.hosts["gone"].sshd.stop()  # its port is closed from now on
    world.write_config()
    return world


def test_init_makes_the_key_first_and_goes_on_once_it_was_handed_out(night: World) -> None:
    identity, serve_identity = night.directory / "fresh" / "id", night.directory / "fresh" / "serve"
    own = {"identity": str(identity), "serve_identity": str(serve_identity)}
    storage = night.settings["storage"] | {"dataset": "tank/handed"} | own
    config = night.variant("fresh", state_dir="fresh", storage=storage, hosts={}, targets={})
    first = night.report("init", "--config", config)
    public = outcomes(first)[str(identity)]["data"]["public"]
    assert public == identity.with_suffix(".pub").read_text().strip()
    assert "has to reach" in outcomes(first)["tank/handed"]["message"]
    serve_public = serve_identity.with_suffix(".pub").read_text().strip()
    forced = "/usr/local/libexec/zborg-serve /tank/handed /tank/zborg-scratch"
    lines = [f"restrict {public}", f'restrict,command="{forced}" {serve_public}']
    assert outcomes(first)["tank/handed"]["data"]["commands"] == lines
    refused = night.report("init", "--config", config, expect=3)
    assert "refuses our key" in outcomes(refused)["tank/handed"]["message"]
    authorize_root(night.vault, lines[0])
    forgiven(night)
    made = night.report("init", "--config", config)
    assert outcomes(made)["tank/handed"]["message"] == "created"


def test_each_key_opens_its_own_account_and_no_other(night: World) -> None:
    """The whole night runs with both; the one that hosts' bytes are served with is nothing to root."""
    night_key, serve_key = night.key.private, serve_key_beside(night.key.private)
    where = [
        "-F",
        "none",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
    ]
    where += ["-o", "UserKnownHostsFile=/dev/null", "-p", str(night.vault.port)]
    for key, user, expected in (
        (night_key, "root", 0),
        (serve_key, "root", 255),
        (night_key, "zborg-serve", 255),
        (serve_key, "zborg-serve", 2),
    ):
        argv = ["ssh", *where, "-i", str(key), "-l", user, night.vault.address, "zfs list"]
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        assert done.returncode == expected, (key, user, done)
        assert ("tank" in done.stdout) == (user == "root" and key == night_key)
    forgiven(night)


def test_init_twice_changes_nothing_the_second_time(night: World) -> None:
    made = night.report("init")
    names = ["tank/borg", "tank/borg/web1", "tank/borg/db1", "tank/borg/gone"]
    assert [outcomes(made)[name]["message"] for name in names] == ["created"] * 4
    again = night.report("init")
    changed = [one["message"] for one in again["outcomes"] if one["message"] != "is there"]
    assert [text for text in changed if "can be started for web1, behind " in text], changed
    assert not any("created" in text or "written" in text or "now for" in text for text in changed), changed
    owner = night.vault.sh("stat -c '%U %G %a' /tank/borg/web1").strip()
    assert owner == "root zborg-serve 1770"


def test_one_unreachable_host_of_three_is_partial(night: World) -> None:
    report = night.report("backup", expect=3)
    assert report["status"] == "partial"
    found = outcomes(report)
    assert (found["web1"]["status"], found["db1"]["status"]) == ("ok", "ok"), found
    assert "no connection to gone" in found["gone"]["message"]
    assert archives(night, "web1") == [found["web1"]["data"]["archive"]]
    assert held_locks(night) == []


def archives(world: World, name: str) -> list[str]:
    """The archives as the server sees them: what it saw committed, by the report of each run."""
    count = len(world.vault.sh(f"cat /tank/borg/{name}/transactions").splitlines())
    reports = [json.loads(data) for file, data in run_files(world).items() if ".backup." in file]
    good = [one for report in reports for one in report["outcomes"] if one["subject"] == name]
    named = [one["data"]["archive"] for one in good if one["status"] == "ok"]
    assert len(named) == count
    return sorted(named)


def test_snapshots_are_marked_each_on_its_own(night: World) -> None:
    backup = next(file for file in run_files(night) if ".backup." in file)
    report = night.report("snapshot")
    names = "zborg:run,zborg:state,zborg:transaction"
    argv = ["zfs", "get", "-Hp", "-r", "-t", "snapshot", "-s", "local", "-o", "name,property,value", names]
    listed = night.vault.ssh([*argv, "tank/borg"]).stdout
    marks: dict[str, dict[str, str]] = {}
    for name, key, value in (line.split("\t") for line in listed.splitlines()):
        marks.setdefault(name.partition("@")[0], {})[key] = value
    marks.pop("tank/borg/zborg-ledger")
    assert set(marks) == {"tank/borg", "tank/borg/web1", "tank/borg/db1", "tank/borg/gone"}
    assert {mark["zborg:run"] for mark in marks.values()} == {report["run"]}
    states = {name: mark.get("zborg:state") for name, mark in marks.items()}
    assert states == {
        "tank/borg": None,
        "tank/borg/web1": "ok",
        "tank/borg/db1": "ok",
        "tank/borg/gone": "failed",
    }
    told = outcomes(json.loads(run_files(night)[backup]))
    for host in ("web1", "db1"):
        assert marks[f"tank/borg/{host}"]["zborg:transaction"] == str(told[host]["data"]["transaction"])
    assert "zborg:transaction" not in marks["tank/borg/gone"]


def test_a_pool_that_was_never_scrubbed_fails_until_it_was(night: World) -> None:
    never = night.report("scrub", expect=4)
    assert {one["message"] for one in never["outcomes"]} == {"never scrubbed"}
    assert night.offsite is not None
    night.offsite.sh("zpool scrub -w vault")
    assert night.report("scrub", "--start", "--wait")["status"] == "ok"
    assert "with 0 errors" in night.vault.sh("zpool status tank")


def test_the_whole_night_replicates_every_guid(night: World) -> None:
    next_second()
    report = night.report("run", "--allow-partial")
    assert report["status"] == "partial"
    steps = [one["data"]["step"] for one in report["outcomes"]]
    order = ["backup", "snapshot", "audit", "rotate", "replicate", "compact", "verify", "drill", "scrub"]
    assert list(dict.fromkeys(steps)) == order
    here, there = both_sides(night)
    assert len(here) == 9  # two of three hosts and the ledger, and one that audit took of that alone
    assert there == here
    assert len(archives(night, "db1")) == 2
    assert_not_mounted(night)


def test_a_lost_file_comes_back_with_the_same_hash(night: World) -> None:
    listed = night.report("restore", "list", "web1")
    raw = listed["outcomes"][-1]["subject"]
    assert [one["data"]["state"] for one in listed["outcomes"]] == ["ok", "ok"]
    host = night.hosts["web1"]
    lost = host.data / "blob"
    before = digest(lost)
    lost.unlink()
    host.local("--allow-restore", raw, "10000000", str(lost)).check_returncode()
    done = only(night.report("restore", "files", "web1", str(lost)))
    assert done["data"]["snapshot"] == f"tank/borg/web1@{raw}"
    back = Path(done["data"]["restored"] + str(lost))
    assert digest(back) == before
    assert not lost.exists()
    assert "zborg-scratch/" not in night.vault.sh("zfs list -H -o name -r tank")
    back.rename(lost)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_status_shows_the_host_that_never_was_good(night: World) -> None:
    report = night.report("status", expect=4)
    found = outcomes(report)
    assert (found["web1"]["status"], found["db1"]["status"]) == ("ok", "ok")
    assert "never backed up" in found["gone"]["message"]


def test_no_dry_run_changes_anything(night: World) -> None:
    assert night.offsite is not None
    before = guids(night.vault, "tank"), guids(night.offsite, "vault"), run_files(night)
    commands = ("init", "backup", "run", "restore files web1 /etc", "scrub --start")
    for command in commands:
        report = night.report(*command.split(), "--dry-run")
        assert report["plan"], command
        left_out = [
            one["message"] for one in report["outcomes"]
        ]  # of hosts that compact has nothing to free of
        assert all(message.endswith("not worth a rewrite") for message in left_out), (command, left_out)
    datasets = "zfs list -H -o name -r tank"
    assert "scratch/" not in night.vault.sh(datasets)
    assert (guids(night.vault, "tank"), guids(night.offsite, "vault"), run_files(night)) == before
    assert "scrub in progress" not in night.vault.sh("zpool status tank")


@pytest.fixture
def gate(night: World) -> Iterator[Gate]:
    """web1 with a borg that waits at `create` until it is let through."""
    made = Gate(night.hosts["web1"])
    yield made
    made.close()


class Gate:
    def __init__(self, host: BackedUpHost) -> None:
        self.host, self.reached, self.opened = host, host.directory / "reached", host.directory / "open"
        wrapper = host.directory / "slow-borg"
        wait = f": >{self.reached}; while [ ! -e {self.opened} ]; do sleep 0.1; done"
        wrapper.write_text(
            f'#!/bin/sh\ncase " $* " in *" create "*) {wait} ;; esac\nexec {find_borg()} "$@"\n'
        )
        wrapper.chmod(0o755)
        host.setup(host.name, [host.data], borg=str(wrapper))

    def close(self) -> None:
        self.opened.touch()
        self.host.setup(self.host.name, [self.host.data])


def test_two_backups_of_one_host_at_once_the_second_names_the_first(night: World, gate: Gate) -> None:
    first = night.start("backup", "web1", "--json")
    until(gate.reached.exists, "borg starts on web1")
    second = night.report("backup", "web1", expect=11)
    record = json.loads((night.state / "locks" / "host-web1.owner").read_text())
    assert record["pid"] == first.pid
    message = only(second)["message"]
    assert f"pid {first.pid} " in message
    assert f"started {record['since']}" in message
    gate.opened.touch()
    out, _ = first.communicate(timeout=120)
    assert (first.returncode, only(json.loads(out))["status"]) == (0, "ok"), out
    assert held_locks(night) == []


def test_an_unmounted_dataset_is_refused_until_it_is_mounted_again(night: World) -> None:
    night.vault.sh("zfs unmount tank/borg/db1")
    refused = only(night.report("backup", "db1", expect=4))
    assert "is not mounted" in refused["message"]
    assert night.vault.sh("ls -A /tank/borg/db1") == ""  # nothing on the disk below
    night.vault.sh("\n".join(parse(refused["remedy"])[1]))
    next_second()
    assert night.report("backup", "db1")["status"] == "ok"


def test_a_host_that_fills_its_quota_fails_alone_and_loses_nothing(night: World) -> None:
    flood = night.hosts["db1"].data / "flood"
    flood.write_bytes(os.urandom(16 * MIB))
    used = int(night.vault.sh("zfs get -Hp -o value used tank/borg/db1"))
    night.vault.sh(f"zfs set quota={used + 4 * MIB} tank/borg/db1")
    next_second()
    refused = outcomes(night.report("backup", "web1", "db1", expect=3))
    assert "less than min_free" in refused["db1"]["message"] and refused["web1"]["status"] == "ok"
    unwise = night.variant("unwise", storage=night.settings["storage"] | {"min_free": "1M"})
    next_second()
    found = outcomes(night.report("backup", "web1", "db1", "--config", unwise, expect=3))
    assert found["web1"]["status"] == "ok" and "is full" in found["db1"]["message"], found
    night.vault.sh("zfs set quota=none tank/borg/db1")
    flood.unlink()
    next_second()
    assert night.report("backup", "db1")["status"] == "ok"


@pytest.mark.parametrize("which", ["host", "storage", "target"])
def test_a_changed_host_key_is_refused_with_both_fingerprints(
    night: World, which: str, tmp_path: Path
) -> None:
    pinned = " ".join(make_key(tmp_path / "other").public.split()[:2])
    command, table, real = changed_key(night, which, pinned)
    config = night.variant("changed", **table)
    seen = connections(night, which)
    done = night.zborg(*command, "--config", config, "--json")
    assert done.returncode == 4, done.stdout + done.stderr
    assert fingerprint(pinned) in done.stdout
    assert fingerprint(real) in done.stdout
    assert connections(night, which) == seen


def changed_key(night: World, which: str, pinned: str) -> tuple[list[str], dict[str, Any], str]:
    """What to run, the tables with another pinned key, and the key the machine really has."""
    settings = json.loads(json.dumps(night.settings))
    if which == "host":
        settings["hosts"]["web1"]["host_key"] = pinned
        return ["backup", "web1"], {"hosts": settings["hosts"]}, night.hosts["web1"].sshd.host_key
    if which == "storage":
        settings["storage"]["host_key"] = pinned
        return ["backup", "web1"], {"storage": settings["storage"]}, night.vault.host_key
    assert night.offsite is not None
    settings["targets"]["offsite"]["host_key"] = pinned
    return ["replicate"], {"targets": settings["targets"]}, night.offsite.host_key


def connections(night: World, which: str) -> object:
    """What a machine that was sent something would show."""
    if which == "host":
        return night.hosts["web1"].sshd.log().count("Accepted")
    guest = night.vault if which == "storage" else night.offsite
    assert guest is not None
    return guest.sh("zpool history tank 2>/dev/null | tail -n 1; zpool history vault 2>/dev/null | tail -n 1")


def test_a_new_server_takes_a_copy_back_and_goes_on(night: World) -> None:
    """README, "The server is gone": what was sent back is backed up to, snapshotted and replicated again."""
    assert night.offsite is not None
    next_second()
    night.report("backup", "web1")
    raw = str(outcomes(night.report("snapshot"))["tank/borg/web1"]["data"]["snapshot"]).partition("@")[2]
    night.report("replicate")
    night.vault.sh("zfs rename tank/borg/web1 tank/lost")
    send = night.offsite.remote().argv(["zfs", "send", "-L", "-e", "-c", f"vault/zborg/web1@{raw}"])
    receive = night.vault.remote().argv(["zfs", "receive", "-u", "tank/borg/web1"])
    with subprocess.Popen(send, stdout=subprocess.PIPE) as sending:
        subprocess.run(receive, stdin=sending.stdout, check=True, timeout=120)
    night.vault.sh("zfs mount tank/borg/web1")
    next_second()
    assert only(night.report("backup", "web1"))["status"] == "ok"
    night.report("snapshot")
    again = outcomes(night.report("replicate"))["offsite:vault/zborg/web1"]
    assert (again["status"], again["data"]["streams"]) == ("ok", 1)
    here, there = both_sides(night)
    assert {k: v for k, v in here.items() if k.startswith("/web1@")}.items() <= there.items()
