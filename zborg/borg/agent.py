"""What a host's agent reports of its own machine, as types, and what that means for a reader.

The lines are docs/agent.md's, "What the agent reports of its host".
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field

from zborg.borg.meaning import Meaning
from zborg.model import Status
from zborg.model.codes import Agent
from zborg.model.codes.lines import Reason
from zborg.model.text.remedy import command, on, quoted, remedy
from zborg.model.text.units import printable

NO_ROOM, BROKEN = 69, 68  # exit statuses of the agent
_MOST = 8  # directories
_LONGEST = 300  # characters of one path or line
_LEFT = re.compile(r"no room: (.{1,40} left in (/.*))")
_PLACE = re.compile(r"[^/]*(/.*)")
_OUT_OF_MEMORY = "the kernel ended processes for lack of memory meanwhile"


@dataclass
class HostReport:
    """Collected line by line; every value is another machine's word."""

    left: list[tuple[str, str]] = field(default_factory=list)  # ("0 KiB left in /run", "/run")
    broken: str = ""  # a file that protects against an older state and cannot be used
    cache: str = ""  # where a broken cache of borg's was moved to
    signed: bool = False  # root of the host had the agent sign archives; nothing was backed up yet
    warnings_log: str = ""
    out_of_memory: bool = False
    no_witness: str = ""  # why it did not keep the ledger's checkpoint, in the agent's words

    def add(self, reason: Reason) -> bool:
        """Take a line of the agent's; whether it is one of these."""
        text = reason.text[:_LONGEST]
        match reason.code:
            case Agent.ROOM if left := _LEFT.fullmatch(text):
                self.left = [*self.left, (left[1], left[2])][:_MOST]
            case Agent.BROKEN if place := _PLACE.fullmatch(text):
                self.broken = place[1]
            case Agent.CACHE if place := _PLACE.fullmatch(text):
                self.cache = place[1]
            case Agent.WARNINGS if place := _PLACE.fullmatch(text):
                self.warnings_log = place[1]
            case Agent.SIGNED:
                self.signed = True
            case Agent.MEMORY:
                self.out_of_memory = True
            case Agent.WITNESS:
                self.no_witness = printable(text)
            case code:
                return code is Agent.WITHHELD
        return True

    def no_room(self, host: str) -> Meaning:
        """ENOSPC, EDQUOT or no inode on the host's own disks."""
        places = [place for _, place in self.left] or ["/var/lib/zborg", "/run", "/tmp"]
        words = ", ".join(words for words, _ in self.left) or "a disk or a quota is full"
        looks = (command("df", "-h", *places), command("df", "-i", *places))
        return Meaning(Status.FAILED, f"{host} has no room for borg: {words}", on(host, *looks))

    def broken_file(self, host: str) -> Meaning:
        """The agent does not replace it: it would forget what it has seen of the server."""
        message = f"{self.broken} on {host} is empty or broken (after a power failure?)"
        return Meaning(Status.FAILED, message, _replacement(host, self.broken))

    def repaired(self, host: str) -> str:
        """What the agent did instead of the verb, which can be tried again now; "" for nothing."""
        if self.cache:
            return f"the cache of borg on {host} was broken, is now {self.cache}, and was made anew"
        return f"archives of {host} were signed, as root there allowed" if self.signed else ""


def _replacement(host: str, path: str) -> str:
    """How root makes such a file good, by borg's own reading of each (SecurityManager and NonceManager).

    A nonce has to be higher than any that was used: seconds times 2^24, so 256 MiB for each second.
    What borg finds missing of the others it writes anew; of an encrypted repository it asks nothing.
    """
    directory, _, name = path.rpartition("/")
    if name == "nonce":
        return on(host, f"printf '%010x000000' \"$(date +%s)\" >{quoted(path)}")
    if name == "repository-id":
        return on(host, f"ls {quoted(f'{directory}/borg/.config/borg/security')} >{quoted(path)}")
    return on(host, command("rm", path))


def ended_by_signal(host: str, status: int, *, out_of_memory: bool) -> Meaning:
    """borg had no chance to give a reason. `status` is the shell's: 128 and the number of the signal."""
    try:
        name = signal.Signals(status - 128).name
    except ValueError:
        name = f"signal {status - 128}"
    message = f"borg on {host} was ended by {name} (exit status {status})"
    if out_of_memory:
        message += f": {_OUT_OF_MEMORY}"
    elif status - 128 == signal.SIGKILL:
        message += ": perhaps by the kernel, for lack of memory"
    return Meaning(Status.FAILED, message, on(host, "dmesg"))


def serve_ended(dataset: str) -> Meaning:
    """The other end was gone and had given no reason (borg #7111, #5754: killed for lack of memory)."""
    which = f"borg serve of {dataset}" if dataset else "borg serve"
    message = f"{which} ended on the storage without a reason: perhaps killed for lack of memory"
    return Meaning(Status.FAILED, message, on("the storage", "dmesg"))


def mute(host: str, status: int, printed: str) -> Meaning:
    """The session ended before the agent's first line: the login shell or what it runs first ended it."""
    shown = f" (it printed: {printed[:_LONGEST]})" if printed else ""
    message = f"the session on {host} ended with status {status} before the agent started{shown}"
    sentence = f"on {host}, see to it that root's login shell runs commands; then"
    return Meaning(Status.FAILED, message, remedy(command("zborg", "host", "test", host), first=sentence))


def garbled(host: str) -> Meaning:
    """What a stream means that borg could not read: somebody else wrote into it."""
    message = f"something on {host} prints into borg's protocol, most often its login shell"
    return Meaning(Status.FAILED, message, remedy(command("zborg", "host", "test", host)))
