"""The store's last minutes of running jobs as a window: who holds which cards, and what their minutes say.

Only figures that are one job's alone are read: of whole cards with one holder, and of slices with telemetry of their own. Of
ports, those of nodes that one job has to itself. Not here: what was usual (usual.py), and the judgements.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ullage_collector.detect.gang import gang_name
from ullage_collector.detect.idle_finding import Gang, Held
from ullage_collector.detect.stragglers.measures import columns_of, measured
from ullage_collector.detect.stragglers.settings import Measure, Rules
from ullage_collector.detect.stragglers.window import MINUTE_US, Indices, Rows, Values, port_peers
from ullage_collector.mapping import Mapper, Rule, Subject, subject, usable_rules
from ullage_collector.sql import fill, statements
from ullage_collector.store.store import naive_utc
from ullage_contract.sample import Family

if TYPE_CHECKING:
    import duckdb

FAMILIES: Final = {"card": Family.CARD, "port": Family.PORT, "host": Family.NODE}
SOURCES: Final = {
    "card": "card_minute",
    "slice": "slice_minute",
    "port": "port_minute",
    "host": "node_minute",
}
KEYS: Final = {"card": "card_key", "slice": "slice_key", "port": "port_key", "host": "node_key"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose minutes are asked for. rows: (row of the window, key of the subject, its gang, its model, since when, us)."""

    rows: Sequence[tuple[int, int, int, str, int]]


@dataclass(frozen=True, slots=True)
class Jobs:
    """Running jobs of several cards. held: of each row of cards, in the order of gangs. cards, slices, ports, hosts: whose
    minutes stand for a row; a card that is shared, or that nobody can name, is in neither."""

    gangs: Sequence[Gang]
    held: Sequence[Held]
    nodes: Sequence[str]
    shared: Sequence[bool]
    gang_of: Sequence[int]
    node_of: Sequence[int]
    peers: Sequence[int]
    cards: Wanted
    slices: Wanted
    ports: Wanted
    port_names: Sequence[str]
    port_gang: Sequence[int]
    port_node: Sequence[int]
    hosts: Wanted
    host_gang: Sequence[int]
    host_node: Sequence[int]


def jobs_at(cursor: duckdb.DuckDBPyConnection, rules: Rules, at_us: int) -> Jobs:
    """Who holds several cards at an instant, as believed now."""
    sql = statements("stragglers")
    mapper = Mapper(
        usable_rules(Rule(*row) for row in cursor.execute(statements("fleet_now")["rules"]).fetchall())
    )
    by_gang: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    about_of: dict[str, tuple[str, Subject]] = {}
    on_node: dict[int, set[str]] = defaultdict(set)
    for row in cursor.execute(sql["held"], {"at": naive_utc(at_us / 1e6)}).fetchall():
        about = subject(*row[:8])
        name = gang_name(about, rules.labels)
        if row[12] is not None:
            on_node[row[12]].add(name)
        if any(fnmatchcase(about.workload_id, glob) for glob in rules.exempt):
            continue
        about_of.setdefault(name, (row[8], about))
        by_gang[name].append((about.workload_id, *row[9:]))
    return _jobs(cursor, rules, by_gang, about_of, on_node, mapper, at_us)


def _jobs(
    cursor: duckdb.DuckDBPyConnection,
    rules: Rules,
    by_gang: Mapping[str, Sequence[tuple[Any, ...]]],
    about_of: Mapping[str, tuple[str, Subject]],
    on_node: Mapping[int, set[str]],
    mapper: Mapper,
    at_us: int,
) -> Jobs:
    gangs: list[Gang] = []
    held: list[Held] = []
    places: dict[int, int] = {}
    nodes: list[str] = []
    gang_of, node_of, peers = [], [], []
    cards: list[tuple[int, int, int, str, int]] = []
    slices: list[tuple[int, int, int, str, int]] = []
    alike: dict[tuple[int, str, int], int] = {}
    measured_slices = _slices(cursor, at_us, rules)
    keys: list[tuple[int, int, int]] = []  # gang, place, node_key
    for name, rows in by_gang.items():
        if sum(max(1, row[6] // 10**9) for row in rows) < rules.least_cards:
            continue
        number = len(gangs)
        mine: list[Held] = []
        for (
            workload,
            card_key,
            slice_key,
            card,
            node_key,
            share,
            begun,
            model,
            pool,
            kind,
            alone,
        ) in _in_order(rows):
            row = len(held) + len(mine)
            mine.append(
                Held(
                    workload, card, node_key[1], share, begun, model, pool, cluster=about_of[name][1].cluster
                )
            )
            place = places.get(node_key[0], -1)
            if node_key[0] is not None and place < 0:
                place = places[node_key[0]] = len(nodes)
                nodes.append(node_key[1])
            if place >= 0 and (not keys or keys[-1] != (number, place, node_key[0])):
                keys.append((number, place, node_key[0]))
            gang_of.append(number)
            node_of.append(place)
            by_slice = slice_key is not None and slice_key in measured_slices
            if card_key is None or place < 0 or not (by_slice or (alone and slice_key is None)):
                peers.append(-1)
                continue
            peers.append(alike.setdefault((number, kind, share if by_slice else 0), len(alike)))
            (slices if by_slice else cards).append(
                (row, slice_key if by_slice else card_key, number, kind, begun)
            )
        source, about = about_of[name]
        owner = mapper.at(replace(about, pool=mine[0].pool), at_us)
        gangs.append(
            Gang(name, source, about.cluster, owner.scenario, owner.department, about.user, tuple(mine))
        )
        held += mine
    shared = [len(on_node[key]) > 1 for key in places]
    hosts = list(dict.fromkeys(keys))
    begun = [min(one.begun_us for one in gang.held) for gang in gangs]
    ports, port_names, port_gang, port_node = _ports(
        cursor, [one for one in hosts if not shared[one[1]]], begun
    )
    return Jobs(
        gangs, held, nodes, shared, gang_of, node_of, peers, Wanted(cards), Wanted(slices),
        Wanted(ports), port_names, port_gang, port_node,
        Wanted([(row, key, gang, "", begun[gang]) for row, (gang, _, key) in enumerate(hosts)]),
        [gang for gang, _, _ in hosts], [place for _, place, _ in hosts],
    )  # fmt: skip


def _in_order(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Node by node, so that a node's cards stand together; key and name of the node as one."""
    for workload, card_key, slice_key, card, node_key, node, *rest in sorted(
        rows, key=lambda row: (row[5] or "", row[4] or 0)
    ):
        yield (workload, card_key, slice_key, card, (node_key, node), *rest)


def _slices(cursor: duckdb.DuckDBPyConnection, at_us: int, rules: Rules) -> set[int]:
    """Slices with telemetry of their own in the window."""
    if "slice_minute" not in views(cursor):
        return set()
    span = {"from_us": str(at_us - rules.window * MINUTE_US), "to_us": str(at_us)}
    cursor.execute(fill(statements("states")["measured_slices"], source="slice_minute", **span))
    return {key for (key,) in cursor.execute("SELECT slice_key FROM states_measured_slice").fetchall()}


def _ports(
    cursor: duckdb.DuckDBPyConnection, hosts: Sequence[tuple[int, int, int]], begun: Sequence[int]
) -> tuple[list[tuple[int, int, int, str, int]], list[str], list[int], list[int]]:
    owner = {key: (gang, place) for gang, place, key in hosts}
    wanted: list[tuple[int, int, int, str, int]] = []
    names: list[str] = []
    gangs: list[int] = []
    nodes: list[int] = []
    for key, name, node_key in cursor.execute(
        statements("stragglers")["ports"], {"nodes": list(owner)}
    ).fetchall():
        gang, place = owner[node_key]
        wanted.append((len(names), key, gang, "", begun[gang]))
        names.append(name)
        gangs.append(gang)
        nodes.append(place)
    return wanted, names, gangs, nodes


def views(cursor: duckdb.DuckDBPyConnection) -> set[str]:
    """Which minutes the store has at all."""
    return {row[0] for row in cursor.execute(statements("stragglers")["views"]).fetchall()}


def source_columns(cursor: duckdb.DuckDBPyConnection, source: str) -> set[str]:
    """Which columns a view of minutes has."""
    described = cursor.execute(fill(statements("stragglers")["columns"], source=source)).fetchall()
    return {row[0] for row in described}


@contextmanager
def asked(cursor: duckdb.DuckDBPyConnection, wanted: Wanted) -> Iterator[None]:
    """Temp table straggler_subject for as long as the body runs."""
    import pyarrow as pa

    rows: list[Sequence[Any]] = list(zip(*wanted.rows, strict=True)) if wanted.rows else [()] * 5
    names = ("row", "subject_key", "gang", "model", "begun_us")
    types = (pa.int32(), pa.int32(), pa.int32(), pa.string(), pa.int64())
    table = pa.table(
        {name: pa.array(values, type=kind) for name, values, kind in zip(names, rows, types, strict=True)}
    )
    cursor.register("straggler_given", table)
    try:
        cursor.execute(statements("stragglers")["subjects"])
    finally:
        cursor.unregister("straggler_given")
    yield


def rows_of(
    cursor: duckdb.DuckDBPyConnection, jobs: Jobs, family: str, rules: Rules, through_us: int
) -> Rows:
    """Cards, ports or hosts of the jobs over the window. Raises what the store raises."""
    names, gangs, nodes, parts, peers = _who(jobs, family, rules)
    measures = rules.measures[family]
    shape = (len(names), rules.window + 1)
    columns: dict[str, Values] = {}
    covered = np.zeros(shape, np.float32)
    there = views(cursor)
    for kind, wanted in parts:
        if wanted.rows and SOURCES[kind] in there:
            _fill(cursor, kind, wanted, measures, rules, through_us, columns, covered)
    labels = np.array(peers, np.int64)
    return Rows(
        names=names,
        gang=np.array(gangs, np.int64),
        node=np.array(nodes, np.int64),
        peers=labels,
        values=measured(measures, columns, covered, labels, FAMILIES[family]) if names else {},
    )


def _who(
    jobs: Jobs, family: str, rules: Rules
) -> tuple[Sequence[str], Sequence[int], Sequence[int], Sequence[tuple[str, Wanted]], Sequence[int]]:
    if family == "card":
        names = [held.card_id or "" for held in jobs.held]
        return names, jobs.gang_of, jobs.node_of, (("card", jobs.cards), ("slice", jobs.slices)), jobs.peers
    if family == "port":
        peers = port_peers(jobs.port_gang, jobs.port_node, jobs.port_names, rules.unlike.least_peers)
        return jobs.port_names, jobs.port_gang, jobs.port_node, (("port", jobs.ports),), peers
    names = [jobs.nodes[place] for place in jobs.host_node]
    return names, jobs.host_gang, jobs.host_node, (("host", jobs.hosts),), [-1] * len(names)


def _fill(
    cursor: duckdb.DuckDBPyConnection,
    kind: str,
    wanted: Wanted,
    measures: Sequence[Measure],
    rules: Rules,
    through_us: int,
    columns: dict[str, Values],
    covered: Values,
) -> None:
    """Put the minutes of one source where they belong; what is not there stays unknown."""
    source = SOURCES[kind]
    names = columns_of(measures, source_columns(cursor, source))
    first = through_us // MINUTE_US - rules.window - 1
    with asked(cursor, wanted):
        found = cursor.execute(
            fill(
                statements("stragglers")["minutes"],
                first=str(first),
                source=source,
                subject=KEYS[kind],
                columns="".join(f', CAST(m."{name}" AS DOUBLE) AS "{name}"' for name in names),
                from_us=str(first * MINUTE_US),
                to_us=str(through_us),
            )
        ).fetchnumpy()
    row, at = found["row"].astype(np.int64), found["at"].astype(np.int64)
    covered[row, at] = _plain(found["covered_seconds"])
    for name in names:
        if name not in columns:
            columns[name] = np.full(covered.shape, np.nan, np.float32)
        columns[name][row, at] = _plain(found[name])


def _plain(values: Any) -> Values:
    """DuckDB's masked array with NaN where it is NULL."""
    plain: Values = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan).astype(np.float32)
    return plain


def unheard(rows: Rows, minutes: int, span: int, known: float) -> Indices:
    """Rows of which too few of the last minutes are known in any figure to say anything."""
    told = np.zeros((len(rows.names), minutes), np.bool_)
    for values in rows.values.values():
        told |= ~np.isnan(values)
    return np.flatnonzero(told[:, -span:].sum(axis=1) < np.ceil(span * known - 1e-9)).astype(np.int64)
