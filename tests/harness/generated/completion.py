"""Completion for bash, zsh and fish, written out of the command line's own table: scripts/completion.

All words stand in the files. To ask zborg at each press of a key would start it each time, often as root.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import typer

from tests.harness.checkout import CHECKOUT
from zborg.cli.main import application

_HEAD = "Written by scripts/completion."
_HELP = "Show the options of a command."


@dataclass(frozen=True)
class Flag:
    """One option; `value`: its value's name, "" for none."""

    names: tuple[str, ...]
    value: str
    help: str


@dataclass(frozen=True)
class Node:
    """A command or a group of them. `words`: what leads to it, from behind `zborg`."""

    words: tuple[str, ...]
    below: tuple[tuple[str, str], ...]  # names of what is in it, with a sentence
    flags: tuple[Flag, ...]

    @property
    def path(self) -> str:
        return " ".join(self.words)

    @property
    def options(self) -> list[tuple[str, str]]:
        return [(name, flag.help) for flag in self.flags for name in flag.names]


def nodes() -> list[Node]:
    return list(_walk(typer.main.get_group(application(()))))


def _walk(command: Any, *words: str) -> Iterator[Node]:
    inner = dict(getattr(command, "commands", {}))
    below = [(name, one.get_short_help_str(200)) for name, one in inner.items()]
    flags = [_flag(one) for one in command.params if one.param_type_name == "option"]
    yield Node(words, tuple(below), (*flags, Flag(("--help", "-h"), "", _HELP)))
    for name, one in inner.items():
        yield from _walk(one, *words, name)


def _flag(option: Any) -> Flag:
    return Flag(tuple(option.opts), "" if option.is_flag else option.metavar or "VALUE", option.help or "")


def _leading(found: list[Node]) -> str:
    """What a shell's `case` compares with: the way so far, a space, the next word."""
    return "|".join(quote(f"{' '.join(one.words[:-1])} {one.words[-1]}") for one in found if one.words)


def _with_value(found: list[Node]) -> str:
    return "|".join(sorted({name for node in found for one in node.flags if one.value for name in one.names}))


def bash(found: list[Node]) -> str:
    rows = "".join(
        f"    {quote(one.path)}) words={quote(' '.join(name for name, _ in (*one.below, *one.options)))} ;;\n"
        for one in found
    )
    return f"""# shellcheck shell=bash
# {_HEAD} bash-completion loads it.
_zborg() {{
    local word at='' words=''
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$at $word" in
        {_leading(found)})
            at="${{at:+$at }}$word" ;;
        esac
    done
    case "${{COMP_WORDS[COMP_CWORD-1]}}" in
    {_with_value(found)}) return ;; # a value: files, by `-o default`
    esac
    case "$at" in
{rows}    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}")
}}
complete -o default -F _zborg zborg
"""


def zsh(found: list[Node]) -> str:
    def described(pairs: list[tuple[str, str]]) -> str:
        return " ".join(quote(f"{name}:{words}") for name, words in pairs)

    rows = "".join(
        f"  {quote(one.path)})\n    below=({described(list(one.below))})\n"
        f"    options=({described(one.options)}) ;;\n"
        for one in found
    )
    return f"""#compdef zborg
# {_HEAD}
local word at=''
local -a below options
for word in ${{words[2,CURRENT-1]}}; do
  case "$at $word" in
  {_leading(found)})
    at="${{at:+$at }}$word" ;;
  esac
done
case "${{words[CURRENT-1]}}" in
{_with_value(found)}) _files; return ;;
esac
case "$at" in
{rows}esac
if [[ "${{words[CURRENT]}}" == -* ]]; then
  _describe -o option options
elif (( $#below )); then
  _describe command below
else
  _files
fi
"""


def fish(found: list[Node]) -> str:
    def word(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def row(node: Node) -> Iterator[str]:
        here = f"complete -c zborg -n {word(f'__zborg_at {word(node.path)}')}"
        if node.below:
            yield f"{here} -f"
        yield from (f"{here} -a {name} -d {word(help_)}" for name, help_ in node.below)
        for flag in node.flags:
            names = [f"-l {one[2:]}" if one.startswith("--") else f"-s {one[1:]}" for one in flag.names]
            yield f"{here} {' '.join(names)}{' -r' if flag.value else ''} -d {word(flag.help)}"

    cases = " ".join(word(f"{' '.join(one.words[:-1])} {one.words[-1]}") for one in found if one.words)
    rows = "\n".join(line for node in found for line in row(node))
    return f"""# {_HEAD}
function __zborg_at --description 'Whether the words so far lead to this command'
    set -l at ''
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
            case {cases}
                set at (string trim -- "$at $word")
        end
    end
    test "$at" = "$argv[1]"
end
{rows}
"""


FILES = {
    "scripts/share/bash-completion/completions/zborg": bash,
    "scripts/share/zsh/site-functions/_zborg": zsh,
    "scripts/share/fish/vendor_completions.d/zborg.fish": fish,
}


def written(path: str) -> str:
    """What the file should hold."""
    return FILES[path](nodes())


def main(root: Path = CHECKOUT) -> None:
    found = nodes()
    for path, write in FILES.items():
        (root / path).write_text(write(found))


if __name__ == "__main__":
    main()
