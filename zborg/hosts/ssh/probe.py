"""What a machine's sshd answers: has it its pinned key, does it take ours, which variables does it accept.

No command is run there, so it is for machines whose forced command does something, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zborg.hosts.ssh.connection import CONNECT_TIMEOUT, connect
from zborg.hosts.ssh.reasons import lost
from zborg.model import Endpoint

if TYPE_CHECKING:
    import paramiko

_NOTHING = "/dev/null"  # the value: whatever reads it finds nothing there


def accepted_variables(name: str, endpoint: Endpoint, variables: Sequence[str]) -> tuple[str, ...]:
    """The variables that sshd accepts of a client. Raises HostKeyChanged, KeyRefused, Unreachable."""
    import paramiko

    transport = connect(name, endpoint)
    try:
        return tuple(variable for variable in variables if _accepts(transport, variable))
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise lost(name, endpoint, str(error)) from error
    finally:
        transport.close()


def _accepts(transport: paramiko.Transport, variable: str) -> bool:
    """RFC 4254, 6.4, with an answer wanted; paramiko's own request for it wants none.

    A refusal closes the channel, which is how paramiko reports one.
    """
    import paramiko
    from paramiko.common import cMSG_CHANNEL_REQUEST

    with transport.open_session(timeout=CONNECT_TIMEOUT) as channel:
        asked = paramiko.Message()
        asked.add_byte(cMSG_CHANNEL_REQUEST)
        asked.add_int(channel.remote_chanid)
        asked.add_string("env")
        asked.add_boolean(True)
        asked.add_string(variable)
        asked.add_string(_NOTHING)
        channel._event_pending()  # type: ignore[attr-defined]  # what its own requests do
        transport._send_user_message(asked)  # type: ignore[attr-defined]  # the same
        channel.event.wait(CONNECT_TIMEOUT)
        return bool(channel.event_ready)
