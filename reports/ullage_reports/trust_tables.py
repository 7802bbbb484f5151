"""The tables of the last page: what the figures stand on, and what is missing."""

from __future__ import annotations

from ullage_reports.model import TOP_NAMES
from ullage_reports.table import Cell, Column, Holds, Table
from ullage_reports.wording import Wording


def checks(w: Wording) -> Table:
    """Parts against their whole; every difference must be 0."""
    t, currency = w.t, w.report.currency
    return Table(
        key="checks",
        caption=t("table.checks", currency=currency),
        columns=(
            Column("level", t("column.level"), figures=False, weight=2.4),
            Column("parts", t("column.parts"), weight=0.8, holds=Holds.COUNT),
            Column("total", t("column.total", currency=currency), weight=1.6),
            Column("difference", t("column.difference", currency=currency), weight=1.3),
            Column("exact_difference", t("column.exact_difference"), weight=1.3),
            Column("result", t("column.result"), figures=False, weight=1.0),
        ),
        rows=tuple(
            (
                Cell(t.known("level", w.text_cell(check.level).value), w.text_cell(check.level).value),
                w.count_cell(check.parts),
                w.money_cell(check.total),
                w.money_cell(check.difference),
                w.count_cell(check.exact_difference),
                Cell(
                    t("word.adds_up") if check.good else t("word.does_not_add_up"),
                    t("word.adds_up") if check.good else t("word.does_not_add_up"),
                    tone="good" if check.good else "bad",
                ),
            )
            for check in w.report.trust.checks
        ),
        empty=t("empty.checks"),
    )


def unpriced(w: Wording) -> Table:
    """Hours nobody gave a price for."""
    t = w.t
    return Table(
        key="unpriced",
        caption=t("table.unpriced", window=w.window),
        columns=(
            Column("model", t("column.model"), figures=False, weight=2.4),
            Column("pool", t("column.pools"), figures=False, weight=1.6),
            Column("cards", t("column.cards"), weight=0.8, holds=Holds.COUNT),
            Column("hours", t("column.hours"), weight=1.4),
            Column("since", t("column.since"), figures=False, weight=1.8, steady=True, holds=Holds.INSTANT),
            Column("until", t("column.until"), figures=False, weight=1.8, steady=True, holds=Holds.INSTANT),
        ),
        rows=tuple(
            (
                w.text_cell(row.model),
                w.text_cell(row.pool),
                w.count_cell(row.cards),
                w.hours_cell(row.hours),
                w.since_cell(row.since),
                w.instant_cell(row.until),
            )
            for row in w.report.trust.unpriced
        ),
        printed=20,
        more=w.more(len(w.report.trust.unpriced), 20),
        empty=t("empty.unpriced"),
    )


def foreign(w: Wording) -> Table:
    """Money in another currency: shown, never added."""
    t = w.t
    return Table(
        key="foreign",
        caption=t("table.foreign", window=w.window),
        columns=(
            Column("currency", t("column.currency"), figures=False),
            Column("hours", t("column.hours")),
            Column("cost", t("column.cost_own_currency")),
        ),
        rows=tuple(
            (w.text_cell(row.currency), w.hours_cell(row.hours), w.money_cell(row.cost))
            for row in w.report.trust.foreign
        ),
        empty=t("empty.foreign"),
    )


def unmapped(w: Wording) -> Table:
    """Names no mapping rule matches."""
    t, currency = w.t, w.report.currency
    return Table(
        key="unmapped",
        caption=t("table.unmapped", currency=currency, window=w.window),
        columns=(
            Column("kind", t("column.name_kind"), figures=False, weight=1.2),
            Column("name", t("column.name"), figures=False, weight=3.0),
            Column("workloads", t("column.workloads"), weight=1.0, holds=Holds.COUNT),
            Column("hours", t("column.hours"), weight=1.4),
            Column("cost", t("column.cost", currency=currency), weight=1.6),
        ),
        rows=tuple(
            (
                Cell(t.known("name_kind", w.text_cell(row.kind).value), w.text_cell(row.kind).value),
                w.text_cell(row.name),
                w.count_cell(row.workloads),
                w.hours_cell(row.hours),
                w.cost_cell(row.cost, row.priced),
            )
            for row in w.report.trust.unmapped
        ),
        printed=20,
        more=w.more(len(w.report.trust.unmapped), 20, of_the_dearest=TOP_NAMES),
        empty=t("empty.unmapped"),
    )


def assumed(w: Wording) -> Table:
    """Prices somebody assumed."""
    t, currency = w.t, w.report.currency
    return Table(
        key="assumed_prices",
        caption=t("table.assumed_prices", currency=currency, window=w.window),
        columns=(
            Column("price_id", t("column.price_id"), figures=False, shown=False),
            Column("model", t("column.model"), figures=False, weight=2.0),
            Column("pool", t("column.pools"), figures=False, weight=1.2),
            Column("price", t("column.price", currency=currency), weight=1.4),
            Column("source", t("column.source"), figures=False, weight=2.4),
            Column("hours", t("column.hours"), weight=1.3),
            Column("cost", t("column.cost", currency=currency), weight=1.6),
        ),
        rows=tuple(
            (
                w.text_cell(row.price_id),
                w.text_cell(row.model),
                w.text_cell(row.pool),
                w.money_cell(row.price),
                w.text_cell(row.source),
                w.hours_cell(row.hours),
                w.money_cell(row.cost),
            )
            for row in w.report.trust.assumed_prices
        ),
        empty=t("empty.assumed_prices"),
    )


def unlisted(w: Wording) -> Table:
    """Cards seen that no inventory lists."""
    t, currency = w.t, w.report.currency
    return Table(
        key="unlisted_cards",
        caption=t("table.unlisted_cards", currency=currency, window=w.window),
        columns=(
            Column("card", t("column.card"), figures=False, weight=2.6),
            Column("node", t("column.node"), figures=False, weight=1.6),
            Column("vendor", t("column.vendors"), figures=False, shown=False),
            Column("model", t("column.model"), figures=False, weight=1.6),
            Column("hours", t("column.hours"), weight=1.3),
            Column("cost", t("column.cost", currency=currency), weight=1.6),
        ),
        rows=tuple(
            (
                w.text_cell(row.card_id),
                w.text_cell(row.node_id),
                w.name_cell(w.group("vendors", row.vendor)),
                w.text_cell(row.model),
                w.hours_cell(row.hours),
                w.cost_cell(row.cost, row.priced),
            )
            for row in w.report.trust.unlisted
        ),
        printed=20,
        more=w.more(len(w.report.trust.unlisted), 20, of_the_dearest=TOP_NAMES),
        empty=t("empty.unlisted_cards"),
    )


def origins(w: Wording) -> Table:
    """Measured here, imported or simulated."""
    t = w.t
    return Table(
        key="origins",
        caption=t("table.origins", window=w.window),
        columns=(
            Column("origin", t("column.origin"), figures=False, weight=3.0),
            Column("cards", t("column.cards"), holds=Holds.COUNT),
            Column("hours", t("column.hours")),
        ),
        rows=tuple(
            (
                Cell(t.known("origin", w.text_cell(row.origin).value), w.text_cell(row.origin).value),
                w.count_cell(row.cards),
                w.hours_cell(row.hours),
            )
            for row in w.report.trust.origins
        ),
        empty=t("empty.no_data"),
    )


def sources(w: Wording) -> Table:
    """Published days with their manifests' digests; the page shows the first twelve digits, the file all."""
    t = w.t
    return Table(
        key="sources",
        caption=t("table.sources"),
        columns=(
            Column("day", t("column.utc_day"), figures=False, weight=1.8, steady=True, holds=Holds.DAY),
            Column("revision", t("column.revision"), weight=0.8, holds=Holds.COUNT),
            Column("status", t("column.status"), figures=False, weight=1.4),
            Column(
                "published_at",
                t("column.published_at"),
                figures=False,
                weight=1.8,
                steady=True,
                holds=Holds.INSTANT,
            ),
            Column("digest", t("column.digest"), figures=False, weight=2.4),
        ),
        rows=tuple(
            (
                Cell(w.f.day(row.day), w.f.day(row.day), at=row.day),
                w.count_cell(row.revision),
                Cell(t.known("status", w.text_cell(row.status).value), w.text_cell(row.status).value),
                w.instant_cell(row.published_at),
                Cell(w.text_cell(row.digest).value[:12], w.text_cell(row.digest).value),
            )
            for row in w.report.trust.days
        ),
        printed=31,
        more=w.more(len(w.report.trust.days), 31),
        empty=t("empty.no_data"),
    )
