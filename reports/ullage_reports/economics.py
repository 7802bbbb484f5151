"""What work cost: by job, by card-hour used, by what cards computed at most, and by tokens and requests that were served.

Money is the period's capacity (seven states x price), as in the tables by model. What cards computed is an estimate and says so: a peak
that a document names (peaks.py) times how long the matrix units were active; where a maker shows those of no card, how long the compute
units were, which is weaker: a unit that waits for memory counts as active. A figure whose parts are not known is None, never 0.
Not here: how it is printed (economics_tables.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from ullage_collector import ledger
from ullage_collector.ledger import HELD_STATES, USED
from ullage_reports.model import HeldAmounts, WorkloadRow
from ullage_reports.peaks import Peak, peak_of, shipped
from ullage_reports.reading import Reading
from ullage_reports.rounding import Sums, hours_decimal, ratio
from ullage_reports.sql import statements

TOP: Final = 50
"""Jobs and serving workloads that are listed. our choice: as other ranked lists."""
LEAST_COVERED: Final = Fraction(1, 2)
"""Of what a model's cards were held, how much has to be measured. our choice: because what most of it did is not told by less."""
LEAST_KNOWN_SECONDS: Final = 3240
"""Of an hour, for its requests to count. our choice: nine tenths; an hour counted by half would double the price of a token."""
RATE_DIGITS: Final = 2
"""Decimals of a rate below the currency's minor unit, as effective prices have."""
LEAST_UNLISTED: Final = Decimal("0.1")
"""Card-hours by which the listed rows of a job may differ from it. our choice: what fitting them to a total moves is hundredths."""
DAY_SECONDS: Final = 86_400


class Signal(StrEnum):
    """By what activity was measured: tensor is the matrix units (tensor, cube, MFMA); sm the compute units, a weaker estimate."""

    TENSOR = "tensor"
    SM = "sm"


@dataclass(frozen=True, slots=True)
class ScenarioJobs:
    """Jobs of one scenario. jobs: that held cards. unpriced: without a price for all their hours; in none of the other figures.

    cost: together. median: the middle one's cost, the lower of two; used_hour_cost: cost over used card-hours. None: nothing to divide by.
    """

    scenario: str
    jobs: int
    unpriced: int
    cost: Decimal
    median: Decimal | None
    used_hour_cost: Decimal | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """One of the dearest jobs; its cost is of this period alone. cards: distinct ones. used_hour_cost None: it used none."""

    workload_id: str
    name: str | None
    scenario: str
    department_id: str
    department: str
    cards: int
    cost: Decimal
    held_hours: Decimal
    used_hours: Decimal
    used_hour_cost: Decimal | None


@dataclass(frozen=True, slots=True)
class ComputeRow:
    """One model, or with model None all of one maker.

    cost: of all its hours, also free ones. used_hour_cost: that over its used hours: the effective price. covered_ratio: of what was held,
    how much was measured. active_ratio: how much of that the units of ``signal`` were active. peak_tflops: of one card, and source: who says
    so. pflop_days: peak x active time, of what was measured. pflop_day_cost: the same part of the cost over it. None: not known.
    """

    vendor: str
    model: str | None
    cost: Decimal
    used_hours: Decimal
    used_hour_cost: Decimal | None
    covered_ratio: Decimal | None
    signal: Signal | None
    active_ratio: Decimal | None
    peak_tflops: Decimal | None
    source: str | None
    pflop_days: Decimal | None
    pflop_day_cost: Decimal | None


@dataclass(frozen=True, slots=True)
class ServedRow:
    """One serving workload, or with workload_id None all of them, over the hours whose requests are known.

    hours: how many. requests, tokens (prompt and generated): in them; None: not known. thousand_requests, million_tokens,
    million_generated: what those cost, all of the cost put on each.
    """

    workload_id: str | None
    department_id: str | None
    department: str | None
    business: str | None
    hours: int
    cost: Decimal | None
    requests: int | None
    prompt_tokens: int | None
    generated_tokens: int | None
    thousand_requests: Decimal | None
    million_tokens: Decimal | None
    million_generated: Decimal | None


@dataclass(frozen=True, slots=True)
class Economics:
    """scenarios and jobs: the dearest first. models, makers: by cost. served: by cost, the last row all of them; empty: nothing is known.

    used_hour_cost: all cost of models that are priced over their used hours. estimated: figures by PFLOP-day are shown, and they are estimates.
    """

    used_hour_cost: Decimal | None
    scenarios: tuple[ScenarioJobs, ...]
    jobs: tuple[JobRow, ...]
    models: tuple[ComputeRow, ...]
    makers: tuple[ComputeRow, ...]
    served: tuple[ServedRow, ...]

    @property
    def estimated(self) -> bool:
        return any(row.pflop_day_cost is not None for row in self.models)


@dataclass(frozen=True, slots=True)
class _Computed:
    """A model's sums, exactly. times in microseconds of a card; priced: all of its hours, in the report's currency; flop_days: PFLOP-days; part: the cost of what was measured."""

    sums: Sums
    covered_us: int
    measured_us: int
    active_us: int
    signal: Signal | None
    peak: Peak | None
    priced: bool

    @property
    def held_us(self) -> int:
        return sum(self.sums.quantity[state] for state in HELD_STATES) // ledger.NANO

    @property
    def flop_days(self) -> Fraction | None:
        if self.peak is None or self.peak.tflops_micro is None or self.signal is None or not self.active_us:
            return None
        seconds = Fraction(self.active_us, 10**6)
        return seconds * Fraction(self.peak.tflops_micro, 10**6) / 1000 / DAY_SECONDS

    @property
    def part(self) -> Fraction:
        measured = Fraction(min(self.measured_us, self.held_us), self.held_us)
        return measured * self.sums.all_atoms


def economics(
    reading: Reading, held: Sequence[WorkloadRow], peaks: tuple[Peak, ...] | None = None
) -> Economics:
    """The figures of an open period. held: its workloads as they are listed: a job, a model and a maker cost here what they cost in
    the tables that add up. peaks: as peaks.load gives them; None: the shipped ones."""
    return _Economics(reading, held, shipped() if peaks is None else peaks).made()


class _Economics:
    """One period's figures in the making."""

    def __init__(self, reading: Reading, held: Sequence[WorkloadRow], peaks: tuple[Peak, ...]) -> None:
        self._reading = reading
        self._held = held
        self._peaks = peaks
        self._digits = ledger.minor_units(reading.currency) + RATE_DIGITS

    def made(self) -> Economics:
        self._rows("jobs", currency=self._reading.currency)
        computed = self._computed()
        makers: dict[str, list[_Computed]] = defaultdict(list)
        for (vendor, _), one in computed.items():
            makers[vendor].append(one)
        total = Sums()
        for one in computed.values():
            if one.priced:
                _add(total, one.sums)
        return Economics(
            used_hour_cost=self._hourly(total.all_atoms, total.quantity[USED]),
            scenarios=self._scenarios(),
            jobs=self._jobs(),
            models=_sorted(self._compute(vendor, model, [one]) for (vendor, model), one in computed.items()),
            makers=_sorted(self._compute(vendor, None, some) for vendor, some in makers.items()),
            served=self._served(),
        )

    def _rows(self, name: str, **parameters: object) -> list[tuple[object, ...]]:
        return self._reading.facts.rows(statements("economics")[name], parameters or None)

    def _scenarios(self) -> tuple[ScenarioJobs, ...]:
        return tuple(
            ScenarioJobs(
                scenario=str(scenario),
                jobs=_int(jobs),
                unpriced=_int(unpriced),
                cost=self._money(_int(atoms)),
                median=None if median is None else self._money(_int(median)),
                used_hour_cost=self._hourly(_int(atoms), _int(used or 0)),
            )
            for scenario, jobs, unpriced, atoms, median, _, used in self._rows("scenarios")
        )

    def _jobs(self) -> tuple[JobRow, ...]:
        found = self._rows("dearest", top=TOP)
        listed = self._listed({(str(row[0]), str(row[2])) for row in found})
        rows = []
        for workload, name, scenario, department, cards, atoms, held, used in found:
            exact = hours_decimal(_int(held))
            amounts = listed.get((str(workload), str(scenario)))
            # a part of it may be in the rest of the list, which is one row
            whole = amounts is not None and abs(amounts.held_hours - exact) < LEAST_UNLISTED
            rows.append(
                JobRow(
                    workload_id=str(workload),
                    name=None if name is None else str(name),
                    scenario=str(scenario),
                    department_id=str(department),
                    department=self._reading.name(str(department)),
                    cards=_int(cards),
                    cost=amounts.held_cost if amounts and whole else self._money(_int(atoms)),
                    held_hours=amounts.held_hours if amounts and whole else exact,
                    used_hours=amounts.used_hours if amounts and whole else hours_decimal(_int(used)),
                    used_hour_cost=self._hourly(_int(atoms), _int(used)),
                )
            )
        return tuple(rows)

    def _listed(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], HeldAmounts]:
        """What these jobs, (workload, scenario), held as it is listed: under each department and business together."""
        found: dict[tuple[str, str], HeldAmounts] = {}
        for row in self._held:
            key = (row.workload_id, row.scenario or "")
            if key in wanted:
                before = found.get(key)
                found[key] = row.amounts if before is None else before + row.amounts
        return found

    def _computed(self) -> dict[tuple[str, str], _Computed]:
        exact: dict[tuple[str, str], Sums] = defaultdict(Sums)
        for c in self._reading.cells:
            exact[c.vendor, c.model].add(c.state, c.quantity, c.atoms, c.unpriced)
        strange = {(str(v), str(m)) for v, m in self._rows("not_priced", currency=self._reading.currency)}
        measured = {
            (str(row[0]), str(row[1])): [_int(value) for value in row[2:]] for row in self._rows("computed")
        }
        found = {}
        for key, sums in exact.items():
            covered, tensor, tensor_active, sm, sm_active = measured.get(key, [0, 0, 0, 0, 0])
            held = sum(sums.quantity[state] for state in HELD_STATES) // ledger.NANO
            enough = [
                (signal, known, active)
                for signal, known, active in (
                    (Signal.TENSOR, tensor, tensor_active),
                    (Signal.SM, sm, sm_active),
                )
                if held and Fraction(known, held) >= LEAST_COVERED
            ]
            signal, known, active = enough[0] if enough else (None, max(tensor, sm), 0)
            peak = peak_of(key[1], self._peaks)
            found[key] = _Computed(sums, covered, known, active, signal, peak, key not in strange)
        return found

    def _compute(self, vendor: str, model: str | None, parts: list[_Computed]) -> ComputeRow:
        sums = Sums()
        for one in parts:
            _add(sums, one.sums)
        held = sum(one.held_us for one in parts)
        priced = all(one.priced for one in parts)
        signals = {one.signal for one in parts if one.held_us}
        signal = signals.pop() if len(signals) == 1 else None
        # a maker has a figure where each of its models that worked has one
        working = [one for one in parts if one.sums.quantity[USED]]
        days = [one.flop_days for one in working]
        known = [value for value in days if value is not None]
        total = sum(known, Fraction(0)) if known and len(known) == len(days) and priced else None
        measured = sum(one.measured_us for one in parts)
        peak = parts[0].peak if model is not None else None
        figures = self._reading.figures
        listed = figures.groups["vendor"][vendor] if model is None else figures.models[vendor, model]
        return ComputeRow(
            vendor=vendor,
            model=model,
            cost=listed.cost,
            used_hours=hours_decimal(sums.quantity[USED]),
            used_hour_cost=self._hourly(sums.all_atoms, sums.quantity[USED]) if priced else None,
            covered_ratio=ratio(min(measured, held), held),
            signal=signal,
            active_ratio=None if signal is None else ratio(sum(one.active_us for one in parts), measured),
            peak_tflops=None
            if peak is None or peak.tflops_micro is None
            else Decimal(f"{Decimal(peak.tflops_micro).scaleb(-6):f}".rstrip("0").rstrip(".")),
            source=None if peak is None else peak.source,
            pflop_days=None if total is None else _decimal(total, 3),
            pflop_day_cost=None
            if not total
            else _decimal(
                sum((one.part for one in working), Fraction(0)) / ledger.ATOMS_PER_UNIT / total,
                self._digits - RATE_DIGITS,
            ),
        )

    def _served(self) -> tuple[ServedRow, ...]:
        found = self._rows("served", currency=self._reading.currency, least=LEAST_KNOWN_SECONDS)
        if not found:
            return ()
        together = tuple(
            None
            if all(row[n] is None for row in found)
            else sum(_int(row[n]) for row in found if row[n] is not None)
            for n in range(3, 9)
        )
        listed = [self._serving(str(row[0]), str(row[1]), row[2], row[3:]) for row in found[:TOP]]
        return (*listed, self._serving(None, None, None, together))

    def _serving(
        self, workload: str | None, department: str | None, business: object, sums: tuple[object, ...]
    ) -> ServedRow:
        hours, request_atoms, requests, token_atoms, prompt, generated = (
            None if value is None else _int(value) for value in sums
        )
        tokens = None if prompt is None or generated is None else prompt + generated
        spent = [atoms for atoms in (request_atoms, token_atoms) if atoms is not None]
        return ServedRow(
            workload_id=workload,
            department_id=department,
            department=None if department is None else self._reading.name(department),
            business=None if business is None else str(business),
            hours=hours or 0,
            cost=self._money(max(spent)) if spent else None,
            requests=requests,
            prompt_tokens=prompt,
            generated_tokens=generated,
            thousand_requests=self._each(request_atoms, requests, 1000),
            million_tokens=self._each(token_atoms, tokens, 10**6),
            million_generated=self._each(token_atoms, generated, 10**6),
        )

    def _money(self, atoms: int) -> Decimal:
        return self._reading.rounding.money(atoms)

    def _each(self, atoms: int | None, count: int | None, of: int) -> Decimal | None:
        if atoms is None or not count:
            return None
        return _decimal(Fraction(atoms * of, count * ledger.ATOMS_PER_UNIT), self._digits)

    def _hourly(self, atoms: int, used: int) -> Decimal | None:
        if not used:
            return None
        return _decimal(Fraction(atoms, used * ledger.MICRO), self._digits)


def _sorted(rows: Iterable[ComputeRow]) -> tuple[ComputeRow, ...]:
    return tuple(sorted(rows, key=lambda row: (-row.cost, row.vendor, row.model or "")))


def _add(total: Sums, more: Sums) -> None:
    for state, quantity in more.quantity.items():
        total.add(state, quantity, more.atoms[state], 0)
    total.unpriced += more.unpriced


def _decimal(value: Fraction, digits: int) -> Decimal:
    """Half up, so many decimals."""
    return Decimal(ledger.half_up(value.numerator * 10**digits, value.denominator)).scaleb(-digits)


def _int(value: object) -> int:
    assert isinstance(value, (int, Decimal)), f"BUG: {value!r} is no whole number"
    return int(value)
