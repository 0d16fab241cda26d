"""What an ended verb came to: statuses, message ids and reports of the agent as (status, message, remedy).

Errors are recognised by `msgid` first and the exit status second, because modern exit codes exist only from
borg 1.4 on.
"""

from __future__ import annotations

import re

from zborg.borg import agent, damage, denied, known
from zborg.borg.known import Agent
from zborg.borg.log import CHATTER, STORAGE_PREFIX, BorgLog, of_host
from zborg.borg.meaning import Meaning
from zborg.model import Status, codes
from zborg.model.codes.lines import AGENT_PREFIX, SERVE_PREFIX, Reason
from zborg.model.text import agent_conf

NOT_FOUND = 127  # the agent's, when borg is missing; the shell's, when the agent is
_MAY_BE_WORSE = (Status.OK, Status.WARNING, Status.FAILED)

_CLOSED = "ConnectionClosed"  # and ConnectionClosedWithHint: `borg serve` ended before borg did
# What borg appends to an error of its own or of `borg serve`: versions, not reasons.
_PLATFORM = ("Platform: ", "Borg server: Platform: ")
# The same of a `borg serve` whose client is gone, and its traceback, which says no more than that.
_TRAILER = re.compile(
    r"( |Traceback |(Platform|Linux|Borg|PID|sys\.argv|SSH_ORIGINAL_COMMAND|BrokenPipeError): "
    r"|.*Got connection close before repository was opened)"
)
_FULL = re.compile(r"\[Errno (28|122)\]")  # ENOSPC, EDQUOT
_NO_AGENT = re.compile(r"zborg-agent: (No such file|not found)")  # what a shell says of it


def judge(status: int, log: BorgLog) -> Meaning:
    """(status, message, remedy) of an ended verb; ssh's own failures (255) are not judged here."""
    judged = _judge(status, log)
    return damage.of_server(log.broken) if log.broken and judged[0] in _MAY_BE_WORSE else judged


def _judge(status: int, log: BorgLog) -> Meaning:
    if status == 0:
        return Meaning(Status.OK, "", "")
    words = _last_words(log)
    if stopped := _stopped_by_agent(status, log, words):
        return stopped
    host = _host(log)
    listed = (known.of_msgid(msgid, host, log.dataset) for msgid, _ in log.errors)
    found = next(filter(None, listed), None)
    if found := found or damage.of_errors(log.errors) or denied.of_errors(log.errors):
        return found
    if meaning := known.of_status(status, host):
        if status == Agent.HOOK and log.ran:  # a bad `before` ends the run: this was `after` a good backup
            return Meaning(Status.WARNING, words, meaning.remedy)
        printed = next((one for one in reversed(log.reasons) if one.line == words), None)
        advice = (printed and _conf_advice(host, printed)) or meaning.remedy
        return Meaning(meaning.status, words or meaning.message, advice)
    if refused := _refused(log):
        return refused
    if status == NOT_FOUND or any(_NO_AGENT.search(line) for line in log.plain):
        return known.no_agent(words, host)
    if log.ran and (status == 1 or 100 <= status < NOT_FOUND) and not log.errors:
        return log.warnings.judge(log.host)
    return _unexplained(status, log) or Meaning(
        Status.FAILED, words or f"borg ended with status {status}", ""
    )


def _stopped_by_agent(status: int, log: BorgLog, words: str) -> Meaning | None:
    """What counts whatever borg printed before."""
    if status == Agent.ALARM:
        alarms = (one.line for one in log.reasons if one.code is codes.Agent.ALARM)
        return known.alarm(next(alarms, words), _host(log))
    if status == Agent.TOO_LONG:  # borg's last words are about the signal that ended it
        return known.too_long(log.reasons[-1].line if log.reasons else words, _host(log))
    if status == Agent.MISMATCH:  # borg's own reason may be that there is no such archive
        return known.mismatch(log.reasons[-1].text if log.reasons else words, _host(log))
    if status == agent.BROKEN and log.report.broken:
        return log.report.broken_file(log.host)
    return log.report.no_room(log.host) if status == agent.NO_ROOM else None


def _refused(log: BorgLog) -> Meaning | None:
    if not log.reasons:
        return None
    refusal, host = log.reasons[0], _host(log)
    advice = _conf_advice(host, refusal) or known.of_refusal(refusal.code, host)
    return Meaning(Status.FAILED, refusal.line, advice) if advice or not log.errors else None


def _conf_advice(host: str, reason: Reason) -> str:
    """The lines of agent.conf that it names; "" where it is about something else."""
    return agent_conf.advice(host, reason.text) if reason.code in codes.CONF else ""


def _unexplained(status: int, log: BorgLog) -> Meaning | None:
    """What borg's own words do not say: the reason lies in the machines around it."""
    if full := [text for _, text in log.errors if _FULL.search(text)]:
        ours = any(damage.at_serve(text) for text in full)
        return known.storage_full(log.dataset) if ours else log.report.no_room(log.host)
    if log.garbled:
        return agent.garbled(log.host)
    if not log.started and 0 <= status < 255:
        return agent.mute(log.host, status, " / ".join(log.plain[-3:]))
    if log.errors:
        only_closed = all(msgid.startswith(_CLOSED) for msgid, _ in log.errors)
        return agent.serve_ended(log.dataset) if only_closed and not log.served else None
    if log.report.left:
        return log.report.no_room(log.host)
    if log.ran and 128 < status < 255:
        return agent.ended_by_signal(log.host, status, out_of_memory=log.report.out_of_memory)
    return None


def _host(log: BorgLog) -> str:
    """For a remedy: its name, where the log has one."""
    return log.host or "the host"


def _is_chatter(line: str) -> bool:
    return line.startswith(CHATTER)


def _last_words(log: BorgLog) -> str:
    """The reason in somebody's words: borg's on the host, the agent's, the storage's, or anybody's."""
    parts = [line for line in log.plain if not _is_chatter(line)]
    served = [line for line in log.served if not _TRAILER.match(line)]
    # That the connection closed is what borg sees of somebody else's reason.
    own = [text for msgid, text in log.errors if not msgid.startswith(_CLOSED)]
    if reasons := [text for text in own if text and not text.startswith(_PLATFORM)]:
        return of_host(reasons[-1].splitlines()[-1])  # of a traceback the last line
    # borg answers a bad option with pages of usage and one line that says which.
    for mark in (AGENT_PREFIX, ": error: "):
        if lines := [line for line in parts if mark in line]:
            return of_host(lines[-1])
    if served:
        refused = [line for line in served if line.startswith(SERVE_PREFIX)]
        return f"{STORAGE_PREFIX}{(refused or served)[-1]}"
    return of_host(log.errors[-1][1]) if log.errors else " / ".join(map(of_host, parts[-3:]))
