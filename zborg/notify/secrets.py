"""${NAME} in URLs, filled from a file that its owner alone may read; and keeping secrets out of words."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zborg.errors import NotSent

_NAME = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_SHORTEST = 4  # characters; a shorter piece is in too many words to be hidden


class Secrets:
    """The secrets file, read when a URL first asks for it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def fill(self, url: str) -> str:
        """The URL with its values. Raises NotSent, which another try does not mend."""
        return _NAME.sub(lambda found: self._value(found[1]), url)

    def _value(self, name: str) -> str:
        value = self._table.get(name)
        if not isinstance(value, str):
            raise _unusable(f"{self._path} has no {name}", f'add the line {name} = "..."')
        return value

    @cached_property
    def _table(self) -> dict[str, object]:
        path = Path(self._path)
        try:
            _refuse_readers(path)
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise _unusable(f"{path}: {error.strerror}", "secrets under [notify] names it") from error
        except ValueError as error:  # its words may hold a part of the file
            raise _unusable(f"{path} is no TOML", 'lines of NAME = "value", see toml.io') from error


def _refuse_readers(path: Path) -> None:
    facts = path.stat()
    if facts.st_mode & 0o077:
        raise _unusable(f"{path} can be read by others", f"chmod 600 {path}, and change what is in it")
    if facts.st_uid not in (0, os.geteuid()):
        raise _unusable(f"{path} belongs to user {facts.st_uid}", f"chown root {path}")


def _unusable(message: str, remedy: str) -> NotSent:
    return NotSent(message, remedy, retryable=False)


def hidden(words: str, url: str) -> str:
    """The words without any part of the URL that may be a secret.

    Of a mail or web server the name is none, and helps; of most other services every part may be a token.
    """
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") or parts.scheme.startswith("mailto"):
        pieces = [url, parts.password or "", *_values(parts.query)]
        pieces += parts.path.split("/") if parts.scheme.startswith("http") else []
    else:
        pieces = [url, *re.split(r"[/?&=@:#,]", url.partition("://")[2])]
    return _without(words, pieces)


def _values(query: str) -> Iterable[str]:
    return (pair.partition("=")[2] for pair in query.split("&") if pair.startswith(("pass", "token", "key")))


def _without(words: str, pieces: Iterable[str]) -> str:
    both = {form for piece in pieces for form in (piece, unquote(piece)) if len(form) >= _SHORTEST}
    for piece in sorted(both, key=len, reverse=True):  # a long one may hold a short one
        words = words.replace(piece, "***")
    return words
