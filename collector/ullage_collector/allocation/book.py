"""What we believe of who held what: the one door by which live sources change table ``allocation``.

A source says holdings; what differs from the belief is retired and said anew, both with the instant it was learned,
so that any earlier belief can be asked for again. Saying the same twice changes nothing.
Not here: reading a scheduler (slurm/, kubernetes/) and files (imports/allocations.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.allocation import workloads
from ullage_collector.allocation.holding import NANO, Holding, Place, Rank, Workload
from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    import duckdb

    from ullage_collector.store.store import Store

_RUN: Final = {"workload_id": pa.string(), "valid_from": incoming.TIMESTAMP}
_ROW: Final = {
    "workload_key": pa.int32(),
    "card_key": pa.int32(),
    "slice_key": pa.int32(),
    "node_key": pa.int32(),
    "share_nano": pa.int64(),
    "memory_share_nano": pa.int64(),
    "valid_from": incoming.TIMESTAMP,
    "valid_to": incoming.TIMESTAMP,
    "attributes": pa.string(),
    "rank": pa.string(),
}
_NUMBER: Final = {"allocation_id": pa.int64()}
_NOTE: Final = {"allocation_id": pa.int64(), "attributes": pa.string()}

Run = tuple[str, int]
"""A holding's name: workload id and from_us."""


@dataclass(frozen=True, slots=True)
class Believed:
    """What one call changed, in rows of ``allocation``. refused: what could not be kept and why, by workload id."""

    added: int
    retired: int
    annotated: int
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def changed(self) -> bool:
        """Money may differ from what it was."""
        return bool(self.added or self.retired)


@dataclass(frozen=True, slots=True)
class Standing:
    """A run that is believed open. placed: every card of it is known. nodes: where, sorted."""

    workload_id: str
    kind: str
    from_us: int
    rank: Rank
    placed: bool
    nodes: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Row:
    """One believed row, in texts. place.cards counts where the card is unknown."""

    allocation_id: int
    place: Place
    to_us: int | None
    rank: str
    attributes: str | None


@dataclass(slots=True)
class _Plan:
    """What has to change for the belief to be what was said."""

    retire: list[int]
    annotate: list[tuple[int, str | None]]
    put: list[tuple[Holding, Place]]


class AllocationBook:
    """One source's hand on the belief. Any thread; each call is one transaction, none where nothing changes.

    source: kept with every row: slurm, kubernetes.
    origin: of workloads and cards met here first: real, imported or simulated.
    """

    def __init__(self, store: Store, source: str, origin: str = "real") -> None:
        self._store = store
        self._source = source
        self._origin = origin
        self._sql = statements("allocation")

    def believe(self, holdings: Iterable[Holding]) -> Believed:
        """Bring the belief to what is said of these runs; other runs are not touched.

        A holding with places () never was one: it is retired. Cards that are known already are kept where the
        source now only counts them. Several places on one card (two replicas) are one, their shares added.
        Raises StoreError as ``Store.write`` does.
        """
        said, refused = self._checked(holdings)
        if not said:
            return Believed(0, 0, 0, tuple(refused))
        cursor = self._store.cursor()
        try:
            quiet = not self._changes(self._plan(cursor, said)) and not self._is_told_anew(cursor, said)
        finally:
            cursor.close()
        if quiet:
            return Believed(0, 0, 0, tuple(refused))
        now_us = round(self._store.clock.wall() * 1e6)
        with self._store.write() as cursor:
            plan = self._plan(cursor, said)
            holders = {holding.workload.workload_id for holding, _ in plan.put}
            keys = workloads.keep(cursor, _workloads(said), holders, self._origin)
            rows = []
            for holding, place in plan.put:
                try:
                    rows.append(self._row(cursor, holding, place, keys))
                except BadInput as e:
                    refused.append((holding.workload.workload_id, str(e)))
            self._store.identities.flush(cursor)
            incoming.execute(cursor, self._sql["annotate"], incoming.table(_NOTE, plan.annotate))
            retired = incoming.table(_NUMBER, [(number,) for number in plan.retire])
            if retired.num_rows:
                cursor.register("incoming", retired)
                cursor.execute(self._sql["retire"], [now_us])
                cursor.unregister("incoming")
            if rows:
                cursor.register("incoming", incoming.table(_ROW, rows))
                cursor.execute(self._sql["put"], [now_us, self._source])
                cursor.unregister("incoming")
        return Believed(len(rows), len(plan.retire), len(plan.annotate), tuple(refused))

    def standing(self, cluster: str) -> list[Standing]:
        """The runs of a cluster that this source believes still open, by workload id and start."""
        cursor = self._store.cursor()
        try:
            found = cursor.execute(self._sql["standing"], [self._source, cluster]).fetchall()
        finally:
            cursor.close()
        return [
            Standing(
                workload,
                kind,
                from_us,
                Rank(rank or Rank.WORK),
                bool(placed),
                tuple(node for node in nodes if node is not None),
                json.loads(text) if text else {},
            )
            for workload, kind, from_us, rank, placed, nodes, text in found
        ]

    # ------------------------------------------------------------------------------- what is said
    def _checked(self, holdings: Iterable[Holding]) -> tuple[dict[Run, Holding], list[tuple[str, str]]]:
        """By run, the last word of each; and what can be no holding."""
        said: dict[Run, Holding] = {}
        refused = []
        for holding in holdings:
            workload = holding.workload.workload_id
            if not 0 < len(workload) <= 200:
                refused.append((workload[:60], "a workload id has 1 to 200 characters"))
            elif holding.to_us is not None and holding.to_us < holding.from_us:
                refused.append(
                    (workload, f"it ends at {holding.to_us} before it begins at {holding.from_us}")
                )
            elif any(place.share_nano <= 0 or place.cards < 1 for place in holding.places or ()):
                refused.append((workload, "a place holds more than nothing"))
            else:
                said[workload, holding.from_us] = holding
        return said, refused

    # ------------------------------------------------------------------------------- what differs
    def _plan(self, cursor: duckdb.DuckDBPyConnection, said: Mapping[Run, Holding]) -> _Plan:
        standing: dict[Run, list[_Row]] = {}
        for row in incoming.fetch(cursor, self._sql["believed"], incoming.table(_RUN, said)):
            workload, from_us, number, node, card, slice_id, share, memory, to_us, rank, text = row
            cards = 1 if card is not None else max(1, share // NANO)
            place = Place(
                node or "", card, slice_id, share if card is not None else share // cards, memory, cards
            )
            standing.setdefault((workload, from_us), []).append(
                _Row(number, place, to_us, rank or Rank.WORK, text)
            )
        plan = _Plan([], [], [])
        for run, holding in said.items():
            self._compare(holding, standing.get(run, []), plan)
        return plan

    def _compare(self, holding: Holding, rows: Sequence[_Row], plan: _Plan) -> None:
        # A run that lasted no time holds nothing: it is kept as no row.
        gone = holding.places == () or holding.to_us == holding.from_us
        wanted = {} if gone else {_key(p): p for p in _places(holding.places, [row.place for row in rows])}
        note = workloads.written(holding.attributes)
        for row in rows:
            place = wanted.get(_key(row.place))
            if place == row.place and row.to_us == holding.to_us and row.rank == holding.rank:
                del wanted[_key(row.place)]
                if note is not None and row.attributes != note:
                    plan.annotate.append((row.allocation_id, note))
            else:
                plan.retire.append(row.allocation_id)
        plan.put += [(holding, place) for place in wanted.values()]

    @staticmethod
    def _changes(plan: _Plan) -> bool:
        return bool(plan.retire or plan.annotate or plan.put)

    def _is_told_anew(self, cursor: duckdb.DuckDBPyConnection, said: Mapping[Run, Holding]) -> bool:
        """Whether a workload that is known is now told otherwise. One nobody knows comes with its first row."""
        told = _workloads(said)
        return bool(workloads.differing(workloads.known(cursor, told), told, self._origin))

    # ------------------------------------------------------------------------------- rows
    def _row(
        self, cursor: duckdb.DuckDBPyConnection, holding: Holding, place: Place, keys: Mapping[str, int]
    ) -> tuple[Any, ...]:
        identities = self._store.identities
        node = identities.node(cursor, holding.workload.cluster, place.node, None, self._origin)
        card = slice_key = None
        if place.card_id is not None:
            card = identities.card(cursor, place.card_id, node.key, None, self._origin)
            if place.slice_id is not None:
                slice_key = identities.slice(cursor, place.slice_id, node.key, holding.from_us, self._origin)
        return (
            keys[holding.workload.workload_id],
            card,
            slice_key,
            node.key,
            place.share_nano if card is not None else place.share_nano * place.cards,
            place.memory_share_nano,
            holding.from_us,
            holding.to_us,
            workloads.written(holding.attributes),
            holding.rank.value,
        )


def _workloads(said: Mapping[Run, Holding]) -> dict[str, Workload]:
    return {holding.workload.workload_id: holding.workload for holding in said.values()}


def _places(said: Sequence[Place] | None, believed: Sequence[Place]) -> list[Place]:
    """The places to believe: those said, but known cards are kept where now only their number is said."""
    if said is None:
        return list(believed)
    merged: dict[tuple[str, str | None, str | None], Place] = {}
    for place in said:
        before = merged.get(_key(place))
        merged[_key(place)] = place if before is None else _added(before, place)
    kept: list[Place] = []
    for place in merged.values():
        known = [p for p in believed if p.node == place.node and p.card_id is not None]
        if (
            place.card_id is not None
            or not known
            or any(p.node == place.node and p.card_id is not None for p in merged.values())
        ):
            kept.append(place)
        elif len(known) <= place.cards:
            kept += known
            if len(known) < place.cards:
                kept.append(replace(place, cards=place.cards - len(known)))
        else:  # more cards are known than are held: which of them, nobody can say
            kept.append(place)
    return kept


def _key(place: Place) -> tuple[str, str | None, str | None]:
    return (place.node, place.card_id, place.slice_id)


def _added(one: Place, other: Place) -> Place:
    """Two holds of one place together: shares of a card add up, unknown cards are counted."""
    if one.card_id is None:
        return replace(one, cards=one.cards + other.cards)
    memory = (
        None
        if one.memory_share_nano is None or other.memory_share_nano is None
        else one.memory_share_nano + other.memory_share_nano
    )
    return replace(one, share_nano=one.share_nano + other.share_nano, memory_share_nano=memory)
