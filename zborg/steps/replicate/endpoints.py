"""The two ends of a replication: what is there, compared as a whole, and the holds placed for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from zborg.errors import CommandFailed, ZborgError
from zborg.interrupt import cancelled
from zborg.model import P_TARGET, Dataset, ResumeToken, Target, Zfs
from zborg.model.text.remedy import command, on
from zborg.planning.replicate.actions import Abandon, Mark, ReplicationPlan, Step
from zborg.planning.replicate.facts import Link, Tree
from zborg.planning.replicate.plan import plan_all
from zborg.planning.replicate.refusals import create
from zborg.steps.context import StepRun, missing
from zborg.steps.replicate.stream import Limit
from zborg.zfs.argv import RAW_WORD, SEND_WORD

_FRESH = 600.0  # seconds; what was seen longer ago is looked at again before it is acted on


@dataclass(frozen=True)
class ReplicationPair:
    """The storage and one target."""

    run: StepRun
    target: Target
    far: Zfs
    held: set[str] = field(default_factory=set)  # by `hold_first`
    free: list[str] = field(default_factory=list)  # snapshots that need our hold no more

    @property
    def near(self) -> Zfs:
        """The storage's ZFS."""
        return self.run.context.storage.zfs

    @property
    def root(self) -> str:
        """The dataset on the storage below which all is replicated."""
        return self.run.context.config.storage.dataset

    @property
    def hold(self) -> str:
        """The tag says whose it is, why, and for whom."""
        return f"zborg:to:{self.target.name}"

    @property
    def limit(self) -> Limit | None:
        """What slows streams to this target down, None for nothing."""
        rate = self.target.bandwidth_limit
        return Limit(self.run.context.here, rate) if rate else None

    @property
    def record(self) -> str:
        """The property that records the common base with this target."""
        return P_TARGET + self.target.name

    @property
    def link(self) -> Link:
        """What planning has to know of the way there."""
        return Link(self.target.name, SEND_WORD, RAW_WORD)

    def compare(self, name: str = "") -> Comparison:
        """Both sides as they are now, and what is to happen; with a `name` of that dataset and its children.

        One listing of each kind per side, however many datasets there are.
        """
        here, there = (f"{root}/{name}" if name else root for root in (self.root, self.target.dataset))
        datasets, copies = self.near.datasets(here), self.far.datasets(there)
        if not name and not datasets:  # every copy would look as if its source had gone
            raise missing(self.near, here, "", "zborg init")
        if not name and not copies:
            raise self._missing()
        source = Tree.of(self.root, datasets, self.near.snapshots(here), self.near.bookmarks(here))
        copy = Tree.of(self.target.dataset, copies, self.far.snapshots(there))
        recorded = {
            self.name_of(one.name): one.properties[self.record]
            for one in datasets
            if self.record in one.properties
        }
        plan = plan_all(source, copy, recorded, self._tokens(copies), self.link)
        return Comparison(source, copy, plan, copies)

    def hold_first(self, plan: ReplicationPlan) -> None:
        """Hold what every dataset sends first, in one go; if one is gone each holds its own in its turn."""
        first = [found[0] for one in plan.datasets if (found := _brought(one.steps))]
        if first:
            with suppress(CommandFailed):
                self.near.hold(self.hold, *first)
                self.held.update(first)

    def let_go(self) -> None:
        """What the new bases have replaced, in one go."""
        if self.free and not cancelled.is_set():
            self.near.release(self.hold, *self.free)

    def name_of(self, source: str) -> str:
        """A source's name below the root: what it is called on both sides."""
        return source.removeprefix(f"{self.root}/")

    def check_parent(self, target: str) -> None:
        """A new dataset needs a whole parent: with a child below it ZFS cannot give up the rest of a cut
        first stream, should that ever be needed."""
        parent = target.rpartition("/")[0]
        if parent == self.target.dataset:
            return
        found = next((one for one in self.far.datasets(parent) if one.name == parent), None)
        cut = found and found.resume_token and all(s.dataset != parent for s in self.far.snapshots(parent))
        if found is None or cut:
            raise ZborgError(
                f"not begun: {parent}, its parent, is not whole on {self.target.name} yet",
                command("zborg", "replicate", self.target.name),
            )

    def _missing(self) -> ZborgError:
        where = self.target.dataset
        return missing(self.far, where, f" on {self.target.name}", on(self.target.name, create(where)))

    def _tokens(self, copies: Sequence[Dataset]) -> dict[str, ResumeToken]:
        """Tokens that can be read; the plan says what becomes of the others."""
        root = f"{self.target.dataset}/"
        found = {}
        for one in copies:
            if one.resume_token:
                with suppress(ZborgError):
                    found[one.name.removeprefix(root)] = self.near.decode(one.resume_token)
        return found


@dataclass(frozen=True)
class Comparison:
    """Both sides at one time, and what is to happen."""

    source: Tree
    copy: Tree
    plan: ReplicationPlan
    copies: Sequence[Dataset] = ()  # what was listed there
    at: float = field(default_factory=time.monotonic)

    @property
    def fresh(self) -> bool:
        """Whether it may still be acted on without another look."""
        return time.monotonic() - self.at < _FRESH


def _brought(steps: Sequence[Step]) -> list[str]:
    """The snapshots that the steps bring, in order."""
    return [step.snapshot.full for step in steps if not isinstance(step, Abandon | Mark)]
