"""${NAME} in URLs, filled from a file that its owner alone may read; and keeping secrets out of words."""

from __future__ import annotations

import os
import re
import tomllib
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from zborg.errors import NotSent
from zborg.model.text.remedy import command, remedy

CREDENTIAL = "zborg-secrets"  # its name in the units of `zborg schedule`
_NAME = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_SHORTEST = 4  # characters; a shorter piece is in too many words to be hidden
# Names of parts of a URL, which say nothing.
_COMMON = frozenset({"from", "mode", "user", "pass", "name", "smtp", "http", "https", "port", "starttls"})


class Secrets:
    """The secrets file, read when a URL first asks for it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def fill(self, url: str) -> str:
        """The URL with its values. Raises NotSent, which no retry helps."""
        return _NAME.sub(lambda found: self._value(found[1]), url)

    def _value(self, name: str) -> str:
        value = self._table.get(name)
        if not isinstance(value, str):
            raise _unusable(f"{self._path} has no {name}", f'add the line {name} = "..."')
        return value

    @cached_property
    def _table(self) -> dict[str, object]:
        path = _credential() or Path(self._path)
        try:
            _refuse_readers(path)
            return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin with a mark
        except OSError as error:
            raise _unusable(f"{path}: {error.strerror}", "secrets under [notify] names it") from error
        except ValueError as error:  # its words may hold a part of the file
            raise _unusable(f"{path} is no TOML", 'lines of NAME = "value", see toml.io') from error


def _credential() -> Path | None:
    """The file as systemd hands it to the service. A single # stands in for one that it did not find."""
    path = Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / CREDENTIAL
    return path if path.is_absolute() and path.is_file() and path.stat().st_size > 1 else None


def _refuse_readers(path: Path) -> None:
    facts = path.stat()
    if facts.st_mode & 0o077:
        raise _unusable(
            f"{path} can be read by others",
            remedy(
                command("chmod", "0600", str(path)),
                first="then change the passwords in it, which others could read:",
            ),
        )
    if facts.st_uid not in (0, os.geteuid()):
        raise _unusable(f"{path} belongs to user {facts.st_uid}", command("chown", "root", str(path)))


def _unusable(message: str, advice: str) -> NotSent:
    return NotSent(message, advice, retryable=False)


def hidden(words: str, url: str) -> str:
    """The words without any part of the URL that may be a secret, in whatever case or coding they have it.

    Of a mail or web server the name is none, and helps; of most other services every part may be a token.
    A character that is not %-encoded, as it should be, cuts a password in two: so each of its words counts.
    """
    rest = url.partition("://")[2]
    known = [_server(url), *re.findall(r"[?&](?:to|from|cc)=([^&]*)", rest)]
    harmless = _COMMON.union(*map(_spelled, known))
    pieces = {url, rest, *re.split(r"[/?&=@:#,]", rest), *_spelled(rest)}
    both = {form for piece in pieces for form in (piece, unquote(piece)) if len(form) >= _SHORTEST}
    secret = [form for form in both if not _spelled(form) or not harmless.issuperset(_spelled(form))]
    for form in sorted(secret, key=len, reverse=True):  # a long one may hold a short one
        words = re.sub(re.escape(form), "***", words, flags=re.IGNORECASE)
    return words


def _server(url: str) -> str:
    """The part that names a mail or web server; "" where an unencoded character leaves that in doubt."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https", "mailto", "mailtos"):
        return ""
    before_path = re.split(r"[/?#]", rest)[0].rpartition("@")[2]
    behind_password = rest.partition("?")[0].rpartition("@")[2].partition("/")[0]
    is_sure = before_path == behind_password and re.fullmatch(r"[^:]+(:\d+)?", before_path)
    return before_path if is_sure else ""


def _spelled(text: str) -> list[str]:
    """Its words of letters and digits, the only characters that no coding changes."""
    return re.findall(r"[a-z0-9]+", unquote(text).lower())
