"""E-mail by SMTP: STARTTLS, TLS from the first byte, or plain without a password. One message to all recipients.

The key is in the Message-ID, by which most mailboxes know a message they have.
"""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from ullage_collector.notify.message import Message
from ullage_collector.notify.settings import Mail, Target
from ullage_collector.notify.texts import compose
from ullage_collector.notify.transport import NotTold, hidden
from ullage_contract.plain import plain

MOST_BYTES: Final = 1_000_000  # our choice: because every server takes a megabyte
SUBJECT_CHARACTERS: Final = 150  # our choice: because a list of mails shows less


def by_mail(target: Target, message: Message) -> str | None:
    """Send it; a note where some recipients were refused. Raises NotTold when none took it."""
    mail = target.mail
    assert mail is not None, "BUG: settings give every e-mail target its mail"
    document = letter(target, mail, message)
    password = target.password()
    try:
        with _open(target, mail) as server:
            if mail.tls == "starttls":
                server.starttls(context=_context(target))
            if mail.user is not None and password is not None:
                server.login(mail.user, password)
            refused = server.send_message(document, mail.sender, list(mail.to))
    except smtplib.SMTPRecipientsRefused as e:
        codes = [code for code, _ in e.recipients.values()]
        raise NotTold(
            f"{mail.host}: every recipient was refused: {_said(e.recipients)}",
            final=all(code >= 500 for code in codes),
        ) from None
    except smtplib.SMTPResponseException as e:
        text = (
            e.smtp_error.decode("utf-8", "replace") if isinstance(e.smtp_error, bytes) else str(e.smtp_error)
        )
        said = hidden(plain(text, limit=200), password or "")
        # Authentication and policy are put right by people without changing the message: they are tried again.
        final = e.smtp_code >= 500 and isinstance(e, smtplib.SMTPDataError)
        raise NotTold(f"{mail.host}: SMTP {e.smtp_code} {said}", final=final) from None
    except smtplib.SMTPException as e:
        raise NotTold(
            f"{mail.host}: {type(e).__name__}: {hidden(plain(e, limit=200), password or '')}"
        ) from None
    except ssl.SSLError as e:
        raise NotTold(f"{mail.host}: TLS: {e.reason or type(e).__name__}") from None
    except OSError as e:
        raise NotTold(f"{mail.host}: {e.strerror or type(e).__name__}") from None
    return f"refused: {_said(refused)}" if refused else None


def letter(target: Target, mail: Mail, message: Message) -> EmailMessage:
    """The message as it travels. Names from the fleet are one line without control characters: no header can be made."""
    text = compose(
        message.news,
        language=target.language,
        most_bytes=MOST_BYTES,
        zone=target.zone,
        repeated=message.doubtful,
        console=target.console,
    )
    document = EmailMessage()
    document["Subject"] = plain(text.title, limit=SUBJECT_CHARACTERS)
    document["From"] = mail.sender
    document["To"] = ", ".join(mail.to)
    document["Date"] = format_datetime(datetime.fromtimestamp(message.at, UTC))
    digest = hashlib.sha256(message.key.encode()).hexdigest()[:32]
    document["Message-ID"] = f"<ullage-{digest}@{mail.sender.rpartition('@')[2]}>"
    document["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    body = "\n".join((text.title, "", *text.lines, *(("", target.console) if target.console else ())))
    document.set_content(body + "\n")
    return document


def _open(target: Target, mail: Mail) -> smtplib.SMTP:
    if mail.tls == "tls":
        return smtplib.SMTP_SSL(
            mail.host, mail.port, timeout=target.timeout_seconds, context=_context(target)
        )
    return smtplib.SMTP(mail.host, mail.port, timeout=target.timeout_seconds)


def _context(target: Target) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(target.ca_file) if target.ca_file else None)


def _said(refused: object) -> str:
    if not isinstance(refused, dict):
        return plain(refused, limit=200)
    parts = []
    for address, (code, text) in refused.items():
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        parts.append(f"{address}: {code} {said}")
    return plain("; ".join(parts), limit=300)
