"""One host's compaction: audit, hold, compact, compare."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from zborg.errors import CommandFailed, ZborgError
from zborg.model import Outcome, Snapshot, Speaker, Status
from zborg.model.codes.lines import without_codes
from zborg.model.events import Finished, Progress, Started
from zborg.model.results import CompactedHost
from zborg.model.text.remedy import command, on, remedy
from zborg.model.text.units import printable, size
from zborg.planning.compact.decide import Facts, Frozen, NoRoom, Nothing, Refusal, Unapproved, refusal
from zborg.planning.rotate.hold_tags import keep_tag
from zborg.state.ledger.compactions import Begun, Quarantined
from zborg.state.locks import Lock
from zborg.steps.audit.step import NO_REPOSITORY, looked_at
from zborg.steps.compact.facts import LookFailed, Subject, put_off, records_of, tried_again
from zborg.steps.compact.settle import KIND, Ending, settle
from zborg.steps.context import StepRun, outcome_of
from zborg.steps.ledger.store import LOCK
from zborg.steps.mounts import machine_of
from zborg.steps.one_dataset import newest_of, take

_LONGEST = 86400.0  # seconds of one compaction
_LAST_LINES = 8
_OWNER = "compact"  # of the holds


@dataclass
class HostCompaction:
    """`explicit`: somebody named the host, so less is worth it. `agreed`: transactions approved just now."""

    run: StepRun
    subject: Subject
    explicit: bool
    agreed: Collection[int] = ()
    _last: list[str] = field(default_factory=list, init=False)  # lines that borg wrote

    @property
    def _name(self) -> str:
        return self.subject.host.name

    def foreseen(self) -> tuple[Outcome | None, Facts | None]:
        """By the newest snapshot: the refusal as an outcome, or what would be freed."""
        newest = newest_of(self.run.context, self.subject.dataset.name)
        if newest is None:
            return Outcome(KIND, self._name, Status.SKIPPED, "there is no snapshot of it yet"), None
        if self.subject.is_empty(newest):
            return Outcome(KIND, self._name, Status.SKIPPED, NO_REPOSITORY), None
        facts = self.subject.facts(newest, self.agreed, explicit=self.explicit)
        refused = refusal(facts)
        return (self._refused(refused, facts) if refused else None), facts

    def outcome(self) -> Outcome:
        """One host, whatever happens to it, as an outcome: no host ends the work on the others."""
        emit = self.run.context.emit
        emit(Started(self._name))
        try:
            outcome = self._compacted()
        except LookFailed as error:
            when = "" if self.explicit else tried_again(self.run, self._name)
            failed = outcome_of(KIND, self._name, error)
            outcome = replace(failed, message=f"{failed.message}{when}")
        except Exception as error:
            outcome = outcome_of(KIND, self._name, error)
        emit(Finished(self._name, outcome.message, outcome.status))
        return outcome

    def _compacted(self) -> Outcome:
        context, name = self.run.context, self._name
        killed = records_of(context).unfinished(name)
        if killed == "undelete":
            raise ZborgError(
                "an undelete of its repository was interrupted", command("zborg", "undelete", name)
            )
        refused, facts = (
            (None, None) if killed else self.foreseen()
        )  # without a lock: most have nothing to free
        with context.locks.hold(f"host-{name}") as lock:
            if settled := settle(self.run, self.subject.host):
                return settled
            if refused:
                return self._put_off(refused, facts)
            before = take(context, self.subject.dataset, newest_of(context, self.subject.dataset.name))
            (audited,) = looked_at(self.run, [name]).outcomes[-1:]
            if audited.status is Status.DAMAGED:
                return audited
            found = self.subject.facts(before, self.agreed, explicit=self.explicit)
            if refusing := refusal(found):
                return self._put_off(self._refused(refusing, found), found)
            return self._held(before, found, lock)

    def _put_off(self, refused: Outcome, facts: Facts | None) -> Outcome:
        """Where there was nothing to free the next look is one period from now."""
        if refused.status is Status.SKIPPED:
            put_off(self.run.context, self._name, facts.living.gain if facts else 0)
        return refused

    def _held(self, before: Snapshot, facts: Facts, lock: Lock) -> Outcome:
        """From here on a record says what has begun, and the snapshot before is held."""
        context = self.run.context
        until = context.clock() + timedelta(seconds=context.config.quarantine)
        tag = keep_tag(_OWNER, until.date())
        records = records_of(context)
        record, begun = records.of(self._name), Begun(self.run.id, before.snapname, before.guid, facts.living)
        held = (*record.held, Quarantined(before.full, tag, until))
        with context.locks.hold(
            LOCK
        ):  # no audit looks at another snapshot meanwhile, and none does behind this
            self.subject.audited(before)
            records.put(self._name, replace(record, held=held, begun=begun))
        context.storage.zfs.hold(tag, before.full)
        status = context.tunnel.compact(self._name, self._listen, timeout=_LONGEST, adopt=lock.adopt)
        ended = Ending(self.run, self.subject, begun).outcome()
        if status in (0, 1) or ended.status.bad:
            return ended
        records.put(self._name, replace(records.of(self._name), looked=record.looked))  # due tomorrow again
        return self._failed(status, ended)

    def _listen(self, _: Speaker, lines: Sequence[str]) -> None:
        for line in lines:
            if (percent := _percent(line)) is not None:
                self.run.context.emit(Progress(self._name, percent=percent))
            else:
                self._last = [*self._last, printable(line)][-_LAST_LINES:]

    def _failed(self, status: int, ended: Outcome) -> Outcome:
        """borg did not come to its end; what it did was compared all the same."""
        error = CommandFailed(("borg", "compact"), status, without_codes("\n".join(self._last)))
        return Outcome(
            KIND,
            self._name,
            Status.FAILED,
            f"{error.message}; what was alive in it is",
            on(machine_of(self.run.context.config.storage), command("zborg", "audit", self._name)),
            ended.result,
        )

    def _refused(self, why: Refusal, facts: Facts) -> Outcome:
        name = self._name
        result = CompactedHost(gain=facts.living.gain, bytes=facts.audited.bytes)
        if isinstance(why, Nothing):
            return Outcome(KIND, name, Status.SKIPPED, why.reason, result=result)
        status = Status.CONFLICT if self.explicit else Status.WARNING
        if isinstance(why, NoRoom):
            return Outcome(
                KIND,
                name,
                Status.FAILED,
                f"not compacted: {why.reason} in {self.subject.dataset.name}",
                remedy(command("zfs", "list", "-o", "space", self.subject.dataset.name)),
                result,
            )
        look, release = (
            command("zborg", "ledger", "show", name),
            command("zborg", "rotate", "--release", name),
        )
        if isinstance(why, Frozen):
            fix = remedy(look, release, command("zborg", "audit", name), first="look into it; then:")
            return Outcome(KIND, name, status, f"not compacted: {why.reason}", fix, result)
        assert isinstance(why, Unapproved)
        words = [word for one in why.transactions for word in ("--approve", str(one))]
        approve = command("zborg", "compact", name, *words)
        fix = remedy(
            look,
            command("zborg", "restore", "list", name),
            approve,
            first="look into it on the host; only if all of that may be lost, the last approves it:",
        )
        return Outcome(KIND, name, status, f"not compacted: {why.reason}", fix, result)


def planned(name: str, facts: Facts) -> str:
    """What a dry run shows."""
    living = facts.living
    return f"compact {name}: frees {size(living.gain)}, and writes {size(living.copied)} anew for it"


def _percent(line: str) -> float | None:
    """Of one of borg's lines of progress (its docs, internals/frontends)."""
    try:
        entry = json.loads(line)
        if entry.get("type") != "progress_percent" or entry.get("finished"):
            return None if entry.get("type") != "progress_percent" else 100.0
        return 100 * float(entry["current"]) / float(entry["total"])
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, RecursionError):
        return None
