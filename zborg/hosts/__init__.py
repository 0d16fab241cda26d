"""Reaching other machines by SSH. The scripts that run on them are beside this file, two of them in parts."""

from pathlib import Path

SCRIPTS = Path(__file__).parent


def joined(folder: str) -> str:
    """The script whose parts are `folder`'s *.sh, in the order of their numbers: what `cat` makes of them."""
    return "".join(part.read_text(encoding="utf-8") for part in sorted((SCRIPTS / folder).glob("*.sh")))
