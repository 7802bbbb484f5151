"""What each incident cost: capacity lost, work wasted, and cards that idled because of it; by the ledger's own lines.

Lost is what the ledger calls faulty or isolated with that incident behind it: over all incidents it adds up exactly to the
ledger's faulty and isolated hours, the rest being ``without`` an incident or isolated on one that is not ``unconfirmed``.
Wasted is work its holders paid for and lost: what the run had used since its start, or since its last checkpoint where the
workload says how often it makes one, when the run ended by the fault. Idle is what the run's cards idled from the onset on.
Both stay on the holder's bill: they are a measure, no posting. An hour counts for one incident alone, the earliest.

Only confirmed incidents have a cost: what was observed, suspected, in shadow or caused by an application moves no money.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.ledger import ATOMS_PER_UNIT, FAULTY, ISOLATED, half_up, hours_exact, minor_units
from ullage_collector.sql import statements
from ullage_contract.errors import BadInput, LedgerError

if TYPE_CHECKING:
    import duckdb

DAY_US: Final = 86_400_000_000
SLACK_US: Final = 60_000_000
"""our choice: a scheduler's end is a second exact and may be noted before the kernel's line; a minute is not a coincidence."""
ENDED_WITHIN_US: Final = 600_000_000
"""our choice: collectives give up after ten minutes by default (torch.distributed, timeout of a process group with NCCL)."""
BY_FAULT: Final = frozenset(
    {"failed", "node_fail", "boot_fail", "error", "evicted", "nodelost", "nodeshutdown", "terminated"}
)
"""What schedulers say of an end that a fault may have made. Source: squeue(1) job state codes; reasons of pods."""
BY_OTHERS: Final = frozenset(
    {"completed", "cancelled", "timeout", "deadline", "preempted", "out_of_memory", "oomkilled", "revoked", "succeeded",
     "deadlineexceeded", "preempting"}
)  # fmt: skip
KINDS: Final = ("wasted", "maybe_wasted", "idle")


@dataclass(slots=True)
class Amount:
    """Card time and money. quantity: nano-share microseconds; unpriced: of it, without a price. atoms: by currency."""

    quantity: int = 0
    unpriced: int = 0
    atoms: dict[str, int] = field(default_factory=dict)

    def add(self, quantity: int, currency: str | None, atoms: int | None, unpriced: int | None) -> None:
        """Another sum of lines."""
        self.quantity += quantity
        self.unpriced += unpriced or 0
        if currency is not None and atoms is not None:
            self.atoms[currency] = self.atoms.get(currency, 0) + atoms

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        names = sorted({*self.atoms, *other.atoms})
        atoms = {name: self.atoms.get(name, 0) + other.atoms.get(name, 0) for name in names}
        return Amount(self.quantity + other.quantity, self.unpriced + other.unpriced, atoms)

    def to_json(self) -> dict[str, Any]:
        """Exact, and as a person reads it: money rounded half up to the currency's own digits."""
        return {
            "card_hours": str(hours_exact(self.quantity)),
            "quantity": str(self.quantity),
            "unpriced_card_hours": str(hours_exact(self.unpriced)),
            "cost": {name: _money(atoms, name) for name, atoms in sorted(self.atoms.items())},
            "cost_atoms": {name: str(atoms) for name, atoms in sorted(self.atoms.items())},
        }


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a workload that held what an incident took; times in microseconds since the epoch.

    closed_us None: the incident is open. ended: it is over, at ended_us. said: how, in the scheduler's word, None: it does not
    say. checkpoint_us: how often it keeps its work, None: it does not say.
    """

    incident_id: int
    onset_us: int
    closed_us: int | None
    workload_key: int
    begun_us: int
    ended_us: int
    ended: bool
    said: str | None = None
    checkpoint_us: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Time of one workload that an incident answers for. kind: of KINDS."""

    kind: str
    workload_key: int
    from_us: int
    to_us: int
    incident_id: int


@dataclass(frozen=True, slots=True)
class IncidentCost:
    """One incident's cost. confirmed False: it moves no money, everything is 0."""

    incident_id: int
    family: str
    subject: str
    cause: str
    severity: str
    action: str
    onset_us: int
    closed_us: int | None
    confirmed: bool
    faulty: Amount = field(default_factory=Amount)
    isolated: Amount = field(default_factory=Amount)
    wasted: Amount = field(default_factory=Amount)
    maybe_wasted: Amount = field(default_factory=Amount)
    idle: Amount = field(default_factory=Amount)

    @property
    def lost(self) -> Amount:
        """Faulty and isolated."""
        return self.faulty.plus(self.isolated)

    def to_json(self) -> dict[str, Any]:
        names = ("faulty", "isolated", "lost", "wasted", "maybe_wasted", "idle")
        return {
            "incident_id": self.incident_id,
            "family": self.family,
            "subject": self.subject,
            "cause": self.cause,
            "severity": self.severity,
            "action": self.action,
            "confirmed": self.confirmed,
            "onset": _instant(self.onset_us),
            "closed_at": _instant(self.closed_us),
            **{name: getattr(self, name).to_json() for name in names},
        }


@dataclass(frozen=True, slots=True)
class Costs:
    """All incidents of a stretch [from_us, to_us). without, unconfirmed: lost time by state that no confirmed incident stands
    behind. missing: days of the stretch whose lines were not worked out yet.
    """

    from_us: int
    to_us: int
    incidents: Sequence[IncidentCost]
    without: Mapping[str, Amount]
    unconfirmed: Mapping[str, Amount]
    missing: Sequence[date]

    def to_json(self) -> dict[str, Any]:
        total = Amount()
        for item in self.incidents:
            total = total.plus(item.lost)
        return {
            "from": _instant(self.from_us),
            "to": _instant(self.to_us),
            "incidents": [item.to_json() for item in self.incidents],
            "lost_by_incidents": total.to_json(),
            "without_incident": {state: amount.to_json() for state, amount in self.without.items()},
            "on_unconfirmed_incidents": {
                state: amount.to_json() for state, amount in self.unconfirmed.items()
            },
            "days_missing": [day.isoformat() for day in self.missing],
        }


def how_ended(run: Run) -> str | None:
    """``wasted`` when the run ended by the fault, ``maybe_wasted`` when its scheduler does not say, None when it did not."""
    if not run.ended or not run.onset_us - SLACK_US <= run.ended_us <= run.onset_us + ENDED_WITHIN_US:
        return None
    said = (run.said or "").lower()
    if said in BY_FAULT:
        return "wasted"
    return None if said in BY_OTHERS else "maybe_wasted"


def kept_until(run: Run) -> int:
    """Up to where a run's work is kept: its last whole checkpoint before its end, else its start."""
    if not run.checkpoint_us:
        return run.begun_us
    return run.begun_us + (run.ended_us - run.begun_us) // run.checkpoint_us * run.checkpoint_us


def spans_of(runs: Iterable[Run]) -> list[Span]:
    """What each incident answers for, no instant of a workload's kind twice: the incident of the earlier onset has it.

    Work that one incident wasted is not ``maybe_wasted`` by another.
    """
    ordered = sorted(runs, key=lambda run: (run.onset_us, run.incident_id, run.workload_key, run.begun_us))
    wanted: dict[str, list[Span]] = {"wasted": [], "maybe_wasted": [], "idle": []}
    for run in ordered:
        kind = how_ended(run)
        if kind is not None:
            wanted[kind].append(Span(kind, run.workload_key, kept_until(run), run.ended_us, run.incident_id))
        end = min(run.ended_us, run.ended_us if run.closed_us is None else run.closed_us)
        wanted["idle"].append(
            Span("idle", run.workload_key, max(run.onset_us, run.begun_us), end, run.incident_id)
        )
    wasted = _disjoint(wanted["wasted"], ())
    return [*wasted, *_disjoint(wanted["maybe_wasted"], wasted), *_disjoint(wanted["idle"], ())]


def _disjoint(spans: Sequence[Span], taken: Sequence[Span]) -> list[Span]:
    """The spans without what an earlier one, or one of ``taken``, has of the same workload."""
    by_workload: dict[int, list[tuple[int, int]]] = {}
    for span in taken:
        by_workload.setdefault(span.workload_key, []).append((span.from_us, span.to_us))
    found = []
    for span in spans:
        others = by_workload.setdefault(span.workload_key, [])
        for begin, end in _without(span.from_us, span.to_us, others):
            found.append(Span(span.kind, span.workload_key, begin, end, span.incident_id))
        if span.from_us < span.to_us:
            others.append((span.from_us, span.to_us))
    return found


def _without(begin: int, end: int, others: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    left = [(begin, end)] if begin < end else []
    for low, high in others:
        left = [
            piece
            for first, last in left
            for piece in ((first, min(last, low)), (max(first, high), last))
            if piece[0] < piece[1]
        ]
    return left


def costs(
    cursor: duckdb.DuckDBPyConnection, from_us: int | None, to_us: int, *, only: int | None = None
) -> Costs:
    """The cost of every confirmed incident of [from_us, to_us), microseconds since the epoch, or of one alone.

    from_us None: since the first day there are lines of. Raises BadInput for an empty stretch or an unknown incident, LedgerError (BUG)
    when the parts do not add up to the ledger's faulty and isolated hours.
    """
    sql = statements("incident_cost")
    if from_us is None:
        (first,) = cursor.execute(sql["first_day"]).fetchone() or (None,)
        from_us = min(int(first), to_us - 1) if first is not None else to_us - DAY_US
    if from_us >= to_us:
        raise BadInput("from and to: give a stretch of more than nothing")
    when = {"from_us": from_us, "to_us": to_us}
    found = {
        int(row[0]): IncidentCost(int(row[0]), *row[1:])
        for row in cursor.execute(sql["incidents"], {**when, "only": only}).fetchall()
    }
    if only is not None and only not in found:
        raise BadInput(f"no incident {only}; GET /api/v1/incidents lists them")
    buckets: dict[str, dict[str, Amount]] = {
        name: {FAULTY: Amount(), ISOLATED: Amount()} for name in ("without", "unconfirmed")
    }
    parts: dict[tuple[str, str | None], list[int]] = {}
    for number, bucket, state, currency, quantity, atoms, unpriced in cursor.execute(
        sql["lost"], when
    ).fetchall():
        total = parts.setdefault((state, currency), [0, 0])
        total[0] += int(quantity)
        total[1] += int(atoms or 0)
        if bucket != "incident":
            buckets[bucket][state].add(int(quantity), currency, atoms, unpriced)
        elif int(number) in found:
            getattr(found[int(number)], state).add(int(quantity), currency, atoms, unpriced)
        elif only is None:
            raise LedgerError(f"BUG: lines stand on incident {number}, which is not of the stretch")
    whole = {
        (state, currency): [int(quantity), int(atoms or 0)]
        for state, currency, quantity, atoms in cursor.execute(sql["whole"], when).fetchall()
    }
    if parts != whole:
        raise LedgerError(
            "BUG: what incidents cost does not add up to the ledger's faulty and isolated hours"
        )
    _work(cursor, found, when)
    return Costs(
        from_us,
        to_us,
        tuple(found.values()),
        buckets["without"],
        buckets["unconfirmed"],
        _missing(cursor, when),
    )


def _work(
    cursor: duckdb.DuckDBPyConnection, found: Mapping[int, IncidentCost], when: Mapping[str, int]
) -> None:
    """Wasted and idle of the incidents. All incidents' runs are looked at, as an hour counts for the earliest."""
    sql = statements("incident_cost")
    rows = cursor.execute(sql["runs"], {**when, "slack_us": SLACK_US}).fetchall()
    runs = [
        Run(number, onset, closed, workload, begun, ended_at, ended, said, _microseconds(checkpoint))
        for number, onset, closed, workload, begun, ended_at, ended, said, checkpoint in rows
    ]
    spans = [span for span in spans_of(runs) if span.incident_id in found]
    if not spans:
        return
    columns = {
        "incident": [span.incident_id for span in spans],
        "kind": [span.kind for span in spans],
        "workload": [span.workload_key for span in spans],
        "begin": [span.from_us for span in spans],
        "end": [span.to_us for span in spans],
    }
    for number, kind, currency, quantity, atoms, unpriced in cursor.execute(
        sql["spans"], {**when, **columns}
    ).fetchall():
        getattr(found[int(number)], kind).add(int(quantity), currency, atoms, unpriced)


def _missing(cursor: duckdb.DuckDBPyConnection, when: Mapping[str, int]) -> list[date]:
    there = {row[0] for row in cursor.execute(statements("incident_cost")["days"], when).fetchall()}
    day = datetime.fromtimestamp(when["from_us"] / 1e6, UTC).date()
    last = datetime.fromtimestamp((when["to_us"] - 1) / 1e6, UTC).date()
    missing = []
    while day <= last:
        if day not in there:
            missing.append(day)
        day += timedelta(days=1)
    return missing


def _microseconds(text: object) -> int | None:
    """A workload's word about its checkpoints; what is no positive number says nothing."""
    try:
        seconds = float(str(text)) if text is not None else 0.0
    except ValueError:
        return None
    return round(seconds * 1e6) if 1 <= seconds <= 31 * 86_400 else None


def _money(atoms: int, currency: str) -> str:
    digits = minor_units(currency)
    units = half_up(atoms * 10**digits, ATOMS_PER_UNIT)
    text = f"{units:0{digits + 1}d}"
    return text if digits == 0 else f"{text[:-digits]}.{text[-digits:]}"


def _instant(us: int | None) -> str | None:
    if us is None:
        return None
    return datetime.fromtimestamp(us / 1e6, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
