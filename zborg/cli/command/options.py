"""The options that every command has, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

ConfigFile = Annotated[
    str,
    typer.Option(
        "--config", help="Default: ZBORG_CONFIG, ./zborg.toml, /etc/zborg/zborg.toml.", metavar="FILE"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show plan and facts as well.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing when all is well, else as usual: for cron.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be done, and do nothing.")]


@dataclass(frozen=True, slots=True)
class Common:
    """What a command was given of them."""

    command: str
    config: str
    json: bool
    verbose: bool
    dry_run: bool
    quiet: bool = False

    def named(self, command: str) -> Common:
        """The same of an option that makes another command of it, such as `rotate --freeze`."""
        return replace(self, command=command)


def shared(name: str, *, quiet: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds them behind the options of a command: the function gets them as its first argument, a Common.

    `name` is the command's as reports have it; `quiet`: it has --quiet, for it is one that cron starts.
    """
    kinds: dict[str, tuple[Any, Any]] = {"config": (ConfigFile, ""), "json": (Json, False)}
    kinds |= {"verbose": (Verbose, False)} | ({"quiet": (Quiet, False)} if quiet else {})
    kinds |= {"dry_run": (DryRun, False)}

    def declared(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        more = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, (kind, default) in kinds.items()
        ]

        def command(**given: Any) -> None:
            common = Common(name, **{key: given.pop(key, default) for key, (_, default) in kinds.items()})
            function(common, **given)

        # What typer reads: the function's name, its text, its parameters and their types.
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__module__ = function.__module__
        by_name = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        command.__signature__ = inspect.Signature([*by_name, *more])  # type: ignore[attr-defined]  # read by inspect
        command.__annotations__ = {one.name: one.annotation for one in (*own, *more)}
        return command

    return declared
