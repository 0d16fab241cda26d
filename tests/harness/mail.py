"""A real mail server on loopback, with TLS and a login, that keeps what it is given."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

USER, PASSWORD = "vault", "correct-horse-9"


@dataclass
class Mail:
    """`url` sends to it as Apprise would; `received` are its messages."""

    mode: str
    ca: Path
    received: list[EmailMessage] = field(default_factory=list)
    logins: list[bool] = field(default_factory=list)
    port: int = 0

    def url(self, password: str = PASSWORD) -> str:
        return (
            f"mailtos://{USER}:{password}@localhost:{self.port}?mode={self.mode}"
            "&from=zborg@vault.example.net&to=admin@example.net"
        )

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's
        made = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(made, EmailMessage)
        self.received.append(made)
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: object, envelope: object, how: str, data: object
    ) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (
            USER.encode(),
            PASSWORD.encode(),
        )
        self.logins.append(right)
        return AuthResult(success=right, handled=False)

    def text(self, kind: str = "plain") -> str:
        """The last message's body of this kind."""
        part = self.received[-1].get_body((kind,))
        assert part is not None
        words: str = part.get_content()
        return words


@contextmanager
def mail_server(directory: Path, mode: str) -> Iterator[Mail]:
    """`mode` is "starttls" or "ssl". Its authority is in `ca`, for SSL_CERT_FILE."""
    authority = trustme.CA()
    mail = Mail(mode, directory / "ca.pem")
    authority.cert_pem.write_to_path(mail.ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    tls: dict[str, Any] = {"tls_context": context, "require_starttls": True} if mode == "starttls" else {}
    server = Controller(
        mail,
        hostname="localhost",
        port=_free_port(),
        ssl_context=context if mode == "ssl" else None,
        authenticator=mail.authenticate,
        auth_required=True,
        auth_require_tls=mode == "starttls",
        **tls,
    )
    mail.port = server.port
    server.start()
    try:
        yield mail
    finally:
        server.stop()


def _free_port() -> int:
    with socket.create_server(("localhost", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def dripping_server(drip: bytes) -> Iterator[int]:
    """The port of a server that takes connections and says nothing but `drip`, five times a second."""
    with socket.create_server(("localhost", 0)) as server:
        server.settimeout(0.2)
        held: list[socket.socket] = []
        ending = threading.Event()

        def take() -> None:
            while not ending.is_set():
                with suppress(TimeoutError):
                    held.append(server.accept()[0])
                for one in held:
                    with suppress(OSError):  # it has hung up
                        one.sendall(drip)

        thread = threading.Thread(target=take)
        thread.start()
        yield int(server.getsockname()[1])
        ending.set()
        thread.join()
        for one in held:
            one.close()
