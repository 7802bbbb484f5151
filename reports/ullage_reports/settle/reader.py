"""A settle file, read and checked: ``read_world(text)`` is the door; its errors name the place in the file.

Not here: what the rows are (world.py), and how one object is read key by key (fields.py).
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final

from ullage_collector.ledger import HOUR_US, minor_units
from ullage_contract.errors import ConfigError, LedgerError
from ullage_reports.period import zone_info
from ullage_reports.settle.division import read_division
from ullage_reports.settle.fields import Fields, asked_for, exact, instant, wrong
from ullage_reports.settle.world import (
    MIG_COMPUTE_SLICES,
    MIG_MEMORY_OF_PROFILE,
    MIG_MEMORY_SLICES,
    POLICIES,
    SOURCES,
    Allocation,
    Card,
    Closed,
    Health,
    Node,
    Policy,
    Power,
    Price,
    Quota,
    Rule,
    Tariff,
    Telemetry,
    World,
)

MAX_BYTES: Final = 64 << 20
"""Of a settle file. our choice: a small world; a large one belongs in a store."""
MAINTENANCE_YEAR_HOURS: Final = 8760
"""Hours of the year a maintenance share is of: the settle file's definition, leap year or not."""
MINUTE_US: Final = 60_000_000
SM_ACTIVE_PCT: Final = 2
"""From this percentage on a card is active: as the collector's states.toml has it (DCGM's own noise stays below 1 %)."""


def read_world(text: str, name: str) -> World:
    """A settle file. name: what errors call it. Raises ConfigError, which names the place in the file."""
    try:
        whole = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError, InvalidOperation) as e:
        raise ConfigError(f"{name}: is not JSON: {e}") from e
    try:
        return _world(whole)
    except ConfigError as e:
        raise ConfigError(f"{name}: {e}") from e


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _world(whole: object) -> World:
    outer = Fields(whole, "file")
    inputs = outer.inner("inputs") or outer
    inputs.where = "inputs"
    currency = outer.text("currency", "CNY")
    try:
        digits = minor_units(currency)
    except LedgerError as e:
        raise ConfigError(f"currency: {e}") from e
    if "minor_units" in outer:
        asked = outer.number("minor_units")
        if asked.denominator != 1 or asked > 6:
            raise wrong("minor_units", outer.raw("minor_units"), "a whole number up to 6")
        digits = int(asked)
    zone = inputs.text("report_timezone", "UTC")
    zone_info(zone)
    division = read_division(inputs)
    window = inputs.raw("window")
    if window is None and division is not None:
        from_us = to_us = 0
    else:
        if not isinstance(window, list) or len(window) != 2:
            raise wrong("inputs.window", window, "two instants, [from, to)")
        from_us, to_us = (asked_for(edge, f"inputs.window[{n}]") for n, edge in enumerate(window))
        if to_us <= from_us:
            how = "when" if to_us == from_us else "before"
            raise ConfigError(f"inputs.window: ends ({window[1]}) {how} it starts ({window[0]})")
    reader = _Reader(inputs, from_us, to_us)
    return World(
        currency=currency,
        digits=digits,
        zone=zone,
        from_us=from_us,
        to_us=to_us,
        cards=reader.cards(required=division is None),
        prices=reader.prices(),
        nodes=reader.nodes(),
        allocations=reader.allocations(),
        telemetry=reader.telemetry(),
        health=reader.health(),
        rules=reader.rules(),
        quota=reader.quota(),
        fixed=reader.named_numbers("fixed"),
        tariffs=reader.tariffs(),
        pue=inputs.number("pue", Fraction(1)),
        power=reader.power(),
        closed=reader.closed(),
        as_of=reader.as_of(),
        policy=reader.policy(),
        division=division,
        ignored=tuple(reader.ignored()),
    )


class _Reader:
    """Reads the lists of ``inputs``; remembers cards by name and what nobody read."""

    def __init__(self, inputs: Fields, from_us: int, to_us: int) -> None:
        self._inputs = inputs
        self._from_us, self._to_us = from_us, to_us
        self._cards: dict[str, Card] = {}
        self._seen: list[Fields] = [inputs]

    def _rows(self, key: str) -> list[Fields]:
        rows = self._inputs.rows(key)
        self._seen.extend(rows)
        return rows

    def ignored(self) -> list[str]:
        return [place for fields in self._seen for place in fields.unread()]

    def cards(self, *, required: bool) -> tuple[Card, ...]:
        for row in self._rows("cards"):
            name = row.text("card")
            if name in self._cards:
                raise ConfigError(f"{row.where}: card {name!r} is listed twice")
            replicas = row.count("replicas")
            sharing = row.optional_text("sharing")
            if sharing is not None and sharing != "time-slicing":
                raise wrong(row.place("sharing"), sharing, "time-slicing")
            self._cards[name] = Card(
                card=name,
                model=row.text("model"),
                node=row.optional_text("node"),
                compute_slices=row.count("compute_slices") or MIG_COMPUTE_SLICES,
                memory_slices=row.count("memory_slices") or MIG_MEMORY_SLICES,
                time_sliced=bool(sharing or replicas),
                replicas=replicas,
            )
        if required and not self._cards:
            raise ConfigError("inputs.cards: is missing; list the owned cards")
        return tuple(self._cards.values())

    def prices(self) -> tuple[Price, ...]:
        found: list[Price] = []
        for row in self._rows("price_models"):
            model, known = row.text("model"), row.optional_instant("known_at")
            if "hourly" in row:
                start, end = row.instant("effective_from"), row.optional_instant("effective_to")
                found.append(Price(model, row.number("hourly"), start, end, known, start))
                continue
            capex, salvage = row.number("capex"), row.number("salvage_fraction", Fraction(0))
            if salvage > 1:
                raise wrong(row.place("salvage_fraction"), row.raw("salvage_fraction"), "at most 1")
            start, end = row.instant("in_service"), row.instant("end_of_life")
            if end <= start:
                raise ConfigError(f"{row.where}: end_of_life is not after in_service")
            # straight line over the hours there really are between the two: a leap day is 24 more
            straight = capex * (1 - salvage) / Fraction(end - start, HOUR_US)
            upkeep = capex * row.number("maintenance_fraction_per_year", Fraction(0)) / MAINTENANCE_YEAR_HOURS
            found.append(Price(model, straight + upkeep, start, end, known, start))
            found.append(Price(model, upkeep, end, None, known, start))  # written off, still looked after
        return tuple(found)

    def nodes(self) -> tuple[Node, ...]:
        found = []
        for row in self._rows("node"):
            given = row.raw("cards")
            listed = tuple(map(str, given)) if isinstance(given, list) else ()
            if listed:
                for card in listed:
                    self._known_card(card, row.place("cards"))
            name = row.optional_text("node")
            members = sum(1 for card in self._cards.values() if card.node == name) or len(self._cards)
            found.append(
                Node(
                    node=name,
                    host_watts=row.number("host_watts"),
                    cards=len(listed) or row.count("cards") or members,
                    listed=listed,
                )
            )
        return tuple(found)

    def allocations(self) -> tuple[Allocation, ...]:
        found: list[Allocation] = []
        for row in self._rows("allocations"):
            department, namespace = row.optional_text("department"), row.optional_text("namespace")
            if department is None and namespace is None:
                raise ConfigError(f"{row.where}: neither department nor namespace says who holds it")
            start, end = row.span()
            job = row.optional_text("job")
            source = row.optional_text("source") or (job or "").split("/")[0]
            compute, memory = self._slices(row)
            names, count = self._which(row)
            if count == 0:
                continue
            for card in names:
                found.append(
                    Allocation(
                        number=len(found),
                        department=department,
                        namespace=namespace,
                        source={"kubernetes": "k8s"}.get(source, source if source in SOURCES else None),
                        job=job,
                        kind=row.optional_text("kind"),
                        scenario=row.optional_text("scenario"),
                        card=card,
                        count=count,
                        model=row.optional_text("model"),
                        fraction=row.optional_number("fraction"),
                        compute_slices=compute,
                        memory_slices=memory,
                        start_us=start,
                        end_us=end,
                        known_us=row.optional_instant("known_at"),
                    )
                )
        return tuple(found)

    def _which(self, row: Fields) -> tuple[list[str | None], int]:
        """Named cards, or [None] and how many."""
        named: list[str] = []
        for key in ("card", "cards"):
            value = row.raw(key)
            if isinstance(value, list):
                named += [str(item) for item in value]
            elif key == "card" and value is not None:
                named.append(row.text("card"))
        for card in named:
            self._known_card(card, row.where)
        if named:
            return list(named), 1
        if "cards" not in row:
            raise ConfigError(f"{row.where}: says neither which card nor how many cards")
        number = row.number("cards")
        if number.denominator != 1:
            raise wrong(row.place("cards"), row.raw("cards"), "a whole number of cards")
        return [None], int(number)

    def _slices(self, row: Fields) -> tuple[int | None, int | None]:
        compute, memory = row.count("compute_slices"), row.count("memory_slices")
        profile = row.optional_text("mig_profile")
        if profile is not None:
            head = profile.split("g.")[0]
            known = int(head) if head.isdecimal() else 0
            if compute is None and known in MIG_MEMORY_OF_PROFILE:
                compute = known
            if memory is None and known in MIG_MEMORY_OF_PROFILE:
                memory = MIG_MEMORY_OF_PROFILE[known]
            if compute is None or memory is None:
                raise wrong(
                    row.place("mig_profile"),
                    profile,
                    "a profile such as 3g.40gb; give compute_slices and memory_slices",
                )
        return compute, memory

    def _known_card(self, name: str, where: str) -> None:
        if name not in self._cards:
            raise ConfigError(f"{where}: card {name!r} is not listed in inputs.cards")

    def telemetry(self) -> tuple[Telemetry, ...]:
        found = []
        for row in self._rows("telemetry"):
            card, job = row.optional_text("card"), row.optional_text("job")
            if card is None and job is None:
                raise ConfigError(f"{row.where}: says neither which card nor which job")
            if card is not None:
                self._known_card(card, row.where)
            start, end = row.span()
            active, measured = row.flag("active"), row.optional_number("sm_active_pct")
            if measured is not None and measured > 100:
                raise wrong(row.place("sm_active_pct"), row.raw("sm_active_pct"), "a percentage, at most 100")
            if active is None and measured is not None:
                active = measured >= SM_ACTIVE_PCT
            found.append(
                Telemetry(
                    card=card,
                    job=job,
                    active=active,
                    sm_active_pct=measured,
                    mean_watts=row.optional_number("mean_watts"),
                    start_us=start,
                    end_us=self._to_us if end is None else end,
                    known_us=row.optional_instant("known_at"),
                )
            )
        return tuple(found)

    def health(self) -> tuple[Health, ...]:
        found = []
        for row in self._rows("health"):
            card = row.text("card")
            self._known_card(card, row.where)
            state = row.text("state")
            if state not in ("faulty", "isolated"):
                raise wrong(row.place("state"), state, "faulty or isolated")
            row.optional_text("reason")
            start, end = row.span()
            found.append(Health(card, state, start, end, row.optional_instant("known_at")))
        return tuple(found)

    def rules(self) -> tuple[Rule, ...]:
        found = []
        for row in self._rows("mapping"):
            match = row.text("match")
            source, colon, pattern = match.partition(":")
            if not colon or source not in SOURCES or not pattern:
                raise wrong(row.place("match"), match, "k8s:<namespace> or slurm:<account>, with * and ?")
            priority = row.raw("priority")
            if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)):
                raise wrong(row.place("priority"), priority, "a whole number")
            found.append(
                Rule(
                    source=source,
                    pattern=pattern,
                    department=row.text("department"),
                    priority=priority or 0,
                    from_us=row.instant("effective_from"),
                    to_us=row.optional_instant("effective_to"),
                    known_us=row.optional_instant("known_at"),
                )
            )
        return tuple(found)

    def quota(self) -> dict[str, Quota]:
        inner = self._inputs.inner("quota")
        found: dict[str, Quota] = {}
        if inner is None:
            return found
        for name in inner.names():
            if isinstance(inner.raw(name), dict):
                row = Fields(inner.raw(name), inner.place(name))
                self._seen.append(row)
                found[name] = Quota(row.number("min", Fraction(0)), row.optional_number("max"))
            else:
                found[name] = Quota(inner.number(name), None)
        return found

    def named_numbers(self, key: str) -> dict[str, Fraction]:
        inner = self._inputs.inner(key)
        return {} if inner is None else {name: inner.number(name) for name in inner.names()}

    def tariffs(self) -> tuple[Tariff, ...]:
        given = self._inputs.raw("tariff")
        if given is not None and not isinstance(given, (list, dict)):
            return (Tariff(exact(given, "inputs.tariff"), None, None),)
        return tuple(
            Tariff(row.number("per_kwh"), row.optional_instant("start"), row.optional_instant("end"))
            for row in self._rows("tariff")
        )

    def power(self) -> tuple[Power, ...]:
        found = []
        for row in self._rows("power"):
            card = row.text("card")
            self._known_card(card, row.where)
            start, end = row.span()
            watts, energy = row.optional_number("mean_watts"), row.optional_number("energy_kwh")
            if watts is None and energy is None:
                raise ConfigError(f"{row.where}: has neither mean_watts nor energy_kwh")
            found.append(Power(card, watts, energy, start, self._to_us if end is None else end))
        return tuple(found)

    def closed(self) -> tuple[Closed, ...]:
        given = self._inputs.raw("closed_periods")
        if given is None:
            return ()
        if isinstance(given, dict):
            given = [{"period": label, "closed_at": when} for label, when in given.items()]
        if not isinstance(given, list):
            raise wrong("inputs.closed_periods", given, "a list of periods")
        found = []
        for n, item in enumerate(given):
            where = f"inputs.closed_periods[{n}]"
            if isinstance(item, str):
                found.append(Closed(item, None))
            else:
                row = Fields(item, where)
                self._seen.append(row)
                found.append(Closed(row.text("period"), row.optional_instant("closed_at")))
        return tuple(found)

    def as_of(self) -> tuple[int, ...]:
        given = self._inputs.raw("as_of")
        if given is None:
            return ()
        values = given if isinstance(given, list) else [given]
        return tuple(sorted(instant(value, f"inputs.as_of[{n}]") for n, value in enumerate(values)))

    def policy(self) -> Policy:
        row = self._inputs.inner("policy")
        if row is None:
            return Policy()
        self._seen.append(row)
        default = Policy()
        minutes = [
            int(row.number(key) * MINUTE_US) if key in row else given
            for key, given in (
                ("idle_window_minutes", default.idle_window_us),
                ("warn_minutes", default.warn_us),
            )
        ]
        words = {name: row.choice(name, choices, choices[0]) for name, choices in POLICIES.items()}
        return Policy(idle_window_us=minutes[0], warn_us=minutes[1]).saying(words)
