"""Planted faults in repositories, hosts, targets and the schedule: each is named with its mend, nothing more.

Real sshd, agent, borg and keys; ZFS is the in-memory one. The real one is in test_doctor_lab.py.
"""

from __future__ import annotations

import pytest

from tests.harness.doctor.clinic import Clinic, Plant
from tests.harness.doctor.faults import BAD, WARN, WEB, Fault, check, configured, settle
from tests.harness.doctor.planted import (
    agent_conf,
    agent_says,
    cron,
    delegated,
    far_clock,
    no_repository,
    noisy_shell,
    old_borg_there,
    old_fleet,
    other_host_key,
    repokey,
    sshd_with,
    stopped,
    strange_key,
    timer,
    unsealed,
)
from zborg.model import Status

BEYOND = {
    # repositories
    "a repository that is not root's": Fault(
        "repositories",
        lambda p: p.mode(p.clinic.vault.zfs.directory(WEB), 0o755),
        BAD,
        "could throw its repository away",
        "zborg init web1",
    ),
    "a repository that holds its key": Fault("repositories", repokey, BAD, "(repokey)", f"zfs rename {WEB} "),
    "an old fleet's repokey": Fault("repositories", old_fleet, WARN, "not claimed", "docs/reverse.md"),
    "a borg serve that does not start": Fault(
        "serving",
        lambda p: p.attribute(p.clinic.vault, "borg", "/nonexistent/borg"),
        BAD,
        "it cannot be started",
        "README, Setting up",
    ),
    # hosts
    "a host that is down": Fault("hosts", stopped, BAD, "no connection to web1", "is it up"),
    "a host with another key": Fault(
        "hosts", other_host_key, BAD, "web1 is not who it was: pinned", "ssh-keygen -lf"
    ),
    "a host that does not know our key": Fault(
        "hosts", strange_key, BAD, "refuses our key", "authorized_keys"
    ),
    "a host whose clock is wrong": Fault(
        "hosts",
        agent_says('"clock $now" "restore', '"clock $((now - 7200))" "restore'),
        WARN,
        "2 hours behind",
        "timedatectl",
    ),
    "a host with an alarm": Fault(
        "hosts",
        lambda p: p.text(p.clinic.host.state / "alarm", "now\n"),
        Status.CONFLICT,
        "there is an alarm",
        "/var/lib/zborg/alarm",
    ),
    "an agent of another version": Fault(
        "hosts",
        agent_says('"agent 1"', '"agent 0"'),
        BAD,
        "its agent is version 0, ours is 1",
        "zborg host add",
    ),
    "a mistake in agent.conf": Fault(
        "hosts", agent_conf("colour = red"), BAD, "agent.conf line 6: unknown key", "sed -n '6p;' "
    ),
    "nothing to back up": Fault(
        "hosts", agent_conf(without="path"), BAD, "no path in /etc/zborg/agent.conf on web1", "path = /etc"
    ),
    "a passphrase for others to read": Fault(
        "hosts",
        lambda p: p.mode(p.clinic.host.confdir / "passphrase", 0o644),
        BAD,
        "/etc/zborg/passphrase on web1 is gone, or others",
        "/usr/local/libexec/zborg-agent --setup web1",
    ),
    "a host with a borg of 2020": Fault(
        "hosts", old_borg_there, BAD, "borg 1.1.17 is too old", "borg = in /etc/zborg/agent.conf"
    ),
    "a host without borg": Fault(
        "hosts",
        agent_conf("borg = /nonexistent/borg", without="borg"),
        BAD,
        "borg is missing on web1",
        "apt-get",
    ),
    "a host that calls itself otherwise": Fault(
        "hosts",
        agent_conf("name = db9", without="name"),
        Status.CONFLICT,
        "the host calls itself db9",
        "agent.conf",
    ),
    "a shell that prints": Fault("hosts", noisy_shell, BAD, "its login shell prints", "~/.bashrc"),
    "an sshd that takes our variables": Fault(
        "hosts", sshd_with("AcceptEnv *"), BAD, "lets us set BASH_ENV", "AcceptEnv LANG LC_*"
    ),
    "a repository that was lost here": Fault(
        "hosts", no_repository, BAD, "here there is none", "zborg restore list"
    ),
    "a key that is not in escrow": Fault(
        "hosts", unsealed, WARN, "its key is not in escrow here", "zborg host add"
    ),
    "a host that can seal for nobody": Fault(
        "hosts", configured(custodians=("age1xxxxxxxxxx",)), WARN, "seal it for nobody", "apt-get install age"
    ),
    # targets
    "a parent that was never made": Fault(
        "targets",
        lambda p: p.without(p.clinic.vault.far._all, "vault/zborg"),
        BAD,
        "does not exist there",
        "zfs create -o mountpoint=none -o canmount=off -o readonly=on",
    ),
    "a parent that can be written": Fault(
        "targets",
        settle("vault/zborg", "readonly", "off", far=True),
        BAD,
        "readonly of vault/zborg is off",
        "on offsite, as root:\nzfs set readonly=on vault/zborg",
    ),
    "a parent that mounts": Fault(
        "targets",
        settle("vault/zborg", "mountpoint", "/srv", far=True),
        BAD,
        "mount over a live system",
        "zfs set mountpoint=none vault/zborg",
    ),
    "a target with another clock": Fault("targets", far_clock, WARN, "2 hours behind", "timedatectl"),
    "no sink": Fault(
        "targets",
        delegated("user zborg-sink create,mount,receive:append,userprop"),
        WARN,
        "has no sink there",
        "zfs allow -u zborg-sink receive:append,create,mount,userprop vault/zborg",
    ),
    # what starts it
    "nothing starts zborg": Fault(
        "schedule", cron(""), WARN, "nothing starts zborg", "zborg schedule install"
    ),
    "a cron line that finds no zborg": Fault(
        "schedule", cron("30 2 * * *  root  zborg run\n"), WARN, "without its path", "/usr/local/bin/zborg"
    ),
    "a cron line of a zborg that is gone": Fault(
        "schedule",
        cron("30 2 * * *  root  /nonexistent/zborg run\n"),
        WARN,
        "which is not there",
        "sed -i '1s|/nonexistent/zborg |/usr/local/bin/zborg |' ",
    ),
    "a file that cron passes over": Fault(
        "schedule",
        cron("30 2 * * *  root  /nonexistent/zborg run\n", "zborg.cron"),
        WARN,
        "a dot in its name",
        "mv ",
    ),
    "a timer that is not enabled": Fault(
        "schedule", timer, WARN, "not enabled", "systemctl enable --now zborg.timer"
    ),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_planted_fault_beyond_this_machine_is_named_with_its_mend(
    clinic: Clinic, plant: Plant, name: str
) -> None:
    check(clinic, plant, BEYOND[name])
