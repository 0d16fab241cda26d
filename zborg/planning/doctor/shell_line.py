"""Which zborg commands a line of shell would start. Pure.

It knows lists, subshells, `sh -c`, settings of variables, redirections, and the programs that people put
before a command (flock, nice, timeout ...). What it does not know starts no zborg: a false alarm costs a
look, a line that is taken for a backup and is none costs the backups.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

# Programs that run the command which stands behind their own options.
_WRAPPERS = frozenset(
    {
        *("chronic", "chrt", "command", "doas", "env", "exec", "flock", "ionice", "ifne", "lockf", "nice"),
        *("nohup", "runuser", "setsid", "setpriv", "stdbuf", "sudo", "systemd-cat", "systemd-inhibit"),
        *("systemd-run", "taskset", "time", "timeout", "unshare"),
    }
)
_SHELLS = frozenset({"ash", "bash", "dash", "ksh", "sh", "zsh"})
_WITH_C = _SHELLS | {"flock", "su", "runuser"}  # take a line of shell behind -c
_WORDS = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{", "("})  # before a command
_ENDS = frozenset({";", ";;", "&", "&&", "|", "||", "|&", "(", ")", "\n"})
_SETTING = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_DEEPEST = 4


def invocations(text: str) -> tuple[tuple[str, ...], ...]:
    """Each as (program, *arguments), in the order of the text. Raises ValueError for open quotes."""
    return tuple(_invocations(re.sub(r"(?m)^\s*#.*$", "", text), 0))


def _invocations(line: str, depth: int) -> Iterator[tuple[str, ...]]:
    if depth > _DEEPEST:
        return
    for words in _commands(line):
        yield from _of_command(words, depth)


def _commands(line: str) -> Iterator[list[str]]:
    """Simple commands, without settings and redirections."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>\n")
    reader.commenters, reader.whitespace, reader.whitespace_split = "", " \t\r", True
    found: list[str] = []
    skip = comment = False
    for word in reader:
        if comment and "\n" not in word:
            continue
        comment = False
        if skip:  # what a redirection leads to
            skip = False
        elif re.fullmatch(r"[<>&|]*[<>][<>&|]*", word):
            if found and re.fullmatch(r"\d", found[-1]):
                found.pop()
            skip = True
        elif word in _ENDS or re.fullmatch(r"[;&|()\n]+", word):
            yield found
            found = []
        elif word.startswith("#"):
            comment = True
        else:
            found.append(word)
    yield found


def _of_command(words: Sequence[str], depth: int) -> Iterator[tuple[str, ...]]:
    left = list(words)
    while left and (left[0] in _WORDS or _SETTING.fullmatch(left[0])):
        left.pop(0)
    if not left:
        return
    program = left[0].rpartition("/")[2]
    if program == "zborg":
        yield tuple(left)
        return
    if program in _WITH_C and (text := _after_c(left)) is not None:
        yield from _invocations(text, depth + 1)
    elif program in _WRAPPERS:
        yield from _wrapped(left[1:], depth)


def _after_c(words: Sequence[str]) -> str | None:
    """The line behind -c, which may stand at the end of a bundle (`-lc`)."""
    for number, word in enumerate(words[1:-1], 1):
        if re.fullmatch(r"-[a-z]*c|--command", word):
            return words[number + 1]
    return None


def _wrapped(words: Sequence[str], depth: int) -> Iterator[tuple[str, ...]]:
    """Behind a wrapper's options and their values comes the command: the first word that is known for one."""
    for number, word in enumerate(words):
        name = word.rpartition("/")[2]
        if name == "zborg" or name in _WRAPPERS or name in _WITH_C:
            yield from _of_command(words[number:], depth + 1)
            return
