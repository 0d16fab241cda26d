"""The operator's own way onto a host: their SSH agent or key, used once, for an enrolment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from zborg.errors import Unreachable
from zborg.hosts.ssh import algorithms
from zborg.hosts.ssh.connection import CONNECT_TIMEOUT, Authenticate, dial
from zborg.hosts.ssh.reasons import explain
from zborg.model import Endpoint

if TYPE_CHECKING:
    import paramiko

_MEND = (
    "name your key with --operator-key, or let ssh-agent have it (under sudo: --preserve-env=SSH_AUTH_SOCK)"
)


def shown_host_key(name: str, endpoint: Endpoint) -> str:
    """The key that the machine shows, before anything is sent to it. Raises Unreachable."""
    import paramiko

    transport = dial(name, endpoint)
    offer = algorithms.hear_offer(transport)
    try:
        preferred = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
        transport.get_security_options().key_types = (*preferred, "rsa-sha2-512", "rsa-sha2-256")
        transport.start_client(timeout=CONNECT_TIMEOUT)
        key = transport.get_remote_server_key()
        return f"{key.get_name()} {key.get_base64()}"
    except (paramiko.SSHException, OSError, EOFError) as error:
        if mismatch := algorithms.of_paramiko(error, offer, transport):
            raise algorithms.failure(name, endpoint, mismatch) from error
        raise explain(name, endpoint, 255, str(error)) from error
    finally:
        transport.close()


def by_operator(given: str) -> Authenticate:
    """Tries the key in the file `given`, or without one those of the SSH agent and of ~/.ssh."""

    def authenticate(transport: paramiko.Transport, endpoint: Endpoint) -> None:
        import paramiko

        tried = 0
        for key in [_read(given)] if given else _usual():
            tried += 1
            try:
                if _opens(transport, endpoint.user, key):
                    return
            except (paramiko.SSHException, EOFError):  # MaxAuthTries: it hangs up on who has many keys
                break
        words = f"{endpoint} takes none of your keys ({tried} tried)" if tried else "you have no SSH key here"
        raise Unreachable(("ssh", str(endpoint)), 255, "", words, _MEND)

    return authenticate


def _opens(transport: paramiko.Transport, user: str, key: paramiko.PKey) -> bool:
    import paramiko

    try:
        transport.auth_publickey(user, key)
    except paramiko.AuthenticationException:
        return False
    return True


def _read(path: str) -> paramiko.PKey:
    import paramiko

    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, TypeError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        # TypeError: what cryptography says of a key with a passphrase when there is none.
        words = f"the key {path} cannot be used: {error}"
        raise Unreachable(
            ("ssh",), 255, "", words, "a key with a passphrase belongs into ssh-agent"
        ) from error


def _usual() -> Iterator[paramiko.PKey]:
    import paramiko

    agent = paramiko.Agent()
    try:
        yield from agent.get_keys()
    finally:
        agent.close()
    for name in ("id_ed25519", "id_ecdsa", "id_rsa"):
        path = Path.home() / ".ssh" / name
        if path.exists():
            with suppress(Unreachable):
                yield _read(str(path))
