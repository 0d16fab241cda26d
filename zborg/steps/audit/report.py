"""What one look came to, as an outcome: good, worth a look, or a finding with the last clean snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from zborg.model import Outcome, Status
from zborg.model.ledger.entries import Audited
from zborg.model.ledger.sealed import News
from zborg.model.results import AuditedHost
from zborg.model.text.remedy import command, remedy
from zborg.model.text.units import counted, size
from zborg.planning.backup import unusual
from zborg.state.ledger.ledger import Ledger
from zborg.steps.audit.hold import hold, last_clean
from zborg.steps.checks import earlier_results, freeze_if_unusual
from zborg.steps.context import StepRun

KIND = "audit"
OPEN = "an earlier finding was not released yet"


@dataclass(frozen=True)
class Reporting:
    """`is_new`: all of the repository was read, for the ledger knew nothing of it."""

    run: StepRun
    ledger: Ledger
    is_new: bool

    def outcome(self, audited: Audited, news: News | None) -> Outcome:
        """`news` is None where it could not be read."""
        result = AuditedHost(
            snapshot=audited.snapshot,
            objects=len(audited.objects),
            bytes=sum(one.size for one in audited.objects),
            transactions=len(news.transactions) if news else 0,
            puts=audited.puts,
            deletes=audited.deletes,
            findings=tuple(f"{one.rule}: {one.message}" for one in audited.anomalies),
        )
        if audited.anomalies:
            return self._alarm(audited, result)
        if odd := self._unusual(audited, result):
            words, fix = f"{_size(audited)}; {odd}", command("zborg", "history", audited.host)
            return Outcome(KIND, audited.host, Status.WARNING, words, fix, result)
        if not audited.clean:
            words = f"{_size(audited)}; {OPEN}"
            return Outcome(KIND, audited.host, Status.WARNING, words, release(audited.host), result)
        return Outcome(KIND, audited.host, Status.OK, _size(audited), result=result)

    def _unusual(self, audited: Audited, result: AuditedHost) -> str:
        """What the server saw of it against the last 90 days, whatever the host says of itself."""
        if self.is_new or not audited.clean:  # all of it is new, or a person looks already
            return ""
        context = self.run.context
        nights = earlier_results(context, KIND, audited.host, AuditedHost)
        odd = unusual.unusual(unusual.AUDITS, result, nights)
        freeze_if_unusual(context, audited.host, odd)
        return "; ".join(odd)

    def _alarm(self, audited: Audited, result: AuditedHost) -> Outcome:
        """The last snapshot in which nothing was wrong is held first."""
        host = audited.host
        reasons = "; ".join(one.message for one in audited.anomalies)
        clean = last_clean(self.run.context, self.ledger, host)
        if clean is None:
            words, fix = f"{reasons}; no earlier snapshot was found good by audit", release(host)
            return Outcome(KIND, host, Status.DAMAGED, words, fix, result)
        held = hold(self.run.context, clean)
        words = f"{reasons}; the last snapshot without a finding is {clean.snapname}{held}"
        fix = remedy(
            command("zborg", "restore", "list", host),
            command("zborg", "ledger", "show", host),
            command("zborg", "rotate", "--release", host),
            first="its rotation is frozen; look into it on the host; the last releases it:",
        )
        return Outcome(KIND, host, Status.DAMAGED, words, fix, result.replace(last_clean=clean.full))


def release(host: str) -> str:
    """The remedy of a finding that a person has to look into."""
    line = command("zborg", "rotate", "--release", host)
    return remedy(command("zborg", "ledger", "show", host), line, first="look into it; then:")


def _size(audited: Audited) -> str:
    new = sum(one.size for one in audited.objects)
    if not audited.objects:
        return f"no news in {audited.snapshot}"
    objects = f"{counted(len(audited.objects), 'new object')}, {size(new)}"
    return f"{objects}, {counted(audited.deletes, 'delete')}, up to transaction {audited.last}"
