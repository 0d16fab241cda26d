"""Remedies: what the reader can do about a message, in a form that can be typed.

A remedy is one string of lines. A line that is a command (`is_command`) is complete: typed or pasted into a
root shell of the machine it is for, it does what it says. It is quoted so that the shell gives back the very
bytes, whatever a file name holds. A sentence for people (where to type it, what to check first) stands alone
on the first line and contains no command:

    on web1, as root:
    chown root:root /etc/zborg/passphrase
    chmod 0600 /etc/zborg/passphrase

`remedy()` builds it and `parse()` takes it apart; docs/design.md has the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Words that a shell takes literally, without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
# Programs that a remedy may start, besides any absolute path.
# fmt: off
_PROGRAMS = frozenset((
    "age", "apt-get", "borg", "borgmatic", "cat", "cd", "chattr", "chmod", "chown", "chronyc", "cp", "date",
    "df", "dmesg", "echo", "eval", "find", "grep", "id", "install", "kill", "ln", "loginctl", "ls", "man",
    "mkdir", "mount", "mv", "pgrep", "printf", "ps", "rm", "rmdir", "sed", "ssh", "ssh-add", "ssh-keygen",
    "ssh-keyscan", "stat", "su", "systemctl", "tail", "timedatectl", "touch", "umount", "useradd",
    "usermod", "zborg", "zfs", "zpool",
))
# fmt: on


def quoted(word: str) -> str:
    """One shell word (bash, zsh, ksh) for exactly these bytes, in printable ASCII or plain UTF-8.

    Bytes that are not UTF-8 arrive as Python's surrogate escapes and leave as $'\\xe9'.
    """
    if _PLAIN.fullmatch(word):
        return word
    if word and word.isprintable() and not any("\ud800" <= letter <= "\udfff" for letter in word):
        return "'" + word.replace("'", "'\\''") + "'"
    return "$'" + "".join(map(_escaped, word)) + "'" if word else "''"


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter.isprintable() and not "\ud800" <= letter <= "\udfff":
        return letter
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def command(*words: str) -> str:
    """These words as one line for a shell."""
    return " ".join(map(quoted, words))


def remedy(*commands: str, first: str = "") -> str:
    """`first` is a sentence for people; each command stands on a line of its own below it."""
    return "\n".join((first, *commands) if first else commands)


def on(machine: str, *commands: str) -> str:
    """Commands for root of another machine, which is named first."""
    return remedy(*commands, first=f"on {machine}, as root:")


def is_command(line: str) -> bool:
    """Whether a line of a remedy is there to be typed: it begins with a program or an absolute path."""
    program = line.partition(" ")[0]
    return program in _PROGRAMS or (program.startswith("/") and len(program) > 1)


def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """A remedy as (sentence, commands); either may be empty."""
    head, *rest = text.split("\n")
    return ("", (head, *rest)) if is_command(head) else (head, tuple(rest))


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """For a screen: each line, and whether it is a command, which is never broken."""
    head, commands = parse(text)
    if head:
        yield f"-> {head}", False
        yield from ((f"   {line}", True) for line in commands)
    elif commands:
        first, *rest = commands
        yield f"-> {first}", True
        yield from ((f"   {line}", True) for line in rest)
