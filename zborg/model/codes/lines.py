"""Lines of the agent, of serve.sh and of the sink, taken apart into code and text."""

from __future__ import annotations

import re
from typing import NamedTuple

from zborg.model.codes import Agent, Sink, uncoded

AGENT_PREFIX = "zborg-agent: "
SERVE_PREFIX = "zborg-serve: "
_CODE = "[EN]_[A-Z_]{1,30}"
_CODED = re.compile(rf"({_CODE}) (.*)", re.DOTALL)
_BEFORE = re.compile(rf"(?m)^((?:zborg|zborg-agent|zborg-serve): ){_CODE} ")
_AGENT_CODES = {str(code): code for code in Agent}
_SINK = re.compile(rf"(?m)^zborg: ({'|'.join(Sink)}) ")


class Reason(NamedTuple):
    """A line of an agent's. `code` is None where it has none, or one that a newer agent has."""

    code: Agent | None
    text: str  # without prefix and code

    @property
    def line(self) -> str:
        """For people."""
        return f"{AGENT_PREFIX}{self.text}"


def without_codes(text: str) -> str:
    """`text`, of any number of lines, for people: without codes."""
    return _BEFORE.sub(r"\1", text)


def agent_reason(line: str) -> Reason | None:
    """None for a line that is not an agent's."""
    if not line.startswith(AGENT_PREFIX):
        return None
    text = line.removeprefix(AGENT_PREFIX)
    if coded := _CODED.fullmatch(text):
        return Reason(_AGENT_CODES.get(coded[1]), coded[2])
    return Reason(uncoded.agent_code(text), text)


def sink_code(stderr: str) -> Sink | None:
    """The refusal of a sink's in what came on stderr; None for anything else, such as ZFS's reasons."""
    found = _SINK.search(stderr)
    return Sink(found[1]) if found else uncoded.sink_code(stderr)
