"""Who pays for every share of every card, stretch by stretch, exactly.

The window is cut wherever anything changes; within a stretch each card's share is used, idle, free, left over, out of
order, set aside or not known, and somebody pays for it. Nothing is rounded here (lines.py), and nothing is shared out
that nobody held (pool.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Final

from ullage_collector.ledger import (
    ALLOCATED_IDLE,
    FRAGMENTED,
    HELD_STATES,
    HOUR_US,
    ISOLATED,
    PLATFORM,
    UNALLOCATED_IDLE,
    UNMAPPED,
)
from ullage_reports.cost_sharing import NOTHING, unused_of
from ullage_reports.settle.activity import Stretch, Told, stretches
from ullage_reports.settle.energy import Draw, card_power, host_watts, job_power, tariff_at, watts_at
from ullage_reports.settle.shares import WHOLE, held_shares
from ullage_reports.settle.spans import Span, label_at
from ullage_reports.settle.world import Allocation, Price, World

ENERGY: Final = "energy"
CARD_HOURS: Final = "card_hours"
KWH: Final = "kWh"
SHARED: Final = "__shared__"
"""The department that carries what the policy loss_shared_by_all takes together, until another policy spreads it."""
OUT_OF_ORDER: Final = {"loss_shared_by_all": SHARED, "platform_pays_from_fault_onset": PLATFORM}
"""Policy -> who pays for a card that is out of order; with any other its holders do."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What is summed into one line."""

    period: str
    department: str
    cost_class: str
    unit: str = CARD_HOURS


@dataclass(slots=True)
class Amount:
    """quantity: in the key's unit. cost: currency units. Both exact."""

    quantity: Fraction = NOTHING
    cost: Fraction = NOTHING

    def add(self, quantity: Fraction, cost: Fraction) -> None:
        self.quantity += quantity
        self.cost += cost


@dataclass(frozen=True, slots=True)
class Saving:
    """What would not be paid if an idle holder were stopped. Instants in microseconds."""

    kind: str
    department: str
    job: str | None
    from_us: int
    quantity: Fraction
    cost: Fraction


@dataclass(slots=True)
class Book:
    """unpriced: (period, model or tariff) -> quantity without a price. unused: (period, department) -> unused guaranteed
    card-hours. savings: by allocation number and start of the idle stretch. estimated_kwh: energy nobody measured."""

    amounts: dict[Key, Amount] = field(default_factory=dict)
    unpriced: dict[tuple[str, str], Fraction] = field(default_factory=dict)
    unused: dict[tuple[str, str], Fraction] = field(default_factory=dict)
    savings: dict[tuple[int, int], Saving] = field(default_factory=dict)
    estimated_kwh: Fraction = NOTHING

    def add(self, key: Key, quantity: Fraction, cost: Fraction) -> None:
        if quantity or cost:
            self.amounts.setdefault(key, Amount()).add(quantity, cost)

    def missing(self, period: str, what: str, quantity: Fraction) -> None:
        if quantity:
            self.unpriced[period, what] = self.unpriced.get((period, what), NOTHING) + quantity


@dataclass(frozen=True, slots=True)
class Piece:
    """A share of one card over one stretch. held: by which allocation, None: nobody. began_us: start of its idle stretch."""

    card: str
    model: str
    state: str
    department: str
    share: Fraction
    held: Allocation | None = None
    began_us: int | None = None


def charge(world: World, cut: list[Span], lend: Callable[[World, list[Piece]], list[Piece]]) -> Book:
    """Every charge of the window. cut: its periods. lend: moves shares between borrowers and lenders (pool.lent)."""
    book = Book()
    walk = _Walk(world)
    for a, b in pairwise(walk.edges(cut)):
        hours = Fraction(b - a, HOUR_US)
        period = label_at(cut, a)
        pieces = walk.pieces(a)
        for department, cards in unused_cards(world, pieces).items():
            key = (period, department)
            book.unused[key] = book.unused.get(key, NOTHING) + cards * hours
        walk.charge_energy(book, period, a, hours, pieces)
        together: dict[tuple[str, str, str], list[Fraction]] = {}
        for piece in lend(world, pieces):
            together.setdefault((piece.model, piece.department, piece.state), []).append(piece.share)
            if piece.began_us is not None:
                walk.save(book, piece, a, hours)
        for (model, department, state), shares in together.items():
            quantity = sum(shares, NOTHING) * hours
            price = walk.price(model, a)
            if price is None:
                book.missing(period, model, quantity)
            else:
                book.add(Key(period, department, state), quantity, quantity * price.hourly)
    return book


def held_cards(pieces: Sequence[Piece]) -> dict[str, Fraction]:
    """Department -> cards it holds at this instant."""
    held: dict[str, Fraction] = {}
    for piece in pieces:
        if piece.state in HELD_STATES:
            held[piece.department] = held.get(piece.department, NOTHING) + piece.share
    return held


def unused_cards(world: World, pieces: Sequence[Piece]) -> dict[str, Fraction]:
    """Department -> guaranteed cards it does not hold at this instant."""
    if not world.quota:
        return {}
    return unused_of(held_cards(pieces), {name: quota.least for name, quota in world.quota.items()})


def department_at(world: World, held: Allocation, at_us: int) -> str:
    """Who pays for an allocation at an instant: as it says itself, else by the mapping, else nobody: unmapped.

    The highest priority wins, then the longer pattern, then the rule valid from later, then the one known later.
    """
    if held.department is not None:
        return held.department
    fitting = [
        rule
        for rule in world.rules
        if rule.from_us <= at_us
        and (rule.to_us is None or at_us < rule.to_us)
        and held.source in (None, rule.source)
        and fnmatchcase(held.namespace or "", rule.pattern)
    ]
    best = max(
        fitting,
        key=lambda r: (
            r.priority,
            len(r.pattern),
            r.from_us,
            r.known_us is not None,
            r.known_us or 0,
            r.department,
        ),
        default=None,
    )
    return best.department if best else UNMAPPED


class _Walk:
    """The world looked at instant by instant."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._by_start = sorted(world.allocations, key=lambda held: held.start_us)
        self._begun = 0
        self._holding: dict[int, Allocation] = {}
        told = Told(world)
        self._states = {held.number: stretches(world, held, told) for held in world.allocations}
        self._power: dict[str, tuple[Draw, ...]] = card_power(world) if world.tariffs else {}
        self._job_power = job_power(world) if world.tariffs else {}
        self._host = host_watts(world) if world.tariffs else {}
        self.price = cache(self._price)

    def edges(self, cut: list[Span]) -> list[int]:
        """Every instant of the window at which something may change."""
        world = self._world
        found: set[int | None] = {world.to_us}
        found.update(span.from_us for span in cut)
        for price in world.prices:
            found |= {price.from_us, price.to_us}
        for rule in world.rules:
            found |= {rule.from_us, rule.to_us}
        for draws in (*self._power.values(), *self._job_power.values()):
            for draw in draws:
                found |= {draw.from_us, draw.to_us}
        for held in world.allocations:
            found |= {held.start_us, held.end_us}
        for broken in world.health:
            found |= {broken.start_us, broken.end_us}
        for reading in world.telemetry:
            found |= {reading.start_us, reading.end_us}
        for tariff in world.tariffs:
            found |= {tariff.start_us, tariff.end_us}
        found.update(stop for number in self._states for _, stop in self._stops(number))
        return sorted(t for t in found if t is not None and world.from_us <= t <= world.to_us)

    def pieces(self, at_us: int) -> list[Piece]:
        """Every card's shares at an instant; they add up to 1 each. Instants come in order."""
        world = self._world
        out = self._out_of_order(at_us)
        while self._begun < len(self._by_start) and self._by_start[self._begun].start_us <= at_us:
            held = self._by_start[self._begun]
            self._holding[held.number] = held
            self._begun += 1
        for number in [
            n for n, held in self._holding.items() if held.end_us is not None and held.end_us <= at_us
        ]:
            del self._holding[number]
        holding = [self._holding[number] for number in sorted(self._holding)]
        shares = held_shares(world, at_us, holding, out)
        found: list[Piece] = []
        for card in world.cards:
            state, holders = out.get(card.card), shares[card.card]
            payer = OUT_OF_ORDER.get(world.policy.faulty)
            if state is not None and payer is not None:
                # the holders stay named: what their jobs still draw is drawn by this card
                parts = [(share, held) for held, share in holders if share]
                left = WHOLE - sum((share for share, _ in parts), NOTHING)
                found += [
                    Piece(card.card, card.model, state, payer, share, held)
                    for share, held in (*parts, (left, None))
                    if share
                ]
            else:
                found += self._held(card.card, card.model, state, holders, at_us)
        return found

    def _held(
        self,
        card: str,
        model: str,
        broken: str | None,
        holders: Sequence[tuple[Allocation, Fraction]],
        at_us: int,
    ) -> Iterator[Piece]:
        """Holders' shares and what is left. broken: the card is out of order and its holders pay all the same."""
        free = WHOLE
        for held, share in holders:
            if not share:
                continue
            free -= share
            stretch = self._stretch(held, at_us)
            owner = department_at(self._world, held, at_us)
            idle = stretch.state == ALLOCATED_IDLE and broken is None
            if idle and self._world.policy.allocated_idle != "department_pays":
                owner = PLATFORM
            yield Piece(
                card, model, broken or stretch.state, owner, share, held, None if broken else stretch.began_us
            )
        if free:
            yield Piece(
                card, model, broken or (UNALLOCATED_IDLE if free == 1 else FRAGMENTED), PLATFORM, free
            )

    def _stretch(self, held: Allocation, at_us: int) -> Stretch:
        states = self._states[held.number]
        return states[bisect_right(states, at_us, key=lambda s: s.from_us) - 1]

    def _out_of_order(self, at_us: int) -> dict[str, str]:
        """Card -> faulty or isolated; isolated goes before faulty."""
        found: dict[str, str] = {}
        for row in self._world.health:
            if (
                row.start_us <= at_us
                and (row.end_us is None or at_us < row.end_us)
                and found.get(row.card) != ISOLATED
            ):
                found[row.card] = row.state
        return found

    def _price(self, model: str, at_us: int) -> Price | None:
        """The price that is valid from latest, then known latest; None: nobody gave one, and nothing stands in for it."""
        holding = [
            p
            for p in self._world.prices
            if p.model == model and p.from_us <= at_us and (p.to_us is None or at_us < p.to_us)
        ]
        return max(
            holding,
            key=lambda p: (p.entered_us, p.known_us is not None, p.known_us or 0, p.hourly),
            default=None,
        )

    # ------------------------------------------------------------------------------- energy
    def charge_energy(
        self, book: Book, period: str, at_us: int, hours: Fraction, pieces: Sequence[Piece]
    ) -> None:
        """Each card's draw by the shares of those who pay for it; a job's own draw to the job."""
        if not self._world.tariffs:
            return
        tariff = tariff_at(self._world.tariffs, at_us)
        cards = Counter(piece.held.job for piece in pieces if piece.held is not None)
        for piece in pieces:
            watts, guessed = self._host.get(piece.card, NOTHING) * piece.share, NOTHING
            draw = watts_at(self._power.get(piece.card, ()), at_us)
            if draw is not None:
                watts += draw.watts * piece.share
                guessed = draw.watts * piece.share if draw.estimated else NOTHING
            job = piece.held.job if piece.held is not None and piece.card not in self._power else None
            own = watts_at(self._job_power.get(job, ()), at_us) if job is not None else None
            if own is not None:
                watts += own.watts / cards[job]
                guessed = own.watts / cards[job] if own.estimated else NOTHING
            kwh = watts * hours * self._world.pue / 1000
            book.estimated_kwh += guessed * hours * self._world.pue / 1000
            if tariff is None:
                book.missing(period, "tariff", kwh)
            else:
                book.add(Key(period, piece.department, ENERGY, KWH), kwh, kwh * tariff.per_kwh)

    # ------------------------------------------------------------------------------- savings
    def _stops(self, number: int) -> list[tuple[int, int]]:
        """(start of an idle stretch, when a holder warned at the end of the window would have been stopped)."""
        policy = self._world.policy
        began = sorted({s.began_us for s in self._states[number] if s.began_us is not None})
        return [(start, start + policy.idle_window_us + policy.warn_us) for start in began]

    def save(self, book: Book, piece: Piece, at_us: int, hours: Fraction) -> None:
        """Idle time after the stop is what a recommendation would save. Serving waits for requests: it is left alone."""
        held, began, price = piece.held, piece.began_us, self.price(piece.model, at_us)
        if held is None or began is None or price is None or held.scenario == "inference":
            return
        stop = dict(self._stops(held.number))[began]
        if at_us < stop:
            return
        key = (held.number, began)
        saved = book.savings.get(key) or Saving(
            f"reclaim_idle_{held.kind or 'workload'}", piece.department, held.job, stop, NOTHING, NOTHING
        )
        quantity = piece.share * hours
        book.savings[key] = replace(
            saved, quantity=saved.quantity + quantity, cost=saved.cost + quantity * price.hourly
        )
