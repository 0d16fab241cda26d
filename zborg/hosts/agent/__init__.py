"""The agent of a backed-up host: one script of POSIX sh, written in parts.

`python -m zborg.hosts.agent` prints it; in a checkout `cat zborg/hosts/agent/*.sh` does the same.
"""

from zborg.hosts import joined


def script() -> str:
    """The text that is installed on hosts."""
    return joined("agent")
