"""doctor's probe of the ledger: its files here, its dataset on the storage, and who is a witness of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zborg.config import Config
from zborg.errors import ZborgError
from zborg.model import Finding, Status
from zborg.model.ledger.note import PublicKey
from zborg.model.results import backup_of
from zborg.model.text.units import moment
from zborg.planning.doctor.ledger import LedgerFacts
from zborg.planning.doctor.ledger import ledger as judge
from zborg.planning.doctor.storage import place_of
from zborg.state.ledger import arrived, newest
from zborg.state.locks import Locks
from zborg.state.recorded.moment import Moment
from zborg.state.runs import Runs
from zborg.steps.compact.known import unfinished
from zborg.steps.doctor.storage import StorageCache
from zborg.steps.ledger.begun import folder_of, is_begun, public_key
from zborg.steps.ledger.store import key_of
from zborg.steps.run_queries import last_backups


def ledger(cache: StorageCache, config: Config) -> Iterable[Finding]:
    """The context's own state directory is a scratch one; the configuration's is the real one."""
    name, last = config.storage.ledger, newest.load(folder_of(config))
    found = judge(
        LedgerFacts(
            begun=is_begun(config),
            name=name,
            dataset=cache.datasets().get(name),
            public_key=str(public_key(config)),
            key_fault=_key_fault(config),
            age=(cache.context.clock() - last.at).total_seconds() if last else None,
            max_age=config.snapshot_max_age,
            where=place_of(config.storage),
            witnesses=_witnesses(config),
        )
    )
    return [*found, *_unfinished(config)]


def _unfinished(config: Config) -> Iterator[Finding]:
    """Compactions and undeletes that were killed: until one is finished, its host has no backup."""
    for one in unfinished(config, Locks(config.state_dir / "locks", "zborg doctor")):
        yield Finding(one.subject, one.status, one.message, one.remedy)


def _key_fault(config: Config) -> str:
    """ "" where the public key is the one that signs."""
    try:
        own = key_of(config)
        public = PublicKey.parse(public_key(config).read_text(encoding="utf-8"))
    except ZborgError as error:
        return error.message
    except (OSError, ValueError) as error:
        return f"it holds no public key of a ledger: {error}"
    return "" if own is None or own.public == public else "it is not the half of the key that signs"


def _witnesses(config: Config) -> dict[str, int | None]:
    """By host with our agent, as its last backup left it."""
    last = last_backups(config, Moment(Runs(config.state_dir / "runs"))).newest
    ours = [host.name for host in config.hosts if host.reverse is None]
    return {name: backup_of(last[name].result).witness if name in last else None for name in ours}


def received(config: Config) -> Iterable[Finding]:
    """On an off-site: what it accepted last of the ledger that arrives."""
    name = config.storage.ledger
    accepted = arrived.load(folder_of(config) / arrived.NAME)
    if accepted is None:
        return [Finding(name, Status.OK, "no ledger has arrived yet, or none was looked at (zborg run)")]
    size = accepted.note.checkpoint.size
    words = f"{size} entries arrived by {moment(accepted.at)}, under the key {accepted.key}"
    return [Finding(name, Status.OK, words)]
