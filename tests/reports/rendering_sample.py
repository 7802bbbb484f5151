"""Whole reports for the renderers' tests: made from integer rows, so every level adds up to the last digit.

Not a test. ``sample()`` gives a weekly report with everything in it; its arguments bend it: names, how many
departments, no data, no previous period.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from ullage_collector.ledger import STATES
from ullage_reports.model import (
    Amounts,
    Change,
    DepartmentRow,
    FindingRow,
    GroupRow,
    HeatCell,
    HeldAmounts,
    HolderRow,
    IncidentRow,
    Kind,
    ModelRow,
    PageOne,
    Report,
    Sentence,
    StateAmount,
    Status,
    Tile,
    TrendPoint,
    Unit,
    WorkloadRow,
)
from ullage_reports.period import previous, weekly
from ullage_reports.trust_model import (
    AssumedPrice,
    MethodLine,
    OriginRow,
    SourceDay,
    SumCheck,
    Trust,
    UnmappedRow,
    UnpricedRow,
)

ZONE = "Asia/Shanghai"
EVIL = '研发一部 "];#panic()'
BIDI = "财务\u202e部gpj.exe"
NAMES = ("大模型研究院", EVIL, BIDI, "自动驾驶", "搜索与推荐", "Platform & Tools <b>")
MODELS = (
    ("H20-141G", "nvidia", 1680),
    ("Ascend 910B3", "ascend", 1150),
    ("H100-80G", "nvidia", 2890),
    ("MLU370-X8", "cambricon", 620),
)
SCENARIOS = ("training", "inference", "development", "")
FREE = ("unallocated_idle", "fragmented", "faulty", "isolated")
HELD = ("used", "allocated_idle", "unknown")


@dataclass(frozen=True)
class Row:
    """hours in hundredths, cost in minor units."""

    department: str
    scenario: str
    model: str
    vendor: str
    day: int
    state: str
    hours: int
    cost: int


def sample(
    *,
    names: Sequence[str] = NAMES,
    scale: int = 1,
    empty: bool = False,
    before: bool = True,
    status: Status = Status.PROVISIONAL,
    seed: int = 7,
    origin: str = "simulated",
    currency: str = "CNY",
) -> Report:
    """A weekly report, the same for the same arguments."""
    rng = random.Random(seed)
    period = weekly("2026-W47", ZONE)
    rows = [] if empty else _rows(rng, names, scale)
    total = _amounts(rows)
    departments = _departments(rows, names, total, before)
    trend = tuple(
        TrendPoint(start, day.isoformat(), not (empty or n == 5), _amounts([r for r in rows if r.day == n]))
        for n, (day, start, _) in enumerate(period.days())
    )
    idle = total.state_cost("allocated_idle")
    held = [r for r in rows if r.state in HELD]
    trusted = Decimal(0 if empty else "0.9612")
    trust = Trust(
        checks=tuple(
            SumCheck(level, parts, total.cost, Decimal("0.00"), 0)
            for level, parts in (("department", len(names) + 2), ("state", 7), ("scenario", 4), ("model", 4))
        ),
        coverage_ratio=Decimal("0.9831") if held else None,
        attributed_ratio=trusted if held else None,
        unpriced_hours=Decimal(0) if empty else Decimal("112.50"),
        unpriced=()
        if empty
        else (
            UnpricedRow(
                "BI-V150", "lab", 2, Decimal("112.50"), period.start, period.end - timedelta(hours=3)
            ),
        ),
        foreign=(),
        unmapped=()
        if empty
        else (UnmappedRow("namespace", "=cmd|' /C calc'!A0", 3, Decimal("40.00"), Decimal("310.22")),),
        assumed_prices=()
        if empty
        else (
            AssumedPrice(
                "p-1",
                "MLU370-X8",
                None,
                Decimal("6.20"),
                "our guess, 2026-10",
                Decimal("900.00"),
                Decimal("5580.00"),
            ),
        ),
        unlisted=(),
        origins=() if empty else (OriginRow(origin, 640, total.hours),),
        days=tuple(
            SourceDay(
                date(2026, 11, 15) + timedelta(days=n),
                1,
                "sealed",
                f"{n:x}" * 64,
                datetime(2026, 11, 23, 1, tzinfo=UTC),
            )
            for n in range(0 if empty else 7)
        ),
        missing_days=(date(2026, 11, 21),),
        dimensions_revision=None if empty else 4,
        dimensions_digest=None if empty else "d" * 64,
        data_digest="ab" * 32,
        method=(
            MethodLine("capacity", {}),
            MethodLine("payer", {}),
            MethodLine("split", {"minutes": "10"}),
            MethodLine("price", {"currency": currency}),
            MethodLine("rounding", {"zone": ZONE}),
        ),
    )
    return Report(
        period=period,
        previous=previous(period) if before else None,
        currency=currency,
        minor_units=2,
        status=status,
        generated_at=datetime(2026, 11, 23, 1, 5, tzinfo=UTC),
        cards=0 if empty else 640,
        total=total,
        change=_change(total.cost, before),
        page_one=PageOne(
            sentences=_sentences(total, names, before, empty),
            tiles=(
                Tile("cost", Unit.MONEY, total.cost, _change(total.cost, before), ""),
                Tile(
                    "used_ratio", Unit.RATIO, total.used_ratio, _ratio_change(total.used_ratio, before), "up"
                ),
                Tile("waste_cost", Unit.MONEY, total.waste_cost, _change(total.waste_cost, before), "down"),
                Tile("idle_held_cost", Unit.MONEY, idle, _change(idle, before), "down"),
                Tile("trust_ratio", Unit.RATIO, trusted if held else None, None, "up"),
            ),
            states=total.states,
            state_changes={s.state: c for s in total.states if (c := _change(s.cost, before)) is not None},
        ),
        departments=departments,
        businesses=_groups(
            rows,
            lambda r: "" if r.department == "platform" else "搜索" if r.scenario == "inference" else "",
            before,
        ),
        scenarios=_groups(rows, lambda r: "platform" if r.department == "platform" else r.scenario, before),
        vendors=_groups(rows, lambda r: r.vendor, before),
        models=tuple(_model(rows, model, vendor, price, total) for model, vendor, price in MODELS)
        if rows
        else (),
        pools=(),
        clusters=(),
        workload_count=0 if empty else len({r.department for r in rows if r.state in HELD}) * len(MODELS),
        held=_held_amounts([r for r in rows if r.state in HELD]),
        workloads=_workloads(rows, names, total, period.start),
        workloads_rest=None,
        holders=() if empty else _holders(rng, names, period.start),
        incidents=() if empty else _incidents(period.start),
        findings=()
        if empty
        else (
            FindingRow(
                "f1",
                "idle_held",
                "card",
                "wl-研究-0001",
                period.start,
                None,
                Decimal("0.93"),
                names[0],
                "observe",
            ),
            FindingRow(
                "f2", "slow_card", "card", "gpu-a017/3", period.start, period.end, Decimal("0.71"), None, None
            ),
        ),
        trend=trend,
        heat=() if empty else _heat(rng),
        trust=trust,
    )


def _rows(rng: random.Random, names: Sequence[str], scale: int) -> list[Row]:
    rows = []
    for day in range(7):
        if day == 5:
            continue
        for number, name in enumerate([*names, "platform", "__unallocated__"]):
            for model, vendor, price in MODELS:
                if name == "platform":
                    cells = [("", state, rng.randint(500, 9000)) for state in FREE]
                elif name == "__unallocated__":
                    cells = [("", "used", rng.randint(0, 600))]
                else:
                    cells = [
                        (rng.choice(SCENARIOS[:3]), state, rng.randint(*span) // (1 + number % 4))
                        for state, span in (
                            ("used", (6000, 24000)),
                            ("allocated_idle", (100, 6000)),
                            ("unknown", (0, 900)),
                        )
                    ]
                for scenario, state, hours in cells:
                    hours *= scale
                    rows.append(Row(name, scenario, model, vendor, day, state, hours, hours * price // 100))
    return rows


def _amounts(rows: Sequence[Row]) -> Amounts:
    hours = dict.fromkeys(STATES, 0)
    cost = dict.fromkeys(STATES, 0)
    for row in rows:
        hours[row.state] += row.hours
        cost[row.state] += row.cost
    whole = sum(hours.values())
    known = whole - hours["unknown"]
    return Amounts(
        cost=_cents(sum(cost.values())),
        hours=_cents(whole),
        states=tuple(StateAmount(s, _cents(cost[s]), _cents(hours[s])) for s in STATES),
        unpriced_hours=Decimal("0.00"),
        used_ratio=_ratio(hours["used"], known),
        known_ratio=_ratio(known, whole),
    )


def _departments(
    rows: Sequence[Row], names: Sequence[str], total: Amounts, before: bool
) -> tuple[DepartmentRow, ...]:
    """The first two names become the children of a group, when there are more than three."""
    group = len(names) > 3
    found = []

    def add(
        department_id: str, name: str, parent: str | None, depth: int, kind: Kind, mine: set[str], leaf: bool
    ) -> None:
        amounts = _amounts([r for r in rows if r.department in mine])
        own = amounts if leaf else _amounts([])
        share = (amounts.cost / total.cost).quantize(Decimal("0.000001")) if total.cost else None
        found.append(
            DepartmentRow(
                department_id,
                name,
                parent,
                depth,
                kind,
                leaf,
                "负责人甲" if depth else None,
                None,
                amounts,
                own,
                share,
                _change(amounts.cost, before),
            )
        )

    rest = list(names)
    if group:
        add("g", "技术中心", None, 0, Kind.DEPARTMENT, set(names[:2]), False)
        for number, name in enumerate(names[:2]):
            add(f"g/{number}", name, "g", 1, Kind.DEPARTMENT, {name}, True)
        rest = rest[2:]
    for number, name in enumerate(rest):
        add(f"d{number}", name, None, 0, Kind.DEPARTMENT, {name}, True)
    if rows:
        add("__unallocated__", "__unallocated__", None, 0, Kind.UNMAPPED, {"__unallocated__"}, True)
        add("platform", "platform", None, 0, Kind.PLATFORM, {"platform"}, True)
    return tuple(found) if rows else ()


def _groups(rows: Sequence[Row], key: Callable[[Row], str], before: bool) -> tuple[GroupRow, ...]:
    keys = dict.fromkeys(key(row) for row in rows)
    total = sum(row.cost for row in rows)
    found = []
    for name in keys:
        mine = [row for row in rows if key(row) == name]
        amounts = _amounts(mine)
        found.append(
            GroupRow(name, amounts, _ratio(sum(r.cost for r in mine), total), _change(amounts.cost, before))
        )
    return tuple(sorted(found, key=lambda g: -g.amounts.cost))


def _model(rows: Sequence[Row], model: str, vendor: str, price: int, total: Amounts) -> ModelRow:
    amounts = _amounts([r for r in rows if r.model == model])
    used = amounts.state_hours("used")
    return ModelRow(
        model=model,
        vendor=vendor,
        cards=160,
        price_low=_cents(price),
        price_high=_cents(price + (100 if model == "H100-80G" else 0)),
        assumed=model == "MLU370-X8",
        effective_price=(amounts.cost / used).quantize(Decimal("0.0001")) if used else None,
        amounts=amounts,
        share=(amounts.cost / total.cost).quantize(Decimal("0.000001")) if total.cost else None,
    )


def _workloads(
    rows: Sequence[Row], names: Sequence[str], total: Amounts, start: datetime
) -> tuple[WorkloadRow, ...]:
    """One a department and model."""
    found = []
    for number, name in enumerate([*names, "__unallocated__"]):
        for model, *_ in MODELS:
            mine = [r for r in rows if (r.department, r.model) == (name, model) and r.state in HELD]
            if mine:
                amounts = _held_amounts(mine)
                found.append(
                    WorkloadRow(
                        workload_id=f"k8s/dc1/{name}/{model}",
                        name=None,
                        kind=("kubernetes_pod", "slurm_job", None)[number % 3],
                        department_id=name,
                        department=name,
                        business=None,
                        scenario=SCENARIOS[number % 4] or None,
                        cards=number + 1,
                        since=start,
                        until=start + timedelta(days=6),
                        amounts=amounts,
                        share=_ratio(int(amounts.held_cost * 100), int(total.cost * 100)),
                    )
                )
    return tuple(sorted(found, key=lambda row: -row.amounts.held_cost))


def _held_amounts(rows: Sequence[Row]) -> HeldAmounts:
    parts = [[r for r in rows if r.state == state] for state in HELD]
    return HeldAmounts(
        _cents(sum(r.hours for r in rows)),
        *(_cents(sum(r.hours for r in part)) for part in parts),
        _cents(sum(r.cost for r in rows)),
        *(_cents(sum(r.cost for r in part)) for part in parts),
        Decimal("0.00"),
    )


def _holders(rng: random.Random, names: Sequence[str], start: datetime) -> tuple[HolderRow, ...]:
    found = []
    for number in range(14):
        idle = rng.randint(2000, 40000)
        found.append(
            HolderRow(
                workload_id=f"slurm/4711{number:02d}_notebook-{'long-name-' * (number % 4)}x",
                department_id="",
                department=names[number % len(names)],
                business=None,
                scenario=SCENARIOS[number % 4] or None,
                cards=1 + number % 8,
                card_id=f"GPU-{number:08x}",
                node_id=f"gpu-a{number:03d}",
                model="H20-141G",
                since=start + timedelta(hours=7 * number),
                idle_hours=_cents(idle),
                idle_cost=_cents(idle * 1680 // 100),
                held_hours=_cents(idle * 3),
                running=number % 3 == 0,
            )
        )
    return tuple(sorted(found, key=lambda h: -h.idle_cost))


def _incidents(start: datetime) -> tuple[IncidentRow, ...]:
    return tuple(
        IncidentRow(
            incident_id=f"inc-{number}",
            family="card",
            subject=f"GPU-{number:08x}-6f2b-4c11-9f54-0123456789ab",
            node_id=f"gpu-a{number:03d}",
            vendor="nvidia",
            cause=cause,
            code=code,
            severity=severity,
            onset=start + timedelta(hours=9 * number),
            closed_at=None if number == 1 else start + timedelta(hours=9 * number + 20),
            confirmed=number != 2,
            action=action,
            origin="real",
            hours=Decimal("20.00") * (3 - number),
            cost=Decimal("336.00") * (3 - number),
        )
        for number, (cause, code, severity, action) in enumerate(
            (
                ("xid_fallen_off_the_bus", "79", "fatal", "isolate_node"),
                ("ecc_uncontained", None, "critical", "isolate_card"),
                ("a_site_rule", "0x80E01801", "warning", "observe"),
            )
        )
    )


def _heat(rng: random.Random) -> tuple[HeatCell, ...]:
    found = []
    for weekday in range(1, 8):
        for hour in range(24):
            busy = 0.35 + 0.5 * (8 <= hour <= 21) * (weekday < 6) + rng.random() * 0.14
            unknown = weekday == 6
            ratio = None if unknown else Decimal(str(round(min(busy, 1), 4)))
            found.append(HeatCell(weekday, hour, ratio, ratio, Decimal("0.00" if unknown else "640.00")))
    return tuple(found)


def _sentences(total: Amounts, names: Sequence[str], before: bool, empty: bool) -> tuple[Sentence, ...]:
    change = _change(total.cost, before)
    first = (
        Sentence("cost", {"cost": total.cost})
        if change is None
        else Sentence(
            "cost_change",
            {
                "cost": total.cost,
                "previous": change.previous,
                "difference": change.difference,
                "ratio": change.ratio,
            },
        )
    )
    if empty:
        return (first, Sentence("no_waste", {}), Sentence("no_action", {}))
    parts = {
        f"{name}_ratio": (total.state_cost(name) / total.cost).quantize(Decimal("0.000001"))
        for name in ("allocated_idle", "unallocated_idle", "fragmented", "faulty", "isolated")
    }
    ratio = (total.waste_cost / total.cost).quantize(Decimal("0.000001"))
    action = {
        "count": 3,
        "saving": Decimal("18234.10"),
        "department": names[0],
        "workload": "slurm/471100_notebook",
    }
    return (first, Sentence("waste", {"ratio": ratio, **parts}), Sentence("action", action))


def _change(value: Decimal, before: bool) -> Change | None:
    if not before:
        return None
    old = (value * Decimal("0.94")).quantize(Decimal("0.01"))
    return Change(old, value - old, ((value - old) / old).quantize(Decimal("0.000001")) if old else None)


def _ratio_change(value: Decimal | None, before: bool) -> Change | None:
    if value is None or not before:
        return None
    old = Decimal("0.6021")
    return Change(old, value - old, ((value - old) / old).quantize(Decimal("0.000001")))


def _ratio(part: int, whole: int) -> Decimal | None:
    return (Decimal(part) / Decimal(whole)).quantize(Decimal("0.000001")) if whole else None


def _cents(value: int) -> Decimal:
    return Decimal(value).scaleb(-2)
