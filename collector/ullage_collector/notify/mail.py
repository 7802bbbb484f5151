"""E-mail by SMTP: STARTTLS, TLS from the first byte, or plain without a password. One message to all recipients.

The key is in the Message-ID, by which most mailboxes know a message they have.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from ullage_collector.notify.message import Message
from ullage_collector.notify.settings import Mail, Target
from ullage_collector.notify.texts import compose
from ullage_contract.http_post import NotTold
from ullage_contract.plain import plain
from ullage_contract.smtp import NotTaken, Server, hand_in

MOST_BYTES: Final = 1_000_000  # our choice: because every server takes a megabyte
SUBJECT_CHARACTERS: Final = 150  # our choice: because a list of mails shows less


def by_mail(target: Target, message: Message) -> str | None:
    """Send it; a note where some recipients were refused. Raises NotTold when none took it."""
    mail = target.mail
    assert mail is not None, "BUG: settings give every e-mail target its mail"
    server = Server(
        host=mail.host,
        port=mail.port,
        tls=mail.tls,
        user=mail.user,
        password=target.password(),
        ca_file=target.ca_file,
        timeout_seconds=target.timeout_seconds,
    )
    try:
        return hand_in(server, letter(target, mail, message), mail.sender, mail.to)
    except NotTaken as e:
        raise NotTold(str(e), final=e.final) from None


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
