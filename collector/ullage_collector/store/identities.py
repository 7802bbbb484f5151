"""Text identities and the small integers that stand for them in every row.

Kept in memory whole: a fleet of eighty thousand cards is eighty thousand short texts. Changed only inside
``Store.write``, whose roll back reads them anew from the file.

Not here: facts about a subject (facts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_contract.errors import BadInput
from ullage_contract.identity import check_id
from ullage_contract.sample import Family

if TYPE_CHECKING:
    import duckdb

UNKNOWN_VENDOR: Final = "unknown"
_KEYS_AT_A_TIME: Final = 256  # our choice: because a rack comes at once and a key costs nothing

_NEW_NODE: Final[Mapping[str, pa.DataType]] = {
    "node_key": pa.int32(),
    "cluster_id": pa.string(),
    "node_id": pa.string(),
    "machine_id": pa.string(),
    "boot_id": pa.string(),
    "seen": incoming.TIMESTAMP,
    "origin": pa.string(),
}
_NEW_CARD: Final[Mapping[str, pa.DataType]] = {
    "card_key": pa.int32(),
    "card_id": pa.string(),
    "node_key": pa.int32(),
    "vendor": pa.string(),
    "model": pa.string(),
    "seen": incoming.TIMESTAMP,
    "origin": pa.string(),
}
_NEW_SLICE: Final[Mapping[str, pa.DataType]] = {
    "slice_key": pa.int32(),
    "slice_id": pa.string(),
    "card_key": pa.int32(),
    "seen": incoming.TIMESTAMP,
}
_NEW_PORT: Final[Mapping[str, pa.DataType]] = {
    "port_key": pa.int32(),
    "port_id": pa.string(),
    "node_key": pa.int32(),
    "device": pa.string(),
    "port": pa.int32(),
    "seen": incoming.TIMESTAMP,
    "origin": pa.string(),
}
_NEW_BOOT: Final = {"boot_key": pa.int32(), "boot_id": pa.string(), "origin": pa.string()}
_NEW_EPOCH: Final = {"epoch_key": pa.int32(), "counters_epoch": pa.string()}
_SEEN: Final = {"key": pa.int32(), "seen": incoming.TIMESTAMP, "node_key": pa.int32()}
_SEEN_NODE: Final[Mapping[str, pa.DataType]] = {
    "node_key": pa.int32(),
    "seen": incoming.TIMESTAMP,
    "machine_id": pa.string(),
    "boot_id": pa.string(),
    "skew": pa.float64(),
    "clock_wrong": pa.bool_(),
}


@dataclass(slots=True)
class Node:
    """What is known of a node: its key and what it last said of itself."""

    key: int
    cluster_id: str
    node_id: str
    machine_id: str | None
    boot_id: str | None
    clock_wrong: bool


class Identities:
    """Keys by identity. Methods that make a key take the connection of the transaction it is made in."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._nodes: dict[tuple[str, str], Node] = {}
        self._cards: dict[str, int] = {}
        self._card_node: dict[int, int] = {}
        self._slices: dict[str, int] = {}
        self._ports: dict[str, int] = {}
        self._boots: dict[tuple[str | None, str], int] = {}
        self._epochs: dict[str, int] = {}
        self._keys: list[int] = []
        self._new: dict[str, list[tuple[Any, ...]]] = {}
        self._seen: dict[str, dict[int, tuple[int, int | None]]] = {}
        self._rows_seen: dict[tuple[str, int], tuple[list[int], int]] = {}
        self._row_keys: dict[tuple[str, int], tuple[list[str], list[int]]] = {}
        self._seen_nodes: dict[int, tuple[int, str | None, str | None, float | None, bool]] = {}

    def load(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Read what the file holds, forgetting everything else."""
        self._forget()
        sql = statements("identities")
        for key, cluster, node, machine, boot, wrong in connection.execute(sql["nodes"]).fetchall():
            self._nodes[cluster, node] = Node(key, cluster, node, machine, boot, wrong)
        for key, card, node_key in connection.execute(sql["cards"]).fetchall():
            self._cards[card] = key
            self._card_node[key] = node_key
        self._slices = {text: key for key, text in connection.execute(sql["slices"]).fetchall()}
        self._ports = {text: key for key, text in connection.execute(sql["ports"]).fetchall()}
        self._boots = {
            (boot, origin): key for key, boot, origin in connection.execute(sql["boots"]).fetchall()
        }
        self._epochs = {text: key for key, text in connection.execute(sql["epochs"]).fetchall()}

    # ------------------------------------------------------------------ looking up, from any thread
    def card_key(self, card_id: str) -> int | None:
        """The key of a card, or None when nobody has heard of it."""
        return self._cards.get(card_id)

    def node_of(self, card_key: int) -> int | None:
        """The node a card was last on."""
        return self._card_node.get(card_key)

    def subject_key(self, family: Family, subject: str, cluster: str = "") -> int | None:
        """The key of a subject, or None. For a process: its card's. ``cluster`` is needed for a node."""
        match family:
            case Family.CARD:
                return self._cards.get(subject)
            case Family.SLICE:
                return self._slices.get(subject)
            case Family.PORT:
                return self._ports.get(subject)
            case Family.PROCESS:
                return self._cards.get(subject.rpartition("#")[0])
            case Family.NODE:
                node = self._nodes.get((cluster, subject))
                return node.key if node else None

    def find_node(self, cluster: str, node_id: str) -> Node | None:
        """A node, or None when nobody has heard of it."""
        return self._nodes.get((cluster, node_id))

    # ------------------------------------------------------------------ making, in a transaction
    def node(
        self,
        connection: duckdb.DuckDBPyConnection,
        cluster: str,
        node_id: str,
        seen_us: int | None,
        origin: str,
        machine_id: str | None = None,
        boot_id: str | None = None,
    ) -> Node:
        """The node, made when it is new. seen_us None: owned, never seen."""
        node = self._nodes.get((cluster, node_id))
        if node is None:
            key = self._key(connection)
            node = Node(
                key, check_id("cluster", cluster), check_id("node", node_id), machine_id, boot_id, False
            )
            self._nodes[cluster, node_id] = node
            self._put("nodes", (key, cluster, node_id, machine_id, boot_id, seen_us, origin))
        return node

    def card(
        self,
        connection: duckdb.DuckDBPyConnection,
        card_id: str,
        node_key: int,
        seen_us: int | None,
        origin: str,
        vendor: str = UNKNOWN_VENDOR,
        model: str | None = None,
    ) -> int:
        """The card's key, made when it is new."""
        key = self._cards.get(card_id)
        if key is None:
            key = self._cards[check_id("card", card_id)] = self._key(connection)
            self._card_node[key] = node_key
            self._put("cards", (key, card_id, node_key, vendor, model, seen_us, origin))
        return key

    def slice(
        self, connection: duckdb.DuckDBPyConnection, slice_id: str, node_key: int, seen_us: int, origin: str
    ) -> int:
        """The slice's key, made when it is new, and its card's too. Its card is the part before the last slash."""
        key = self._slices.get(slice_id)
        if key is None:
            card_id, slash, _ = slice_id.rpartition("/")
            if not slash:
                raise BadInput(f"slice {slice_id[:60]!r} is not card_id/instance")
            card_key = self.card(connection, card_id, node_key, seen_us, origin)
            key = self._slices[check_id("slice", slice_id)] = self._key(connection)
            self._put("slices", (key, slice_id, card_key, seen_us))
        return key

    def port(
        self, connection: duckdb.DuckDBPyConnection, port_id: str, node_key: int, seen_us: int, origin: str
    ) -> int:
        """The port's key, made when it is new. Raises BadInput when it is not node/device/number."""
        key = self._ports.get(port_id)
        if key is None:
            parts = port_id.rsplit("/", 2)
            if len(parts) != 3 or not parts[2].isascii() or not parts[2].isdigit() or len(parts[2]) > 5:
                raise BadInput(f"port {port_id[:60]!r} is not node_id/device/port")
            key = self._ports[check_id("port", port_id)] = self._key(connection)
            self._put("ports", (key, port_id, node_key, parts[1], int(parts[2]), seen_us, origin))
        return key

    def boot(self, connection: duckdb.DuckDBPyConnection, boot_id: str | None, origin: str) -> int:
        """The key of a boot and origin, made when it is new."""
        key = self._boots.get((boot_id, origin))
        if key is None:
            key = self._boots[boot_id, origin] = self._key(connection)
            self._put("boots", (key, boot_id, origin))
        return key

    def epoch(self, connection: duckdb.DuckDBPyConnection, text: str) -> int:
        """The key of a life of counters, made when it is new."""
        key = self._epochs.get(text)
        if key is None:
            key = self._epochs[text] = self._key(connection)
            self._put("epochs", (key, text))
        return key

    # ------------------------------------------------------------------ when it was last heard
    def see(self, family: Family, key: int, seen_us: int, node_key: int | None) -> None:
        """Remember when a card, slice or port was last heard; written by ``flush_seen``."""
        known = self._seen.setdefault(family.value, {})
        before = known.get(key)
        if before is None or before[0] <= seen_us:
            known[key] = (seen_us, node_key)
            if family is Family.CARD and node_key is not None:
                self._card_node[key] = node_key

    def row_keys(
        self,
        connection: duckdb.DuckDBPyConnection,
        family: Family,
        subjects: Sequence[str],
        node_key: int,
        newest_us: int,
        origin: str,
    ) -> list[int]:
        """Keys of the cards, slices or ports of a push's rows, made where they are new; they were heard just now.

        A node sends the same subjects in the same order push after push: then nothing is looked up.
        """
        place = (family.value, node_key)
        known = self._row_keys.get(place)
        if known is not None and known[0] == subjects:
            keys = known[1]
        else:
            make = self.subject_maker(family)
            keys = [make(connection, subject, node_key, newest_us, origin) for subject in subjects]
            self._row_keys[place] = (list(subjects), keys)
            if family is Family.CARD:
                for key in keys:
                    self._card_node[key] = node_key
        before = self._rows_seen.get(place)
        if before is not None and before[0] is not keys:
            for key in before[0]:
                self.see(family, key, before[1], node_key)
            before = None
        self._rows_seen[place] = (keys, newest_us if before is None else max(newest_us, before[1]))
        return keys

    def see_node(
        self,
        node: Node,
        seen_us: int,
        machine_id: str | None,
        boot_id: str | None,
        skew_seconds: float | None,
        clock_wrong: bool,
    ) -> None:
        """Remember when a node was last heard and what it said; written by ``flush_seen``."""
        before = self._seen_nodes.get(node.key)
        newest = max(seen_us, before[0]) if before else seen_us
        self._seen_nodes[node.key] = (newest, machine_id, boot_id, skew_seconds, clock_wrong)
        node.machine_id = machine_id or node.machine_id
        node.boot_id = boot_id or node.boot_id
        node.clock_wrong = clock_wrong

    def flush(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Write identities that are new since the last call."""
        types = {
            "nodes": _NEW_NODE,
            "cards": _NEW_CARD,
            "slices": _NEW_SLICE,
            "ports": _NEW_PORT,
            "boots": _NEW_BOOT,
            "epochs": _NEW_EPOCH,
        }
        for name, rows in self._new.items():
            statement = statements("identities")[f"put_{name}"]
            incoming.execute(connection, statement, incoming.table(types[name], rows))
        self._new = {}

    def refresh(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Write what is waiting and read everything anew: somebody else may have made identities meanwhile."""
        self.flush(connection)
        self.flush_seen(connection)
        self.load(connection)

    def flush_seen(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Write when everything was last heard. Once a minute is enough: the newest is in memory."""
        sql = statements("identities")
        for (name, node_key), (keys, newest_us) in self._rows_seen.items():
            for key in keys:
                self.see(Family(name), key, newest_us, node_key)
        self._rows_seen = {}
        nodes = ((key, *row) for key, row in self._seen_nodes.items())
        incoming.execute(connection, sql["see_nodes"], incoming.table(_SEEN_NODE, nodes))
        for family, name in ((Family.CARD, "card"), (Family.SLICE, "slice"), (Family.PORT, "port")):
            rows = [(key, *row) for key, row in self._seen.get(family.value, {}).items()]
            seen = incoming.table(_SEEN, rows).rename_columns(
                [f"{name}_key", "seen", "node_key"]  # the statements name the key as the table does
            )
            incoming.execute(connection, sql[f"see_{name}s"], seen)
        self._seen = {}
        self._seen_nodes = {}

    def _put(self, name: str, row: tuple[Any, ...]) -> None:
        self._new.setdefault(name, []).append(row)

    def _key(self, connection: duckdb.DuckDBPyConnection) -> int:
        if not self._keys:
            rows = connection.execute(statements("identities")["next_keys"], [_KEYS_AT_A_TIME]).fetchall()
            self._keys = [key for (key,) in reversed(rows)]
        return self._keys.pop()

    def subject_maker(self, family: Family) -> Callable[[duckdb.DuckDBPyConnection, str, int, int, str], int]:
        """The function that makes a key for a card, slice or port of a row."""
        if family is Family.SLICE:
            return self.slice
        if family is Family.PORT:
            return self.port
        return self.card
