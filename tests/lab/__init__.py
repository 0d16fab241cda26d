"""The test lab: Debian guests with real OpenZFS under QEMU, with or without hardware help.

`scripts/lab build` makes the image once (about 7 minutes) in ~/.cache/zborg-lab; after that

    from tests.lab import up, down

    guest = up("test-vault")            # booted, ZFS loaded; about 10 s, or at once if it runs
    guest.sh("zpool create tank /dev/vdb")
    guest.ssh(["zfs", "snapshot", "tank@a"])
    guest.kill()                        # a power cut
    guest.start()                       # the same disks, host key and port; tank is mounted
    guest.fresh()                       # no pools, a blank data disk, no reboot
    down("test-vault")                  # nothing left but its keys, its port and its last log

In the guest: /dev/vdb (also /dev/disk/by-id/virtio-d1) is a blank disk of 8 GiB. Pools on it,
and pools on files kept in /vdev, are imported and mounted at every boot, before `up` or `start`
returns; keys of encrypted datasets are not loaded. The host is 10.0.2.2, and so another guest
is 10.0.2.2 with that guest's port. Ordinary users (useradd, authorized_keys, forced commands)
may log in.

ZBORG_LAB_CACHE and ZBORG_LAB_RUN move the cache and the folders of running guests. A guest runs
on after the process that started it; several processes may share one.
"""

from tests.lab.errors import CommandFailed, GuestDied, LabError
from tests.lab.fleet import Status, down, status, up, up_all
from tests.lab.guest import Guest

__all__ = ["CommandFailed", "Guest", "GuestDied", "LabError", "Status", "down", "status", "up", "up_all"]
