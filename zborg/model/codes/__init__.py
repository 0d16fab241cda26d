"""What the agent, serve.sh and the sink print for zborg begins with a code: `SPEAKER: CODE TEXT`.

Decisions are made by the code, and people read the text. `E_` is a reason for which something was not done,
`N_` something worth knowing beside it. docs/agent.md has the table, and a test compares it with
these classes and with what the scripts print.
"""

from enum import StrEnum


class Agent(StrEnum):
    """Of the agent on a host."""

    ACCESS = "E_ACCESS"
    ALARM = "E_ALARM"
    BROKEN = "E_BROKEN"
    BUSY = "E_BUSY"
    CONF = "E_CONF"
    CUSTODIANS = "E_CUSTODIANS"
    DRILL = "E_DRILL"
    DRILL_OFF = "E_DRILL_OFF"
    HOOK = "E_HOOK"
    KEEPS_ALL = "E_KEEPS_ALL"
    LINK = "E_LINK"
    NAME = "E_NAME"
    NO_BORG = "E_NO_BORG"
    NO_KEY = "E_NO_KEY"
    NO_PATHS = "E_NO_PATHS"
    NO_PYTHON = "E_NO_PYTHON"
    NO_SAMPLE = "E_NO_SAMPLE"
    NO_REPOSITORY = "E_NO_REPOSITORY"
    NO_ROOM = "E_NO_ROOM"
    NOT_ALLOWED = "E_NOT_ALLOWED"
    NOT_IN_ARCHIVE = "E_NOT_IN_ARCHIVE"
    NOT_NOW = "E_NOT_NOW"
    PASSPHRASE = "E_PASSPHRASE"
    PATH_MISSING = "E_PATH_MISSING"
    REPOSITORY = "E_REPOSITORY"
    RESTORE = "E_RESTORE"
    RESTORE_ID = "E_RESTORE_ID"
    RESTORE_LIMIT = "E_RESTORE_LIMIT"
    RESTORE_OFF = "E_RESTORE_OFF"
    SEAL = "E_SEAL"
    SIGNED = "E_SIGNED"
    TOO_LONG = "E_TOO_LONG"
    WRITE = "E_WRITE"
    CACHE = "N_CACHE"
    MEMORY = "N_MEMORY"
    ROOM = "N_ROOM"
    WARNINGS = "N_WARNINGS"
    WITHHELD = "N_WITHHELD"
    WITNESS = "N_WITNESS"


CONF = frozenset({Agent.CONF, Agent.LINK, Agent.PATH_MISSING})
"""Those whose text names lines of agent.conf."""


class Serve(StrEnum):
    """Of serve.sh and wall.py, on the storage."""

    NO_BORG = "E_NO_BORG"
    NO_DIRECTORY = "E_NO_DIRECTORY"
    NO_WALL = "E_NO_WALL"
    SETUP = "E_SETUP"


class Sink(StrEnum):
    """Of the sink on an off-site host."""

    REFUSED = "E_SINK"
    COMMAND = "E_SINK_COMMAND"
    ROOT = "E_SINK_ROOT"
