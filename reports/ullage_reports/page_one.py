"""Page one, readable in 60 seconds: three sentences, five tiles (a sixth of a budget is the statement's), where each unit of money went."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from ullage_collector import ledger
from ullage_reports.model import Change, HolderRow, PageOne, Sentence, Tile, Unit
from ullage_reports.proposals import Proposals
from ullage_reports.reading import Figures, Reading
from ullage_reports.rounding import change, decimal_ratio


def page_one(
    reading: Reading,
    before: Figures | None,
    holders: tuple[HolderRow, ...],
    idle_workloads: int,
    proposed: Proposals | None = None,
) -> PageOne:
    """Page one. before: the figures of the period before, None where not all of it is published. proposed: what the ledger of
    recommendations has; where it knows of a saving, that is what is to be done."""
    total = reading.total
    held_idle = total.state_cost(ledger.ALLOCATED_IDLE)

    def against(value: Decimal | None, of: Callable[[Figures], Decimal | None]) -> Change | None:
        earlier = of(before) if before else None
        return None if value is None or earlier is None else change(value, earlier)

    tiles = (
        Tile("cost", Unit.MONEY, total.cost, against(total.cost, lambda f: f.rounding.total.cost), ""),
        Tile(
            "used_ratio",
            Unit.RATIO,
            total.used_ratio,
            against(total.used_ratio, lambda f: f.rounding.total.used_ratio),
            "up",
        ),
        Tile(
            "waste_cost",
            Unit.MONEY,
            total.waste_cost,
            against(total.waste_cost, lambda f: f.rounding.total.waste_cost),
            "down",
        ),
        Tile(
            "idle_held_cost",
            Unit.MONEY,
            held_idle,
            against(held_idle, lambda f: f.rounding.total.state_cost(ledger.ALLOCATED_IDLE)),
            "down",
        ),
        Tile(
            "trust_ratio",
            Unit.RATIO,
            reading.figures.trust_ratio,
            against(reading.figures.trust_ratio, lambda f: f.trust_ratio),
            "up",
        ),
    )
    changes: dict[str, Change] = {}
    if before:
        earlier = before.rounding.total
        changes = {s.state: change(s.cost, earlier.state_cost(s.state)) for s in total.states}
    return PageOne(
        sentences=(
            _cost_sentence(reading, tiles[0]),
            _waste_sentence(reading),
            _proposed(proposed) or _action(reading, holders, idle_workloads),
        ),
        tiles=tiles,
        states=total.states,
        state_changes=changes,
    )


def _cost_sentence(reading: Reading, tile: Tile) -> Sentence:
    if tile.change is None:
        return Sentence("cost", {"cost": reading.total.cost})
    return Sentence(
        "cost_change",
        {
            "cost": reading.total.cost,
            "previous": tile.change.previous,
            "difference": tile.change.difference,
            "ratio": tile.change.ratio,
        },
    )


def _waste_sentence(reading: Reading) -> Sentence:
    """By money; by hours where nothing is priced."""
    total = reading.total
    whole, part = total.cost, {s.state: s.cost for s in total.states}
    if not whole:
        whole, part = total.hours, {s.state: s.hours for s in total.states}
    waste = sum((part[state] for state in ledger.WASTE_STATES), Decimal(0))
    if not whole or not waste:
        return Sentence("no_waste", {})
    values: dict[str, Decimal | int | str | None] = {"ratio": decimal_ratio(waste, whole)}
    values.update({f"{state}_ratio": decimal_ratio(part[state], whole) for state in ledger.WASTE_STATES})
    return Sentence("waste", values)


def _proposed(proposed: Proposals | None) -> Sentence | None:
    """What the recommendations save together; None where nobody knows of any saving."""
    known = [row for row in proposed.standing if row.saving] if proposed is not None else []
    if proposed is None or not known:
        return None
    return Sentence(
        "proposals",
        {
            "count": len(known),
            "saving": proposed.saving,
            "kind": known[0].kind,
            "department": known[0].department or known[0].department_id,
        },
    )


def _action(reading: Reading, holders: tuple[HolderRow, ...], idle_workloads: int) -> Sentence:
    if not holders:
        return Sentence("no_action", {})
    return Sentence(
        "action",
        {
            "count": idle_workloads,
            "saving": reading.total.state_cost(ledger.ALLOCATED_IDLE),
            "department": holders[0].department,
            "workload": holders[0].workload_id,
        },
    )
