"""What moved on an unusual day: its difference from the expected, taken apart so that the parts add up to it exactly.

The day is held against the ordinary day most like what was expected. What that one differs from the expected by is a part of
its own (``usual``). A part is what a price change made of the hours of the day, what a group of workloads held more or less
(at the prices of the ordinary day), what idled, what was out of order, cards that came or went, or what was free.

Pure, in integers. Not here: which day is unusual (anomaly.py), and reading lines (anomalies.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ullage_collector.ledger import ALLOCATED_IDLE, FAULTY, FRAGMENTED, ISOLATED, PLATFORM

PRICE: Final = "price"
CAME: Final = "cards_came"
WENT: Final = "cards_went"
INCIDENT: Final = "incident"
IDLE: Final = "idle"
WORK: Final = "work"
FREE: Final = "free"
PARTLY: Final = "partly_free"
USUAL: Final = "usual"
REST: Final = "rest"
KINDS: Final = (PRICE, CAME, WENT, INCIDENT, IDLE, WORK, FREE, PARTLY, USUAL, REST)


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of a day that are alike. price None: none. alone: on cards that are not there on the other day. incident None: none.
    example: the workload of it that held most."""

    department: str
    scenario: str
    vendor: str
    model: str
    pool: str
    state: str
    work: str
    price: int | None
    alone: bool
    incident: int | None
    example: str | None
    quantity: int
    atoms: int

    @property
    def sold(self) -> tuple[str, str, str]:
        """What its price goes by."""
        return self.vendor, self.model, self.pool


@dataclass(frozen=True, slots=True, order=True)
class Cause:
    """One part of a difference. name: a group of workloads, a model, an incident's number, a day; "" for the rest."""

    kind: str
    name: str
    department: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A cause with what it makes of the difference. example: a workload of it, None where it is no work."""

    cause: Cause
    amount: int
    example: str | None


def parts(
    day: Sequence[Part],
    other: Sequence[Part],
    expected: int,
    *,
    of_hours: bool = False,
    usual: str = "",
) -> list[Moved]:
    """What makes up (the day's sum - expected), the largest first; together exactly that.

    day: all lines of the unusual day, other: those of the ordinary one, () where there is none. of_hours: quantities in place of
    money. usual: name of the ordinary day.
    """
    amounts: dict[Cause, int] = defaultdict(int)
    examples: dict[Cause, tuple[int, str]] = {}
    before = {} if of_hours else _prices(other)
    for sign, lines in ((1, day), (-1, other)):
        for part in lines:
            value = part.quantity if of_hours else part.atoms
            if sign > 0 and not of_hours and part.price is not None and part.sold in before:
                changed = part.quantity * (part.price - before[part.sold])
                if part.atoms and changed:
                    amounts[Cause(PRICE, f"{part.vendor}/{part.model}", "")] += changed
                    value -= changed
            elif sign < 0 and not of_hours and part.price is not None and part.atoms:
                odd = part.quantity * (part.price - before[part.sold])  # it had several prices that day
                if odd:
                    amounts[Cause(PRICE, f"{part.vendor}/{part.model}", "")] -= odd
                    value -= odd
            cause = _cause(part, sign)
            amounts[cause] += sign * value
            if part.example and cause.kind in (WORK, IDLE):
                examples[cause] = max(examples.get(cause, (0, "")), (part.quantity, part.example))
    total = sum(part.quantity if of_hours else part.atoms for part in other)
    amounts[Cause(USUAL, usual, "")] += total - expected
    return [
        Moved(cause, amount, examples[cause][1] if cause in examples else None)
        for cause, amount in sorted(amounts.items(), key=lambda item: (-abs(item[1]), item[0]))
        if amount
    ]


def together(days: Iterable[Sequence[Moved]], most: int) -> list[Moved]:
    """The causes of several days as one list of at most ``most`` and a rest; together exactly what all of them are."""
    amounts: dict[Cause, int] = defaultdict(int)
    examples: dict[Cause, str | None] = {}
    for some in days:
        for one in some:
            amounts[_joined(one.cause)] += one.amount
            examples.setdefault(_joined(one.cause), one.example)
    whole = sum(amounts.values())
    ranked = sorted(amounts.items(), key=lambda item: (-abs(item[1]), item[0]))
    named = [(cause, amount) for cause, amount in ranked if amount and cause.kind != USUAL][:most]
    rest = whole - sum(amount for _, amount in named)
    found = [Moved(cause, amount, examples[cause]) for cause, amount in named]
    return [*found, Moved(Cause(REST, "", ""), rest, None)] if rest or not found else found


def _joined(cause: Cause) -> Cause:
    return Cause(USUAL, "", "") if cause.kind == USUAL else cause


def _prices(lines: Iterable[Part]) -> Mapping[tuple[str, str, str], int]:
    """What an hour of each kind of cards cost that day; the price most of its hours had where there were several."""
    hours: dict[tuple[str, str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for part in lines:
        if part.price is not None and part.atoms:
            hours[part.sold][part.price] += part.quantity
    return {
        sold: max(prices.items(), key=lambda item: (item[1], item[0]))[0] for sold, prices in hours.items()
    }


def _cause(part: Part, sign: int) -> Cause:
    model = f"{part.vendor}/{part.model}"
    if part.state in (FAULTY, ISOLATED):
        return Cause(INCIDENT, "" if part.incident is None else str(part.incident), "")
    if part.alone:
        return Cause(CAME if sign > 0 else WENT, model, "")
    if part.department == PLATFORM:
        return Cause(PARTLY if part.state == FRAGMENTED else FREE, model, "")
    return Cause(IDLE if part.state == ALLOCATED_IDLE else WORK, part.work, part.department)
