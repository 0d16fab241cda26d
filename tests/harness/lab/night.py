"""What tests of whole nights on real pools look at."""

from __future__ import annotations

import socket
import subprocess

from tests.harness.watch import until
from tests.harness.worlds.world import World, guids

MIB = 1 << 20


def both_sides(world: World) -> tuple[dict[str, str], dict[str, str]]:
    """The guids below both roots, without the roots' own: those are never sent."""
    assert world.offsite is not None
    sides = guids(world.vault, world.dataset), guids(world.offsite, world.copy)
    here, there = ({k: v for k, v in side.items() if not k.startswith("@")} for side in sides)
    return here, there


def forgiven(world: World) -> None:
    """After failed logins sshd refuses our address for a while (PerSourcePenalties). A reload forgets."""
    world.vault.sh("kill -HUP $(cat /run/sshd.pid)")

    def greets() -> bool:
        with socket.create_connection((world.vault.address, world.vault.port), 10) as connection:
            return connection.recv(4) == b"SSH-"

    until(greets, "sshd lets us in again")


def assert_not_mounted(world: World) -> None:
    assert world.offsite is not None
    argv = ["zfs", "get", "-H", "-r", "-t", "filesystem", "-o", "value", "mounted", world.copy]
    assert set(world.offsite.ssh(argv).stdout.split()) == {"no"}
    assert f"{world.copy}/" not in world.offsite.sh("cat /proc/mounts")


def send(world: World, stream: str, receive: str) -> None:
    """What a shell line on the storage prints, into one on the target; either may fail."""
    assert world.offsite is not None
    sender, receiver = (
        guest.remote().argv(["sh", "-c", line])
        for guest, line in ((world.vault, stream), (world.offsite, receive))
    )
    with subprocess.Popen(sender, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as sending:
        subprocess.run(receiver, stdin=sending.stdout, capture_output=True, timeout=120, check=False)
