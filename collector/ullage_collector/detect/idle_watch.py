"""The idle detector on the store's minutes: what each round adds is read once, and who holds cards now is judged.

It reads what the money reads (states.py: the same signals, thresholds and learned idle power), so that a page and a bill
do not contradict each other. The state is in memory; a collector that starts looks back some hours and learns them anew, and
earlier days from the bill's states (idle_history.py).
A gang of which nothing was heard lately is not judged: its finding stays.
Not here: the judgement (idle.py, idle_finding.py) and keeping findings (rounds.py).
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.detect.findings import Found
from ullage_collector.detect.gang import gang_name
from ullage_collector.detect.idle import IdleDetector, Sample
from ullage_collector.detect.idle_evidence import at_most
from ullage_collector.detect.idle_finding import KIND, Gang, Held, Quiet, find
from ullage_collector.detect.idle_history import Histories, tides
from ullage_collector.detect.idle_requests import Requests, Service, minimum_of, read, service_name
from ullage_collector.detect.idle_rules import IdleRules
from ullage_collector.detect.quiet import Bridges, Look
from ullage_collector.detect.usual import judge
from ullage_collector.mapping import Mapper, Rule, Subject, subject, usable_rules
from ullage_collector.pricing.now import book_now
from ullage_collector.sql import fill, statements
from ullage_collector.states import Rules, States
from ullage_collector.store import incoming
from ullage_collector.store.rollup import through_us

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

MINUTE_US: Final = 60_000_000
LEARN_EVERY_US: Final = 3_600_000_000
"""our choice: because what an idle card draws changes with rooms and drivers, not with minutes."""
LEARN_OVER_US: Final = 6 * 3_600_000_000
FORGET_SECONDS: Final = 86_400.0
SETTING: Final = "early"
"""A note may be early: it costs a line on a page. Grades beyond it wait for their windows."""


@dataclass(slots=True)
class _Host:
    """A node's host: when it was last at work, and seen; minutes since the epoch, None: never."""

    busy: int | None = None
    seen: int | None = None


class IdleWatch:
    """One look after another on the store; one thread's alone."""

    def __init__(self, rules: IdleRules, states: Rules) -> None:
        """states: what makes a minute active, as for the money."""
        self._rules = rules
        self._states = states
        settings = rules.thresholds
        bridges = Bridges(hole_seconds=rules.bridge_seconds, blip_seconds=0.0)
        self._detector = IdleDetector(replace(settings, bridges=bridges), settings.settings[SETTING])
        self._through_us = 0
        self._learned_us = 0
        self._remembered = False
        self._watts: dict[str, float] = {}
        self._hosts: dict[int, _Host] = defaultdict(_Host)
        self._members: dict[str, list[int]] = {}
        self._early = settings.settings[SETTING]
        self._looked: dict[str, int] = {}
        self._histories = Histories(rules.usual)

    def look(self, cursor: duckdb.DuckDBPyConnection, now_us: int) -> tuple[list[Found], set[str]]:
        """(findings, subjects that cannot be judged now: their findings stay). cursor: for reading; it gets temp tables.

        Raises what the store raises; then the next look takes up the same minutes again.
        """
        through = through_us(cursor)
        from_us = max(self._through_us, through - round(self._rules.look_back_seconds * 1e6))
        if through <= from_us or now_us - through > self._rules.bridge_seconds * 1e6:
            return [], self._standing(cursor)
        states = States(cursor, self._states)
        known_at = datetime.fromtimestamp(now_us / 1e6, UTC)
        if now_us - self._learned_us >= LEARN_EVERY_US:
            states.observe(min(from_us, through - LEARN_OVER_US), through, known_at, self._watts)
            self._watts = {**self._watts, **states.idle_watts()}
            self._learned_us = now_us
        states.observe(from_us, through, known_at, self._watts)
        gangs, subjects = self._gangs(cursor, through, now_us)
        if not self._remembered:
            self._remembered = True
            self._remember(cursor, from_us)
        self._see_hosts(cursor, from_us, through)
        self._feed(cursor, gangs)
        self._through_us = through
        self._detector.forget(through / 1e6 - FORGET_SECONDS)
        self._looked = {name: minute for name, minute in self._looked.items() if name in gangs}
        self._histories.forget(gangs)
        return self._judge(cursor, gangs, subjects, through, now_us)

    # ------------------------------------------------------------------------------- reading
    def _gangs(
        self, cursor: duckdb.DuckDBPyConnection, through: int, now_us: int
    ) -> tuple[dict[str, Gang], dict[str, list[tuple[int | None, int | None]]]]:
        """Who holds cards now, by gang, and each gang's (subject_key, node_key). Leaves temp table ``idle_gang``."""
        sql, when = statements("idle"), {"to_us": through}
        seen: dict[int, tuple[str, Subject, str | None]] = {
            key: (kind, subject(*rest), rest[-1])
            for key, kind, *rest in cursor.execute(sql["workloads"], when).fetchall()
        }
        named = {key: gang_name(about, self._rules.gang_labels) for key, (_, about, _) in seen.items()}
        named = {
            key: name
            for key, name in named.items()
            if not any(fnmatchcase(seen[key][1].workload_id, glob) for glob in self._rules.exempt)
        }
        self._keep_gangs(cursor, named)
        mapper = Mapper(
            usable_rules(Rule(*row) for row in cursor.execute(statements("fleet_now")["rules"]).fetchall())
        )
        rows: dict[str, list[Held]] = {}
        places: dict[str, list[tuple[int | None, int | None]]] = {}
        first: dict[str, int] = {}
        for key, _, subject_key, card, node_key, node, share, begun, model, pool, incident in cursor.execute(
            sql["held"], when
        ).fetchall():
            name = named.get(key)
            if name is None:
                continue
            first.setdefault(name, key)
            about = seen[key][1]
            rows.setdefault(name, []).append(
                Held(about.workload_id, card, node, share, begun, model, pool, incident, about.cluster)
            )
            places.setdefault(name, []).append((subject_key, node_key))
        gangs: dict[str, Gang] = {}
        services: dict[str, tuple[str, int, str]] = {}
        for name, held in rows.items():
            kind, about, attributes = seen[first[name]]
            owner = mapper.at(replace(about, pool=held[0].pool), now_us)
            gangs[name] = Gang(
                name, kind, about.cluster, owner.scenario, owner.department, about.user, tuple(held)
            )
            if not owner.scenario or self._rules.use(owner.scenario, kind).requests:
                service = service_name(about, _attributes(attributes), self._rules.requests)
                services[name] = (service, *minimum_of(about, self._rules.requests))
        for name, (service, minimum, said) in services.items():
            gangs[name] = replace(gangs[name], service=Service(service, 0, minimum, said))
        self._members = defaultdict(list)
        for key, name in named.items():
            self._members[name].append(key)
        return gangs, places

    def _remember(self, cursor: duckdb.DuckDBPyConnection, before_us: int) -> None:
        """Teach the detector the tides of the days before what it is about to read."""
        for cluster, kind, scenario, at, wakes, minutes in tides(cursor, before_us):
            if at * 1_000_000 < before_us:
                use = self._rules.use(scenario, kind).name
                self._detector.remember(f"{cluster}/{use}", at, wakes=wakes, minutes=minutes)

    def _keep_gangs(self, cursor: duckdb.DuckDBPyConnection, named: Mapping[int, str]) -> None:
        import pyarrow as pa

        table = pa.table(
            {
                "workload_key": pa.array(list(named), type=pa.int32()),
                "gang": pa.array(list(named.values()), type=pa.string()),
            }
        )
        cursor.register("idle_given", table)
        try:
            cursor.execute(statements("idle")["gangs"])
        finally:
            cursor.unregister("idle_given")

    def _see_hosts(self, cursor: duckdb.DuckDBPyConnection, from_us: int, through: int) -> None:
        sql = statements("idle")
        if incoming.one(cursor, sql["node_views"]) == (0,):
            return
        columns = {
            row[0]
            for row in cursor.execute(fill(statements("states")["columns"], source="node_minute")).fetchall()
        }
        busy = ["false"]
        for signal in self._rules.hosts:
            name = f"{signal.key}_{'max' if signal.kind == 'level' else 'increase'}"
            if name in columns:
                per = "" if signal.kind == "level" else " / greatest(covered_seconds, 1)"
                busy.append(f'coalesce("{name}"{per} >= {signal.at_least!r}, false)')
        statement = fill(
            sql["hosts"],
            busy=" OR ".join(busy),
            source="node_minute",
            from_us=str(from_us),
            to_us=str(through),
        )
        for key, last_busy, last in cursor.execute(statement).fetchall():
            host = self._hosts[key]
            host.busy = last_busy if last_busy is not None else host.busy
            host.seen = last

    def _feed(self, cursor: duckdb.DuckDBPyConnection, gangs: Mapping[str, Gang]) -> None:
        """Give the detector the span's minutes in time order."""
        words = {"busy": Look.BUSY, "quiet": Look.QUIET, "unknown": Look.UNKNOWN}
        rows = cursor.execute(statements("idle")["looks"])
        before: dict[str, int] = {}
        while batch := rows.fetchmany(20_000):
            for name, minute, look, known in batch:
                gang = gangs.get(name)
                if gang is None:
                    continue
                lost = minute - self._looked.get(name, minute - 1) - (known - before.get(name, 0))
                self._looked[name], before[name] = minute, known
                pool = f"{gang.cluster}/{self._rules.use(gang.scenario, gang.source).name}"
                self._detector.see(
                    Sample(name, minute * 60.0, words[look], pool=pool, unseen=60.0 * max(0, lost))
                )

    def _standing(self, cursor: duckdb.DuckDBPyConnection) -> set[str]:
        rows = cursor.execute(statements("unallocated_use")["open_subjects"], [KIND]).fetchall()
        return {str(name) for (name,) in rows}

    # ------------------------------------------------------------------------------- judging
    def _judge(
        self,
        cursor: duckdb.DuckDBPyConnection,
        gangs: dict[str, Gang],
        places: Mapping[str, list[tuple[int | None, int | None]]],
        through: int,
        now_us: int,
    ) -> tuple[list[Found], set[str]]:
        at = through / 1e6
        holders: dict[int, set[str]] = defaultdict(set)
        for name, rows in places.items():
            for _, node_key in rows:
                if node_key is not None:
                    holders[node_key].add(name)
        raised: dict[str, Quiet] = {}
        unheard: set[str] = set()
        spells: dict[str, float] = {}
        for name in gangs:
            known = self._detector.seen(name)
            began = self._detector.began(name)
            if known is None or at - known > self._rules.bridge_seconds:
                unheard.add(name)
            elif began is not None and at - began - self._detector.unseen(name) >= self._early.ask_seconds:
                spells[name] = began
        _count_replicas(gangs, unheard)
        pasts = self._histories.of(cursor, {name: self._members[name] for name in spells}, now_us)
        for name, began in spells.items():
            past = judge(pasts[name], began, at, self._rules.usual)
            if not self._detector.is_raised(name) and not past.new:
                continue
            nodes = {node_key for _, node_key in places[name] if node_key is not None}
            host, busy = self._host(nodes, all(len(holders[node]) == 1 for node in nodes), began, through)
            goes_on = self._detector.goes_on(name, at, self._rules.goes_on_seconds)
            unseen = self._detector.unseen(name)
            raised[name] = Quiet(began, at, host, busy, goes_on, usual=past.usual, unseen=unseen)
        self._ask_requests(cursor, gangs, raised, through)
        back = through - round(self._rules.look_back_seconds * 1e6)
        since = {name: max(round(one.began * 1e6), back) for name, one in raised.items()}
        seen = at_most(cursor, self._states.signals, since, places, through)
        prices = book_now(cursor)
        quiet = ((gangs[name], replace(one, at_most=seen.get(name, {}))) for name, one in raised.items())
        return find(quiet, self._rules, prices, now_us), unheard

    def _ask_requests(
        self,
        cursor: duckdb.DuckDBPyConnection,
        gangs: dict[str, Gang],
        raised: Mapping[str, Quiet],
        through: int,
    ) -> None:
        """Put to quiet online inference, and to work nobody said the purpose of, what is known of its requests."""
        of = {name: self._members[name] for name in raised if gangs[name].service is not None}
        told = read(cursor, (key for keys in of.values() for key in keys), through, self._rules.requests)
        for name, keys in of.items():
            known = [told[key] for key in keys if key in told]
            if known:
                gangs[name] = replace(gangs[name], requests=reduce(Requests.together, known))

    def _host(self, nodes: set[int], alone: bool, began: float, through: int) -> tuple[str, float | None]:
        """(word, when its own host was last at work)."""
        hosts = [self._hosts.get(node) for node in nodes]
        newest = through // MINUTE_US - self._rules.bridge_seconds // 60
        if not hosts or any(host is None or host.seen is None or host.seen < newest for host in hosts):
            return "unknown", None
        if not alone:
            return "shared", None
        busy = max(
            (host.busy + 1 for host in hosts if host is not None and host.busy is not None), default=None
        )
        if busy is None or busy * 60.0 <= began:
            return "quiet", None
        return ("busy" if busy >= newest else "quiet"), busy * 60.0


def _count_replicas(gangs: dict[str, Gang], unheard: Collection[str]) -> None:
    """Put to each service's gangs how many can serve: of those that nobody hears or that stand on a broken card nobody knows."""
    able = Counter(
        gang.service.name
        for name, gang in gangs.items()
        if gang.service is not None
        and name not in unheard
        and all(held.incident is None for held in gang.held)
    )
    for name, gang in gangs.items():
        if gang.service is not None:
            gangs[name] = replace(gang, service=replace(gang.service, replicas=able[gang.service.name]))


def _attributes(text: str | None) -> Mapping[str, Any]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}
