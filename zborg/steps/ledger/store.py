"""Where the ledger is: a dataset beside the hosts' on the storage, the key and what is known of it here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from zborg.config import Config
from zborg.errors import Busy, ZborgError
from zborg.interrupt import cancelled
from zborg.model import Dataset, Outcome, Status
from zborg.model.ledger.entries import Recorded
from zborg.model.text.remedy import command, remedy
from zborg.state.ledger import key
from zborg.state.ledger.files import Files
from zborg.state.ledger.key import Key
from zborg.state.ledger.ledger import Ledger
from zborg.steps.context import Context, StepRun
from zborg.steps.ledger.begun import KEY, PUBLIC, folder_of

LOCK = "ledger"
_TRIES = 60  # seconds in which another run lets go of the ledger


class NoLedger(ZborgError):
    """It was never begun here: `zborg init` does so."""

    def __init__(self, what: str) -> None:
        super().__init__(f"no ledger was begun yet ({what})", "zborg init")


def key_of(config: Config) -> Key | None:
    """The ledger's own; None when there is none. Raises ConfigError."""
    return key.load(folder_of(config) / KEY)


def opened(context: Context, datasets: Iterable[Dataset]) -> Ledger:
    """To be written to. Raises NoLedger where there is none."""
    own = key_of(context.config)
    if own is None:
        raise NoLedger(f"{folder_of(context.config) / KEY} is missing")
    return Ledger(folder_of(context.config), files_of(context, datasets), own, context.clock)


def record(context: Context, entries: Sequence[Recorded]) -> None:
    """Append them to this server's own. Raises NoLedger, and Busy when another run keeps it for a minute."""
    datasets = context.storage.zfs.datasets(context.config.storage.ledger)
    for again in reversed(range(_TRIES)):
        try:
            with context.locks.hold(LOCK), cancelled.shielded():
                opened(context, datasets).append(entries)
                return
        except Busy:
            if not again or cancelled.wait(1.0):
                raise


def files_of(context: Context, datasets: Iterable[Dataset]) -> Files:
    """Its files on the storage. Raises NoLedger, and ZborgError where its dataset is not mounted."""
    name = context.config.storage.ledger
    found = next((one for one in datasets if one.name == name), None)
    if found is None:
        raise NoLedger(f"the dataset {name} does not exist")
    if not found.mounted or not found.mountpoint:
        raise ZborgError(f"the dataset {name} is not mounted", remedy(command("zfs", "mount", name)))
    return Files(context.storage.runner, found.mountpoint)


def make(run: StepRun) -> Iterator[Outcome]:
    """The dataset and the key, where they are missing; a key that is there is never replaced."""
    context = run.context
    name, folder = context.config.storage.ledger, folder_of(context.config)
    words = "is there"
    if not context.storage.zfs.datasets(name):
        context.storage.zfs.create(name, {})
        words = "created, for the ledger"
    yield Outcome("dataset", name, Status.OK, words)
    own, words = key_of(context.config), "is there"
    if own is None:
        folder.mkdir(mode=0o700, exist_ok=True)
        own, words = key.make(folder / KEY, context.config.name), "made; it signs the ledger, and stays here"
    (dataset,) = (one for one in context.storage.zfs.datasets(name) if one.name == name)
    if dataset.mounted and dataset.mountpoint:
        # For who has a copy alone.
        context.storage.runner.run(["tee", f"{dataset.mountpoint}/{PUBLIC}"], stdin=f"{own.public}\n")
    yield Outcome("key", str(folder / KEY), Status.OK, words)
