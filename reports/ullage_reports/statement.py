"""A report's numbers, from published days: read once, summed exactly, rounded once, checked before anybody sees them.

Not here: how they are printed (html, pdf, csv_files, json_form), and the shape they have (model.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import gcd
from typing import Any, Final

from ullage_collector import ledger
from ullage_collector.ledger import PLATFORM, UNMAPPED
from ullage_collector.published import Facts, Manifest, Published
from ullage_contract.errors import ConfigError
from ullage_reports import period as periods
from ullage_reports.model import (
    Amounts,
    AssumedPrice,
    Change,
    DepartmentRow,
    FindingRow,
    ForeignRow,
    GroupRow,
    HeatCell,
    HolderRow,
    IncidentRow,
    Kind,
    MethodLine,
    ModelRow,
    OriginRow,
    PageOne,
    Report,
    Sentence,
    SourceDay,
    Status,
    SumCheck,
    Tile,
    TrendPoint,
    Trust,
    Unit,
    UnlistedCard,
    UnmappedRow,
    UnpricedRow,
)
from ullage_reports.period import Period, PeriodKind
from ullage_reports.rounding import HOUR_UNIT, Rounding, Sums, change, decimal_ratio, hours_decimal, ratio
from ullage_reports.sql import statements

TOP: Final = 50
"""Rows of ranked lists. our choice: a page shows ten, a file fifty; nobody acts on the fifty-first this week."""
TOP_NAMES: Final = 200
"""Rows of lists of errors: unmapped names, unlisted cards, findings, incidents."""
NO_CURRENCY: Final = "XXX"
"""ISO 4217: no currency involved. Of a report without any price."""
DAY_US: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SQL: Final = "statement"


@dataclass(frozen=True, slots=True)
class Cell:
    """One of the finest sums; texts are "" where not given."""

    department: str
    business: str
    scenario: str
    vendor: str
    model: str
    pool: str
    cluster: str
    state: str
    quantity: int
    atoms: int
    unpriced: int


_GROUPS: Final[Mapping[str, Callable[[Cell], str]]] = {
    "business": lambda c: PLATFORM if c.department == PLATFORM else c.business,
    "scenario": lambda c: PLATFORM if c.department == PLATFORM else c.scenario,
    "vendor": lambda c: c.vendor,
    "pool": lambda c: c.pool,
    "cluster": lambda c: c.cluster,
}


def statement(
    published: Published, period: Period, *, currency: str | None = None, now: datetime, verify: bool = True
) -> Report:
    """The report of a period.

    currency: ISO 4217; None: the only one the period is priced in. now: when it is made. verify: check every published
    file against its manifest first.
    Raises ConfigError when prices are in several currencies and none was chosen, StoreError for published files that
    are not what their manifests say. A report that does not add up is returned: its ``trust.adds_up`` is False.
    """
    with published.open(period.start, period.end, verify=verify) as facts:
        chosen = _currency(facts, currency)
        before = _before(published, period, chosen, verify)
        return _Statement(facts, period, chosen, now, before).report()


def _currency(facts: Facts, currency: str | None) -> str:
    if currency is not None:
        ledger.minor_units(currency)
        return currency
    found = [str(row[0]) for row in facts.rows(statements(_SQL)["currencies"])]
    if len(found) > 1:
        raise ConfigError(
            f"prices of this period are in {', '.join(found[:5])}; choose one with --currency, the others are listed apart"
        )
    return found[0] if found else NO_CURRENCY


@dataclass(frozen=True, slots=True)
class _Figures:
    """The tables of one period, rounded; ``own`` and ``parents`` are the departments' tree."""

    rounding: Rounding
    departments: Mapping[str, tuple[Amounts, Amounts]]
    groups: Mapping[str, Mapping[str, Amounts]]
    models: Mapping[tuple[str, str], Amounts]
    trust_ratio: Decimal | None
    names: Mapping[str, tuple[Any, ...]]
    parents: Mapping[str, str | None]


def _before(
    published: Published, period: Period, currency: str, verify: bool
) -> tuple[Period, _Figures] | None:
    """The period before, where all of it is published: half a period is no comparison."""
    try:
        earlier = periods.previous(period)
    except (ConfigError, OverflowError):
        return None
    if any(published.facts(day) is None for day in earlier.utc_days()):
        return None
    with published.open(earlier.start, earlier.end, verify=verify) as facts:
        cells = _cells(facts, currency)
        return earlier, _figures(facts, cells, currency, earlier)


def _cells(facts: Facts, currency: str) -> list[Cell]:
    found = []
    for row in facts.rows(statements(_SQL)["cells"], {"currency": currency}):
        department, business, scenario, vendor, model, pool, cluster, state = map(str, row[:8])
        quantity, atoms, unpriced = map(int, row[8:])
        found.append(
            Cell(
                department, business, scenario, vendor, model, pool, cluster, state, quantity, atoms, unpriced
            )
        )
    return found


def _figures(facts: Facts, cells: list[Cell], currency: str, period: Period) -> _Figures:
    total = _summed(cells, lambda _: "").get("", Sums())
    rounding = Rounding(total, currency)
    own = _summed(cells, lambda c: c.department)
    names = {
        str(row[0]): row for row in facts.rows(statements(_SQL)["departments"], {"to_us": _us(period.end)})
    }
    parents = _parents(own, names)
    by_model: dict[tuple[str, str], Sums] = defaultdict(Sums)
    for c in cells:
        by_model[c.vendor, c.model].add(c.state, c.quantity, c.atoms, c.unpriced)
    joined = {f"{vendor}\x00{model}": sums for (vendor, model), sums in by_model.items()}
    _, _, _, _, trusted = _whole(facts, currency)
    return _Figures(
        rounding=rounding,
        departments=rounding.tree(own, parents),
        groups={name: rounding.table(_summed(cells, key)) for name, key in _GROUPS.items()},
        models={
            (key.split("\x00")[0], key.split("\x00")[1]): amounts
            for key, amounts in rounding.table(joined).items()
        },
        trust_ratio=ratio(trusted, total.all_quantity),
        names=names,
        parents=parents,
    )


def _whole(facts: Facts, currency: str) -> tuple[int, int, int, int, int]:
    row = facts.rows(statements(_SQL)["whole"], {"currency": currency})[0]
    return int(row[0]), int(row[1]), int(row[2]), int(row[3]), int(row[4])


def _summed(cells: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, Sums]:
    found: dict[str, Sums] = defaultdict(Sums)
    for c in cells:
        found[key(c)].add(c.state, c.quantity, c.atoms, c.unpriced)
    return dict(found)


def _parents(own: Mapping[str, Sums], names: Mapping[str, tuple[Any, ...]]) -> dict[str, str | None]:
    """Each department with cost and everything above it. A parent is named, or is the path before the last slash;
    a circle of parents is cut where it closes."""
    parents: dict[str, str | None] = {}
    for start in sorted(own):
        key: str | None = start
        trail: list[str] = []
        while key is not None and key not in parents:
            trail.append(key)
            above = names[key][2] if key in names and names[key][2] else None
            if above is None and "/" in key and key not in (PLATFORM, UNMAPPED):
                above = key.rpartition("/")[0] or None
            parents[key] = None if above in trail else above
            key = parents[key]
    return parents


class _Statement:
    """One report in the making."""

    def __init__(
        self,
        facts: Facts,
        period: Period,
        currency: str,
        now: datetime,
        before: tuple[Period, _Figures] | None,
    ) -> None:
        self._facts = facts
        self._period = period
        self._currency = currency
        self._now = now
        self._before = before
        self._cells = _cells(facts, currency)
        self._figures = _figures(facts, self._cells, currency, period)
        self._rounding = self._figures.rounding
        self._total = self._rounding.total
        self._span = {"from_us": _us(period.start), "to_us": _us(period.end)}

    def report(self) -> Report:
        quantity, atoms, lines, cards, _ = _whole(self._facts, self._currency)
        departments = self._departments()
        groups = {name: self._group(name) for name in _GROUPS}
        models = self._models()
        holders = self._holders()
        trend = self._trend()
        trust = self._trust(quantity, atoms, departments, groups, models, trend)
        idle_workloads = int(self._rows("idle_workloads")[0][0])
        return Report(
            period=self._period,
            previous=self._before[0] if self._before else None,
            currency=self._currency,
            minor_units=ledger.minor_units(self._currency),
            status=self._status(lines),
            generated_at=self._now,
            cards=cards,
            total=self._total,
            change=self._changed(self._total, self._before[1].rounding.total if self._before else None),
            page_one=self._page_one(trust, holders, idle_workloads),
            departments=departments,
            businesses=groups["business"],
            scenarios=groups["scenario"],
            vendors=groups["vendor"],
            models=models,
            pools=groups["pool"],
            clusters=groups["cluster"],
            holders=holders,
            incidents=self._incidents(),
            findings=self._findings(),
            trend=trend,
            heat=self._heat(),
            trust=trust,
        )

    def _status(self, lines: int) -> Status:
        foreign = self._rows("foreign_currencies", {"currency": self._currency})
        if self._facts.missing or not lines or self._total.unpriced_hours or foreign:
            return Status.PARTIAL
        return Status.SEALED if self._facts.sealed else Status.PROVISIONAL

    # ------------------------------------------------------------------------------- tables
    def _departments(self) -> tuple[DepartmentRow, ...]:
        figures = self._figures
        children: dict[str | None, list[str]] = defaultdict(list)
        for key, parent in figures.parents.items():
            children[parent].append(key)
        rows: list[DepartmentRow] = []

        def walk(key: str, depth: int) -> None:
            amounts, own = figures.departments[key]
            named = figures.names.get(key)
            before = self._before[1].departments.get(key) if self._before else None
            rows.append(
                DepartmentRow(
                    department_id=key,
                    name=str(named[1]) if named else key,
                    parent_id=figures.parents[key],
                    depth=depth,
                    kind={PLATFORM: Kind.PLATFORM, UNMAPPED: Kind.UNMAPPED}.get(key, Kind.DEPARTMENT),
                    leaf=not children[key],
                    owner=named[3] if named else None,
                    cost_center=named[4] if named else None,
                    amounts=amounts,
                    own=own,
                    share=decimal_ratio(amounts.cost, self._total.cost),
                    change=self._changed(amounts, before[0] if before else None),
                )
            )
            for child in sorted(children[key], key=order):
                walk(child, depth + 1)

        def order(key: str) -> tuple[int, Decimal, Decimal, str]:
            amounts = figures.departments[key][0]
            last = {UNMAPPED: 1, PLATFORM: 2}.get(key, 0)
            return (last, -amounts.cost, -amounts.hours, key)

        for root in sorted(children[None], key=order):
            walk(root, 0)
        return tuple(rows)

    def _group(self, name: str) -> tuple[GroupRow, ...]:
        rows = []
        for key, amounts in self._figures.groups[name].items():
            before = self._before[1].groups[name].get(key) if self._before else None
            rows.append(
                GroupRow(
                    key=key,
                    amounts=amounts,
                    share=decimal_ratio(amounts.cost, self._total.cost),
                    change=self._changed(amounts, before),
                )
            )
        return tuple(
            sorted(rows, key=lambda r: (r.key == PLATFORM, -r.amounts.cost, -r.amounts.hours, r.key))
        )

    def _models(self) -> tuple[ModelRow, ...]:
        exact: dict[tuple[str, str], Sums] = defaultdict(Sums)
        for c in self._cells:
            exact[c.vendor, c.model].add(c.state, c.quantity, c.atoms, c.unpriced)
        digits = ledger.minor_units(self._currency) + 2
        rows = []
        for vendor, model, cards, low, high, assumed in self._rows("models", {"currency": self._currency}):
            sums = exact[str(vendor), str(model)]
            used = sums.quantity[ledger.USED]
            amounts = self._figures.models[str(vendor), str(model)]
            effective = None
            if used and low is not None:
                # atoms / quantity is micro-units an hour; digits after the point of the currency unit
                scaled = ledger.half_up(sums.all_atoms * 10**digits, used * ledger.MICRO)
                effective = Decimal(scaled).scaleb(-digits)
            rows.append(
                ModelRow(
                    model=str(model),
                    vendor=str(vendor),
                    cards=int(cards),
                    price_low=None if low is None else ledger.price_decimal(int(low)),
                    price_high=None if high is None else ledger.price_decimal(int(high)),
                    assumed=bool(assumed),
                    effective_price=effective,
                    amounts=amounts,
                    share=decimal_ratio(amounts.cost, self._total.cost),
                )
            )
        return tuple(sorted(rows, key=lambda r: (-r.amounts.cost, -r.amounts.hours, r.vendor, r.model)))

    def _holders(self) -> tuple[HolderRow, ...]:
        last = self._rows("last_instant")[0][0]
        return tuple(
            HolderRow(
                workload_id=str(workload),
                department_id=str(department),
                department=self._name(str(department)),
                business=business,
                scenario=scenario,
                cards=int(cards),
                card_id=str(card),
                node_id=str(node),
                model=str(model),
                since=_instant(int(since)),
                idle_hours=hours_decimal(int(idle)),
                idle_cost=self._rounding.money(int(atoms)),
                held_hours=hours_decimal(int(held)),
                running=int(until) == int(last),
            )
            for workload, department, business, scenario, cards, card, node, model, since, idle, atoms, held, until
            in self._rows("holders", {"currency": self._currency, "top": TOP})
        )  # fmt: skip

    def _incidents(self) -> tuple[IncidentRow, ...]:
        parameters = {"currency": self._currency, "top": TOP_NAMES, **self._span}
        return tuple(
            IncidentRow(
                incident_id=str(row[0]),
                family=row[1],
                subject=row[2],
                node_id=row[3],
                vendor=row[4],
                cause=row[5],
                code=row[6],
                severity=row[7],
                onset=_aware(row[8]),
                closed_at=_aware(row[9]) if row[9] else None,
                confirmed=bool(row[10]),
                action=row[11],
                origin=row[12],
                hours=hours_decimal(int(row[13])),
                cost=self._rounding.money(int(row[14])),
            )
            for row in self._rows("incidents", parameters)
        )

    def _findings(self) -> tuple[FindingRow, ...]:
        return tuple(
            FindingRow(
                finding_id=str(row[0]),
                kind=row[1],
                family=row[2],
                subject=row[3],
                since=_aware(row[4]),
                until=_aware(row[5]) if row[5] else None,
                confidence=Decimal(str(round(float(row[6]), 4))),
                owner=row[7],
                action=row[8],
            )
            for row in self._rows("findings", {"top": TOP_NAMES, **self._span})
        )

    # ------------------------------------------------------------------------------- time
    def _slots(self) -> list[tuple[int, str, int, int, int]]:
        """(start, state, quantity, atoms, unpriced) by slots that no local hour's edge cuts; start in microseconds."""
        step = self._step_us()
        if step == ledger.HOUR_US:
            rows = self._rows("hours", {"currency": self._currency})
        else:
            rows = self._rows("slots", {"currency": self._currency, "step": step})
        return [(int(r[0]), str(r[1]), int(r[2]), int(r[3]), int(r[4])) for r in rows]

    def _step_us(self) -> int:
        """The longest slot that begins at every local hour of the period: an hour in most zones, 30 or 15 min in some."""
        step = ledger.HOUR_US
        for _, start, end in self._period.days():
            for edge in (start, end):
                step = gcd(step, _us(edge) % ledger.HOUR_US)
        info = periods.zone_info(self._period.zone)
        for instant in (self._period.start, self._period.end - timedelta(microseconds=1)):
            offset = instant.astimezone(info).utcoffset() or timedelta()
            step = gcd(step, offset // timedelta(microseconds=1) % ledger.HOUR_US)
        return step

    def _trend(self) -> tuple[TrendPoint, ...]:
        edges = self._edges()
        if not edges:
            return ()
        sums: list[Sums] = [Sums() for _ in edges]
        starts = [_us(start) for start, _ in edges]
        at = 0
        for slot, state, quantity, atoms, unpriced in sorted(self._slots()):
            slot = max(slot, starts[0])
            while at + 1 < len(starts) and starts[at + 1] <= slot:
                at += 1
            sums[at].add(state, quantity, atoms, unpriced)
        rounded = self._rounding.table({f"{n:05d}": s for n, s in enumerate(sums)})
        ends = [*starts[1:], _us(self._period.end)]
        missing = [(_day_us(day), _day_us(day) + DAY_US) for day in self._facts.missing]
        return tuple(
            TrendPoint(
                start=start,
                label=label,
                published=not any(a < ends[n] and starts[n] < b for a, b in missing),
                amounts=rounded[f"{n:05d}"],
            )
            for n, (start, label) in enumerate(edges)
        )

    def _edges(self) -> list[tuple[datetime, str]]:
        """Starts and labels of the trend's points: local days, or local hours of a daily report."""
        if self._period.kind is not PeriodKind.DAILY:
            return [(start, day.isoformat()) for day, start, end in self._period.days() if start < end]
        info = periods.zone_info(self._period.zone)
        edges = []
        at = self._period.start
        while at < self._period.end:
            local = at.astimezone(info)
            edges.append((at, local.strftime("%H:%M")))
            at += timedelta(hours=1) - timedelta(minutes=local.minute, seconds=local.second)
        return edges

    def _heat(self) -> tuple[HeatCell, ...]:
        info = periods.zone_info(self._period.zone)
        sums: dict[tuple[int, int], Sums] = defaultdict(Sums)
        local: dict[int, tuple[int, int]] = {}
        for slot, state, quantity, atoms, unpriced in self._slots():
            if slot not in local:
                when = _instant(max(slot, _us(self._period.start))).astimezone(info)
                local[slot] = (when.isoweekday(), when.hour)
            sums[local[slot]].add(state, quantity, atoms, unpriced)
        cells = []
        for (weekday, hour), s in sorted(sums.items()):
            held = sum(s.quantity[state] for state in ledger.HELD_STATES)
            known = s.all_quantity - s.quantity[ledger.UNKNOWN]
            cells.append(
                HeatCell(
                    weekday=weekday,
                    hour=hour,
                    used_ratio=ratio(s.quantity[ledger.USED], known),
                    held_ratio=ratio(held, s.all_quantity),
                    hours=hours_decimal(s.all_quantity),
                )
            )
        return tuple(cells)

    # ------------------------------------------------------------------------------- page one
    def _page_one(self, trust: Trust, holders: tuple[HolderRow, ...], idle_workloads: int) -> PageOne:
        total = self._total
        held_idle = total.state_cost(ledger.ALLOCATED_IDLE)

        def against(value: Decimal | None, of: Callable[[_Figures], Decimal | None]) -> Change | None:
            before = of(self._before[1]) if self._before else None
            return None if value is None or before is None else change(value, before)

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
                trust.attributed_ratio,
                against(trust.attributed_ratio, lambda f: f.trust_ratio),
                "up",
            ),
        )
        changes: dict[str, Change] = {}
        if self._before:
            earlier = self._before[1].rounding.total
            changes = {s.state: change(s.cost, earlier.state_cost(s.state)) for s in total.states}
        return PageOne(
            sentences=(
                self._cost_sentence(tiles[0]),
                self._waste_sentence(),
                self._action(holders, idle_workloads),
            ),
            tiles=tiles,
            states=total.states,
            state_changes=changes,
        )

    def _cost_sentence(self, tile: Tile) -> Sentence:
        if tile.change is None:
            return Sentence("cost", {"cost": self._total.cost})
        return Sentence(
            "cost_change",
            {
                "cost": self._total.cost,
                "previous": tile.change.previous,
                "difference": tile.change.difference,
                "ratio": tile.change.ratio,
            },
        )

    def _waste_sentence(self) -> Sentence:
        """By money; by hours where nothing is priced."""
        total = self._total
        whole, part = total.cost, {s.state: s.cost for s in total.states}
        if not whole:
            whole, part = total.hours, {s.state: s.hours for s in total.states}
        waste = sum((part[state] for state in ledger.WASTE_STATES), Decimal(0))
        if not whole or not waste:
            return Sentence("no_waste", {})
        values: dict[str, Decimal | int | str | None] = {"ratio": decimal_ratio(waste, whole)}
        values.update({f"{state}_ratio": decimal_ratio(part[state], whole) for state in ledger.WASTE_STATES})
        return Sentence("waste", values)

    def _action(self, holders: tuple[HolderRow, ...], idle_workloads: int) -> Sentence:
        if not holders:
            return Sentence("no_action", {})
        return Sentence(
            "action",
            {
                "count": idle_workloads,
                "saving": self._total.state_cost(ledger.ALLOCATED_IDLE),
                "department": holders[0].department,
                "workload": holders[0].workload_id,
            },
        )

    # ------------------------------------------------------------------------------- trust
    def _trust(
        self,
        quantity: int,
        atoms: int,
        departments: tuple[DepartmentRow, ...],
        groups: Mapping[str, tuple[GroupRow, ...]],
        models: tuple[ModelRow, ...],
        trend: tuple[TrendPoint, ...],
    ) -> Trust:
        tables: dict[str, list[Amounts]] = {
            "department": [row.amounts for row in departments if row.depth == 0],
            "department_own": [row.own for row in departments],
            **{name: [row.amounts for row in rows] for name, rows in groups.items()},
            "model": [row.amounts for row in models],
            "hour" if self._period.kind is PeriodKind.DAILY else "day": [p.amounts for p in trend],
        }
        cells_atoms = sum(c.atoms for c in self._cells)
        cells_quantity = sum(c.quantity for c in self._cells)
        exact = abs(cells_atoms - atoms) + abs(cells_quantity - quantity)
        checks = [self._check(level, rows, exact) for level, rows in tables.items()]
        states = sum((s.cost for s in self._total.states), Decimal(0)) - self._total.cost
        checks.insert(1, SumCheck("state", len(self._total.states), self._total.cost, states, exact))
        checks.append(self._manifest_check())
        dimensions = self._facts.dimensions
        held = sum(c.quantity for c in self._cells if c.state in ledger.HELD_STATES)
        known = sum(c.quantity for c in self._cells if c.state in (ledger.USED, ledger.ALLOCATED_IDLE))
        origins = self._rows("origins")
        origin_hours = (
            ledger.apportion(
                ledger.half_up(quantity, HOUR_UNIT), {str(o): int(q) for o, _, q in origins}, HOUR_UNIT
            )
            if origins
            else {}
        )
        return Trust(
            checks=tuple(checks),
            coverage_ratio=ratio(known, held),
            attributed_ratio=self._figures.trust_ratio,
            unpriced_hours=self._total.unpriced_hours,
            unpriced=tuple(
                UnpricedRow(str(m), p, int(n), hours_decimal(int(q)), _instant(int(a)), _instant(int(b)))
                for m, p, n, q, a, b in self._rows("unpriced")
            ),
            foreign=tuple(
                ForeignRow(str(c), hours_decimal(int(q)), _foreign_money(str(c), int(a)))
                for c, q, a in self._rows("foreign_currencies", {"currency": self._currency})
            ),
            unmapped=tuple(
                UnmappedRow(str(k), str(n), int(w), hours_decimal(int(q)), self._rounding.money(int(a)))
                for k, n, w, q, a in self._rows("unmapped", {"currency": self._currency, "top": TOP_NAMES})
            ),
            assumed_prices=tuple(
                AssumedPrice(
                    price_id=str(i),
                    model=str(m),
                    pool=p,
                    price=ledger.price_decimal(int(micro)),
                    source=str(source),
                    hours=hours_decimal(int(q)),
                    cost=self._rounding.money(int(a)),
                )
                for i, m, p, micro, _, source, q, a in self._rows("assumed", {"currency": self._currency})
            ),
            unlisted=tuple(
                UnlistedCard(
                    str(c), str(n), str(v), str(m), hours_decimal(int(q)), self._rounding.money(int(a))
                )
                for c, n, v, m, q, a in self._rows("unlisted", {"currency": self._currency, "top": TOP_NAMES})
            ),
            origins=tuple(
                OriginRow(str(o), int(n), ledger.minor_decimal(origin_hours[str(o)], 2))
                for o, n, _ in origins
            ),
            days=tuple(_source_day(m) for m in self._facts.days),
            missing_days=self._facts.missing,
            dimensions_revision=dimensions.revision if dimensions else None,
            dimensions_digest=dimensions.digest if dimensions else None,
            data_digest=self._facts.digest(),
            method=_method(self._period, self._currency),
        )

    def _check(self, level: str, rows: list[Amounts], exact: int) -> SumCheck:
        """Printed parts against the printed total, in money, hours and every state; the worst difference is told."""
        total = self._total
        differences = [
            sum((a.cost for a in rows), Decimal(0)) - total.cost,
            sum((a.hours for a in rows), Decimal(0)) - total.hours,
            sum((a.unpriced_hours for a in rows), Decimal(0)) - total.unpriced_hours,
        ]
        for n, state in enumerate(total.states):
            differences.append(sum((a.states[n].cost for a in rows), Decimal(0)) - state.cost)
            differences.append(sum((a.states[n].hours for a in rows), Decimal(0)) - state.hours)
        for a in rows:
            differences.append(sum((s.cost for s in a.states), Decimal(0)) - a.cost)
            differences.append(sum((s.hours for s in a.states), Decimal(0)) - a.hours)
        worst = max(differences, key=abs)
        return SumCheck(level, len(rows), total.cost, worst, exact)

    def _manifest_check(self) -> SumCheck:
        """What was read of each whole UTC day against what its publisher summed, and against what was owned."""
        read = {int(d): (int(q), int(a)) for d, q, a in self._rows("day_sums")}
        owned = {int(d): int(q) for d, q in self._rows("owned")}
        first, last = self._span["from_us"], self._span["to_us"]
        difference = 0
        days = 0
        for manifest in self._facts.days:
            number = _day_us(manifest.day) // DAY_US if manifest.day else -1
            if not first <= number * DAY_US <= last - DAY_US:
                continue
            days += 1
            quantity, atoms = read.get(number, (0, 0))
            sums = manifest.facts.get("sums", [])
            difference += abs(quantity - sum(int(s["quantity"]) for s in sums))
            difference += abs(atoms - sum(int(s["atoms"]) for s in sums))
            difference += abs(quantity - owned.get(number, 0))
        return SumCheck("manifest", days, self._total.cost, Decimal(0), difference)

    # ------------------------------------------------------------------------------- small
    def _rows(self, name: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._facts.rows(statements(_SQL)[name], parameters)

    def _name(self, department: str) -> str:
        named = self._figures.names.get(department)
        return str(named[1]) if named else department

    def _changed(self, amounts: Amounts, before: Amounts | None) -> Change | None:
        """Against the period before; a row that was not there then cost nothing. None: there is nothing to compare with."""
        if self._before is None:
            return None
        return change(amounts.cost, before.cost if before else amounts.cost * 0)


def _method(period: Period, currency: str) -> tuple[MethodLine, ...]:
    return (
        MethodLine("capacity", {}),
        MethodLine("payer", {}),
        MethodLine("split", {"minutes": "10"}),
        MethodLine("price", {"currency": currency}),
        MethodLine("rounding", {"zone": period.zone}),
    )


def _foreign_money(currency: str, atoms: int) -> Decimal:
    return ledger.rounded(atoms, currency)


def _source_day(manifest: Manifest) -> SourceDay:
    return SourceDay(
        day=manifest.day or date.min,
        revision=manifest.revision,
        status=manifest.status,
        digest=manifest.digest,
        published_at=manifest.published_at,
    )


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _aware(naive: datetime) -> datetime:
    return naive.replace(tzinfo=UTC)


def _day_us(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_US
