"""The single values of [notify] and [metrics]."""

from __future__ import annotations

import re
from string import Template
from typing import NewType

from zborg.model import CHOSEN, SUBJECT_WORDS

NotifyUrl = NewType("NotifyUrl", str)  # one of Apprise's, or ${NAME}
PingUrl = NewType("PingUrl", str)
NewsKind = NewType("NewsKind", str)
SubjectTemplate = NewType("SubjectTemplate", str)
Digest = NewType("Digest", str)
Textfile = NewType("Textfile", str)  # "" for none

_PLACE = r"\$\{[A-Z][A-Z0-9_]*\}"


def _notify_url(text: str) -> str:
    """What is wrong with one is not shown: it may be a password."""
    if not re.match(r"[a-z][a-z0-9]*://|" + _PLACE, text):
        raise ValueError('must be a URL of Apprise such as "mailtos://...", or "${NAME}"')
    return text


def _ping_url(text: str) -> str:
    if not re.match(r"https?://|" + _PLACE, text):
        raise ValueError('must be a URL such as "https://hc-ping.com/UUID", or "${NAME}"')
    return text


def _news_kind(text: str) -> str:
    if text not in CHOSEN:
        raise ValueError(f"must be one of {', '.join(sorted(CHOSEN))}, not {text!r}")
    return text


def _subject(text: str) -> str:
    template = Template(text)
    unknown = [word for word in template.get_identifiers() if word not in SUBJECT_WORDS]
    if not template.is_valid() or unknown:
        known = ", ".join(f"${word}" for word in SUBJECT_WORDS)
        raise ValueError(f"may hold {known}, and $$ for a dollar, not {text!r}")
    return text


def _digest(text: str) -> str:
    if text not in ("", "weekly"):
        raise ValueError(f'must be "weekly", or "" for none, not {text!r}')
    return text


def _textfile(text: str) -> str:
    if not re.fullmatch(r"/.+\.prom", text):
        raise ValueError(f"must be a path from / that ends in .prom, or nobody reads it, not {text!r}")
    return text


NOTIFY_VALUES = (
    (NotifyUrl, _notify_url),
    (PingUrl, _ping_url),
    (NewsKind, _news_kind),
    (SubjectTemplate, _subject),
    (Digest, _digest),
    (Textfile, _textfile),
)
