"""The options that every command has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

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
