"""Whether the machine of the storage has the memory that hostile hosts could make `borg serve` take. Pure."""

from __future__ import annotations

from zborg.model import Finding, Status
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted, size
from zborg.planning.backup.memory import SERVE_LIMIT, Room
from zborg.planning.backup.pace import Machine


def memory_finding(machine: str, parallel: int, memory: int, config: str) -> Finding:
    """`memory` is what the machine has, with its swap, in bytes; `config` is the path of zborg.toml.

    An index takes about 100 bytes a chunk, so no honest host comes near the limit. Several that lie about
    their chunks at once must not have the machine's other processes killed.
    """
    wanted = parallel * SERVE_LIMIT
    serves = f"{counted(parallel, 'borg serve')} at once may take {size(wanted)} in all"
    words = f"{serves}, {machine} has {size(memory)}"
    if wanted <= memory:
        return Finding("memory", Status.OK, words)
    fits = max(1, memory // SERVE_LIMIT)
    first = (
        f"no honest host needs so much; against hostile ones set parallel = {fits} in {config}, or add swap:"
    )
    return Finding("memory", Status.WARNING, words, remedy(command("zborg", "doctor"), first=first))


def auto_finding(machine: str, room: Room) -> Finding:
    """The same with `parallel = "auto"`, which begins no more than fit: how many that are at the most."""
    hosts = Machine(1, room.fits).most
    words = f"parallel = auto: at most {counted(hosts, 'host')} at once"
    if room.memory is None:
        return Finding("memory", Status.OK, f"{words}, for the memory of {machine} is not known")
    wanted = sum(sorted(room.limits.values())[:hosts])
    words = f"{words}; their borg serves may take {size(wanted)} in all, {machine} has {size(room.memory)}"
    if wanted <= room.memory:
        return Finding("memory", Status.OK, words)
    first = "no honest host needs so much; against a hostile one add swap, or memory:"
    return Finding("memory", Status.WARNING, words, remedy(command("zborg", "doctor"), first=first))
