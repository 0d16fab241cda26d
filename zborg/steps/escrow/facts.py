"""What is known of each host's sealed key: the files here, the repository that lies on the storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from zborg.borg.storage.repository import configs
from zborg.config import Config
from zborg.errors import ZborgError
from zborg.model import Dataset, Host, Outcome, Status
from zborg.model.escrow.sealed import recipients
from zborg.model.results import SealedKey
from zborg.model.text.remedy import command
from zborg.planning.escrow.due import KeyFacts, is_proved
from zborg.state.escrow.proofs import Proofs
from zborg.state.escrow.sealed import Escrow
from zborg.steps.context import Context

KIND = "escrow"
NO_AGENT = "its forced command is borgmatic: no agent of zborg's is there that seals"
LOCK = "escrow"


def escrow_of(config: Config) -> Escrow:
    """Where sealed keys are."""
    return Escrow(config.state_dir / "escrow")


def proofs_of(config: Config) -> Proofs:
    """Where challenges and proofs are."""
    return Proofs(config.state_dir / "escrow")


def key_facts(config: Config, host: str) -> KeyFacts:
    """Without the storage: of which repository it is now is not known."""
    found = escrow_of(config).of(host)
    facts = KeyFacts(host, custodians=len(config.custodians), last=proofs_of(config).last(host))
    if found is None:
        return facts
    try:
        count = recipients(found.text)
    except ValueError:
        count = None
    return replace(facts, sealed_for=found.repository, at=found.at, digest=found.digest, recipients=count)


@dataclass(frozen=True)
class Repositories:
    """What lies on the storage, by host: datasets that are mounted, and the ids in them."""

    datasets: Mapping[str, Dataset]
    ids: Mapping[str, str]

    def of(self, host: str) -> str | None:
        """The id, "" where there is no repository; None where that cannot be seen."""
        return self.ids.get(host)


def repositories(context: Context, hosts: Sequence[Host]) -> Repositories:
    """Of these hosts, in two commands. Raises ZborgError."""
    config = context.config
    names = {config.storage.dataset_of(host.name): host.name for host in hosts}
    found = {
        names[one.name]: one
        for one in context.storage.zfs.datasets(config.storage.dataset)
        if one.name in names and one.mounted and one.mountpoint
    }
    homes = {name: one.mountpoint or "" for name, one in found.items()}
    read = configs(context.storage.runner, list(homes.values()))
    return Repositories(found, {name: read[home].id for name, home in homes.items()})


def repository_of(seen: Repositories, context: Context, host: Host) -> tuple[Dataset, str]:
    """Where it lies, and its id. Raises ZborgError where there is none."""
    name = context.config.storage.dataset_of(host.name)
    dataset, repository = seen.datasets.get(host.name), seen.of(host.name)
    if dataset is None:
        raise ZborgError(
            f"{name} does not exist, or is not mounted", command("zborg", "doctor", "--only", "storage")
        )
    if not repository:
        raise ZborgError(f"there is no repository in {name} yet", command("zborg", "backup", host.name))
    return dataset, repository


def sealed_key(config: Config, facts: KeyFacts) -> SealedKey:
    """As it is reported."""
    escrow, last = escrow_of(config), facts.last
    there = bool(facts.sealed_for)
    return SealedKey(
        repository=facts.sealed_for,
        sealed=facts.at,
        recipients=facts.recipients,
        digest=facts.digest,
        file=str(escrow.path(facts.host)) if there else "",
        older=tuple(map(str, escrow.older(facts.host))),
        proved=last.at if last else None,
        archives=last.archives if last else 0,
        newest=last.newest if last else None,
        current=is_proved(facts),
    )


def no_agent(host: Host) -> Outcome:
    """A host that borgmatic backs up."""
    return Outcome(KIND, host.name, Status.SKIPPED, NO_AGENT)
