"""What somebody has to be told without asking: budgets that are spent or will be, and large anomalies.

Each has a key: what was told of it is told once. Of the percentages a budget has passed only the highest is news, and the lower ones
are told with it; the same holds for what its forecast says, which is no news any more once it is spent.
Pure. Not here: where budgets stand (budgets.py), what is unusual (anomalies.py), and whom it is sent to (alerting.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from ullage_contract.plain import plain
from ullage_reports.alert_settings import STANDINGS, AlertSettings
from ullage_reports.anomalies import AnomalyRow
from ullage_reports.budgets import BudgetRow
from ullage_reports.format import Format
from ullage_reports.texts import Texts


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell. key: what it is; with it all of ``also`` are told. kind: budget_spent, budget_forecast or anomaly.

    budget: its row, anomaly: its row; the other is None.
    """

    key: str
    kind: str
    also: tuple[str, ...] = ()
    budget: BudgetRow | None = None
    anomaly: AnomalyRow | None = None


def of_budgets(rows: Iterable[BudgetRow], settings: AlertSettings) -> Iterator[Alert]:
    """The news of each budget: the highest percentage it has passed, and the worst its forecast says."""
    for row in rows:
        about = f"budget/{row.name}/{row.label}/{row.currency}/{row.amount}"
        passed = [percent for percent in settings.percents if _spent(row, percent)]
        if passed:
            keys = [f"{about}/{percent}%" for percent in passed]
            yield Alert(keys[-1], "budget_spent", tuple(keys[:-1]), budget=row)
        words = [standing.value for standing in STANDINGS]
        if row.standing in words:
            reached = words[: words.index(row.standing) + 1]
            wanted = [word for word in reached if word in {standing.value for standing in settings.standings}]
            if wanted:
                keys = [f"{about}/{word}" for word in wanted]
                yield Alert(keys[-1], "budget_forecast", tuple(keys[:-1]), budget=row)


def of_anomalies(rows: Iterable[AnomalyRow], settings: AlertSettings) -> Iterator[Alert]:
    """Anomalies in money of at least the amount of the settings, each by the day it began."""
    for row in rows:
        if settings.anomaly is not None and row.metric == "cost" and abs(row.difference) >= settings.anomaly:
            yield Alert(f"anomaly/{row.of}/{row.subject}/{row.first}", "anomaly", anomaly=row)


def said(alert: Alert, t: Texts, f: Format, currency: str) -> str:
    """It in a sentence or two, in the language of the texts."""
    if alert.budget is not None:
        return _budget(alert.budget, alert.kind, t, f)
    if alert.anomaly is None:
        raise ValueError("BUG: an alert of nothing")
    row = alert.anomaly
    causes = [
        t(
            f"anomaly_cause.{cause.kind}",
            name=plain(cause.example if cause.kind in ("work", "idle") and cause.example else cause.name)
            or "–",
            department=plain(cause.department) or "–",
            amount=f.signed(f.number(cause.amount), cause.amount),
        )
        for cause in row.causes[:3]
        if cause.amount
    ]
    when = row.first.isoformat() if row.days == 1 else f"{row.first.isoformat()} – {row.last.isoformat()}"
    return t(
        "alert.anomaly",
        when=when,
        what=f"{t(f'anomaly_of.{row.of}')} {plain(row.subject) or t('name.none_given')}",
        difference=f.signed(f.number(row.difference), row.difference),
        currency=currency,
        value=f.number(row.value),
        expected=f.number(row.expected),
        causes=t("word.semicolon").join(causes),
    )


def _budget(row: BudgetRow, kind: str, t: Texts, f: Format) -> str:
    told = t(
        f"alert.{kind}",
        name=plain(row.name),
        label=row.label,
        spent=f.number(row.spent),
        amount=f.number(row.amount),
        currency=row.currency,
        ratio=f.percent(row.used_ratio),
        standing=t(f"budget_standing.{row.standing}"),
        expected=f.number(row.expected),
        low=f.number(row.cheapest),
        high=f.number(row.dearest),
    )
    if row.runs_out is not None and row.spent <= row.amount:
        told += t("word.sentence_gap") + t("alert.runs_out", day=row.runs_out.isoformat())
    if row.missing:
        told += t("word.sentence_gap") + t("alert.missing", count=f.number(row.missing))
    return told


def _spent(row: BudgetRow, percent: int) -> bool:
    """Whether so much of it is spent; all of it is spent when more than it is."""
    if percent == 100:
        return row.spent > row.amount
    return row.amount > 0 and row.spent * Decimal(100) >= row.amount * percent
