"""Findings and incidents as proposals in money, and what each counts that no other counts already.

A month's money is the finding's cost a day, which is at the ledger's prices, times the days of a month, exactly; the formula
is kept. Two proposals may mean the same share of the same card: the one whose kind stands earlier in the rules counts it.

Pure: rows in, proposals out. Not here: reading the store (reading.py), what becomes of them (book.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final

from ullage_collector.ledger import (
    ATOMS_PER_UNIT,
    NANO,
    PLATFORM,
    UNMAPPED,
    cost_atoms,
    formatted,
    quantity,
    rounded,
)
from ullage_collector.prices import PriceBook
from ullage_collector.recommendations.kinds import Kind, Rules
from ullage_contract.errors import LedgerError

DAY_US: Final = 86_400_000_000
Claim = tuple[str, str]
"""A card and who holds that share of it ("" for what nobody holds), or a pool and ""."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An open finding, as table ``finding`` has it."""

    finding_id: int
    kind: str
    family: str
    subject: str
    evidence: Mapping[str, Any]
    confidence: float
    owner: str | None
    action: str | None


@dataclass(frozen=True, slots=True)
class Fault:
    """An open confirmed incident that took a card or a node. cluster None: not said."""

    incident_id: int
    family: str
    subject: str
    cluster: str | None
    cause: str


@dataclass(frozen=True, slots=True)
class Held:
    """A share of a card that a workload holds. card None: one of its node's, nobody knows which.

    names: the workload's id, and those of the jobs of several workloads that it may be part of (detect/gang.py).
    """

    workload: str
    card: str | None
    node: str | None
    share_nano: int
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Owned:
    """A card that is owned, with what its price goes by."""

    card: str
    cluster: str | None
    node: str | None
    model: str
    pool: str | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """What proposals are weighed with, as of one instant."""

    held: Sequence[Held]
    owned: Mapping[str, Owned]
    prices: PriceBook
    now_us: int

    def price_micro(self, card: str | None) -> tuple[int, str] | None:
        """What an hour of the card costs now, and in which currency; None: not owned, or nobody gave a price."""
        owned = None if card is None else self.owned.get(card)
        if owned is None:
            return None
        place = {"cluster": owned.cluster, "node": owned.node, "card": owned.card}
        price = self.prices.at(owned.model, owned.pool, self.now_us, **place)
        return None if price is None else (price.price_micro, price.currency)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One recommendation to be. month, counted: atoms of the currency, None: not known; counted is part of month.

    claims: weight of each share it means; shared_with: (kind, subject) of those that count some of it already.
    evidence: {"findings", "incidents", "workloads", "cards"}: numbers and names.
    """

    kind: Kind
    family: str
    subject: str
    cluster: str | None
    department: str | None
    owner: str | None
    confidence: float
    currency: str | None
    month: int | None
    formula: str
    unpriced: int
    evidence: Mapping[str, Any]
    claims: Mapping[Claim, int] = field(default_factory=dict)
    counted: int | None = None
    shared_with: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What there is one recommendation of. A node's name is its cluster's alone."""
        scope = (self.cluster or "") if self.family == "node" else ""
        return self.kind.name, self.family, scope, self.subject


def propose(
    findings: Iterable[Finding],
    faults: Iterable[Fault],
    fleet: Fleet,
    rules: Rules,
    standing: Collection[int] = (),
) -> list[Proposal]:
    """A proposal for each kind and subject; several findings of one subject are one proposal. Nothing is counted yet.

    Of several findings the dearest says the money: causes of one wait do not add up. standing: findings that are a
    recommendation already, and stay one while they are open, whatever they suggest by now. Raises nothing: what cannot be
    read as money is not known.
    """
    found: dict[tuple[str, str, str, str], Proposal] = {}
    for finding in findings:
        kind = rules.of_finding(finding.kind, finding.action)
        if kind is None and finding.finding_id in standing:
            kind = rules.alone(finding.kind)
        if kind is None:
            continue
        _take(found, _of_finding(finding, kind, fleet, rules))
    mending = [kind for kind in rules.kinds.values() if kind.incidents]
    for kind in mending:
        for fault in faults:
            _take(found, _of_fault(fault, kind, fleet, rules))
    return list(found.values())


def counted(proposals: Iterable[Proposal], rules: Rules) -> list[Proposal]:
    """The proposals in their precedence, each with what of its money no earlier one counts."""
    rank = {name: place for place, name in enumerate(rules.precedence)}
    taken: dict[Claim, Proposal] = {}
    done = []
    for one in sorted(proposals, key=lambda p: (rank[p.kind.name], -(p.month or 0), p.key)):
        left = sum(weight for claim, weight in one.claims.items() if claim not in taken)
        whole = sum(one.claims.values())
        others = {taken[claim].key for claim in one.claims if claim in taken}
        amount = one.month
        if amount is not None and others:
            amount = amount * left // whole if whole else 0  # down: never more than is there
        done.append(
            replace(
                one,
                counted=amount,
                shared_with=tuple(sorted((kind, subject) for kind, _, _, subject in others)),
            )
        )
        if one.month is not None:
            taken.update((claim, one) for claim in one.claims if claim not in taken)
    return done


def _take(found: dict[tuple[str, str, str, str], Proposal], one: Proposal) -> None:
    before = found.get(one.key)
    if before is None:
        found[one.key] = one
        return
    dearer = one if (one.month or -1) > (before.month or -1) else before
    evidence = {
        name: sorted({*before.evidence.get(name, ()), *one.evidence.get(name, ())})
        for name in sorted({*before.evidence, *one.evidence})
    }
    claims = {**before.claims, **one.claims}
    found[one.key] = replace(dearer, evidence=evidence, claims=claims)


# ------------------------------------------------------------------------------- money
def _of_finding(finding: Finding, kind: Kind, fleet: Fleet, rules: Rules) -> Proposal:
    said = finding.evidence
    currency, month, formula = _month(said, kind, rules)
    cluster = said.get("cluster") if isinstance(said.get("cluster"), str) else None
    department = said.get("department") if isinstance(said.get("department"), str) else None
    if department is None and finding.owner == PLATFORM:
        department = PLATFORM
    return Proposal(
        kind=kind,
        family=finding.family,
        subject=_subject(finding),
        cluster=cluster,
        department=department,
        owner=finding.owner if finding.owner != UNMAPPED else None,
        confidence=finding.confidence,
        currency=currency,
        month=month,
        formula=formula,
        unpriced=_whole(said.get("cards_without_price")),
        evidence={"findings": [finding.finding_id], **_meant(finding, fleet)},
        claims=_claims(finding, fleet),
    )


def _month(said: Mapping[str, Any], kind: Kind, rules: Rules) -> tuple[str | None, int | None, str]:
    """Currency, atoms a month, and how that comes about; None: not known."""
    key = next((key for key in kind.money if isinstance(said.get(key), Mapping)), None)
    costs: Mapping[str, Any] = {} if key is None else said[key]
    read = {str(name): _money(text) for name, text in costs.items()}
    known = {name: amount for name, amount in read.items() if amount is not None}
    if not known:
        return None, None, "what it saves is not known"
    currency, a_day = min(known.items())
    ratio, factors = kind.saved_ratio, []
    if kind.saved_ratio != 1:
        factors.append(f" x {kind.saved_ratio} believed to be saved")
    if kind.less is not None:
        works = _ratio(said.get(kind.less))
        if works is None:
            return None, None, f"what it saves is not known: nobody knows its {kind.less}"
        ratio *= 1 - works
        factors.append(f" x (1 - {_text(works)} {kind.less})")
    if kind.part_of is not None:
        part, whole = (_number(said.get(name)) for name in kind.part_of)
        if part is None or not whole:
            return None, None, f"what it saves is not known: nobody knows its {kind.part_of[0]}"
        ratio *= min(Fraction(1), part / whole)
        factors.append(f" x {_text(part)} {kind.part_of[0]} / {_text(whole)} {kind.part_of[1]}")
    exact = a_day * ATOMS_PER_UNIT * rules.days_a_month * ratio
    others = [name for name in known if name != currency]
    rest = f"; what is priced in {', '.join(others)} is not in it" if others else ""
    printed = (
        f"{costs[currency]} {currency} a day ({key}) x {rules.days_a_month} days{''.join(factors)}{rest}"
    )
    return currency, exact.numerator // exact.denominator, printed


def _of_fault(fault: Fault, kind: Kind, fleet: Fleet, rules: Rules) -> Proposal:
    """A card or node out of order: all its cards cost until it is mended."""
    if fault.family == "card":
        cards = [fault.subject]
    else:
        cards = sorted(
            name
            for name, owned in fleet.owned.items()
            if owned.node == fault.subject and fault.cluster in (None, owned.cluster)
        )
    prices = {card: fleet.price_micro(card) for card in cards}
    currency = min((price[1] for price in prices.values() if price is not None), default=None)
    priced = [price[0] for price in prices.values() if price is not None and price[1] == currency]
    a_day = sum(cost_atoms(quantity(NANO, 0, DAY_US), micro) for micro in priced)
    month = None
    formula = "what it saves is not known: no card of it has a price"
    if currency is not None:
        exact = a_day * rules.days_a_month * kind.saved_ratio
        month = exact.numerator // exact.denominator
        formula = (
            f"{len(priced)} card{'' if len(priced) == 1 else 's'}, {formatted(rounded(a_day, currency), grouped=False)} {currency} a day at the prices of now "
            f"x {rules.days_a_month} days"
        )
        if kind.saved_ratio != 1:
            formula += f" x {kind.saved_ratio} believed to be saved"
    claims: dict[Claim, int] = {}
    for card in cards:
        claims.update(_whole_card(card, fleet))
    return Proposal(
        kind=kind,
        family=fault.family,
        subject=fault.subject,
        cluster=fault.cluster,
        department=PLATFORM,
        owner=PLATFORM,
        confidence=1.0,
        currency=currency,
        month=month,
        formula=formula,
        unpriced=len(cards) - len(priced),
        evidence={"incidents": [fault.incident_id], "cards": cards},
        claims=claims,
    )


# ------------------------------------------------------------------------------- what is meant
def _subject(finding: Finding) -> str:
    """What a recommendation is of. Findings of one pool or department that their key tells apart mean different cards."""
    key = finding.evidence.get("key")
    apart = finding.family in ("fleet", "department") and isinstance(key, str) and key
    return f"{finding.subject} {key}" if apart else finding.subject


def _meant(finding: Finding, fleet: Fleet) -> dict[str, list[str]]:
    """Workloads and cards of a finding by name: what is measured once it is done.

    Evidence names some workloads of a large job only; all that hold cards of it now are meant.
    """
    said = finding.evidence
    work = [name for name in _texts(said.get("workloads")) if name]
    if finding.family == "workload":
        work += [held.workload for held in fleet.held if finding.subject in held.names]
        work = work or [finding.subject]
    cards = [finding.subject] if finding.family == "card" else _texts(said.get("named"))
    return {name: sorted(set(some)) for name, some in (("workloads", work), ("cards", cards)) if some}


def _claims(finding: Finding, fleet: Fleet) -> dict[Claim, int]:
    """The shares a finding means, weighed by what they cost.

    A finding of a pool means its free cards, of which nobody says which: the pool itself is claimed.
    """
    if finding.family == "pool":
        return {(f"pool {finding.subject}", ""): 1}
    meant = _meant(finding, fleet)
    cards = set(meant.get("cards", ()))
    work = set(meant.get("workloads", ()))
    if finding.family == "card" and not work:
        return _whole_card(finding.subject, fleet)
    if finding.family == "node" and not work:
        found: dict[Claim, int] = {}
        cluster = finding.evidence.get("cluster")
        for name, owned in fleet.owned.items():
            if owned.node == finding.subject and cluster in (None, owned.cluster):
                found.update(_whole_card(name, fleet))
        return found
    claims: dict[Claim, int] = {}
    for held in fleet.held:
        if held.workload in work and (not cards or held.card is None or held.card in cards):
            claim = (held.card or f"node {held.node}", held.workload)
            claims[claim] = claims.get(claim, 0) + held.share_nano * _weight(held.card, fleet)
    return claims


def _whole_card(card: str, fleet: Fleet) -> dict[Claim, int]:
    """All shares of a card: its holders' and what is free."""
    weight = _weight(card, fleet)
    claims: dict[Claim, int] = {}
    for held in fleet.held:
        if held.card == card:
            claims[card, held.workload] = claims.get((card, held.workload), 0) + held.share_nano * weight
    free = NANO * weight - sum(claims.values())
    if free > 0:
        claims[card, ""] = free
    return claims


def _weight(card: str | None, fleet: Fleet) -> int:
    """By what a share counts against another: its price, 1 where nobody gave one."""
    price = fleet.price_micro(card)
    return price[0] if price is not None and price[0] else 1


# ------------------------------------------------------------------------------- reading evidence
def _money(text: object) -> Fraction | None:
    try:
        amount = Fraction(Decimal(str(text)))
    except (InvalidOperation, ValueError, OverflowError, LedgerError):
        return None
    return amount if amount >= 0 else None


def _number(value: object) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return _money(value)


def _ratio(value: object) -> Fraction | None:
    number = _number(value)
    return None if number is None else min(Fraction(1), number)


def _whole(value: object) -> int:
    """Cards of a count that may be a part of one: counted up, as one that is partly unpriced is not priced."""
    number = _number(value)
    return 0 if number is None else -(-number.numerator // number.denominator)


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []


def _text(value: Fraction) -> str:
    """Short and exact where the decimal ends, as evidence's do."""
    return format(Decimal(value.numerator) / Decimal(value.denominator), "f")
