"""The words of page one: its sentences, tiles, marks and warnings. What they say is page_one's and trust's."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from ullage_contract.plain import plain
from ullage_reports import bill_tables, figures
from ullage_reports.budgets import worst
from ullage_reports.format import DASH
from ullage_reports.model import Sentence, Status, Tile, Unit
from ullage_reports.table import Column, Holds, Notice, Table, TileView
from ullage_reports.wording import Wording, tone

MARKS: Final = ("simulated", "imported", "assumed")
"""Words every page carries when figures are not measured or not priced for good; keys ``mark.*``."""


BUDGET_NAME: Final = 40
"""Letters of a budget's name below a tile. our choice: two lines of it."""


def sentences(w: Wording) -> tuple[str, ...]:
    """What page one says first: the period's own sentences, and what is owed where that is not capacity alone."""
    if w.nothing_known:
        return (w.t("sentence.no_data"), *_owed(w))
    return (*(_sentence(w, sentence) for sentence in w.report.page_one.sentences), *_owed(w))


def _owed(w: Wording) -> tuple[str, ...]:
    """What is owed, unless the period's cost says the same."""
    bill = w.report.bill
    if bill is None or bill.plain:
        return ()
    total = bill.total
    same = not (total.shared or total.energy or total.corrections or total.credits)
    return () if same else (bill_tables.said(w, bill),)


def _sentence(w: Wording, sentence: Sentence) -> str:
    """One sentence of page one; a difference chooses its word, and only parts that are not 0 are named."""
    values = {key: _value(w, key, value) for key, value in sentence.values.items()}
    key = sentence.key
    total = w.report.total
    if key in ("cost", "cost_change") and w.nothing_priced:
        others = w.t("word.comma").join(plain(row.currency) for row in w.report.trust.foreign if row.hours)
        if not others:
            return w.t("sentence.no_price")
        return w.t("sentence.no_price_in", currency=w.report.currency, others=others)
    difference = sentence.values.get("difference")
    if isinstance(difference, Decimal):
        values["difference"] = w.f.money_short(abs(difference))
        ratio = sentence.values.get("ratio")
        if isinstance(ratio, Decimal):
            values["ratio"] = w.f.percent(abs(ratio))
        started = difference > 0 and sentence.values.get("previous") == 0
        key += "_new" if started else "_up" if difference > 0 else "_down" if difference < 0 else "_same"
    if key == "proposals" and sentence.values.get("count") == 1:
        key = "proposals_one"
    if key == "action" and w.nothing_priced:
        key = "action_unpriced_one" if sentence.values.get("count") == 1 else "action_unpriced"
    elif key == "action" and sentence.values.get("count") == 1:
        key = "action_one"
    if key == "waste" and not total.cost:
        key = "waste_hours"
    if sentence.key == "waste":
        parts = sorted(
            (
                (value, name.removesuffix("_ratio"))
                for name, value in sentence.values.items()
                if name != "ratio" and name.endswith("_ratio") and isinstance(value, Decimal) and value
            ),
            reverse=True,
        )
        named = [
            w.t("sentence.part", ratio=w.f.percent(value), state=w.state_inside(name))
            for value, name in parts
        ]
        values["parts"] = w.t("word.comma").join(named)
    return w.t(f"sentence.{key}", **values)


def _value(w: Wording, key: str, value: Decimal | int | str | None) -> str:
    if isinstance(value, Decimal):
        return w.f.percent(value) if key.endswith("ratio") else w.f.money_short(value)
    if isinstance(value, int):
        return w.f.number(value)
    if key == "kind":
        return w.t.known("proposal", plain(value))
    if key == "department" and value:
        for row in w.report.departments:
            if value in (row.department_id, row.name):
                return w.department(row)
    return plain(value)


def tile_view(w: Wording, tile: Tile) -> TileView:
    """A tile as it is printed, with its change in words and colour, and the line of its days."""
    change, colour = "", ""
    if tile.change is not None and not _unknown(w, tile):
        if tile.unit is Unit.RATIO:
            change = w.t("tile.points", points=w.f.points(tile.change.difference))
        elif tile.change.ratio is not None:
            change = w.f.change(tile.change.ratio)
        else:
            change = w.t("word.new") if tile.change.difference else DASH
        colour = tone(tile.change.difference, tile.better)
    return TileView(
        key=tile.key,
        label=w.t(f"tile.{tile.key}"),
        value=_tile_value(w, tile),
        change=w.t("tile.compared", change=change) if change else "",
        tone=colour,
        note=_tile_note(w, tile),
        spark=figures.spark(w, tile.key),
    )


def _tile_note(w: Wording, tile: Tile) -> str:
    """What stands below a tile's figure; of budgets which one, and in which period: its own, not the report's."""
    first = worst(w.report.budgets)
    if first is None or tile.key not in ("budgets_over", "budget_worst_ratio"):
        return w.t(f"tile_note.{tile.key}")
    name = plain(first.name)
    if len(name) > BUDGET_NAME:
        name = f"{name[: BUDGET_NAME - 1]}…"
    some = len(w.report.budgets) > 1
    key = {
        "budgets_over": "tile_note.budgets_over" if some else "tile_note.budgets_over_one",
        "budget_worst_ratio": "tile_note.budget_worst_ratio_many" if some else "tile_note.budget_worst_ratio",
    }[tile.key]
    return w.t(
        key,
        count=w.f.number(len(w.report.budgets)),
        budget=f"{name} {plain(first.label)}",
        ratio=w.f.percent(first.used_ratio),
        standing=w.t(f"budget_standing.{first.standing}"),
    )


def _unknown(w: Wording, tile: Tile) -> bool:
    """Whether the report cannot know the figure, whatever is added up."""
    return w.nothing_known or (tile.unit is Unit.MONEY and w.nothing_priced)


def _tile_value(w: Wording, tile: Tile) -> str:
    if tile.value is None or _unknown(w, tile):
        return w.t("word.not_known")
    if tile.unit is Unit.MONEY:
        return w.f.money_short(tile.value)
    if tile.unit is Unit.RATIO:
        return w.f.percent(tile.value)
    return w.f.number(tile.value)


def tile_table(w: Wording) -> Table:
    """The tiles as a file: exact values, not the short ones of the page."""
    t = w.t
    return Table(
        key="page_one",
        caption=t("table.page_one", window=w.window),
        columns=(
            Column("key", "key", figures=False),
            Column("label", t("column.name"), figures=False),
            Column("unit", "unit", figures=False),
            Column("value", t("column.value")),
            Column("previous", t("word.before")),
            Column("difference", t("column.difference_before")),
            Column("change", t("column.change"), holds=Holds.RATIO),
        ),
        rows=tuple(
            (
                w.text_cell(tile.key),
                w.text_cell(t(f"tile.{tile.key}")),
                w.text_cell(w.report.currency if tile.unit is Unit.MONEY else tile.unit.value),
                w.money_cell(None if _unknown(w, tile) else tile.value),
                w.money_cell(tile.change.previous if tile.change and not _unknown(w, tile) else None),
                w.money_cell(tile.change.difference if tile.change and not _unknown(w, tile) else None),
                w.change_cell(None if _unknown(w, tile) else tile.change),
            )
            for tile in w.report.page_one.tiles
        ),
        empty=t("empty.no_data"),
    )


def marks(w: Wording) -> tuple[str, ...]:
    """Those of MARKS that are so, as they are printed."""
    origins = {row.origin for row in w.report.trust.origins if row.hours or row.cards}
    if w.report.trust.assumed_prices:
        origins.add("assumed")
    if w.report.copy is not None:
        origins.update(w.report.copy.marks)
    return tuple(w.t(f"mark.{word}") for word in MARKS if word in origins)


def notices(w: Wording) -> tuple[Notice, ...]:
    """Warnings of page one, the gravest first."""
    trust, t = w.report.trust, w.t
    found = []
    if not trust.adds_up:
        found.append(Notice(t("notice.sum_check"), grave=True))
    if trust.missing_days:
        spans = w.spans(trust.missing_days)
        days = ", ".join(spans[:4]) + ("" if len(spans) <= 4 else " …")
        found.append(
            Notice(t("notice.missing_days", count=w.f.number(len(trust.missing_days)), days=days), True)
        )
    if trust.unpriced_hours:
        models = ", ".join(dict.fromkeys(plain(row.model) for row in trust.unpriced[:5]))
        key = "notice.unpriced" if models else "notice.unpriced_part"
        found.append(Notice(t(key, hours=w.f.number(trust.unpriced_hours), models=models), grave=True))
    if untariffed := w.report.bill.unpriced_kwh if w.report.bill else None:
        found.append(Notice(t("bill.unpriced", kwh=w.f.number(untariffed)), grave=True))
    if trust.foreign:
        listed = ", ".join(plain(row.currency) for row in trust.foreign)
        found.append(Notice(t("notice.foreign", currencies=listed), grave=True))
    for origin in ("simulated", "imported"):
        hours = sum((row.hours for row in trust.origins if row.origin == origin), Decimal(0))
        if hours and w.report.total.hours:
            part = w.f.percent_plain(hours / w.report.total.hours)
            found.append(Notice(t(f"notice.{origin}", ratio=part)))
    if trust.assumed_prices:
        cost = sum((row.cost for row in trust.assumed_prices), Decimal(0))
        found.append(Notice(t("notice.assumed", cost=w.f.money_short(cost))))
    if w.report.status is Status.PROVISIONAL:
        found.append(Notice(t("notice.provisional")))
    return tuple(found)
