"""Why an ssh ended with 255: by its own log, never by what the far side printed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zborg.errors import CommandFailed, Unreachable
from zborg.hosts.ssh.reasons import REFUSED, explain, lost, shown, unreachable
from zborg.model import Child, Endpoint
from zborg.model.text.remedy import on

_SHOWN = 20  # lines
_FROM_AGENT = ("{", "= ", "zborg-agent: ")  # lines that prove that the agent was reached
# The one message of ssh's own that goes to stderr and not to its log (quit_message in clientloop.c).
_CLOSED = re.compile(r"Connection to \S+ closed( by remote host)?\.")


def connection_failed(alias: str, endpoint: Endpoint, child: Child, output: Sequence[str]) -> CommandFailed:
    """It never connected, or the connection broke. `child` has ended; `output` is the far side's stderr.

    Where ssh logged no reason the last lines of the far side are shown, marked as the far side's.
    """
    log = child.connection
    first = next((number for number, line in enumerate(output) if line.startswith(_FROM_AGENT)), None)
    if first is not None and not log.text and all(line.startswith(_FROM_AGENT) for line in output[first:]):
        return _killed(alias, endpoint)
    lines = [line for line in output if not line.startswith(_FROM_AGENT) and not _CLOSED.fullmatch(line)]
    text = log.text or "\n".join(f"{alias}: {line}" for line in lines[-_SHOWN:])
    if log.authenticated or any(line.startswith(_FROM_AGENT) for line in output):
        return lost(alias, endpoint, text)
    return explain(alias, endpoint, REFUSED, text) if log.text else unreachable(alias, endpoint, text)


def _killed(alias: str, endpoint: Endpoint) -> Unreachable:
    """ssh logs nothing when a signal ends the command there: sshd sends "exit-signal" (RFC 4254, 6.10)."""
    message = f"the agent on {shown(alias)} was ended by a signal, perhaps for lack of memory"
    return Unreachable(("ssh", str(endpoint)), REFUSED, "", message, on(shown(alias), "dmesg"))
