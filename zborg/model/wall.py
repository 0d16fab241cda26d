"""What stands around one `borg serve`, and the numbers of hosts."""

from __future__ import annotations

import re
from dataclasses import dataclass

NUMBERS = range(70_000, 100_000)
"""uid and gid of a host's repository. Nobody else gives them: systemd's table ("Users, Groups, UIDs and GIDs
on systemd Systems") leaves 65536 to 524287 unused, shadow's subordinate ids begin at 100000, and Debian's own
end at 65533."""

_REPORT = "zborg-serve: wall "
_FILES = re.compile(r"landlock-\d{1,3}|bwrap")


@dataclass(frozen=True, slots=True)
class Wall:
    """`files` is what keeps it in its repository: "landlock-7", "bwrap" or nothing."""

    own_uid: bool
    files: str
    no_network: bool

    @property
    def stands(self) -> bool:
        """Whether anything keeps code in this `borg serve` from the other repositories."""
        return self.own_uid or bool(self.files)

    @property
    def words(self) -> str:
        """As serve.sh writes it, and as it stands in a report's data."""
        walls = [*(["uid"] if self.own_uid else []), *([self.files] if self.files else [])]
        return " ".join([*(walls or ["none"]), "no-network" if self.no_network else "network"])

    def __str__(self) -> str:
        """For people; `words` is what is stored and read again."""
        walls = [
            *(["its own uid"] if self.own_uid else []),
            *([self.files.replace("-", " ")] if self.files else []),
        ]
        return f"{' and '.join(walls) or 'no wall'}, {'no network' if self.no_network else 'network open'}"


NONE = Wall(own_uid=False, files="", no_network=False)


def parse(text: str) -> Wall:
    """`Wall.words` read again. A word that is unknown is no wall."""
    words = text.split()
    files = next((word for word in words if _FILES.fullmatch(word)), "")
    return Wall("uid" in words, files, "no-network" in words)


def reported(line: str) -> Wall | None:
    """The first line of serve.sh on stderr; None for any other, as of one from before there were walls."""
    return parse(line.removeprefix(_REPORT)) if line.startswith(_REPORT) else None
