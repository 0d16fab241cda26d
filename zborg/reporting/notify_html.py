"""The mail as HTML: what a phone shows at a glance first, then zborg's own report as it stands. Pure.

One column, no image, nothing from elsewhere. The styles stand at the elements: mail readers drop the others.
Text that came from a host is escaped by the template engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from zborg.model import Status
from zborg.model.text.units import masked, printable

if TYPE_CHECKING:
    from jinja2 import Template

_GREEN, _AMBER, _RED = "#1a7f37", "#9a6700", "#b42318"
_TONES = {
    Status.OK: _GREEN,
    Status.SKIPPED: _GREEN,
    Status.PENDING: _GREEN,
    Status.WARNING: _AMBER,
    Status.PARTIAL: _AMBER,
    Status.BUSY: _AMBER,
}


@dataclass(frozen=True, slots=True)
class Block:
    """One thing that needs a look. `lines` are shown as they are."""

    step: str
    subject: str
    status: Status
    words: str
    remedy: str
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """What a message shows, as text; the template escapes it."""

    title: str
    tone: str
    lead: str
    whole: str  # the report as text
    again: Sequence[str] = ()
    looks: Sequence[Block] = field(default_factory=list)


def clean(text: str) -> str:
    """Lines without control characters and secrets. Before escaping: after it a quote is none any more."""
    return masked("\n".join(map(printable, text.split("\n"))))


def tone_of(status: Status) -> str:
    """The colour of a status, as CSS has it."""
    return _TONES.get(status, _RED)


_PRE = "font:12px/1.4 monospace;margin:8px 0"
_TEMPLATE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"></head>
<body style="font:16px/1.5 sans-serif;max-width:46em;margin:0 auto;padding:12px">
<h1 style="font-size:20px;line-height:1.3;padding:10px 14px;margin:0 0 8px;color:#fff;\
background:{{ page.tone }}">{{ page.title | clean }}</h1>
<p>{{ page.lead | clean }}</p>
{% if page.again %}<p><b>good again:</b> {{ page.again | join(", ") | clean }}</p>
{% endif %}{% for look in page.looks %}\
<div style="border-left:4px solid {{ look.status | tone }};padding:2px 12px;margin:12px 0">\
{% if look.step %}{{ look.step | clean }}: {% endif %}<b>{{ look.subject | clean }}</b> \
{{ look.status.value }}{% if look.words %}: {{ look.words | clean }}{% endif %}\
{% if look.remedy %}<br><span style="white-space:pre-line">&rarr; {{ look.remedy | clean }}</span>{% endif %}
{% if look.lines %}<pre style="{{ pre }};white-space:pre-wrap;overflow-wrap:anywhere">\
{% for line in look.lines %}{{ line | clean }}
{% endfor %}</pre>{% endif %}</div>
{% endfor %}<pre style="{{ pre }};overflow-x:auto;border-top:1px solid #888;padding-top:12px">\
{{ page.whole | clean }}</pre>
</body></html>
"""


def html(page: Page) -> str:
    """One page without script, style sheet or image from elsewhere, for mail readers."""
    return _template().render(page=page, pre=_PRE)


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment = Environment(autoescape=True)
    environment.filters["tone"] = tone_of
    environment.filters["clean"] = lambda value: clean(str(value))
    return environment.from_string(_TEMPLATE)
