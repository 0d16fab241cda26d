"""Machines zborg talks to, and how long their snapshots stay."""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
LEDGER = "zborg-ledger"
"""The dataset of the ledger, beside those of the hosts: no host may be called so."""


def name_problem(text: str) -> str:
    """Why neither a host nor a target may be called so; "" when it may."""
    if text == LEDGER:
        return f"{LEDGER} is the name of the ledger's dataset"
    return "" if NAME_PATTERN.fullmatch(text) else "names are a-z, 0-9 and -, at most 31 characters"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where SSH reaches another machine, and the one host key that it must show."""

    user: str
    address: str
    port: int
    host_key: str  # "ssh-ed25519 AAAA...", as in a known_hosts line without the name
    identity: str  # path of the private key on this machine

    def __str__(self) -> str:
        """The URL as zborg.toml has it, an IPv6 address in brackets; without identity and host key."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"ssh://{self.user}@{address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reverse:
    """The way back of a host without our agent: a port on its loopback that ends at the server's sshd."""

    port: int  # 0: another one for each run
    sshd: str  # "address:port", as seen from this machine


@dataclass(frozen=True, slots=True)
class Host:
    """A backed-up host. Its dataset is STORAGE/NAME, its archives begin with NAME-."""

    name: str
    endpoint: Endpoint
    max_age: int  # seconds after which a missing good backup is overdue
    timeout: int  # seconds its backup may take, all verbs and retries; a restore
    reverse: Reverse | None = None  # None: our agent, through the SSH session itself
    min_files: int = 1  # an archive of fewer files is a failed backup
    shrink: int = 50  # percent of the usual night; less in an archive is a warning, 0 never
    stalled_after: int = 0  # seconds without progress after which a verb is ended, 0 never
    prunes: bool = False  # with a `reverse`: its borgmatic prunes as well, so audit expects that of each run


@dataclass(frozen=True, slots=True)
class Target:
    """An off-site ZFS host; STORAGE/X is replicated to DATASET/X."""

    name: str
    endpoint: Endpoint
    dataset: str
    max_age: int  # seconds after which the last replication is overdue
    bandwidth_limit: int = 0  # bytes a second; 0 is as fast as it goes
    reader: str = "zborg-read"  # the account there whose key only reads, for restores
    # What stays on the storage for it alone goes after so long without any arrival, in seconds, or when it is
    # that much of a dataset, in bytes; 0 never.
    max_unreplicated_age: int = 30 * 86400
    max_unreplicated_space: int = 0
    read_identity: str = ""  # the reader's private key where it lies here, for drills; "" for none


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the repositories lie. `endpoint` None means this machine."""

    dataset: str
    endpoint: Endpoint | None
    user: str  # `borg serve` runs as this user
    borg: str  # the borg binary there
    serving: Endpoint | None = None  # there too: the account and the key that can only `borg serve`
    min_free: int = 1 << 30  # bytes a host's dataset must have left for a backup to begin
    slack: int = 1 << 30  # bytes `zborg init` keeps back in the pool, 0 none
    quota: int = 0  # bytes of a new host's dataset, 0 none
    received: bool = False  # an off-site: copies that another zborg sends, rotated by their arrival
    zfs: str = "auto"  # or "libzfs", "commands": which adapter speaks to ZFS
    wall: str = "auto"  # or "require": nothing is served without one

    def dataset_of(self, host: str) -> str:
        """The dataset of a host's repository, whether it exists or not."""
        return f"{self.dataset}/{host}"

    def account_of(self, host: Host) -> str:
        """Who owns its repository's files; "" is a number of its own: root here starts its `borg serve`."""
        shared = self.endpoint is not None or host.reverse is not None or self.user == "root"
        return self.user if shared else ""

    @property
    def scratch(self) -> str:
        """Parent of zborg's clones: outside the storage dataset, or they would be snapshotted too."""
        return f"{self.dataset.split('/')[0]}/zborg-scratch"

    @property
    def ledger(self) -> str:
        """The dataset of the ledger: snapshotted and replicated with the repositories that it is about."""
        return f"{self.dataset}/{LEDGER}"

    @property
    def reserve(self) -> str:
        """The empty dataset whose refreservation nobody can use up. Outside the storage as well."""
        return f"{self.dataset.split('/')[0]}/zborg-slack"


@dataclass(frozen=True, slots=True)
class Fullness:
    """Percent of a pool in use above which that is a finding; 100 is never."""

    warning: int = 80  # above this ZFS looks for free space ever longer
    failed: int = 95  # deleting needs space as well


@dataclass(frozen=True, slots=True)
class Policy:
    """How many snapshots to keep per period, in borg's words. All zero keeps everything."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: int = 0  # seconds

    @property
    def empty(self) -> bool:
        """No rule is set: then nothing is ever destroyed."""
        return not (
            self.last
            or self.hourly
            or self.daily
            or self.weekly
            or self.monthly
            or self.yearly
            or self.within
        )
