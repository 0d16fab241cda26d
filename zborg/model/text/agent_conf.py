"""A host's agent.conf as its agent names it: the file, and lines as "line 6 (/srv), line 7"."""

from __future__ import annotations

import re

from zborg.model.text.remedy import command, remedy

DEFAULT = "/etc/zborg/agent.conf"
_NAMED = re.compile(r"(/\S+/agent\.conf)(?: names .*?:)? (line [0-9].*)")  # in the agent's refusals


def advice(host: str, refusal: str) -> str:
    """The remedy for a refusal that names lines of agent.conf; "" for any other text."""
    named = _NAMED.search(refusal)
    return show_lines(host, named[1], named[2]) if named else ""


def show_lines(host: str, conf: str, text: str) -> str:
    """The remedy for the lines that `text` names: a command that prints them, for root of the host."""
    numbers = re.findall(r"(?:^|, |: )line ([0-9]{1,5})", text)
    path = conf if conf.startswith("/") else DEFAULT
    look = command("sed", "-n", "".join(f"{number}p;" for number in numbers), path)
    return remedy(look, first=f"on {host}, as root, show the lines, then correct or remove them:")
