"""What each test saw a maker's reader or decoder give: so that every cell of docs/makers.md names the test that proves it.

``tests/agent/proofs.json`` holds, by maker, route and metric, one test that names the metric: one that only came
across a value, damaged texts or a hanging call say, is no proof. Whenever that test runs it must see the value again,
or it fails. ``ULLAGE_PROOFS=FILE pytest tests/agent`` writes what all tests see; ``docs/generate_makers.py`` makes the
page and the file of it.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ullage_agent.backend import Decoded, Reading
from ullage_contract.sample import Family

FILE: Final = Path(__file__).with_name("proofs.json")
WRITE: Final = os.environ.get("ULLAGE_PROOFS")
READ, OF_SLICES, DECODED = "read", "of slices", "decoded"
_OF_A_MAKER: Final = re.compile(r"test_([a-z]+(?:_fpga|_npu)?)(?:_reader)?\.py$")

Cell = tuple[str, str, str]
"""Maker, route and catalogue key."""


def maker_of(nodeid: str) -> str | None:
    """The maker whose reader the tests of a file ask; None for files about something else."""
    match = _OF_A_MAKER.search(nodeid.partition("::")[0])
    return match[1].replace("_", "-") if match else None


class Watch:
    """Sees every card's reading and decoded card that is made in this process while a test runs."""

    def __init__(self) -> None:
        self.maker: str | None = None
        self.seen: set[Cell] = set()

    def begin(self, nodeid: str) -> None:
        self.maker, self.seen = maker_of(nodeid), set()

    def values(self, values: Iterable[str]) -> None:
        """A card's reading that came in another way: the document of ``once``."""
        if self.maker is not None:
            self.seen |= {(self.maker, READ, key) for key in values}

    def install(self) -> None:
        """Look on from now on."""
        _after(Reading, self._read)
        _after(Decoded, self._decoded)

    def _read(self, reading: Reading) -> None:
        if self.maker is None or type(reading.values) is not dict:
            return
        if reading.family is Family.CARD and reading.values.get("health") == "lost":
            return  # the roster's word of a card that does not answer: its maker said nothing
        route = {Family.CARD: READ, Family.SLICE: OF_SLICES}.get(reading.family)
        if route is not None:
            self.seen |= {(self.maker, route, k) for k, v in reading.values.items() if v is not None}

    def _decoded(self, decoded: Decoded) -> None:
        for card in decoded.cards:
            self.seen |= {(decoded.maker, DECODED, key) for key in card.values}


def _after(kind: type, look: Callable[[Any], None]) -> None:
    plain = kind.__init__  # type: ignore[misc]

    @functools.wraps(plain)
    def init(self: Any, *args: Any, **named: Any) -> None:
        plain(self, *args, **named)
        look(self)

    kind.__init__ = init  # type: ignore[misc]


def proofs() -> dict[str, set[Cell]]:
    """Cells by the test that proves them."""
    found: dict[str, set[Cell]] = {}
    if FILE.exists():
        for maker, routes in json.loads(FILE.read_text(encoding="utf-8")).items():
            for route, cells in routes.items():
                for key, test in cells.items():
                    found.setdefault(test, set()).add((maker, route, key))
    return found


def words(test: Callable[..., object]) -> set[str]:
    """Every quoted word of a test, and of the constants it names: the metrics whose values it looks at are in it."""
    plain = inspect.unwrap(test)
    source = inspect.getsource(plain)
    found = set(re.findall(r"[\"']([a-z0-9_]+)[\"']", source))
    for name in re.findall(r"\b[A-Z][A-Z0-9_]+\b", source):
        found |= set(_keys(plain.__globals__.get(name)))
    return found


def _keys(constant: object) -> Iterator[str]:
    if isinstance(constant, Mapping):
        for key, value in constant.items():
            if isinstance(key, str):
                yield key
            yield from _keys(value)
    elif isinstance(constant, list | tuple):
        for part in constant:
            yield from _keys(part)


def write(nodeid: str, test: Callable[..., object], seen: set[Cell]) -> None:
    """Append a line of what a test saw and which metrics of it it names, one write: several workers share the file."""
    if WRITE and seen:
        named = words(test) & {key for _, _, key in seen}
        line = json.dumps([nodeid, sorted(seen), sorted(named)]) + "\n"
        with Path(WRITE).open("a", encoding="utf-8") as file:
            file.write(line)


WATCH: Final = Watch()
"""The one of this process; tests/agent/conftest.py installs it."""
