"""A report as an e-mail: page one in the message itself, as plain text and as HTML, the whole of it attached.

The HTML part has what mail programs show everywhere: tables with styles of their own, no picture, no script, no link but
the one of the settings. Names are escaped; a header is one line. Not here: who gets it (mailing.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from ullage_contract.plain import plain
from ullage_reports import html, pdf
from ullage_reports.model import Report
from ullage_reports.pages import Pages, pages
from ullage_reports.palette import STATE_COLOURS
from ullage_reports.table import Table
from ullage_reports.texts import Texts

SUBJECT_CHARACTERS: Final = 150
"""our choice: because a list of mails shows less."""
TYPES: Final[Mapping[str, tuple[str, str]]] = {"pdf": ("application", "pdf"), "html": ("text", "html")}


def letter(report: Report, lang: str, *, attach: tuple[str, ...], link: str | None) -> EmailMessage:
    """The message without sender, recipient and date. attach: names of TYPES. link: base URL of the written pages, or None.

    A department's copy carries no link: it would lead to the whole report. Raises AssetMissing when a PDF cannot be made.
    """
    page, t = pages(report, lang), Texts(lang)
    name = f"{report.stem}.{lang}"
    files = {f"{name}.{kind}": _content(report, lang, kind) for kind in attach}
    closing = [t("mail.attached", names=", ".join(files))] if files else []
    where = f"{link.rstrip('/')}/{name}.html" if link and report.copy is None else None
    if where:
        closing.append(t("mail.whole", link=where))
    closing.append(t("mail.why"))
    message = EmailMessage()
    message["Subject"] = _subject(t("mail.subject", title=page.title, status=page.status_text))
    message.set_content(_text(page, closing))
    message.add_alternative(
        html.template("mail.html.j2").render(page=page, closing=closing, colours=STATE_COLOURS),
        subtype="html",
    )
    for file, content in files.items():
        maintype, subtype = TYPES[file.rpartition(".")[2]]
        message.add_attachment(content, maintype=maintype, subtype=subtype, filename=file)
    return message


def delay(report: Report, lang: str) -> EmailMessage:
    """One line for recipients of a report that does not add up; it holds no figure and no department."""
    page, t = pages(report, lang), Texts(lang)
    message = EmailMessage()
    message["Subject"] = _subject(t("mail.delay_subject", title=page.title))
    message.set_content(t("mail.delay") + "\n")
    return message


def differences(report: Report, lang: str) -> EmailMessage:
    """The rows of a failed sum check, for operators."""
    page, t = pages(report, lang), Texts(lang)
    rows = [
        t(
            "mail.failed_row",
            level=t.known("level", plain(check.level)),
            parts=str(check.parts),
            total=format(check.total, "f"),
            currency=report.currency,
            difference=format(check.difference, "f"),
            exact=str(check.exact_difference),
        )
        for check in report.trust.checks
        if not check.good
    ]
    message = EmailMessage()
    message["Subject"] = _subject(t("mail.failed_subject", title=page.title))
    message.set_content("\n".join((page.title, "", t("mail.failed"), "", *rows)) + "\n")
    return message


def addressed(message: EmailMessage, *, sender: str, to: str, key: str, at: datetime) -> EmailMessage:
    """The message on its way. key: what it is; by the Message-ID made of it most mailboxes know a mail they have."""
    for header in ("From", "To", "Date", "Message-ID", "Auto-Submitted"):
        del message[header]
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    message["From"] = sender
    message["To"] = to
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<ullage-{digest}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    return message


def _subject(text: str) -> str:
    return plain(text, limit=SUBJECT_CHARACTERS)


def _content(report: Report, lang: str, kind: str) -> bytes:
    return pdf.content(report, lang) if kind == "pdf" else html.text(report, lang).encode("utf-8")


def _text(page: Pages, closing: list[str]) -> str:
    lines = [page.title, page.subtitle, ""]
    lines += [f"{label}: {value}" for label, value in page.facts]
    lines += [" | ".join((page.status_text, *page.marks)), ""]
    lines += [f"! {notice.text}" for notice in page.notices]
    lines += ["", *page.sentences, ""]
    lines += [
        ": ".join((tile.label, " ".join(filter(None, (tile.value, _in(tile.change)))))) for tile in page.tiles
    ]
    lines += ["", *_rows(page.states), "", *closing]
    return "\n".join(lines) + "\n"


def _in(text: str) -> str:
    return f"({text})" if text else ""


def _rows(table: Table) -> list[str]:
    """A table as lines: columns with a bar between them, which every width of letters stands."""
    rows = [[column.title for column in table.shown_columns]]
    rows += [[cell.text for cell in row] for row in table.shown_rows]
    if table.shown_total:
        rows.append([cell.text for cell in table.shown_total])
    return [table.caption, *(" | ".join(row) for row in rows)] if table.rows else [table.empty]
