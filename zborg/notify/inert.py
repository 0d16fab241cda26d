"""Text that chat services and mail readers show as it stands: nothing in it becomes a mention or a link.

Hosts, storages and targets write a part of every message. Each service has syntax of its own (Slack's
<!channel>, Discord's @everyone, Telegram's HTML, Markdown nearly everywhere), Apprise escapes some of it for
some of them, and all of them link what looks like an address. So what would be syntax for any of them is cut
in two by a zero-width space, which every service takes for text and nobody sees.
"""

from __future__ import annotations

import html
import re

from zborg.model import Report
from zborg.model.text.remedy import parse
from zborg.model.text.units import printable

_BREAK = "\u200b"  # ZERO WIDTH SPACE

# Each match is cut behind its first group. Where it came from stands beside it.
_MENTIONS = re.compile(
    r"(@)(?=everyone|here|channel|all|room|online|team)"  # Discord finds these inside of words too
    r"|(?<!\w)(@)(?=\S)"  # a name, nearly all; Zulip @**name**; Discord @&1 (a role). Not tank/borg@snapshot
    r"|(<)(?=[^\s<])"  # Slack <!channel> <@U1> <#C1> <https://..|text>; Discord <@1>; Webex <@all>; HTML
    r"|(?<!\w)(#)(?=[\w*])"  # a channel: Mattermost, Zulip #**name**; a hashtag: Mastodon
    r"|(?<!\w)(~)(?=\w)",  # a channel: Mattermost
    re.IGNORECASE,
)
_LINKS = re.compile(
    r"(:)(?=//)"  # any scheme
    r"|(\])(?=[(\[:])"  # Markdown [text](address), [text][1], [1]: address
    r"|\b(www)(?=\.)"
    r"|\b(mailto|tel|sms|javascript|data)(?=:\S)",
    re.IGNORECASE,
)
# A name that a service may know as a domain: Slack, Telegram, Signal and mail readers link it.
_DOMAIN = re.compile(r"(?<=\w)\.(?=[^\W\d_][\w-]+)")
# Text between two tags. Ours alone has tags, so text holds no angle bracket.
_TEXT_NODE = re.compile(r"(?<=>)[^<>]+(?=<)")


def commands(report: Report) -> frozenset[str]:
    """The lines of a report that are there to be copied and typed: their host and file names stay whole."""
    remedies = (line for one in report.outcomes for line in parse(one.remedy)[1])
    listed = (line for one in report.outcomes for line in one.result.commands)
    return frozenset(map(printable, (*remedies, *listed)))


def inert(text: str, whole: frozenset[str] = frozenset()) -> str:
    """For a chat service: no mention, no link, no markup that makes one. `whole`: see `commands`."""
    return "\n".join(_cut(_MENTIONS, _unlinked(line, whole)) for line in text.split("\n"))


def inert_html(page: str, whole: frozenset[str] = frozenset()) -> str:
    """For a mail reader, of a page whose text is escaped already: no link but ours."""
    return _TEXT_NODE.sub(
        lambda node: "\n".join(_unlinked(line, whole) for line in node[0].split("\n")), page
    )


def _unlinked(line: str, whole: frozenset[str]) -> str:
    is_command = html.unescape(line).strip().removeprefix("-> ") in whole
    line = _cut(_LINKS, line)
    return line if is_command else _DOMAIN.sub(f".{_BREAK}", line)


def _cut(pattern: re.Pattern[str], line: str) -> str:
    return pattern.sub(lambda match: f"{match[0]}{_BREAK}", line)
