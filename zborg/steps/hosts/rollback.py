"""Steps in turn, each of which may be taken back when a later one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from zborg.errors import ZborgError
from zborg.interrupt import cancelled
from zborg.model import Emit, Outcome, Status
from zborg.model.events import Finished, Started
from zborg.steps.context import outcome_of

AGAIN = "run the same command again: it goes on where it stopped"


class Ended(ZborgError):
    """A step that ended badly, with its outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message, outcome.remedy)
        self.outcome = outcome


def sure(outcome: Outcome) -> Outcome:
    """A good outcome. Raises Ended for a bad one."""
    if outcome.status.bad:
        raise Ended(outcome)
    return outcome


@dataclass
class Work:
    """What is done for one host. `stays` says why nothing may be taken back any more, "" while all may."""

    kind: str
    name: str
    emit: Emit
    stays: Callable[[], str] = str
    _back: list[tuple[str, Callable[[], object]]] = field(default_factory=list)

    def run(self, steps: Iterable[tuple[str, Callable[[], str]]]) -> list[Outcome]:
        """An outcome for each step until one fails; then one for each thing that was taken back."""
        outcomes: list[Outcome] = []
        for title, step in steps:
            self.emit(Started(self.name, title))
            try:
                outcomes.append(Outcome(self.kind, title, Status.OK, step()))
            except Exception as error:
                outcomes += [self._failed(title, error), *self._take_back()]
                break
        self.emit(Finished(self.name))
        return outcomes

    def note(self, title: str, undo: Callable[[], object]) -> None:
        """How to take back what is about to be made; `undo` may find that it was not."""
        self._back.append((title, undo))

    def _failed(self, title: str, error: Exception) -> Outcome:
        if isinstance(error, Ended):
            return replace(error.outcome, kind=self.kind, subject=title)
        return outcome_of(self.kind, title, error)

    def _take_back(self) -> Iterator[Outcome]:
        """Newest first, also after Ctrl-C."""
        if not self._back:
            return
        with cancelled.shielded():
            if stays := self.stays():
                yield Outcome(self.kind, "what was made", Status.SKIPPED, f"stays: {stays}", AGAIN)
                return
            for title, undo in reversed(self._back):
                try:
                    undo()
                    yield Outcome(self.kind, title, Status.SKIPPED, "taken back")
                except (ZborgError, OSError) as error:
                    failed = outcome_of(self.kind, title, error)
                    yield replace(failed, message=f"could not be taken back: {failed.message}", remedy=AGAIN)
