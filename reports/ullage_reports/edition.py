"""One edition of a report: a period read and checked, written in the formats asked for, and mailed where that is wanted.

Files written are listed on stdout, one a line; everything else, also what came of each mail, goes to stderr.
Not here: the command line (cli.py), and when a report is due (schedule.py).
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ullage_contract.clock import Clock, utc
from ullage_contract.command import FAILED, GOOD, PARTIAL
from ullage_contract.errors import ConfigError, StoreError, UllageError
from ullage_reports import anomaly_rules, budget_settings, cost_policy, mail_settings, peaks
from ullage_reports import config as settings
from ullage_reports import period as periods
from ullage_reports.closed_settings import Settled, settled
from ullage_reports.formats import FOCUS
from ullage_reports.period import Period, PeriodKind

if TYPE_CHECKING:
    from ullage_collector.published import Facts, Published
    from ullage_reports.mail_settings import MailSettings
    from ullage_reports.model import Report

log = logging.getLogger("ullage_reports")

STDOUT: Final = Path("-")
HANDED_OVER_S: Final = 0.0005
"""Seconds a thread keeps Python that another waits for. our choice: a tenth of what it is otherwise, because a month of ten thousand
cards was written in 35 s so, in 44 s else."""
OPTION: Final = {
    PeriodKind.DAILY: "--date",
    PeriodKind.WEEKLY: "--week",
    PeriodKind.MONTHLY: "--month",
    PeriodKind.QUARTERLY: "--quarter",
    PeriodKind.YEARLY: "--year",
}


@dataclass(frozen=True, slots=True)
class Edition:
    """What was asked for; what was not is as ``settings`` say.

    label: of the period, or ``last``. config: the file of the settings, None for the default one. out: a folder, or STDOUT
    for JSON alone. tree_now: departments by today's organisation. grain: of FOCUS, day or hour. mail: also to those whom [mail] names.
    """

    kind: PeriodKind
    label: str
    data: Path
    settings: settings.Settings
    config: Path | None = None
    zone: str | None = None
    lang: str | None = None
    formats: tuple[str, ...] | None = None
    currency: str | None = None
    out: Path | None = None
    tree_now: bool = False
    trust_files: bool = False
    mail: bool = False
    grain: str = "day"


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it. code: the command's exit code. written False: the sum check failed, and nothing was written."""

    code: int
    written: bool


def make(edition: Edition, clock: Clock) -> Made:
    """Make it. Raises ConfigError and StoreError before anything was written."""
    with _no_cycles():
        return _make(edition, clock)


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Without the search for cycles: a long list is millions of small objects and no cycle, and looking through them again and
    again took half the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _make(edition: Edition, clock: Clock) -> Made:
    from ullage_reports.statement import statement

    now = utc(clock.wall())
    zone, fiscal_start = edition.zone or edition.settings.zone, edition.settings.fiscal_start_month
    period = period_of(edition.kind, edition.label, zone, now, fiscal_start)
    lang = _lang(edition)
    formats = _formats(edition)
    currency = _currency(edition)
    mail = _mail(edition)
    published = published_below(edition.data)
    watched = settings.watch(edition.config)
    closing = published.closing(period.start, period.end)
    billed = closing is not None or FOCUS in formats
    chosen = settled(
        closing,
        edition.data,
        Settled(
            cost_policy.load(edition.config, period.zone),
            settings.issuer(edition.config) if billed else settings.Issuer(),
            anomaly_rules.text_of(watched.anomalies),
            budget_settings.text_of(watched.budgets) if watched.budgets else "",
            peaks.load(edition.config),
        ),
    )
    report = statement(
        published,
        period,
        currency=currency,
        now=now,
        verify=not edition.trust_files,
        tree_at=now if edition.tree_now else None,
        policies=chosen.policies,
        peaks=chosen.peaks,
        unusual=anomaly_rules.parse(chosen.anomalies, anomaly_rules.FILE),
        budgets=budget_settings.parse(chosen.budgets, "budgets") if chosen.budgets else (),
    )
    if not report.trust.adds_up:
        _tell_differences(report)
        told = mail is None or _sent(report, mail, lang, edition, clock)
        return Made(PARTIAL if told else FAILED, written=False)
    good = _write(edition, report, published, lang, formats, chosen)
    if mail is not None:
        good = _sent(report, mail, lang, edition, clock) and good
    missing = _tell_missing(report)
    return Made(FAILED if not good else PARTIAL if missing else GOOD, written=True)


def published_below(data: Path) -> Published:
    """The published days below a collector's data. Raises ConfigError where there is no such folder."""
    from ullage_collector.published import Published

    if not data.is_dir():
        raise ConfigError(f"{data}: no such folder; name the collector's data with --data DIR")
    return Published(data / "published")


# ------------------------------------------------------------------------------------------ what was asked
def period_of(kind: PeriodKind, label: str, zone: str, now: datetime, fiscal_start: int = 1) -> Period:
    """A period by its label, or the last that has ended. Raises ConfigError for no such period, or one that has not begun."""
    if label == "last":
        return periods.last(kind, now, zone, fiscal_start)
    period = periods.parse(kind, label, zone, fiscal_start)
    if period.start > now:
        raise ConfigError(
            f"{OPTION[kind]} {period.label} has not begun: it is {now:%Y-%m-%d} UTC; write a period before, or last"
        )
    return period


def _lang(edition: Edition) -> str:
    from ullage_reports.formats import LANGUAGES

    lang = edition.lang or edition.settings.lang
    if lang not in LANGUAGES:
        raise ConfigError(f"--lang {lang[:20]!r} is not known; choose from {', '.join(LANGUAGES)}")
    return lang


def _formats(edition: Edition) -> tuple[str, ...]:
    from ullage_reports.formats import renderer

    formats = edition.formats or edition.settings.formats
    named = "--format" if edition.formats else f"{edition.config or settings.DEFAULT_PATH}: report.formats:"
    if edition.out == STDOUT and formats != ("json",):
        raise ConfigError("--out - is for --format json alone; name a folder for the others")
    for name in formats:
        if name != FOCUS:
            renderer(name)
    if FOCUS in formats and edition.kind is not PeriodKind.MONTHLY:
        raise ConfigError(f"{named} focus is of a month: write monthly --month M, not {edition.kind.value}")
    return formats


def _currency(edition: Edition) -> str | None:
    from ullage_reports.currencies import checked

    currency = edition.currency or edition.settings.currency
    return None if currency is None else checked(currency)


def _mail(edition: Edition) -> MailSettings | None:
    if not edition.mail:
        return None
    found = mail_settings.load(edition.config)
    if found is None:
        raise ConfigError(
            f"{edition.config or settings.DEFAULT_PATH}: there is no [mail]; write host, sender and [mail.recipients], "
            "or leave --mail out"
        )
    return found


# ------------------------------------------------------------------------------------------ what is done
def _write(
    edition: Edition,
    report: Report,
    published: Published,
    lang: str,
    formats: tuple[str, ...],
    chosen: Settled,
) -> bool:
    """Write every format; whether all could be: a missing font stops the PDF, not the files after it.

    FOCUS reads the days again, in DuckDB and outside Python: it is written beside the others, which keep Python busy, and listed
    behind them.
    """
    from ullage_reports.formats import renderer

    if edition.out == STDOUT:
        from ullage_reports.json_form import text

        sys.stdout.write(text(report))
        return True
    out = edition.out or edition.settings.out or edition.data / "reports"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ConfigError(f"{out}: {e.strerror}; name a folder that can be written with --out DIR") from e
    opened: list[Facts] = []
    failed: list[str] = []
    with _handing_over(), ThreadPoolExecutor(1, thread_name_prefix=FOCUS) as beside:
        try:
            writing = None
            if FOCUS in formats:
                writing = beside.submit(_focus, edition, report, published, out, chosen, opened)
            for name in formats:
                if name != FOCUS:
                    with _told(name, failed):
                        _list(renderer(name)(report, lang, out))
            if writing is not None:
                with _told(FOCUS, failed):
                    for file in writing.result():
                        _list(file)
        except BaseException:
            for facts in opened:
                facts.connection.interrupt()
            raise
    return not failed


@contextmanager
def _handing_over() -> Iterator[None]:
    """With Python handed over sooner: DuckDB asks for it after every piece of its work, and waits while something is drawn."""
    was = sys.getswitchinterval()
    sys.setswitchinterval(HANDED_OVER_S)
    try:
        yield
    finally:
        sys.setswitchinterval(was)


@contextmanager
def _told(name: str, failed: list[str]) -> Iterator[None]:
    """Tell what stops one format, and go on with the next. failed: the name is added to it."""
    try:
        yield
    except UllageError as e:
        _tell(f"{name}: {e}")
        failed.append(name)


def _focus(
    edition: Edition,
    report: Report,
    published: Published,
    out: Path,
    chosen: Settled,
    opened: list[Facts],
) -> tuple[Path, ...]:
    """Write the month's lines as FOCUS; the files. opened: holds what is read while it is, for who must stop it.

    One thread: the other core draws. It is no slower than two, which took three times the memory for rows kept in order. The files were
    checked against their manifests when the report read them, and are of the same manifests.
    """
    from ullage_reports import focus

    grain = focus.Grain(edition.grain)
    with published.open(report.period.start, report.period.end, verify=False, threads=1) as facts:
        if facts.digest() != report.trust.data_digest:
            raise StoreError(
                f"{published.root}: days were published while the report was made, and FOCUS would differ from it; run the command again"
            )
        opened.append(facts)
        try:
            return focus.write(
                facts, report.period, report.currency, chosen.issuer, out, chosen.policies, grain
            ).files
        finally:
            opened.clear()


def _sent(report: Report, mail: MailSettings, lang: str, edition: Edition, clock: Clock) -> bool:
    """Mail it and tell what came of each recipient; whether everybody has it."""
    from ullage_reports import mailing

    try:
        outcomes = mailing.send(report, mail, lang, edition.data, clock)
    except UllageError as e:
        _tell(f"mail: {e}")
        return False
    for outcome in outcomes:
        _tell(str(outcome))
    if not outcomes:
        _tell(f"mail: nobody is named for {report.period.kind.value} reports in [mail.recipients]")
    return all(outcome.taken is not False for outcome in outcomes)


# ------------------------------------------------------------------------------------------ what is told
def _tell_differences(report: Report) -> None:
    for check in report.trust.checks:
        if not check.good:
            _tell(
                f"{check.level}: parts and total differ by {check.difference} {report.currency} as printed, "
                f"{check.exact_difference} exactly; nothing was written. Publish the days again and report this"
            )


def _tell_missing(report: Report) -> bool:
    """What is missing, on stderr; whether anything is."""
    trust = report.trust
    if trust.missing_days:
        log.warning(
            "%d of %d days are not published, the first is %s",
            len(trust.missing_days),
            len(trust.missing_days) + len(trust.days),
            trust.missing_days[0],
        )
    if trust.unpriced_hours:
        log.warning(
            "%s card-hours have no price: %s",
            trust.unpriced_hours,
            ", ".join(r.model for r in trust.unpriced[:5]),
        )
    if report.bill is not None and report.bill.unpriced_kwh:
        log.warning("%s kWh have no tariff and are in no sum", report.bill.unpriced_kwh)
    for foreign in trust.foreign:
        log.warning(
            "%s %s (%s card-hours) are in no sum: no rate converts them",
            foreign.cost,
            foreign.currency,
            foreign.hours,
        )
    return report.status.value == "partial"


def _tell(text: str) -> None:
    sys.stderr.write(f"ullage-report: {text}\n")


def _list(file: Path) -> None:
    sys.stdout.write(f"{file}\n")
    sys.stdout.flush()
