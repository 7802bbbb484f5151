"""What every owned card was, at every instant of a UTC day, and who pays: the rows of table ``segment``.

Capacity comes from the inventory, allocation decides who pays, telemetry splits held time into used and
idle, incidents and isolations take the card away from both. The shares of a card add up to the whole at
every instant, and the day is checked for it before anything is kept. SQL (sql/states.sql) does the work
over all cards at once; prices and mappings come as spans from prices.py and mapping.py.

An allocation without a card (``card_key`` NULL, ``node_key`` set) counts cards: ``share_nano`` 2 x 10^9 is two
of the node's cards, nobody knows which. It is spread over what is free of the node's cards, its use is ``unknown``
with reason ``card_unknown``, and the rest of those cards stays ``unallocated_idle``.

A reservation takes what work leaves free of its cards: ``allocated_idle`` of its account, reason ``reserved``. A
scheduler that cleans up after a job keeps its card for the platform, reason ``completing``. Held time before a
workload first did anything has reason ``start_up``; a card whose shares add up to more than one is divided by their
sum, reason ``over_subscribed``.

Not here: writing anything for reports (publish/files.py), and judging faults (the fault engine).
"""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ullage_collector import mapping
from ullage_collector.ledger import STATES
from ullage_collector.node_labels import cut_labels, labels_of
from ullage_collector.prices import Price, PriceBook, usable
from ullage_collector.pricing import energy
from ullage_collector.pricing.day import Owned, cut_by_labels, price_day
from ullage_collector.pricing.exchange import Exchange, Policy, Rate
from ullage_collector.sql import fill, statements
from ullage_contract.errors import BadInput, ConfigError, LedgerError

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

DAY_US: Final = 86_400_000_000
_PARAMETER: Final = re.compile(r"\$([a-z_]+)")
_TREATMENTS: Final = ("not_owned", "serving", "isolated", "faulty")
SHARES: Final[Mapping[str, tuple[str, ...]]] = {
    "mig_weight": ("compute_slices", "memory_slices", "dominant_share"),
    "oversubscription": ("normalise_by_request", "measured_sm_share"),
}
"""How the share of a card that somebody holds is found, the default first: docs/cost-model.md, Parts of a card."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One way a card shows work. kind: level (a ratio's maximum) or rate (a counter's increase a second)."""

    key: str
    kind: str
    at_least: float
    judges: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """detect/states.toml as values; every number's source stands there. Seconds, watts, ratios 0..1."""

    window_seconds: int
    bridge_seconds: int
    minute_known_seconds: float
    above_watts: float
    above_limit_ratio: float
    learned_quantile: float
    learned_minutes: int
    idle_watts: Mapping[str, float]
    signals: tuple[Signal, ...]
    life: Mapping[str, str]
    faulty_actions: tuple[str, ...]
    node_actions: tuple[str, ...]
    port_actions: tuple[str, ...]
    mig_weight: str = SHARES["mig_weight"][0]
    oversubscription: str = SHARES["oversubscription"][0]

    @property
    def margin_us(self) -> int:
        """How far beyond a day its idle runs must be looked at, so that both days agree about midnight.

        Within the window there are at most window minutes of proof, each behind one bridged silence.
        """
        minutes = -(-self.window_seconds // 60)
        return (self.window_seconds + minutes * self.bridge_seconds) * 1_000_000


@dataclass(frozen=True, slots=True)
class Worked:
    """A day worked out and checked, not kept yet.

    lines: Arrow table with the columns of ``segment`` but day and revision. quantities: state -> nano-share microseconds,
    all seven. unpriced: quantity without a price. minutes: minutes of telemetry the day stands on. orphans: allocations
    of cards nobody owned. refused: rules and prices that could never count, each with its reason. remainder: Arrow table of
    what of the prices no share carries, the columns of ``remainder_line`` but day; energy: what the cards drew, those of
    ``energy_line``. None: what is kept of the day stands.
    """

    day: date
    known_at: datetime
    lines: Any
    quantities: Mapping[str, int]
    unpriced: int
    minutes: int
    orphans: int
    refused: tuple[str, ...]
    remainder: Any = None
    energy: Any = None


@dataclass(frozen=True, slots=True)
class DayStates:
    """A day as kept. revision: of the rows now kept. changed: they differ from those before; a new revision."""

    day: date
    revision: int
    changed: bool
    rows: int
    worked: Worked


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return load_rules(None)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The rules that [states] of collector.toml names: ``rules = "/etc/ullage/states.toml"``, without it those shipped; and by what
    shares are found, the words of SHARES.

    Raises ConfigError for another key, another type, or a file that is wrong.
    """
    for key in part:
        if key not in ("rules", *SHARES):
            raise ConfigError(
                f"[states] {key[:40]} is not known; write rules = FILE, {', '.join(SHARES)} or leave it out"
            )
    named = part.get("rules")
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"[states] rules = {named!r}; write the path of a file like detect/states.toml")
    said = {name: part.get(name, words[0]) for name, words in SHARES.items()}
    for name, word in said.items():
        if word not in SHARES[name]:
            raise ConfigError(f"[states] {name} = {str(word)[:40]!r}; choose from {', '.join(SHARES[name])}")
    rules = default_rules() if named is None else load_rules(Path(named))
    return replace(rules, **said)


def load_rules(path: Path | None) -> Rules:
    """Rules from a TOML file; None: those shipped. Raises ConfigError naming file and key."""
    name = str(path) if path else "states.toml"
    try:
        if path:
            text = path.read_text(encoding="utf-8")
        else:
            text = (
                resources.files("ullage_collector.detect").joinpath("states.toml").read_text(encoding="utf-8")
            )
        data = tomllib.loads(text)
        rules = Rules(
            window_seconds=int(data["idle"]["window_seconds"]),
            bridge_seconds=int(data["idle"]["bridge_seconds"]),
            minute_known_seconds=float(data["telemetry"]["minute_known_seconds"]),
            above_watts=float(data["power"]["above_watts"]),
            above_limit_ratio=float(data["power"]["above_limit_ratio"]),
            learned_quantile=float(data["power"]["learned_quantile"]),
            learned_minutes=int(data["power"]["learned_minutes"]),
            idle_watts={str(k): float(v) for k, v in data["power"].get("idle_watts", {}).items()},
            signals=tuple(
                Signal(str(s["key"]), str(s["kind"]), float(s["at_least"]), bool(s["judges"]))
                for s in data["signal"]
            ),
            life={str(k): str(v) for k, v in data["life"].items()},
            faulty_actions=tuple(data["incident"]["faulty_actions"]),
            node_actions=tuple(data["incident"]["node_actions"]),
            port_actions=tuple(data["incident"]["port_actions"]),
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"{name}: cannot be read: {e}") from e
    except (KeyError, TypeError, ValueError) as e:
        raise ConfigError(
            f"{name}: {e!r} is missing or not of its type; compare it with the shipped file"
        ) from e
    for signal in rules.signals:
        if not re.fullmatch(r"[a-z0-9_]+", signal.key) or signal.kind not in ("level", "rate"):
            raise ConfigError(
                f"{name}: signal {signal.key[:40]!r} of kind {signal.kind[:20]!r}; write level or rate"
            )
    for word, treatment in rules.life.items():
        if treatment not in _TREATMENTS:
            raise ConfigError(
                f"{name}: life.{word} = {treatment[:20]!r}; write one of {', '.join(_TREATMENTS)}"
            )
    if rules.window_seconds <= 0 or rules.bridge_seconds < 0:
        raise ConfigError(f"{name}: idle.window_seconds must be above 0, idle.bridge_seconds at least 0")
    return rules


class States:
    """Works days out on one connection; keeping them is a short write of its own.

    connection: a cursor of the store; days are worked out in temp tables on it, in one reading transaction of the
    caller's if the fleet changes meanwhile. sources: minute view -> what to read in its place, e.g. ``read_parquet(...)``
    of published days whose minutes the store has dropped; None reads the views.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        rules: Rules | None = None,
        *,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = connection
        self._rules = rules or default_rules()
        self._sources = sources
        self._sql = statements("states")

    def make(self, day: date, now: datetime, *, known_at: datetime | None = None) -> DayStates:
        """Reconcile, work the day out as believed at ``known_at`` (None: now) and keep it, all on this connection.

        For a connection that is alone or inside one write. Raises LedgerError as ``work_out`` and ``keep`` do.
        """
        reconcile(self._connection, now)
        return keep(self._connection, self.work_out(day, known_at or now))

    def work_out(self, day: date, known_at: datetime) -> Worked:
        """The day's lines as believed at ``known_at``; changes nothing but temp tables.

        Raises LedgerError when shares do not add up or capacity is lost (BUG), and for life words the rules do not know.
        """
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
        p = self._parameters(start, start + DAY_US, known_at, self._rules.margin_us)
        self._tables_of_rules()
        unknown = [row[0] for row in self._run("unknown_lives", {}).fetchall()]
        if unknown:
            raise LedgerError(
                f"inventory: life {', '.join(map(repr, unknown))[:120]} is no word of states.toml [life]; "
                "correct the inventory or add the word"
            )
        self._observe(p, {})
        for name in ("card_runs", "runs"):
            self._run(name, p)
        refused = (*self._owners(p, known_at), *self._prices(p, known_at))
        for name in ("loose_nodes", "starts", "cells", "held"):
            self._run(name, p)
        if self._one("count_loose_nodes", {}):
            self._run("loose", p)
        self._run("shares", {})
        if self._rules.oversubscription == "measured_sm_share":
            self._run("measured_shares", {})
        for name in ("set_aside", "verdicts", "lines"):
            self._run(name, p)
        self._check(day)
        drawn = energy.work_out(self._connection, p, self._exchange, self._sources)
        return self._worked(day, known_at, p, refused, drawn)

    def observe(self, from_us: int, to_us: int, known_at: datetime, learned: Mapping[str, float]) -> None:
        """Judge the minutes of [from_us, to_us) and nothing more: temp table ``states_judged`` (subject_key, minute, active;
        NULL: unknown) beside states_capacity, states_allocation, states_fault and states_idle_power, for detectors that
        look at the same rows as the money.

        learned: model -> idle watts for models the span itself has too few free minutes of, as ``idle_watts`` gave them.
        """
        self._tables_of_rules()
        self._observe(self._parameters(from_us, to_us, known_at, 0), learned)

    def idle_watts(self) -> dict[str, float]:
        """Model -> idle power as learned over what was observed last."""
        return {str(model): float(watts) for model, watts in self._run("idle_watts", {}).fetchall()}

    def _parameters(self, from_us: int, to_us: int, known_at: datetime, margin_us: int) -> dict[str, Any]:
        rules = self._rules
        return {
            "from_us": from_us,
            "to_us": to_us,
            "as_of": _naive(known_at),
            "margin_us": margin_us,
            "window_us": rules.window_seconds * 1_000_000,
            "bridge_us": rules.bridge_seconds * 1_000_000,
            "quantile": rules.learned_quantile,
            "minutes": rules.learned_minutes,
            "above_watts": rules.above_watts,
            "above_ratio": rules.above_limit_ratio,
        }

    def _observe(self, p: Mapping[str, Any], learned: Mapping[str, float]) -> None:
        self._minutes(p)
        self._run("capacity", p)
        self._allocations(p)
        for name in ("faults", "isolations", "subject_models", "free_power"):
            self._run(name, p)
        self._known_idle_power(learned)
        self._run("mute_cards", p)
        self._run("judged", p)

    def _worked(
        self, day: date, known_at: datetime, p: Mapping[str, Any], refused: tuple[str, ...], drawn: Any
    ) -> Worked:
        totals = self._run("day_totals", {}).fetchall()
        count, first = self._run("orphans", {}).fetchall()[0]
        if count:
            log.warning(
                "%s: %d allocations of cards nobody owned carry no cost, first allocation_id %s",
                day,
                count,
                first,
            )
        return Worked(
            day=day,
            known_at=known_at,
            lines=self._connection.sql(self._sql["all_lines"].rstrip(";")).to_arrow_table(),
            quantities={state: 0 for state in STATES} | {str(s): int(q) for s, q, _ in totals},
            unpriced=sum(int(u or 0) for _, _, u in totals),
            minutes=int(self._one("count_minutes", p)),
            orphans=int(count),
            refused=refused,
            remainder=self._connection.sql(self._sql["all_remainders"].rstrip(";")).to_arrow_table(),
            energy=drawn,
        )

    # ------------------------------------------------------------------------------- parts
    def _check(self, day: date) -> None:
        wrong = self._run("check_shares", {}).fetchall()
        if wrong:
            raise LedgerError(
                f"BUG: {day}: shares of card {wrong[0][0]} from {wrong[0][1]} add up to {wrong[0][3]}"
            )
        lost = int(self._one("check_capacity", {}))
        if lost:
            raise LedgerError(f"BUG: {day}: {lost} card-microseconds of capacity are not in the segments")

    def _tables_of_rules(self) -> None:
        self._table(
            "states_life", {"life": list(self._rules.life), "treatment": list(self._rules.life.values())}
        )
        rows = [("card", a) for a in self._rules.faulty_actions]
        rows += [("slice", a) for a in self._rules.faulty_actions]
        rows += [("node", a) for a in self._rules.node_actions]
        rows += [("port", a) for a in self._rules.port_actions]
        self._table("states_incident_rule", {"family": [r[0] for r in rows], "action": [r[1] for r in rows]})

    def _minutes(self, p: Mapping[str, Any]) -> None:
        """states_minute: what each minute of telemetry proves, of cards and, where they are measured, slices."""
        sources = self._sources
        if sources is None:
            sources = {row[0]: row[0] for row in self._run("views", {}).fetchall()}
        span = {"from_us": str(p["from_us"] - p["margin_us"]), "to_us": str(p["to_us"] + p["margin_us"])}
        parts = []
        if "card_minute" in sources:
            parts.append(self._minute_select(sources["card_minute"], "card_key", span))
        if "slice_minute" in sources:
            parts.append(self._minute_select(sources["slice_minute"], "slice_key", span))
            measured = fill(self._sql["measured_slices"], source=sources["slice_minute"], **span)
        else:
            measured = self._sql["no_measured_slices"]
        self._connection.execute(measured)
        body = " UNION ALL ".join(parts) or self._sql["no_minutes"]
        self._connection.execute(fill(self._sql["keep_minutes"], body=body))

    def _minute_select(self, source: str, key: str, span: Mapping[str, str]) -> str:
        described = self._connection.execute(fill(self._sql["columns"], source=source)).fetchall()
        columns = {row[0] for row in described}
        active = ["false"]
        judged = ["false"]
        for signal in self._rules.signals:
            name = f"{signal.key}_{'max' if signal.kind == 'level' else 'increase'}"
            if name not in columns:
                continue
            per = "" if signal.kind == "level" else " / greatest(covered_seconds, 1)"
            active.append(f'coalesce("{name}"{per} >= {signal.at_least!r}, false)')
            if signal.judges:
                judged.append(f'"{name}" IS NOT NULL')

        def or_null(name: str) -> str:
            return f'"{name}"' if name in columns else "NULL::FLOAT"

        measured = "NULL::FLOAT"
        if self._rules.oversubscription == "measured_sm_share":
            measured = f"coalesce({or_null('sm_active_ratio')}, {or_null('utilization_ratio')})"
        return fill(
            self._sql["minutes"],
            subject=key,
            source=source,
            active=" OR ".join(active),
            judged=" OR ".join(judged),
            covered=repr(self._rules.minute_known_seconds),
            watts=or_null("power_watts"),
            watts_max=or_null("power_watts_max"),
            limit_watts=or_null("power_limit_watts"),
            measured=measured,
            **span,
        )

    def _allocations(self, p: Mapping[str, Any]) -> None:
        """states_allocation; instances of a card that is cut up are weighed by what the rules say."""
        share, rule, slices = "a.share_nano", "NULL::VARCHAR", ""
        if (word := self._rules.mig_weight) != SHARES["mig_weight"][0]:
            memory = "coalesce(a.memory_share_nano, round(i.memory_share * 1000000000)::BIGINT)"
            weighed = memory if word == "memory_slices" else f"greatest(a.share_nano, {memory})"
            known = f"i.profile IS NOT NULL AND {memory} > 0"
            share = f"CASE WHEN {known} THEN {weighed} ELSE a.share_nano END"
            rule = f"CASE WHEN {known} THEN '{word}' END"
            slices = "LEFT JOIN slice i ON i.slice_key = a.slice_key"
        sql = fill(self._sql["allocations"], share=share, share_rule=rule, slices=slices)
        _execute(self._connection, sql, p)

    def _known_idle_power(self, learned: Mapping[str, float]) -> None:
        """Add idle power for models of which no card was free long enough: as learned before, else from the rules."""
        if not learned and not self._rules.idle_watts:
            return
        for (model,) in self._run("unlearned_models", {}).fetchall():
            watts = learned.get(model)
            fits = [glob for glob in self._rules.idle_watts if fnmatchcase(model, glob)]
            if watts is None and fits:
                watts = self._rules.idle_watts[max(fits, key=lambda glob: (len(glob), glob))]
            if watts is not None:
                self._run("set_idle_power", {"model": model, "watts": watts})

    def _owners(self, p: Mapping[str, Any], known_at: datetime) -> list[str]:
        """states_owner: workload and pool of its cards -> department, business, scenario over spans that cover the day."""
        refused: list[str] = []
        rules: list[mapping.Rule] = []
        for row in self._run("mapping_rules", {}).fetchall():
            rule = mapping.Rule(*row)
            try:
                mapping.checked(rule)
            except BadInput as e:
                refused.append(str(e))
                log.warning("%s; it is left out", e)
            else:
                rules.append(rule)
        mapper = mapping.Mapper(rules, known_at_us=_us(known_at))
        names = ("workload_key", "pool", "from_us", "to_us", "department", "business", "scenario", "rule_id")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        memo: dict[tuple[Any, ...], list[mapping.Span]] = {}
        for key, workload_id, *seen in self._run("workloads", {}).fetchall():
            subject = mapping.subject(workload_id, *seen)
            alike = (subject.source, *seen)
            spans = memo.get(alike) if not mapper.by_id else None
            if spans is None:
                spans = memo[alike] = mapper.spans(subject, p["from_us"], p["to_us"])
            for span in spans:
                owner = span.owner
                values = (
                    *(key, subject.pool, span.from_us, span.to_us),
                    *(owner.department, owner.business, owner.scenario, owner.rule_id),
                )
                for name, value in zip(names, values, strict=True):
                    columns[name].append(value)
        self._table("states_owner", columns)
        return refused

    def _prices(self, p: Mapping[str, Any], known_at: datetime) -> list[str]:
        """states_price: the price of each card over spans that cover the day; states_remainder: what it leaves."""
        refused: list[str] = []
        prices = usable(Price, self._run("prices", {}).fetchall(), "price", refused)
        rates = usable(Rate, self._run("rates", p).fetchall(), "rate", refused)
        policies = usable(Policy, self._run("policies", p).fetchall(), "policy", refused)
        book = PriceBook(prices, known_at_us=_us(known_at))
        cards = [Owned(*row) for row in self._run("priced_cards", {}).fetchall()]
        if book.labelled:
            heard = labels_of(self._run("node_labels", p).fetchall())
            cards = cut_by_labels(
                cards,
                {node: list(cut_labels(rows, p["from_us"], p["to_us"])) for node, rows in heard.items()},
            )
        self._exchange = Exchange(rates, policies)
        priced = price_day(cards, book, self._exchange)
        for currency in sorted(priced.missing):
            refused.append(f"no exchange rate from {currency}: its lines stay in it")
            log.warning("%s", refused[-1])
        self._table("states_price", priced.prices)
        self._table("states_remainder", priced.remainders)
        return refused

    # ------------------------------------------------------------------------------- DuckDB
    def _table(self, name: str, columns: Mapping[str, list[Any]]) -> None:
        """A temp table from Python columns; *_us and price_micro are BIGINT, *_key INTEGER, the rest text."""
        import pyarrow as pa

        def kind(column: str) -> Any:
            if column.endswith("_key"):
                return pa.int32()
            if column == "cost_atoms":
                return pa.decimal128(38, 0)
            return pa.int64() if column.endswith(("_us", "_id", "_micro")) else pa.string()

        table = pa.table({c: pa.array(values, type=kind(c)) for c, values in columns.items()})
        with _given(self._connection, table):
            self._connection.execute(fill(self._sql["given"], table=name))

    def _run(self, name: str, parameters: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        return _run(self._connection, name, parameters)

    def _one(self, name: str, parameters: Mapping[str, Any]) -> Any:
        return self._run(name, parameters).fetchall()[0][0]


def reconcile(connection: duckdb.DuckDBPyConnection, now: datetime) -> None:
    """Give every owned card a key and every seen card capacity; keep the findings of unlisted cards true.

    connection: inside a write. now: aware UTC, the instant from which new rows are known.
    """
    for name in (
        "listed_since",
        "next_inventory",
        "find_unlisted",
        "close_unlisted",
        "identify_nodes",
        "identify_cards",
    ):
        _run(connection, name, {"now": _naive(now)})


def keep(connection: duckdb.DuckDBPyConnection, worked: Worked) -> DayStates:
    """Keep a day where it differs from what is kept, as the next revision. connection: inside a write; short.

    Raises LedgerError when the kept day stood on telemetry that is no longer there: a day is never made unknown
    because its minutes were dropped. Then nothing is changed.
    """
    p: dict[str, Any] = {"day": worked.day}
    revision = int(_run(connection, "newest_revision", p).fetchall()[0][0])
    with _given(connection, worked.lines):
        changed = bool(_run(connection, "changed", p).fetchall()[0][0])
        if changed:
            if worked.minutes == 0 and _run(connection, "known_before", p).fetchall()[0][0]:
                raise LedgerError(
                    f"{worked.day}: revision {revision} stands on telemetry the store no longer holds; "
                    "make it again from the published telemetry day"
                )
            revision += 1
            _run(connection, "drop_day", p)
            _run(connection, "keep_day", {**p, "revision": revision})
    return DayStates(worked.day, revision, changed, worked.lines.num_rows, worked)


@contextmanager
def _given(connection: duckdb.DuckDBPyConnection, table: Any) -> Iterator[None]:
    """An Arrow table as ``states_given`` on a connection, for as long as the body runs."""
    connection.register("states_given", table)
    try:
        yield
    finally:
        connection.unregister("states_given")


def _run(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: Mapping[str, Any]
) -> duckdb.DuckDBPyConnection:
    """A named statement with those of the parameters that it names."""
    return _execute(connection, statements("states")[name], parameters)


def _execute(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any]
) -> duckdb.DuckDBPyConnection:
    wanted = set(_PARAMETER.findall(sql))
    return connection.execute(sql, {k: v for k, v in parameters.items() if k in wanted})


def _naive(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"BUG: {instant} has no zone")
    return instant.astimezone(UTC).replace(tzinfo=None)


def _us(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
