"""Which part of a notifier's URL is wrong, without a secret; Apprise says "Unparseable URL" to most."""

from __future__ import annotations

import re


def wrong_part(url: str) -> str:
    """ "" where every part looks right: then the service behind the scheme wants another form."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return "it has no scheme: it begins with mailto://, ntfys://, slack:// or another of Apprise's"
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return "its scheme, the part before ://, holds other characters than letters and digits"
    if scheme.lower() not in _schemes():
        return f"its scheme, {scheme.lower()}://, is none that Apprise knows"
    before_path = re.split(r"[/?#]", rest)[0]
    if not before_path:
        return f"the part behind {scheme.lower()}:// is empty: a host, a user or a token belongs there"
    _, colon, port = before_path.rpartition("@")[2].rpartition(":")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        return "its port, behind the last colon of the host, is no number from 1 to 65535"
    return ""


def _schemes() -> frozenset[str]:
    from apprise.manager_plugins import NotificationManager

    return frozenset(NotificationManager().schemas())  # type: ignore[no-untyped-call]  # Apprise's
