"""New samples that could matter to a rule, out of the store: what is good and of nobody watched stays there.

The rules' thresholds become a filter in SQL, so that a healthy fleet costs one scan of the rows that came since the last
reading. Counters' growth is reckoned there too, from the reading before however long ago it was (as
ullage_contract.counters does). Not here: judging (fault_evaluator.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.audit import naive_utc
from ullage_collector.detect.fault_observation import SampleSeen
from ullage_collector.detect.fault_rule import OF_COUNTERS, Condition, FaultRule, Signal
from ullage_collector.sql import fill, statements
from ullage_collector.store.columns import SUBJECT
from ullage_collector.store.increase import increase_sql
from ullage_contract.catalogue import keys
from ullage_contract.clock import Clock
from ullage_contract.sample import Family, Origin

if TYPE_CHECKING:
    import duckdb

FAMILIES: Final = (Family.CARD, Family.PORT, Family.NODE)
FRESH_US: Final = 120_000_000
OLDEST_US: Final = 3_600_000_000
"""our choice: a sample an hour late opens not even a record; if what it shows still is, a fresh one says so."""
LOOK_BACK_US: Final = 3_600_000_000
"""our choice: at a start a counter's last reading is looked for in the last hour."""
OVERLAP_US: Final = 30_000_000
"""our choice: rows received a moment ago may be committed after younger ones; the evaluator knows a row again."""
YOUNG_SECONDS: Final = 900.0
"""our choice: nodes that booted in the last quarter of an hour are told; the longest grace is shorter."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading. rows: by subject and time. through_us: how far it goes, by family. booted: cluster, node, when."""

    rows: Sequence[SampleSeen]
    through_us: Mapping[str, int]
    booted: Sequence[tuple[str, str, int]] = ()


class SampleReader:
    """Reads what came since the last reading that was judged. ``read`` by one thread, ``moved`` by any."""

    def __init__(
        self, connect: Callable[[], duckdb.DuckDBPyConnection], rules: Sequence[FaultRule], clock: Clock
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._plans = {
            family: _Plan(family, [r for r in rules if r.signal is Signal.METRIC and r.family == family])
            for family in FAMILIES
        }
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._through: dict[str, int] = {}
        self._lock = threading.Lock()

    def read(self) -> Reading:
        """What is new. Raises duckdb.Error when the store cannot be read; the next reading begins where this did."""
        if self._connection is None:
            self._begin()
        connection = self._connection
        assert connection is not None
        rows: list[SampleSeen] = []
        through: dict[str, int] = {}
        now_us = round(self._clock.wall() * 1e6)
        try:
            for family in FAMILIES:
                plan = self._plans[family]
                if not plan.rules:
                    continue
                with self._lock:
                    after = self._through[family]
                found, reached = plan.read(connection, after, now_us)
                rows += found
                through[family] = max(after, reached)
                with self._lock:
                    self._through[family] = through[family]
            sql = statements("fault_samples")
            booted = connection.execute(
                sql["booted"], {"after": now_us - OVERLAP_US * 2, "young": YOUNG_SECONDS}
            ).fetchall()
        except Exception:
            self._connection = None
            connection.close()
            raise
        return Reading(rows, through, booted)

    def moved(self, connection: duckdb.DuckDBPyConnection, reading: Reading) -> None:
        """Write how far it was judged, in the caller's transaction."""
        for family, through_us in reading.through_us.items():
            connection.execute(statements("incidents")["move_through"], [family, naive_utc(through_us / 1e6)])

    def _begin(self) -> None:
        """Go on where the last judged reading ended; a new store begins now."""
        now_us = round(self._clock.wall() * 1e6)
        connection = self._connect()
        known = dict(connection.execute(statements("incidents")["through"]).fetchall())
        for family in FAMILIES:
            self._through[family] = min(int(known.get(family, now_us - OVERLAP_US)), now_us)
            if self._plans[family].rules:
                self._plans[family].begin(connection, self._through[family])
        self._connection = connection


class _Plan:
    """One family's SQL: which columns, which growths, and what makes a row worth a look.

    Names come from the metric catalogue; thresholds and words are parameters.
    """

    def __init__(self, family: Family, rules: Sequence[FaultRule]) -> None:
        self.rules = rules
        self._family = family
        known = keys(family)
        grown = {rule.metric for rule in rules if rule.condition in OF_COUNTERS}
        carried = {rule.above_metric or rule.below_metric for rule in rules}
        carried |= {key for rule in rules if (lane := rule.per_lane) for key in (lane.generation, lane.width)}
        plain = {rule.metric for rule in rules} | {
            rule.during.metric for rule in rules if rule.during is not None
        }
        self._grown = [key for key in known if key in grown]
        self._carried = [key for key in known if key in carried]
        self._plain = [key for key in known if key in plain - carried]
        self._kept = [key for key in known if key in grown | carried]
        self._values: dict[str, Any] = {"family": family.value}
        self._hot = " OR ".join(f"({self._hot_of(number, rule)})" for number, rule in enumerate(rules))

    @property
    def _places(self) -> dict[str, str]:
        return {"view": f"{self._family.value}_sample", "key": SUBJECT[self._family][0]}

    @property
    def _last(self) -> str:
        return f"fault_last_{self._family.value}"

    @property
    def _new(self) -> str:
        return f"fault_new_{self._family.value}"

    def begin(self, connection: duckdb.DuckDBPyConnection, through_us: int) -> None:
        """The last reading of each counter before ``through_us``, in a table of this connection."""
        connection.execute(
            fill(statements("fault_samples")["begin"], last=self._last, lasts=self._lasts(), **self._places),
            {"after": through_us - LOOK_BACK_US, "until": through_us},
        )

    def read(
        self, connection: duckdb.DuckDBPyConnection, after_us: int, now_us: int
    ) -> tuple[list[SampleSeen], int]:
        """Rows received after ``after_us`` that could matter, and the instant the newest of all was received."""
        sql = statements("fault_samples")
        columns = "".join(f', s."{key}"' for key in dict.fromkeys([*self._plain, *self._kept]))
        connection.execute(
            fill(sql["new"], new=self._new, columns=columns, **self._places),
            {"after": after_us - OVERLAP_US, "oldest": now_us - OLDEST_US},
        )
        row = connection.execute(fill(sql["reached"], new=self._new)).fetchone()
        if row is None or row[0] is None:
            return [], after_us
        wanted = [f'"{key}"' for key in self._plain] + [f'"{key}_now"' for key in self._carried]
        wanted += [f'"{key}_{end}"' for key in self._grown for end in ("growth", "over")]
        worth = fill(
            sql["worth"],
            new=self._new,
            last=self._last,
            known=self._known(),
            growths=self._growths(),
            bases=self._bases(),
            hot=self._hot,
            wanted="".join(f", {name}" for name in wanted),
            **_NAMED[self._family],
        )
        found = [
            self._seen(values)
            for values in connection.execute(worth, {**self._values, "now": now_us}).fetchall()
        ]
        connection.execute(
            fill(sql["keep"], new=self._new, last=self._last, lasts=self._lasts(), kept=self._newer())
        )
        return found, int(row[0])

    def _known(self) -> str:
        """Of each kept column what it was before the row: value, the epoch of its counters, and when it was read."""
        texts = []
        for key in self._kept:
            for name, value in (
                (f"{key}", f'n."{key}"'),
                (f"{key}_epoch", f'CASE WHEN n."{key}" IS NOT NULL THEN n.epoch_key END'),
                (f"{key}_at", f'CASE WHEN n."{key}" IS NOT NULL THEN n."time" END'),
            ):
                texts.append(
                    f', coalesce(last_value({value} IGNORE NULLS) OVER before, l."{name}") AS "{name}_old"'
                )
        return "".join(texts)

    def _growths(self) -> str:
        texts = []
        for key in self._grown:
            # rows without an epoch compare equal, as in ullage_contract.counters
            same = f'coalesce(r.epoch_key = r."{key}_epoch_old", true)'
            growth = increase_sql(keys(self._family)[key], f'r."{key}"', f'r."{key}_old"', same)
            over = f'(epoch_us(r."time") - epoch_us(r."{key}_at_old")) / 1e6'
            texts.append(f', {growth} AS "{key}_growth", {over} AS "{key}_over"')
        texts += [f', coalesce(r."{key}", r."{key}_old") AS "{key}_now"' for key in self._carried]
        return "".join(texts)

    def _lasts(self) -> str:
        return "".join(
            f', arg_max("{key}", "time") FILTER ("{key}" IS NOT NULL) AS "{key}"'
            f', arg_max(epoch_key, "time") FILTER ("{key}" IS NOT NULL) AS "{key}_epoch"'
            f', max("time") FILTER ("{key}" IS NOT NULL) AS "{key}_at"'
            for key in self._kept
        )

    def _newer(self) -> str:
        return "".join(
            f', CASE WHEN n."{key}_at" >= l."{key}_at" OR l."{key}_at" IS NULL'
            f' THEN n."{key}{end}" ELSE l."{key}{end}" END AS "{key}{end}"'
            for key in self._kept
            for end in ("", "_epoch", "_at")
        )

    def _bases(self) -> str:
        texts = []
        for number, rule in enumerate(self.rules):
            if rule.condition is Condition.SHORT:
                self._values[f"rule{number}"] = rule.name
                texts.append(f", max(base) FILTER (rule = $rule{number}) AS base{number}")
        return "".join(texts)

    def _hot_of(self, number: int, rule: FaultRule) -> str:
        """When a row is worth a look for this rule; laxer than the rule, never stricter."""
        key, maker = f'v."{rule.metric}"', ""
        if rule.vendor:
            self._values[f"vendor{number}"] = rule.vendor
            maker = f"v.vendor = $vendor{number} AND "
        if rule.condition is Condition.FROZEN:
            return f'{maker}v."{rule.metric}_growth" = 0'
        if rule.condition in OF_COUNTERS:
            return f'{maker}v."{rule.metric}_growth" > 0'
        if rule.words:
            self._values[f"words{number}"] = sorted(rule.words)
            among = f"list_contains($words{number}, {key})"
            if rule.condition is Condition.LEVEL:
                return f"{maker}{among}"
            key = f"CAST({among} AS DOUBLE)"
        if rule.condition is Condition.SHORT:
            return f"{maker}(base{number} IS NULL OR {key} <> base{number} OR {key} < v.expected) AND {key} IS NOT NULL"
        if rule.bits:
            self._values[f"bits{number}"] = rule.bit_mask
            return f"{maker}({key} & CAST($bits{number} AS UBIGINT)) <> 0"
        limits = []
        for sign, name, limit, other in (
            (">", "above", rule.above, rule.above_metric),
            ("<", "below", rule.below, rule.below_metric),
        ):
            if other is not None:
                limits.append(f'{key} {sign} v."{other}_now"')
            elif limit is not None:
                self._values[f"{name}{number}"] = float(limit)
                limits.append(f"{key} {sign} ${name}{number}")
        return f"{maker}({' OR '.join(limits)})"

    def _seen(self, row: tuple[Any, ...]) -> SampleSeen:
        subject, cluster, node, vendor, time_us, received_us, monotonic, origin, expected = row[:9]
        rest = iter(row[9:])
        values = {key: value for key in (*self._plain, *self._carried) if (value := next(rest)) is not None}
        growth, over = {}, {}
        for key in self._grown:
            amount, seconds = next(rest), next(rest)
            if amount is not None and seconds is not None:
                growth[key], over[key] = float(amount), float(seconds)
        return SampleSeen(
            family=self._family.value,
            subject=subject,
            cluster=cluster,
            node=node,
            vendor=vendor,
            time_us=time_us,
            received_us=received_us,
            fresh=received_us - time_us <= FRESH_US and origin != Origin.IMPORTED,
            values=values,
            growth=growth,
            growth_seconds=over,
            uptime_seconds=monotonic,
            expected={} if expected is None else {"cards_seen": float(expected)},
            origin=Origin(origin),
        )


_NAMED: Final[Mapping[Family, Mapping[str, str]]] = {
    Family.CARD: {
        "subject": "c.card_id",
        "vendor": "c.vendor",
        "expected": "NULL",
        "joins": "JOIN card c ON c.card_key = r.subject_key",
    },
    # a management port or a virtual function serves no card
    Family.PORT: {
        "subject": "p.port_id",
        "vendor": "NULL",
        "expected": "NULL",
        "joins": "JOIN port p ON p.port_key = r.subject_key"
        " AND coalesce(json_extract_string(p.facts, '$.role'), 'fabric') NOT IN ('management', 'virtual')",
    },
    Family.NODE: {
        "subject": "o.node_id",
        "vendor": "NULL",
        "expected": "w.cards",
        "joins": "LEFT JOIN owned w ON w.cluster_id = o.cluster_id AND w.node_id = o.node_id",
    },
}
