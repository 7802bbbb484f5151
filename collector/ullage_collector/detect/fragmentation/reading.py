"""What the store knows of free cards, of the work beside them and of work that ran; read at one instant.

Cards that are isolated, fenced, broken, out of service or not heard of lately are not free, whatever nobody holds of
them: they are counted by why. Processors and memory are those a scheduler told lately (allocation/room.py), else not
known. The store knows only work that holds cards: learned from it, both figures of the measure are the same.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.audit import naive_utc
from ullage_collector.detect.fragmentation.capacity import FreeNode
from ullage_collector.detect.fragmentation.placed import Placed
from ullage_collector.detect.fragmentation.settings import Rules
from ullage_collector.detect.fragmentation.task import WHOLE_MILLI, Ask, Kinds, learned
from ullage_collector.fleet_now import STALE_SECONDS, WHOLE, CardNow, FleetNow
from ullage_collector.sql import statements
from ullage_collector.topology.domains import Subject, Topology

if TYPE_CHECKING:
    import duckdb

NANO_A_MILLI: Final = WHOLE // WHOLE_MILLI
ROOM_SECONDS: Final = 1800.0
"""our choice: three of the rounds in which Slurm's nodes are asked; older words on free processors are no knowledge."""


@dataclass(frozen=True, slots=True)
class Typical:
    """kinds: of the fleet's tasks, learned from ``tasks`` of them; pools: of a cluster's pools where enough ran, and from
    how many."""

    kinds: Kinds
    tasks: int
    pools: Mapping[tuple[str, str], tuple[Kinds, int]]

    def of(self, cluster: str, pool: str) -> tuple[Kinds, int]:
        """A pool's own kinds; the fleet's where too little ran there. No tasks in them: nothing is typical."""
        return self.pools.get((cluster, pool), (self.kinds, self.tasks))


@dataclass(frozen=True, slots=True)
class Fleet:
    """nodes: what is free. work: what holds it now. typical: of what ran; asked_without_cpu: of those tasks, how many do
    not say their processors.

    left_out: cards that take no work, by why. prices: of a card of each node an hour, with currency; None: nobody gave one.
    """

    nodes: Sequence[FreeNode]
    work: Sequence[Placed]
    typical: Typical
    asked_without_cpu: int
    left_out: Mapping[str, int]
    prices: Sequence[tuple[Decimal, str] | None]


@dataclass(slots=True)
class Part:
    """Cards of one model on one node that may take work. free: thousandths of each."""

    cards: list[CardNow] = field(default_factory=list)
    free: list[int] = field(default_factory=list)


def read(
    cursor: duckdb.DuckDBPyConnection,
    fleet: FleetNow,
    topology: Topology,
    rules: Rules,
    *,
    memory: bool = False,
) -> Fleet:
    """The fleet now. fleet: reads the same store; its instant is the answer's. memory: kinds are told apart by it too."""
    at, cards = fleet.cards()
    sql = statements("fragmentation")
    now = naive_utc(at)
    rooms = {
        (cluster, node): (cpu, memory_mib, takes, why)
        for cluster, node, cpu, memory_mib, takes, why, _ in cursor.execute(
            sql["rooms"], {"since": naive_utc(at - ROOM_SECONDS)}
        ).fetchall()
    }
    held = cursor.execute(sql["held"], {"now": now}).fetchall()
    parts, left_out = usable(cards, at, rooms)
    _take_unknown(parts, held)
    nodes, prices = [], []
    for (cluster, name, model), part in parts.items():
        cpu, memory_mib, *_ = rooms.get((cluster, name), (None, None))
        nodes.append(_node(cluster, name, model, part, cpu, memory_mib, topology, rules))
        prices.append(fleet.price(part.cards[0]))
    ran = cursor.execute(
        sql["ran"], {"now": now, "since": naive_utc(at - 86_400.0 * rules.history_days)}
    ).fetchall()
    asks, without_cpu = _asks(ran)
    work = list(_work(nodes, held))
    return Fleet(nodes, work, _typical(asks, rules, memory), without_cpu, left_out, prices)


def usable(
    cards: Iterable[CardNow], at: float, rooms: Mapping[tuple[str, str], tuple[Any, ...]]
) -> tuple[dict[tuple[str, str, str], Part], Counter[str]]:
    """(cards that may take work by cluster, node and model, how many may not by why).

    at: seconds since the epoch. rooms: by cluster and node what its scheduler says: processors, memory, whether it
    takes work, why not.
    """
    parts: dict[tuple[str, str, str], Part] = defaultdict(Part)
    left_out: Counter[str] = Counter()
    for card in cards:
        why = _why_out(card, at, rooms.get((card.cluster_id, card.node_id)))
        if why is not None:
            left_out[why] += 1
            continue
        part = parts[card.cluster_id, card.node_id, card.model]
        part.cards.append(card)
        part.free.append(max(0, WHOLE - card.held_nano) // NANO_A_MILLI)
    return dict(parts), left_out


def _why_out(card: CardNow, at: float, room: tuple[Any, ...] | None) -> str | None:
    """Why nothing new may start on it; None: it may."""
    if card.state in ("isolated", "faulty"):
        return card.state
    if card.last_time is None or card.last_time < naive_utc(at - STALE_SECONDS):
        return "not_heard"
    if room is not None and not room[2]:
        return "node_takes_no_work"
    return None


def _take_unknown(parts: Mapping[tuple[str, str, str], Part], held: Iterable[tuple[Any, ...]]) -> None:
    """What is held of a node and nobody knows of which card: the freest cards count as taken, as one of them may be."""
    by_node: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for (cluster, node, _), part in parts.items():
        by_node[cluster, node].append(part)
    for row in held:
        cluster, node, card, nano = row[3], row[4], row[5], row[7]
        if card is not None:
            continue
        left = -(-nano // NANO_A_MILLI)
        here = by_node.get((cluster, node), ())
        places = [(part.free, place) for part in here for place in range(len(part.free))]
        for free, place in sorted(places, key=lambda one: -one[0][one[1]]):
            taken = min(left, free[place])
            free[place] -= taken
            left -= taken


def _node(
    cluster: str,
    name: str,
    model: str,
    part: Part,
    cpu: int | None,
    memory_mib: int | None,
    topology: Topology,
    rules: Rules,
) -> FreeNode:
    node = Subject("node", name, cluster)
    rails = sorted(
        {rail for card in part.cards for rail in _named(topology, Subject("card", card.card_id), "rail")}
    )
    domains = sorted(name for level in rules.together for name in _named(topology, node, level))
    return FreeNode(
        name=name,
        model=model,
        cpu_milli=cpu,
        memory_mib=memory_mib,
        cards=tuple(part.free),
        cluster=cluster,
        pool="+".join(sorted({card.pool for card in part.cards if card.pool})),
        card_ids=tuple(card.card_id for card in part.cards),
        islands=tuple(
            "+".join(sorted(_named(topology, Subject("card", card.card_id), rules.island)))
            for card in part.cards
        ),
        domain="+".join(domains),
        rails="+".join(rails),
    )


def _named(topology: Topology, thing: Subject, level: str) -> frozenset[str]:
    found = topology.domains(thing, level)
    return frozenset() if found is None else found.targets


def _work(nodes: Sequence[FreeNode], held: Sequence[tuple[Any, ...]]) -> Iterable[Placed]:
    """Workloads on cards of ``nodes``, a node each, with why they stay."""
    at = {
        card: (number, place) for number, node in enumerate(nodes) for place, card in enumerate(node.card_ids)
    }
    runs: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for row in held:
        runs[row[0]].append(row)
    for name, rows in runs.items():
        here: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for row in rows:
            if row[5] in at:
                number, place = at[row[5]]
                here[number].append((place, row[7]))
        said = json.loads(rows[0][8]) if rows[0][8] else {}
        who = json.loads(rows[0][9]) if rows[0][9] else {}
        for number, places in here.items():
            share = max(1, min(WHOLE_MILLI, places[0][1] // NANO_A_MILLI))
            cpu, memory_mib = _whole(said.get("cpu_milli")), _whole(said.get("memory_mib"))
            ask = Ask(cpu or 0, memory_mib, len(places), share, frozenset((nodes[number].model,)))
            stays = _stays(rows, who, at, here, places, cpu is None or memory_mib is None)
            yield Placed(name, number, tuple(place for place, _ in places), ask, rows[0][2], stays)


def _stays(
    rows: Sequence[tuple[Any, ...]],
    who: Mapping[str, Any],
    at: Mapping[str, tuple[int, int]],
    here: Mapping[int, Sequence[tuple[int, int]]],
    places: Sequence[tuple[int, int]],
    unknown: bool,
) -> str | None:
    kind = rows[0][1]
    if len(here) > 1 or len({(row[3], row[4]) for row in rows}) > 1:
        return "it runs on several nodes"
    if any(row[5] is None for row in rows):
        return "nobody knows its cards"
    if any(row[5] not in at for row in rows):
        return "a card of it takes no new work"
    if any(row[6] for row in rows):
        return "it holds a slice"
    if len({nano for _, nano in places}) > 1 or len({place for place, _ in places}) < len(places):
        return "its shares differ from card to card"
    if kind not in ("slurm_job", "kubernetes_pod"):
        return f"it is a {kind}"
    if kind == "kubernetes_pod" and not who.get("owner_kind"):
        return "nothing would start it again"
    return "its processors or memory are not known" if unknown else None


def _asks(ran: Iterable[tuple[Any, ...]]) -> tuple[dict[tuple[str, str], Counter[Ask]], int]:
    """By cluster and pool what was asked for and how often, and for how many nobody said the processors; those are
    taken to need none."""
    asks: dict[tuple[str, str], Counter[Ask]] = defaultdict(Counter)
    without = 0
    for cards, nano, nodes, cpu, memory_mib, cluster, pool, count in ran:
        share = max(1, min(WHOLE_MILLI, nano // cards // NANO_A_MILLI))
        memory_each = None if memory_mib is None else memory_mib // nodes
        asks[cluster or "", pool][Ask((cpu or 0) // nodes, memory_each, cards, share)] += count
        without += 0 if cpu is not None else count
    return asks, without


def _typical(asks: Mapping[tuple[str, str], Counter[Ask]], rules: Rules, memory: bool) -> Typical:
    def kinds(seen: Counter[Ask]) -> Kinds:
        if seen.total() < rules.least_tasks:
            return Kinds((), ())
        return learned(seen, covered_ratio=rules.covered_ratio, with_memory=memory, most=rules.most_kinds)

    everywhere: Counter[Ask] = Counter()
    for seen in asks.values():
        everywhere.update(seen)
    own = {
        pool: (kinds(seen), seen.total()) for pool, seen in asks.items() if seen.total() >= rules.least_tasks
    }
    return Typical(kinds(everywhere), everywhere.total(), own)


def _whole(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
