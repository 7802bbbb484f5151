"""sizing.toml as values; the file [sizing] of collector.toml names, or the shipped one. What models can do: ullage_contract.card_models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from ullage_collector.allocation.sharing.profiles import GIB, piece
from ullage_contract import rule_file
from ullage_contract.card_models import CardModel, card_model, is_word, row_of, shipped
from ullage_contract.settings import Table

FILE: Final = "sizing.toml"
NEAR: Final = 0.08
"""Drivers report less than the name says: 79.6 GiB for 80, 139.7 for 141. our choice: 8 % keeps 94 apart from 80."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Ratios of a whole card, 0..1."""

    activity: float
    memory: float
    bandwidth: float
    power: float


@dataclass(frozen=True, slots=True)
class Sharing:
    """[share]. load: of activity and of bandwidth, summed; single: of one holder."""

    load: float
    power: float
    memory: float
    single: float
    most: int
    across_departments: bool


@dataclass(frozen=True, slots=True)
class Slices:
    """One [[slices]]: profiles a card of these models can be cut into. card_bytes 0: whatever memory it has."""

    kind: str
    models: tuple[str, ...]
    card_bytes: int
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The file as values; what each means, and why it is so, stands in the shipped one. models: the site's own, before the shared table."""

    days: int
    serving_days: int
    serving: tuple[str, ...]
    quantile: float
    serving_quantile: float
    memory_quantile: float
    least_active: float
    active: float
    oversized: Limits
    memory_headroom: float
    load: float
    share: Sharing
    days_a_month: int
    slices: tuple[Slices, ...]
    models: tuple[CardModel, ...]


@cache
def default_rules() -> Rules:
    """The rules shipped with the package."""
    return parse_rules(rule_file.shipped("ullage_collector.detect.sizing", FILE), FILE)


def rules_of(part: Mapping[str, Any]) -> Rules:
    """The rules [sizing] of collector.toml names: ``rules = FILE``; without it those shipped. Raises ConfigError."""
    return rule_file.chosen(part, "sizing", parse_rules, default_rules)


def parse_rules(text: str, where: str) -> Rules:
    """Rules of a TOML text. Raises ConfigError naming ``where`` and the key."""
    top = rule_file.opened(text, where)
    window, over, fit, share, saving = (
        top.table(name) for name in ("window", "oversized", "fit", "share", "saving")
    )
    rules = Rules(
        days=window.whole("days", 2, 1, 30),
        serving_days=window.whole("serving_days", 7, 7, 30),
        serving=window.texts("serving"),
        quantile=window.number("quantile", 0.95, 0.5, 1),
        serving_quantile=window.number("serving_quantile", 0.999, 0.5, 1),
        memory_quantile=window.number("memory_quantile", 0.999, 0.9, 1),
        least_active=window.number("least_active", 0.01, 0, 1),
        active=window.number("active", 0.02, 0, 1),
        oversized=Limits(
            over.number("activity", 0.2, 0, 1),
            over.number("memory", 0.25, 0, 1),
            over.number("bandwidth", 0.2, 0, 1),
            over.number("power", 0.5, 0, 1),
        ),
        memory_headroom=fit.number("memory_headroom", 1.2, 1, 10),
        load=fit.number("load", 0.7, 0.01, 1),
        share=Sharing(
            load=share.number("load", 0.7, 0.01, 1),
            power=share.number("power", 1, 0.01, 2),
            memory=share.number("memory", 0.95, 0.01, 1),
            single=share.number("single", 0.5, 0, 1),
            most=share.whole("most", 7, 2, 64),
            across_departments=share.flag("across_departments", False),
        ),
        days_a_month=saving.whole("days_a_month", 30, 1, 31),
        slices=tuple(_slices(Table(row, where, "slices")) for row in top.tables("slices")),
        models=tuple(row_of(Table(row, where, "model")) for row in top.tables("model")),
    )
    for table in (window, over, fit, share, saving, top):
        table.finish()
    return rules


def _slices(row: Table) -> Slices:
    found = Slices(
        kind=row.text("kind") or "",
        models=row.texts("models"),
        card_bytes=row.whole("card_gib", 0, 0, 10_000) * GIB,
        profiles=row.texts("profiles"),
    )
    row.text("source")
    for profile in found.profiles:
        for model in found.models:
            if piece(found.kind, profile, model, total_bytes=found.card_bytes or None).compute is None:
                raise row.wrong(
                    "profiles", profile, f"allocation/sharing knows no such {found.kind} of a {model}"
                )
    if not found.models or not found.profiles:
        raise row.wrong("models", list(found.models), "write models and profiles")
    row.finish()
    return found


def slices_of(rules: Rules, model: str, total_bytes: int) -> Slices | None:
    """How a card can be cut; None: not known. A longer word before a shorter one: 910B4-1 is no 910B4."""
    best: tuple[int, Slices] | None = None
    for row in rules.slices:
        if row.card_bytes and abs(total_bytes - row.card_bytes) > NEAR * row.card_bytes:
            continue
        for word in row.models:
            if is_word(word, model) and (best is None or len(word) > best[0]):
                best = (len(word), row)
    return None if best is None else best[1]


def model_of(rules: Rules, model: str) -> CardModel | None:
    """What a model can do: the site's own row, else the shared table's; None: not known."""
    return card_model(model, rules.models) or card_model(model, shipped())
