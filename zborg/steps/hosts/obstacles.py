"""What keeps an enrolment from beginning, as the machines show it; see planning.hosts.enrol for the rest."""

from __future__ import annotations

from collections.abc import Iterator

from zborg.borg.storage.repository import KNOWN_FORMS, configs, unknown_form
from zborg.config import Config, drop_in
from zborg.errors import CommandFailed, ZborgError
from zborg.model import Host
from zborg.model.enrolment import HostFacts, Problem, Request
from zborg.model.keys import fingerprint
from zborg.model.text.remedy import command, remedy
from zborg.planning.doctor.this_machine import borg_fault
from zborg.state.ledger.compactions import CompactionRecords
from zborg.steps.context import Context
from zborg.steps.ledger.begun import folder_of
from zborg.steps.mounts import machine_of

_QUICK, _ANSWER = 20.0, 64 << 10  # seconds and bytes of a program that prints its version


def elsewhere(config: Config, host: Host) -> Iterator[Problem]:
    """The name may be taken."""
    known = next((one for one in config.hosts if one.name == host.name), None)
    place = drop_in.path_of(config, host.name)
    if known is None and place.exists():
        yield Problem(f"{place} is there and names other hosts", "move them to a file of another name")
    if known and known.reverse:
        yield Problem(
            f'{host.name} has tunnel = "reverse", and borgmatic there',
            "a new name, or take that table out first",
        )
    elif known and str(known.endpoint) != str(host.endpoint):
        yield Problem(
            f"{host.name} is {known.endpoint} already, not {host.endpoint}",
            f"another name; or, if it has moved, change ssh in {place if place.exists() else config.path}",
        )
    elif known and known.endpoint.host_key.split()[:2] != host.endpoint.host_key.split()[:2]:
        yield Problem(
            f"{host.name} has another host key than the one that is pinned",
            remedy(
                command("zborg", "host", "remove", host.name),
                first='if it was reinstalled; then README, "The rebuilt host":',
            ),
        )


def other_borg(context: Context, host: Host) -> Iterator[Problem]:
    """A borg on the storage, or a repository there, that append-only does not protect. One that cannot be run
    is met when it is to serve."""
    storage = context.config.storage
    try:
        printed = context.storage.runner.run(
            [storage.borg, "--version"], timeout=_QUICK, max_bytes=_ANSWER
        ).stdout
    except CommandFailed as error:
        if error.retryable:
            raise
        printed = ""
    if printed and (fault := borg_fault(printed.strip().partition("\n")[0])):
        first = f"on {machine_of(storage)}, install borg 1.4 (or 1.2), or name it as borg under [storage]:"
        yield Problem(
            f"{storage.borg} of the storage: {fault}", remedy(command(storage.borg, "--version"), first=first)
        )
    dataset = next(iter(context.storage.zfs.datasets(storage.dataset_of(host.name))), None)
    if dataset and dataset.mounted and (home := dataset.mountpoint):
        version = configs(context.storage.runner, [home])[home].version
        if version not in KNOWN_FORMS:
            aside = command("zfs", "rename", dataset.name, f"{dataset.name}-borg{version}")
            first = f"on {machine_of(storage)}, as root; all is kept:"
            yield Problem(f"{dataset.name} {unknown_form(version)}", remedy(aside, first=first))


def unfinished(context: Context, host: Host) -> Iterator[Problem]:
    """A compaction or an undelete that was begun in a repository which is not in its dataset any more.

    One that can be finished is no problem: that is done first.
    """
    records, name = CompactionRecords(folder_of(context.config)), host.name
    try:
        killed, record = records.unfinished(name), records.of(name)
    except ZborgError as error:
        yield Problem(error.message, error.remedy)
        return
    begun = record.begun or record.undeleting
    dataset = context.config.storage.dataset_of(name)
    there = context.storage.zfs.snapshots(dataset) if context.storage.zfs.datasets(dataset) else ()
    if begun and not any(one.guid == begun.guid for one in there if one.dataset == dataset):
        yield Problem(
            f"a {killed} of {name} was interrupted, and the snapshot that it needs is not in {dataset}",
            remedy(
                command("rm", str(records.path(name))),
                first="give its repository back; or if that is not used any more, forget what was begun:",
            ),
        )


def other_key(request: Request, host: HostFacts) -> Iterator[Problem]:
    """Through a jump host, or a port that is forwarded, another machine may answer than the one shown.

    Any key of its disk will do: an sshd may have its own configuration, or several keys of a type.
    """
    pinned = " ".join(request.host.endpoint.host_key.split()[:2])
    kind = pinned.partition(" ")[0]
    alike = {file: key for file, key in host.host_keys.items() if key.startswith(f"{kind} ")}
    if not alike or pinned in alike.values():
        return
    file, key = next(iter(alike.items()))
    words = (
        f"another machine answers for {request.host.name}: it showed {fingerprint(pinned)}, and the machine "
        f"that was logged in to has {_fingerprint(key)} in {file}.pub"
    )
    first = f"where you log in by hand, compare, and take the address of {request.host.name} itself:"
    yield Problem(words, remedy(command("ssh-keygen", "-lf", f"{file}.pub"), first=first))


def _fingerprint(key: str) -> str:
    """Another machine's words, which may be no key."""
    try:
        return fingerprint(key)
    except ValueError:
        return "something that is no key"
