"""The table of facts, systems.toml: which resources and annotations speak of cards, in what units, says who. Pure.

The table is data of the package; what is done with a row is in ask.py and the readers.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from fractions import Fraction
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

from ullage_contract.errors import ConfigError

FILE: Final = "systems.toml"
_KNOWN_UNITS: Final = re.compile(
    r"card|share|replica|core|part|bytes|GiB or quantity|(?:[1-9][0-9]* )?[MG]iB|1/[1-9][0-9]* (?:card|memory)"
    r"|profile (?:MIG|XCP|vNPU|vDCU|DCU-MIG|MIM)"
)
_PROFILES: Final = {
    "MIG": r"(?:[1-9]c\.)?[1-9][0-9]?g\.[1-9][0-9]*gb(?:\.me(?:\.all)?|\.gfx)?",
    "XCP": r"(?:spx|dpx|tpx|qpx|cpx)_nps[1-9]",
    "vNPU": r"[1-9][0-9]?c(?:\.[1-9]cpu)?(?:\.[1-9][0-9]?g)?(?:\.n?dvpp)?",
    "vDCU": r"[1-9][0-9]{0,3}c-[1-9][0-9]{0,3}g",
    "DCU-MIG": r"[1-9][0-9]?g-[1-9][0-9]{0,3}gb",
    "MIM": r"[1-9][0-9]?m\.[1-9][0-9]{0,3}gb",
}


class Meaning(StrEnum):
    """What a resource counts; systems.toml says what each word means."""

    CARDS = "cards"
    COMPUTE = "compute"
    MEMORY = "memory"
    MEMORY_RATIO = "memory_ratio"
    SLICE = "slice"


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of ``resources``. source: the document or file; checked: when it was read; seen None: it was found."""

    system: str
    resource: str
    meaning: Meaning
    unit: str
    source: str
    checked: date
    vendor: str | None = None
    per: str | None = None
    absent: str | None = None
    seen: str | None = None
    note: str | None = None

    @property
    def usable(self) -> bool:
        """False: no public document confirms the row, so that nothing is read by it."""
        return self.seen is None

    @property
    def profile(self) -> str | None:
        """The kind of profile the resource's name ends in, None: none."""
        return self.unit.removeprefix("profile ") if self.unit.startswith("profile ") else None

    @property
    def parts(self) -> int | None:
        """N of a unit ``1/N card`` or ``1/N memory``, None for other units."""
        return int(self.unit[2:].split(" ")[0]) if self.unit.startswith("1/") else None

    @property
    def unit_bytes(self) -> int | None:
        """Bytes of one of a unit of memory, None for other units."""
        count, _, word = self.unit.rpartition(" ")
        scale = {"MiB": 1 << 20, "GiB": 1 << 30, "bytes": 1}.get(
            "GiB" if "or quantity" in self.unit else word
        )
        return None if scale is None else scale * (int(count) if count.isdecimal() else 1)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One row of ``annotations``: a label, annotation or variable and what it says."""

    system: str
    where: str
    key: str
    says: str
    source: str
    checked: date
    vendor: str | None = None
    form: str | None = None
    cores: str | None = None
    memory: str | None = None
    seen: str | None = None

    @property
    def core(self) -> Fraction | None:
        """What share of a card one of its cores is, None: it does not say."""
        unit = self.cores or ""
        return Fraction(1, int(unit[2:].split(" ")[0])) if unit.startswith("1/") else None


@dataclass(frozen=True, slots=True)
class Whole:
    """One row of ``wholes``: into how many parts a card of these models is cut by these profiles."""

    kind: str
    parts: int
    profiles: tuple[str, ...]
    source: str
    checked: date
    models: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """A row that speaks of a resource, and what its name holds: the maker's word or the profile."""

    fact: Fact
    model: str = ""
    profile: str | None = None


def facts() -> tuple[Fact, ...]:
    """Every row of ``resources``, in the table's order. Raises ConfigError where the shipped table is damaged."""
    return _table()[0]


def annotation_facts() -> tuple[Annotation, ...]:
    """Every row of ``annotations``, in the table's order. Raises as ``facts``."""
    return _table()[1]


def wholes() -> tuple[Whole, ...]:
    """Every row of ``wholes``, in the table's order. Raises as ``facts``."""
    return _table()[2]


@lru_cache(maxsize=4096)
def facts_of(resource: str) -> tuple[Match, ...]:
    """The usable rows that speak of a resource, in the table's order; empty: it is no card and no share of one."""
    found = list(_exact().get(resource, ()))
    for fact, pattern in _patterns():
        if match := pattern.fullmatch(resource):
            groups = match.groupdict()
            found.append(Match(fact, groups.get("model") or "", groups.get("profile")))
    return tuple(found)


@cache
def _exact() -> Mapping[str, tuple[Match, ...]]:
    found: dict[str, tuple[Match, ...]] = {}
    for fact in facts():
        if fact.usable and "{" not in fact.resource:
            found[fact.resource] = (*found.get(fact.resource, ()), Match(fact))
    return found


@cache
def _patterns() -> tuple[tuple[Fact, re.Pattern[str]], ...]:
    return tuple((f, _pattern(f)) for f in facts() if f.usable and "{" in f.resource)


def _pattern(fact: Fact) -> re.Pattern[str]:
    profile = _PROFILES.get(fact.profile or "", "[A-Za-z0-9._-]+")
    text = re.escape(fact.resource)
    text = text.replace(r"\{model\}", r"(?P<model>[A-Za-z0-9][A-Za-z0-9._-]*?)")
    return re.compile(
        text.replace(r"\{digits\}", "[0-9]+").replace(r"\{profile\}", f"(?P<profile>{profile})")
    )


@cache
def _table() -> tuple[tuple[Fact, ...], tuple[Annotation, ...], tuple[Whole, ...]]:
    text = resources.files("ullage_collector.allocation.sharing").joinpath(FILE).read_text(encoding="utf-8")
    return parse(text, FILE)


def parse(text: str, where: str) -> tuple[tuple[Fact, ...], tuple[Annotation, ...], tuple[Whole, ...]]:
    """The three tables of a TOML text. Raises ConfigError naming ``where``, the row and the key."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{where}: not TOML: {e}") from e
    rows = {name: document.get(name, []) for name in ("resources", "annotations", "wholes")}
    return (
        tuple(_fact(row, f"{where}: resource {i + 1}") for i, row in enumerate(rows["resources"])),
        tuple(_annotation(row, f"{where}: annotation {i + 1}") for i, row in enumerate(rows["annotations"])),
        tuple(_whole(row, f"{where}: whole {i + 1}") for i, row in enumerate(rows["wholes"])),
    )


def _fact(row: Mapping[str, Any], where: str) -> Fact:
    row = _known(row, Fact, where)
    if not _KNOWN_UNITS.fullmatch(str(row.get("unit"))):
        raise ConfigError(f"{where}: unit {row.get('unit')!r} is none; the head of the file lists them")
    if row.get("per") not in (None, "all") or row.get("absent") not in (None, "whole"):
        raise ConfigError(f'{where}: write per = "all", absent = "whole", or leave them out')
    try:
        return Fact(**{**row, "meaning": Meaning(row.get("meaning", ""))})
    except (TypeError, ValueError) as e:
        raise ConfigError(f"{where}: {e}") from e


def _annotation(row: Mapping[str, Any], where: str) -> Annotation:
    try:
        return Annotation(**_known(row, Annotation, where))
    except TypeError as e:
        raise ConfigError(f"{where}: {e}") from e


def _whole(row: Mapping[str, Any], where: str) -> Whole:
    row = _known(row, Whole, where)
    try:
        lists: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        return Whole(**lists)
    except TypeError as e:
        raise ConfigError(f"{where}: {e}") from e


def _known(row: Mapping[str, Any], into: type[Fact | Annotation | Whole], where: str) -> dict[str, Any]:
    known = {field.name for field in fields(into)}
    if stray := set(row) - known:
        raise ConfigError(
            f"{where}: unknown key {', '.join(sorted(stray))}; known are {', '.join(sorted(known))}"
        )
    return dict(row)
