"""Handing a message to a mail server: STARTTLS, TLS from the first byte, or plain without a password. Standard library only.

Not here: what a message says, whom it is for, and when it is tried again.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from ullage_contract.errors import UllageError
from ullage_contract.plain import plain

TLS: Final = ("starttls", "tls", "none")


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed in. tls: one of TLS; with ``none`` nobody logs in. user, password None: no login.

    ca_file None: the host's own authorities.
    """

    host: str
    port: int
    tls: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout_seconds: float = 30.0


class NotTaken(UllageError):
    """The server did not take a message, or nobody knows. The text never holds the password.

    final: the same message is refused again. reached False: no message was tried, as no session came about.
    """

    def __init__(self, message: str, *, final: bool = False, reached: bool = True) -> None:
        super().__init__(message)
        self.final = final
        self.reached = reached


def hand_in(server: Server, message: EmailMessage, sender: str, to: Sequence[str]) -> str | None:
    """One message to all of ``to``; a note where some of them were refused. Raises NotTaken when none took it."""
    with _told(server, reached=False):
        session = _session(server)
    try:
        with _told(server, reached=True):
            refused = session.send_message(message, sender, list(to))
    finally:
        # A message that was taken stays taken, however the farewell goes.
        with suppress(smtplib.SMTPException, OSError):
            session.quit()
        session.close()
    return f"refused: {_said(refused)}" if refused else None


def is_address(text: str) -> bool:
    """Whether ``text`` is one mail address and nothing beside it, so that it can stand in a header."""
    return "@" in text and text.isprintable() and not any(c in text for c in " ,;<>")


def _session(server: Server) -> smtplib.SMTP:
    """A session after TLS and login; whoever gets it closes it."""
    if server.tls == "tls":
        session: smtplib.SMTP = smtplib.SMTP_SSL(
            server.host, server.port, timeout=server.timeout_seconds, context=_context(server)
        )
    else:
        session = smtplib.SMTP(server.host, server.port, timeout=server.timeout_seconds)
    try:
        if server.tls == "starttls":
            session.starttls(context=_context(server))
        if server.tls != "none" and server.user is not None and server.password is not None:
            session.login(server.user, server.password)
    except BaseException:
        session.close()
        raise
    return session


def _context(server: Server) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)


@contextmanager
def _told(server: Server, *, reached: bool) -> Iterator[None]:
    """What the library raises, as NotTaken."""
    host = server.host
    try:
        yield
    except smtplib.SMTPRecipientsRefused as e:
        codes = [code for code, _ in e.recipients.values()]
        final = all(code >= 500 for code in codes)
        raise NotTaken(f"{host}: every recipient was refused: {_said(e.recipients)}", final=final) from None
    except smtplib.SMTPResponseException as e:
        text = (
            e.smtp_error.decode("utf-8", "replace") if isinstance(e.smtp_error, bytes) else str(e.smtp_error)
        )
        said = _hidden(plain(text, limit=200), server)
        # Authentication and policy are put right by people without changing the message: they are tried again.
        final = e.smtp_code >= 500 and isinstance(e, smtplib.SMTPDataError)
        raise NotTaken(f"{host}: SMTP {e.smtp_code} {said}", final=final, reached=reached) from None
    except smtplib.SMTPException as e:
        said = _hidden(plain(e, limit=200), server)
        raise NotTaken(f"{host}: {type(e).__name__}: {said}", reached=reached) from None
    except ssl.SSLError as e:
        raise NotTaken(f"{host}: TLS: {e.reason or type(e).__name__}", reached=reached) from None
    except OSError as e:
        raise NotTaken(f"{host}: {e.strerror or type(e).__name__}", reached=reached) from None


def _hidden(text: str, server: Server) -> str:
    return text.replace(server.password, "***") if server.password else text


def _said(refused: Mapping[str, tuple[int, bytes]]) -> str:
    parts = []
    for address, (code, text) in refused.items():
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        parts.append(f"{address}: {code} {said}")
    return plain("; ".join(parts), limit=300)
