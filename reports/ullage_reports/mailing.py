"""Sending a report to those who are to have it: each alone, each once for a period and revision, tried again with patience.

Whoever is named for the kind of report gets the whole of it, a department's people their copy. When the sum check failed,
operators get the rows that differ and everybody else one line that it is late. A message goes out once a recipient: what
was taken is kept in ``DATA/reports/mailed.json`` before the next one is tried. What the server may or may not have taken
(a dropped connection) is sent again with the same Message-ID. Not here: what a message says (letter.py).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Final

from ullage_contract.clock import Clock, utc
from ullage_contract.plain import plain
from ullage_contract.smtp import NotTaken, Server, hand_in
from ullage_reports import letter
from ullage_reports.department_copy import department_copy
from ullage_reports.kept import Kept, holding
from ullage_reports.mail_settings import MailSettings
from ullage_reports.model import Report

log = logging.getLogger(__name__)

STATE: Final = "mailed.json"
PAUSES: Final = (30.0, 120.0, 600.0)
"""Seconds before each further try. our choice: a server that starts anew is back by then, and greylisting (RFC 6647)
mostly asks for five minutes; the next run tries again anyway."""
FORGOTTEN: Final = timedelta(days=800)
"""our choice: because nobody mails the report of a quarter two years later without meaning it."""

HandIn = Callable[[Server, EmailMessage, str, Sequence[str]], str | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one recipient. what: ``report``, ``department ID``, ``delay`` or ``differences``.

    taken None: it had been sent before, and nothing was sent now. said: the reason where it was not taken.
    """

    to: str
    what: str
    taken: bool | None
    said: str = ""

    def __str__(self) -> str:
        done = {True: "sent", False: "NOT sent", None: "already sent"}[self.taken]
        return f"mail: {self.to}: {self.what}: {done}" + (f": {self.said}" if self.said else "")


@dataclass(slots=True)
class _Due:
    to: str
    what: str
    key: str
    message: EmailMessage
    said: str = ""


def send(
    report: Report, settings: MailSettings, lang: str, data: Path, clock: Clock, *, hand: HandIn = hand_in
) -> tuple[Outcome, ...]:
    """Mail one report; an outcome a recipient, in the order of the settings.

    data: below whose ``reports`` it is kept what was sent. A department without a row in the report is told in the log
    and gets nothing. Raises ConfigError, StoreError, AssetMissing before anything was sent.
    """
    server = settings.server()
    with holding(data / "reports" / STATE, wait=True) as kept:
        sent = kept.content.setdefault("sent", {})
        dues = _dues(report, settings, lang, sent)
        outcomes = {
            due.key: Outcome(due.to, due.what, None, str(sent[due.key])) for due in dues if due.key in sent
        }
        pending = [due for due in dues if due.key not in sent]
        for pause in (*PAUSES, None):
            again = []
            for n, due in enumerate(pending):
                tried = _try(server, due, settings.sender, clock, hand)
                if tried is None:
                    outcomes[due.key] = Outcome(due.to, due.what, True)
                    _keep(kept, due.key, utc(clock.wall()))
                    continue
                due.said = str(tried)
                if tried.final:
                    outcomes[due.key] = Outcome(due.to, due.what, False, due.said)
                elif tried.reached:
                    again.append(due)
                else:
                    # nobody is there: the others of this round would only wait as long
                    rest = pending[n:]
                    for other in rest:
                        other.said = due.said
                    again += rest
                    break
            pending = again
            if not pending or pause is None:
                break
            log.warning("%d mails are tried again in %g s: %s", len(pending), pause, pending[0].said)
            clock.sleep(pause)
        for due in pending:
            outcomes[due.key] = Outcome(due.to, due.what, False, due.said)
    return tuple(outcomes[due.key] for due in dues)


def revision(report: Report) -> str:
    """The published days a report stands on, and what is owed where that is more than they say, as a short word: another
    revision, or another bill, is another report."""
    days = "\n".join(f"{day.day} {day.revision} {day.digest}" for day in report.trust.days)
    if report.bill is not None and not report.bill.plain:
        days += f"\n{report.bill.departments}"
    return hashlib.sha256(days.encode()).hexdigest()[:16]


def _dues(report: Report, settings: MailSettings, lang: str, sent: dict[str, object]) -> list[_Due]:
    """Who is to have what. A message is made only where somebody has not got it, once for all who get the same."""
    period = report.period
    about = f"{period.kind}/{period.label}/{period.zone}/{report.currency}/{revision(report)}"
    found: list[_Due] = []

    def add(what: str, people: Sequence[str], make: Callable[[], EmailMessage]) -> None:
        made: EmailMessage | None = None
        for to in people:
            key = f"{about}/{what}/{to}"
            if key not in sent and made is None:
                made = make()
            found.append(_Due(to, what, key, made or EmailMessage()))

    whole = settings.whole_for(period.kind)
    copies = settings.copies_for(period.kind)
    if not report.trust.adds_up:
        everybody = dict.fromkeys([*whole, *(to for people in copies.values() for to in people)])
        told = [to for to in everybody if to not in settings.operators]
        add("differences", settings.operators, lambda: letter.differences(report, lang))
        add("delay", told, lambda: letter.delay(report, lang))
        return found
    add("report", whole, lambda: letter.letter(report, lang, attach=settings.attach, link=settings.link))
    for department, people in copies.items():
        copy = department_copy(report, department)
        if copy is None:
            log.warning(
                "[mail.departments] %s: no such department has hours in %s; nobody of it gets a mail",
                plain(department),
                period.label,
            )
            continue
        make = partial(letter.letter, copy, lang, attach=settings.attach, link=None)
        add(f"department {plain(department)}", people, make)
    return found


def _try(server: Server, due: _Due, sender: str, clock: Clock, hand: HandIn) -> NotTaken | None:
    """One attempt; what went wrong, or None."""
    message = letter.addressed(due.message, sender=sender, to=due.to, key=due.key, at=utc(clock.wall()))
    try:
        hand(server, message, sender, [due.to])
    except NotTaken as e:
        return e
    return None


def _keep(kept: Kept, key: str, now: datetime) -> None:
    sent = kept.content["sent"]
    sent[key] = now.astimezone(UTC).isoformat(timespec="seconds")
    for old in [k for k, at in sent.items() if now - datetime.fromisoformat(at) > FORGOTTEN]:
        del sent[old]
    kept.save()
