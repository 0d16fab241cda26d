"""Agents and sinks of before there were codes, understood by their words. Nothing else compares these.

Those of November 2026 are in the field and are updated by people.
tests/agent/installed/test_older_agent.py runs one.
"""

from __future__ import annotations

import re

from zborg.model.codes import Agent, Sink

# The first that is found in a line, which is searched without its prefix.
_AGENT = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        (r"^ALARM", Agent.ALARM),
        (r"^no room: .{1,40} left in /", Agent.ROOM),
        (r"^broken: /", Agent.BROKEN),
        (r"^cache set aside: /", Agent.CACHE),
        (r"^warnings are in /", Agent.WARNINGS),
        (r"^archives signed: ", Agent.SIGNED),
        (r"^the kernel ended processes for lack of memory meanwhile$", Agent.MEMORY),
        (r"withheld \(report_paths = no\)$", Agent.WITHHELD),
        (r"/agent\.conf names what is not there: ", Agent.PATH_MISSING),
        (r"/agent\.conf names a symbolic link ", Agent.LINK),
        (r"/agent\.conf(?: names .*?:)? line [0-9]", Agent.CONF),
        (r"borg is not installed", Agent.NO_BORG),
        (r"/passphrase must be there", Agent.PASSPHRASE),
        (r"init comes first", Agent.NO_REPOSITORY),
        (r"a second init needs root", Agent.REPOSITORY),
        (r"the key file of this repository is gone", Agent.NO_KEY),
        (r"no path in", Agent.NO_PATHS),
        (r"a path is not in the archive", Agent.NOT_IN_ARCHIVE),
        (r"restore stopped", Agent.RESTORE_LIMIT),
        (r"restore is off on this host", Agent.RESTORE_OFF),
        (r"root allowed a restore|root did not allow", Agent.NOT_ALLOWED),
    )
)
_SINK = (
    ("refused by the sink: the forced command of this key is for", Sink.ROOT),
    ("refused by the sink: it does not do", Sink.COMMAND),
    ("refused by the sink", Sink.REFUSED),
)


def agent_code(text: str) -> Agent | None:
    """Of a line of the agent's, without "zborg-agent: ". None for one on which nothing depends."""
    return next((code for pattern, code in _AGENT if pattern.search(text)), None)


def sink_code(stderr: str) -> Sink | None:
    """Of all that came on stderr; None where no sink refused."""
    return next((code for words, code in _SINK if words in stderr), None)
