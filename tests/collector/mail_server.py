"""A real mail server for tests: plain, STARTTLS or TLS from the first byte, with the answers a test gives."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from tests.collector.notify_world import server_context

# It tells every connection; a command's own log goes to stderr, where a test counts lines.
logging.getLogger("mail.log").setLevel(logging.ERROR)

USER, PASSWORD = "ullage", "pa55word"


class Mailbox:
    """What came. refuse: recipient -> SMTP answer; data: the answer to the message itself.

    drops: so many messages are cut off, each before anything is answered. tried: how often a message was given.
    """

    def __init__(self) -> None:
        self.envelopes: list[Any] = []
        self.refuse: dict[str, str] = {}
        self.data = "250 OK"
        self.drops = 0
        self.tried = 0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.tried += 1
        if self.drops:
            self.drops -= 1
            server.transport.abort()
            return "451 gone"
        if self.data.startswith("250"):
            self.envelopes.append(envelope)
        return self.data

    def letters(self) -> list[EmailMessage]:
        return [message_from_bytes(e.content, policy=policy.default) for e in self.envelopes]  # type: ignore[arg-type]


def _login(server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (
        USER.encode(),
        PASSWORD.encode(),
    )
    return AuthResult(success=good, handled=False)  # the server answers 535 itself


class Implicit(Controller):
    """TLS from the first byte; the base class' own probe does not know our authority."""

    def _trigger_server(self) -> None:
        with socket.create_connection((self.hostname, self.port), timeout=10):
            pass


@contextmanager
def mail_server(box: Mailbox, kind: str, certs: Mapping[str, Path] | None = None) -> Iterator[int]:
    """A server that puts mail into ``box``; its port. kind: none, starttls or tls; the last two want USER and PASSWORD."""
    options: dict[str, Any] = {"hostname": "127.0.0.1", "port": free_port()}
    if kind != "none":
        options |= {"authenticator": _login, "auth_required": True}
    if kind == "starttls":
        assert certs is not None
        controller: Controller = Controller(
            box, tls_context=server_context(certs), require_starttls=True, **options
        )
    elif kind == "tls":
        assert certs is not None
        controller = Implicit(box, ssl_context=server_context(certs), auth_require_tls=False, **options)
    else:
        controller = Controller(box, **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
