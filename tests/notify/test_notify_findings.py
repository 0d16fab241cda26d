"""What audit and the ledger find is news of the gravest kind, whatever else went well that night."""

from __future__ import annotations

import pytest

from tests.harness.builders.reports import outcome, report
from zborg.errors import Exit
from zborg.model import News, Outcome, Status
from zborg.model.results import AuditedHost, HostLedger, LedgerState
from zborg.reporting.notify import message, news_of
from zborg.steps.context import conclude

pytestmark = pytest.mark.unit

WORDS = "5 objects were deleted outside a prune"
FINDINGS = {
    "audit": Outcome("audit", "web1", Status.DAMAGED, WORDS, result=AuditedHost(findings=(WORDS,))),
    "witness": Outcome("ledger", "vault/zborg/zborg-ledger", Status.DAMAGED, WORDS, result=LedgerState()),
    "ledger": Outcome("witness", "web1", Status.DAMAGED, WORDS, result=HostLedger()),
}


@pytest.mark.parametrize("kind", FINDINGS)
@pytest.mark.parametrize("command", ["run", "audit"])
def test_a_finding_is_a_failure_in_subject_text_and_page(command: str, kind: str) -> None:
    """Among fifty hosts that were backed up; `--allow-partial` makes nothing of it a success."""
    good = [outcome(Status.OK, f"host{number}").noting(step="backup") for number in range(50)]
    found = FINDINGS[kind].noting(step=kind)
    whole = report(*good, found, command=command)
    assert (whole.status, whole.exit) == (Status.DAMAGED, Exit.DAMAGE)
    assert news_of(whole, ()) == {News.FAILURE}
    assert conclude(whole.outcomes, partial_ok=True)[0] is Status.DAMAGED
    sent = message(whole, (), "[$SERVER] $COMMAND $STATUS: $FAILED failed")
    assert sent.subject == f"[vault] {command} damaged: 1 failed"
    assert WORDS in sent.text and WORDS in sent.html
    assert sent.text.index(WORDS) < sent.text.index("host49"), "before all that went well"
