"""When two SSH implementations have no algorithm in common: what each side offers, and the remedy.

OpenSSH says it in one line of stderr (sshconnect2.c, "Unable to negotiate with ..."), paramiko in an
exception without the other side's offer, which is therefore read from its KEXINIT (RFC 4253, 7.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from zborg.errors import CommandFailed, HostKeyChanged, NoCommonAlgorithm, Unreachable
from zborg.model import Endpoint
from zborg.model.keys import algorithms
from zborg.model.text.remedy import command, on
from zborg.process import LocalRunner

if TYPE_CHECKING:
    import paramiko

# AES-GCM is about twice the speed of chacha20 where the processor has AES instructions.
CIPHERS = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com"
_REFUSED = 255
_UNABLE = re.compile(
    r"(?m)^Unable to negotiate with .*: no matching (?P<what>[A-Za-z ]+) found\. "
    r"Their offer: (?P<theirs>\S*)"
)
_ALGORITHM = re.compile(r"[A-Za-z0-9@.+_-]{1,64}")  # RFC 4251, 6, less what sshd_config reads
# In the list of key exchanges, but no such: RFC 8308, 2.1, and OpenSSH's PROTOCOL, 1.10.
_MARKERS = ("ext-info-", "kex-strict-")
_SHOWN = 12  # names of an offer; the other side may send any number
_CONFIG = "/etc/ssh/sshd_config"
_USUAL_KEY = "ssh-ed25519"


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that both sides have to agree on."""

    name: str
    keyword: str  # of sshd_config
    usual: tuple[str, ...]  # which of ours the other side is most likely to know, the best first


KEX = Kind("key exchange", "KexAlgorithms", ("curve25519-sha256", "curve25519-sha256@libssh.org"))
HOST_KEY = Kind("host key type", "HostKeyAlgorithms", ("rsa-sha2-512",))
CIPHER = Kind("cipher", "Ciphers", ("aes128-gcm@openssh.com", "aes128-ctr"))
MAC = Kind("MAC", "MACs", ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"))

_OPENSSH = {"key exchange method": KEX, "host key type": HOST_KEY, "cipher": CIPHER, "MAC": MAC}
# A part of paramiko's message -> the kind, and the field of KEXINIT by paramiko's name.
_PARAMIKO = {
    "kex algorithm": (KEX, "kex_algo_list"),
    "host key": (HOST_KEY, "server_key_algo_list"),
    "ciphers": (CIPHER, "server_encrypt_algo_list"),
    "macs": (MAC, "server_mac_algo_list"),
}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What the two sides do not agree on, and what each of them offers."""

    kind: Kind
    theirs: tuple[str, ...]
    ours: tuple[str, ...]


def of_openssh(stderr: str, endpoint: Endpoint) -> Mismatch | None:
    """What an `ssh` that ended with 255 says of it; None when it says nothing of the kind."""
    found = _UNABLE.search(stderr)
    kind = _OPENSSH.get(found["what"]) if found else None
    if not found or not kind:
        return None
    return Mismatch(kind, _clean(found["theirs"].split(",")), _openssh_offer(kind, endpoint))


def of_paramiko(
    error: Exception, offer: Mapping[str, Sequence[str]], transport: paramiko.Transport
) -> Mismatch | None:
    """The same of a paramiko handshake; `offer` is from hear_offer()."""
    missing = next((part for part in _PARAMIKO if f"no acceptable {part}" in str(error)), None)
    if missing is None:
        return None
    kind, listed = _PARAMIKO[missing]
    options = transport.get_security_options()
    ours: dict[str, Sequence[str]] = {
        KEX.name: options.kex,
        HOST_KEY.name: options.key_types,
        CIPHER.name: options.ciphers,
        MAC.name: options.digests,
    }
    return Mismatch(kind, _clean(offer.get(listed, ())), tuple(ours[kind.name]))


def hear_offer(transport: paramiko.Transport) -> Mapping[str, Sequence[str]]:
    """What the other side will offer in its KEXINIT, filled in by the handshake; before start_client().

    paramiko (3.5 to 5.1) forgets it when it accepts none of it.
    """
    import paramiko

    offered: dict[str, Sequence[str]] = {}
    one: Any = transport
    parse: Callable[[paramiko.Message], None] = one._parse_kex_init

    def hearing(message: paramiko.Message) -> None:
        offered.update(one._really_parse_kex_init(paramiko.Message(message.get_remainder())))
        parse(message)

    one._parse_kex_init = hearing
    return offered


def failure(who: str, endpoint: Endpoint, found: Mismatch) -> Unreachable:
    """The error for it; `who` is the machine. Never tried again: it is the same in a minute."""
    argv = ("ssh", str(endpoint))
    words = f"it offers {_some(found.theirs)}; this server offers {_some(found.ours)}"
    pinned = endpoint.host_key.split()[:1]
    if (
        found.kind is HOST_KEY and pinned and pinned[0] not in found.theirs
    ):  # ssh-rsa there: signed with SHA-1
        kind = pinned[0]
        message = f"{who} is not who it was: it shows no key of type {kind}, which is pinned; {words}"
        return HostKeyChanged(argv, _REFUSED, "", f"{message}; nothing was sent", _offer_key(who, kind))
    message = f"{who} ({endpoint}) and this server have no {found.kind.name} in common: {words}"
    fix = _offer_ours(who, found) if pinned or found.kind is not HOST_KEY else _offer_key(who, _USUAL_KEY)
    return NoCommonAlgorithm(argv, _REFUSED, "", message, fix)


def _offer_ours(who: str, found: Mismatch) -> str:
    """A line before all others: of each keyword sshd takes the first (sshd_config(5))."""
    ours = next((one for one in found.kind.usual if one in found.ours), found.ours[0] if found.ours else "")
    line = f"{found.kind.keyword} {','.join(filter(None, (ours, *found.theirs)))}"
    return on(who, command("sed", "-i", f"1i {line}", _CONFIG), *_reload())


def _offer_key(who: str, kind: str) -> str:
    name = {"ssh-rsa": "rsa", "ssh-ed25519": "ed25519"}.get(kind, "ecdsa")
    line = f"HostKey /etc/ssh/ssh_host_{name}_key"
    return on(who, command("ssh-keygen", "-A"), command("sed", "-i", f"1i {line}", _CONFIG), *_reload())


def _reload() -> tuple[str, str]:
    return command("/usr/sbin/sshd", "-t"), command("systemctl", "reload", "sshd")


def _clean(names: Sequence[str]) -> tuple[str, ...]:
    wanted = (name for name in names if _ALGORITHM.fullmatch(name) and not name.startswith(_MARKERS))
    return tuple(wanted)[:_SHOWN]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) or "nothing that could be read"
    return shown + (" and others" if len(names) > _SHOWN else "")


def _openssh_offer(kind: Kind, endpoint: Endpoint) -> tuple[str, ...]:
    if kind is HOST_KEY:
        return algorithms(endpoint.host_key)
    if kind is CIPHER:
        return tuple(CIPHERS.split(","))
    return _openssh_defaults().get(kind.keyword.lower(), ())


@cache
def _openssh_defaults() -> dict[str, tuple[str, ...]]:
    """What this machine's ssh offers where zborg leaves it the choice, by keyword in lower case."""
    try:
        lines = LocalRunner().run(["ssh", "-F", "none", "-G", "localhost"]).stdout.splitlines()
    except CommandFailed:  # it only adds to a message that is there
        return {}
    rows = (line.split(" ", 1) for line in lines if " " in line)
    return {key: tuple(value.split(",")) for key, value in rows}
