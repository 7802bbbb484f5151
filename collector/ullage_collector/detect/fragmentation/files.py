"""Nodes and tasks out of CSV files, row by row. Not here: the store (reading.py).

Every wrong row is told with file and line, the first of them together; a file with one wrong row is not used, as a
measure without some nodes would be another fleet's.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from ullage_collector.detect.fragmentation.capacity import FreeNode
from ullage_collector.detect.fragmentation.placed import Placed
from ullage_collector.detect.fragmentation.task import WHOLE_MILLI, Ask, Task, models_of
from ullage_contract.errors import BadInput

NODE_COLUMNS: Final = ("sn", "model", "cpu_free_milli", "mem_free_mib", "gpu_free_milli")
OPTIONAL_NODE_COLUMNS: Final = ("cluster", "pool", "islands", "domain", "rails")
TASK_COLUMNS: Final = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec")
PLACED_COLUMNS: Final = ("name", "sn", "cards", *TASK_COLUMNS)
MOST_ROWS: Final = 1_000_000  # our choice: because a fleet of 100,000 cards has 20,000 nodes
MOST_CARDS: Final = 1024  # our choice: because no node has a tenth of it
MOST_AMOUNT: Final = (
    10**12
)  # our choice: because a thousandth of it is no node's, and sums stay far from 2**63
MOST_TOLD: Final = 20  # our choice: because a person mends a file's first twenty wrong rows and runs again

T = TypeVar("T")
Row = Mapping[str, str]


def read_nodes(path: Path, *, memory: bool = False) -> list[FreeNode]:
    """Columns NODE_COLUMNS, and OPTIONAL_NODE_COLUMNS where they are there; others are not looked at.

    gpu_free_milli: ``1000|340|0``, a number a card; empty: no cards. memory: mem_free_mib may not be empty.
    islands: ``a|a|b|b``, a name a card, of those that reach each other without the network.
    Raises BadInput, naming file and lines.
    """
    seen: dict[tuple[str, str], int] = {}

    def node(row: Row, line: int) -> FreeNode:
        name, cluster = row["sn"].strip(), _optional(row, "cluster")
        if not name:
            raise BadInput("sn is empty: a node needs a name")
        before = seen.setdefault((cluster, name), line)
        if before != line:
            raise BadInput(f"sn {name!r} is already on line {before}; a node stands once")
        cards = shares(row, "gpu_free_milli")
        return FreeNode(
            name=name,
            model=row["model"].strip(),
            cpu_milli=whole(row, "cpu_free_milli"),
            memory_mib=_memory(row, "mem_free_mib", memory),
            cards=cards,
            cluster=cluster,
            pool=_optional(row, "pool"),
            islands=_islands(row, len(cards)),
            domain=_optional(row, "domain"),
            rails=_optional(row, "rails"),
        )

    return read(path, NODE_COLUMNS, node)


def read_tasks(path: Path, *, memory: bool = False) -> list[Task]:
    """Columns TASK_COLUMNS and ``weight``; a file without that column is a list of tasks that count alike.

    Weights are any numbers from 0 on. memory: memory_mib of a task with cards may not be empty.
    Raises BadInput, naming file and lines, also where no weight is above 0.
    """

    def task(row: Row, line: int) -> Task:
        return Task(ask_of(row, memory=memory), _weight(row["weight"]) if "weight" in row else 1.0)

    found = read(path, TASK_COLUMNS, task)
    if not any(task.weight > 0 for task in found):
        raise BadInput(f"{path}: no task has a weight above 0; nothing can be typical")
    return found


def read_placed(path: Path, nodes: Sequence[FreeNode]) -> list[Placed]:
    """Work that runs: columns PLACED_COLUMNS, and cluster, owner and movable (yes, no) where they are there.

    cards: ``0|3``, places in the node's list counted from 0; a task without cards has none. Free shares are those of
    ``nodes``, beside this work. Raises BadInput, naming file and lines.
    """
    numbers = {(node.cluster, node.name): number for number, node in enumerate(nodes)}
    names: set[str] = set()
    left = [[WHOLE_MILLI - milli for milli in node.cards] for node in nodes]

    def placed(row: Row, line: int) -> Placed:
        name, node = row["name"].strip(), row["sn"].strip()
        if not name or name in names:
            raise BadInput(f"name {name!r} stands twice" if name else "name is empty: a workload needs one")
        names.add(name)
        number = numbers.get((_optional(row, "cluster"), node))
        if number is None:
            raise BadInput(f"sn {node!r} is not among the nodes")
        ask = ask_of(row)
        cards = tuple(
            _whole(part, "cards", MOST_CARDS) for part in row["cards"].split("|") if row["cards"].strip()
        )
        if len(cards) != ask.cards or len(set(cards)) != len(cards):
            raise BadInput(f"cards {row['cards']!r}: num_gpu is {ask.cards}; name each card once, e.g. 0|3")
        for card in cards:
            if card >= len(left[number]):
                raise BadInput(f"cards: {node} has {len(left[number])}, counted from 0; there is no {card}")
            left[number][card] -= ask.share_milli
            if left[number][card] < 0:
                raise BadInput(
                    f"cards: card {card} of {node} would hold and have free more than {WHOLE_MILLI}"
                )
        return Placed(name, number, cards, ask, _optional(row, "owner") or None, _stays(row, ask))

    return read(path, PLACED_COLUMNS, placed)


def _stays(row: Row, ask: Ask) -> str | None:
    word = _optional(row, "movable").casefold()
    if word not in ("", "yes", "no"):
        raise BadInput(f"movable {word[:40]!r}: write yes or no")
    if word == "no":
        return "its file says no"
    return "its memory is not known" if ask.memory_mib is None else None


def read_asks(path: Path, *, memory: bool = False) -> list[Ask]:
    """What tasks that ran asked for: columns TASK_COLUMNS, a row a task. Raises BadInput, naming file and lines."""
    return read(path, TASK_COLUMNS, lambda row, line: ask_of(row, memory=memory))


def ask_of(row: Row, *, memory: bool = False) -> Ask:
    """What a row of TASK_COLUMNS asks for. Raises BadInput, naming the column."""
    cards = whole(row, "num_gpu", most=MOST_ROWS)
    share = 0
    if cards:
        share = whole(row, "gpu_milli")
        if not 1 <= share <= WHOLE_MILLI:
            raise BadInput(f"gpu_milli {share}: of each of {cards} cards it takes 1 to {WHOLE_MILLI}")
    try:
        models = models_of(row["gpu_spec"])
    except BadInput as e:
        raise BadInput(f"gpu_spec {e}") from e
    memory_mib = _memory(row, "memory_mib", memory and cards > 0)
    return Ask(whole(row, "cpu_milli"), memory_mib, cards, share, models if cards else frozenset())


def read(path: Path, columns: Sequence[str], made: Callable[[Row, int], T]) -> list[T]:
    """``made`` of every row. Raises BadInput for the wrong rows together, and for a file that cannot be read."""
    found: list[T] = []
    wrong: list[str] = []
    more = 0
    for line, row in _rows(path, columns):
        try:
            if isinstance(row, str):
                raise BadInput(row)
            found.append(made(row, line))
        except BadInput as e:
            if len(wrong) < MOST_TOLD:
                wrong.append(f"{path}:{line}: {e}")
            else:
                more += 1
    if wrong:
        raise BadInput("\n".join(wrong) + (f"\nand {more} rows more" if more else ""))
    if not found:
        raise BadInput(f"{path}: no rows below the header")
    return found


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row | str]]:
    """(line, row); a text in its place says why it is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                raise BadInput(
                    f"{path}:1: no column {', '.join(missing)}; it has {', '.join(header)[:200] or 'nothing'}"
                )
            if len(set(header)) < len(header):
                raise BadInput(f"{path}:1: a column stands twice: {', '.join(header)[:200]}")
            for cells in reader:
                if not cells:
                    continue
                if reader.line_num > MOST_ROWS:
                    raise BadInput(f"{path}: more than {MOST_ROWS} lines; this is no fleet")
                if len(cells) != len(header):
                    yield reader.line_num, f"{len(cells)} cells where the header has {len(header)}"
                else:
                    yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as e:
        raise BadInput(f"{path}:{reader.line_num}: not CSV: {e}") from e
    except UnicodeDecodeError as e:
        raise BadInput(f"{path}: not UTF-8: {e.reason} at byte {e.start}") from e
    except OSError as e:
        raise BadInput(f"{path}: cannot be read: {e.strerror}") from e


def whole(row: Row, column: str, *, most: int = MOST_AMOUNT) -> int:
    """A whole number from 0 to ``most``. Raises BadInput."""
    return _whole(row[column], column, most)


def shares(row: Row, column: str) -> tuple[int, ...]:
    """``1000|340|0``; () for an empty cell. Raises BadInput."""
    text = row[column].strip()
    if not text:
        return ()
    found = tuple(_whole(part, column, WHOLE_MILLI) for part in text.split("|"))
    if len(found) > MOST_CARDS:
        raise BadInput(f"{column}: {len(found)} cards; a node has at most {MOST_CARDS}")
    return found


def _optional(row: Row, column: str) -> str:
    return (row.get(column) or "").strip()


def _islands(row: Row, cards: int) -> tuple[str, ...]:
    text = _optional(row, "islands")
    if not text:
        return ()
    found = tuple(name.strip() for name in text.split("|"))
    if len(found) != cards:
        raise BadInput(f"islands {text[:40]!r}: {len(found)} names for {cards} cards")
    return found


def _whole(text: str, column: str, most: int) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= most):
        raise BadInput(f"{column} {text[:40]!r}: write a whole number from 0 to {most}")
    return int(text)


def _memory(row: Row, column: str, needed: bool) -> int | None:
    if not row[column].strip():
        if needed:
            raise BadInput(f"{column} is empty: with --memory it is needed; unknown is not 0")
        return None
    return _whole(row[column], column, MOST_AMOUNT)


def _weight(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= MOST_AMOUNT:
        raise BadInput(f"weight {text[:40]!r}: write a number from 0 to {MOST_AMOUNT:g}")
    return found
