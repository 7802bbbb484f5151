"""A shared charge back to its policy, formula, weights and rows: ``ullage-report explain shared/PERIOD/DEPARTMENT``.

What a department was given, or gave, in a period, rule by rule and price by price; everything is worked out again from the published
days, for everybody, and this department's part is told. The id is in a statement's file of shared costs and in FOCUS (x_LineId, before
its #). Not here: lines of the ledger (explain.py).
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.published import Manifest, Published
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.plain import plain
from ullage_reports import bill, period
from ullage_reports.closed_settings import policies_of
from ullage_reports.cost_policy import CostPolicy, Stretch
from ullage_reports.currencies import currency_of
from ullage_reports.period import Period, PeriodKind
from ullage_reports.shared_costs import Lot, Pool

SCHEMA_VERSION: Final = 1
"""Of the JSON form."""
PREFIX: Final = "shared/"
WEIGHTS: Final = 12
"""our choice: a page for people names the dozen heaviest; JSON has all."""
_KINDS: Final = {
    PeriodKind.QUARTERLY: r"[0-9]{4}-Q[1-4]",
    PeriodKind.WEEKLY: r"[0-9]{4}-W[0-9]{2}",
    PeriodKind.DAILY: r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    PeriodKind.MONTHLY: r"[0-9]{4}-[0-9]{2}",
    PeriodKind.YEARLY: r"[0-9]{4}",
}


@dataclass(frozen=True, slots=True)
class Part:
    """What one rule of one version moved for the department. atoms: below 0 where it gave. lots: by price, the same way round.

    pool: what was shared out by weights; None where the rule has none. others: who was on the other side, by atoms.
    """

    stretch: Stretch
    method: str
    atoms: int
    lots: Mapping[Lot, int]
    others: Mapping[str, int]
    pool: Pool | None


@dataclass(frozen=True, slots=True)
class SharedExplanation:
    """A charge with what it stands on. days: the published revisions it was worked out from."""

    charge_id: str
    department: str
    period: Period
    currency: str
    parts: tuple[Part, ...]
    days: tuple[Manifest, ...]

    @property
    def atoms(self) -> int:
        return sum(part.atoms for part in self.parts)


def run(
    published: Published,
    charge_id: str,
    policies: Sequence[CostPolicy],
    *,
    zone: str,
    currency: str | None,
    as_json: bool,
    verify: bool = True,
    fiscal_start: int = 1,
) -> None:
    """Print what a charge is. Raises BadInput for an id that is none and for a department nothing was shared with."""
    found = explain(
        published,
        charge_id,
        policies,
        zone=zone,
        currency=currency,
        verify=verify,
        fiscal_start=fiscal_start,
    )
    if as_json:
        sys.stdout.write(json.dumps(to_json(found), ensure_ascii=False, indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{name:<12}{said}\n" for name, said in page(found)))


def explain(
    published: Published,
    charge_id: str,
    policies: Sequence[CostPolicy],
    *,
    zone: str,
    currency: str | None = None,
    verify: bool = True,
    fiscal_start: int = 1,
) -> SharedExplanation:
    """See ``run``. policies: as report.toml has them now; a closed period's are those its statement was made with. fiscal_start:
    month that quarters and years are counted from."""
    span, department = _parsed(charge_id, zone, fiscal_start)
    with published.open(span.start, span.end, verify=verify) as facts:
        chosen = currency_of(facts, currency or None)
        held = policies_of(facts.closing, published.root.parent, policies)
        shared = bill.charged(facts, span, chosen, held).shared
        days = facts.days
    pools = {(pool.stretch, pool.method): pool for pool in shared.pools}
    lots: dict[tuple[Stretch, str], dict[Lot, int]] = defaultdict(lambda: defaultdict(int))
    others: dict[tuple[Stretch, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for move in shared.moves:
        for payer, other, sign in ((move.taker, move.giver, 1), (move.giver, move.taker, -1)):
            if payer.department == department:
                lots[move.stretch, move.method][move.lot] += sign * move.atoms
                others[move.stretch, move.method][other.department] += sign * move.atoms
    if not lots:
        told = ", ".join(sorted({s.policy.policy_id for s in shared.stretches}))
        raise BadInput(
            f"{charge_id}: nothing was shared with {department} in {span.label} under policy {told}; the ids there are stand in the "
            "statement's file of shared costs"
        )
    parts = tuple(
        Part(
            stretch,
            method,
            sum(by.values()),
            dict(by),
            dict(others[stretch, method]),
            pools.get((stretch, method)),
        )
        for (stretch, method), by in lots.items()
    )
    return SharedExplanation(f"{PREFIX}{span.label}/{department}", department, span, chosen, parts, days)


def to_json(found: SharedExplanation) -> dict[str, Any]:
    """Everything, exact numbers as texts."""
    return {
        "schema_version": SCHEMA_VERSION,
        "charge_id": found.charge_id,
        "department": found.department,
        "period": {"label": found.period.label, "zone": found.period.zone},
        "currency": found.currency,
        "cost": _money(found.atoms),
        "cost_atoms": str(found.atoms),
        "parts": [_part(found, part) for part in found.parts],
        "days": [
            {"day": str(day.day), "revision": day.revision, "status": day.status, "digest": day.digest}
            for day in found.days
        ],
    }


def page(found: SharedExplanation) -> list[tuple[str, str]]:
    """Name and sentence, in the order a person asks."""
    lines = [
        ("charge", plain(found.charge_id)),
        ("when", f"{found.period.label} in {found.period.zone}"),
        (
            "cost",
            f"{_money(found.atoms)} {found.currency}, exactly {found.atoms} atoms ({ledger.ATOMS_PER_UNIT} a unit)",
        ),
    ]
    for part in found.parts:
        policy = part.stretch.policy
        lines += [
            ("", ""),
            ("rule", f"{part.method} of policy {plain(policy.policy_id)} ({policy.digest})"),
            ("held", f"{_instant(part.stretch.start)} to {_instant(part.stretch.end)}"),
            ("formula", _formula(found, part)),
        ]
        if part.pool is not None:
            lines += [("weight", said) for said in _weights(part.pool, found.department)]
        lines += [
            (
                "price",
                f"{_hours(lot, atoms)} card-hours {lot.state.replace('_', ' ')} of {plain(lot.model)} x "
                f"{ledger.price_decimal(lot.price_micro)} (price {lot.price_id}) = {_money(atoms)} {found.currency}",
            )
            for lot, atoms in sorted(part.lots.items())
        ]
        lines.append(("rows", _rows(part)))
    revisions = {(day.revision, day.status) for day in found.days}
    lines += [
        ("", ""),
        (
            "data",
            f"{len(found.days)} published days, {len(revisions)} kinds of revision; --json names each with its digest",
        ),
    ]
    return lines


def _formula(found: SharedExplanation, part: Part) -> str:
    if part.pool is not None and part.atoms >= 0:
        of = sum(part.pool.weights.values(), Fraction(0))
        weight = part.pool.weights.get(found.department, Fraction(0))
        return f"{_money(part.pool.atoms)} {found.currency} x {_decimal(weight)} / {_decimal(of)} = {_money(part.atoms)} {found.currency}"
    way = "given to" if part.atoms < 0 else "taken from"
    told = ", ".join(
        f"{plain(name)} {_money(abs(atoms))}"
        for name, atoms in sorted(part.others.items(), key=lambda i: -abs(i[1]))[:WEIGHTS]
    )
    return f"{_money(part.atoms)} {found.currency}: {way} {told}"


def _weights(pool: Pool, department: str) -> list[str]:
    """The heaviest departments and this one, as shares of 1."""
    of = sum(pool.weights.values(), Fraction(0))
    heaviest = sorted(pool.weights.items(), key=lambda item: (-item[1], item[0]))
    kept = [item for n, item in enumerate(heaviest) if n < WEIGHTS or item[0] == department]
    said = [f"{plain(name)} {_decimal(weight / of)}" for name, weight in kept]
    if len(kept) < len(heaviest):
        said.append(f"and {len(heaviest) - len(kept)} more; --json has all")
    return said


def _rows(part: Part) -> str:
    states = sorted({lot.state for lot in part.lots})
    prices = sorted({str(lot.price_id) for lot in part.lots})
    return (
        f"segments of those days with state {' or '.join(states)} and price {', '.join(prices)}, "
        f"from {_instant(part.stretch.start)} to {_instant(part.stretch.end)}"
    )


def _part(found: SharedExplanation, part: Part) -> dict[str, Any]:
    pool = part.pool
    return {
        "policy": {
            "id": part.stretch.policy.policy_id,
            "digest": part.stretch.policy.digest,
            "words": part.stretch.policy.words,
        },
        "from": _instant(part.stretch.start),
        "to": _instant(part.stretch.end),
        "method": part.method,
        "formula": _formula(found, part),
        "cost": _money(part.atoms),
        "cost_atoms": str(part.atoms),
        "pool": None
        if pool is None
        else {
            "states": list(pool.states),
            "card_hours": str(ledger.hours_exact(pool.quantity)),
            "cost": _money(pool.atoms),
            "cost_atoms": str(pool.atoms),
            "weights": {name: str(weight) for name, weight in sorted(pool.weights.items())},
        },
        "others": {name: str(atoms) for name, atoms in sorted(part.others.items())},
        "lots": [
            {
                "vendor": lot.vendor,
                "model": lot.model,
                "cluster": lot.cluster,
                "state": lot.state,
                "price_id": lot.price_id,
                "price_per_card_hour": str(ledger.price_decimal(lot.price_micro)),
                "card_hours": _hours(lot, atoms),
                "cost": _money(atoms),
                "cost_atoms": str(atoms),
            }
            for lot, atoms in sorted(part.lots.items())
        ],
    }


def _parsed(charge_id: str, zone: str, fiscal_start: int) -> tuple[Period, str]:
    """The period and the department an id names; what stands behind a # is FOCUS's number."""
    label, slash, department = charge_id.removeprefix(PREFIX).partition("#")[0].partition("/")
    period.zone_info(zone)
    for kind, pattern in _KINDS.items():
        if charge_id.startswith(PREFIX) and slash and department and re.fullmatch(pattern, label):
            try:
                return period.parse(kind, label, zone, fiscal_start), department
            except ConfigError as e:
                raise BadInput(
                    f"{charge_id[:100]!r}: there is no period {label}; write e.g. {PREFIX}2026-10/{department[:60]}"
                ) from e
    raise BadInput(
        f"{charge_id[:100]!r} is no shared charge; write {PREFIX}PERIOD/DEPARTMENT, e.g. {PREFIX}2026-10/rd/cv"
    )


def _hours(lot: Lot, atoms: int) -> str:
    if not lot.price_micro:
        return "0.00"
    sign = "-" if atoms < 0 else ""
    return sign + str(ledger.hours_exact(abs(atoms) // lot.price_micro, 6))


def _money(atoms: int) -> str:
    """To twelve decimals, half up."""
    return str(Decimal(ledger.half_up(atoms * 10**12, ledger.ATOMS_PER_UNIT)).scaleb(-12))


def _decimal(number: Fraction) -> str:
    """A weight for people: six decimals of a small one, whole of a large one."""
    if number >= 1000:
        return str(int(number))
    return str(Decimal(ledger.half_up(number.numerator * 10**6, number.denominator)).scaleb(-6))


def _instant(at: Any) -> str:
    return str(at.isoformat().replace("+00:00", "Z"))
