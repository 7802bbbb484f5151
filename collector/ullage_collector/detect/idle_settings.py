"""idle.toml as values. A site's own file of the same form, named by [idle] thresholds, may take its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from ullage_collector.detect.quiet import Bridges, Look
from ullage_collector.detect.tide import TideSettings
from ullage_contract import rule_file
from ullage_contract.errors import ConfigError

SETTINGS: Final = ("early", "cautious")


FILE: Final = "idle.toml"


@dataclass(frozen=True, slots=True)
class Setting:
    """When a spell is judged. probability: 0..1 from which it is a finding at ``ask_seconds``."""

    ask_seconds: float
    probability: float
    sure_seconds: float


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """A subject's own habit. first_wakes: so many wakes as the pool would give it count as seen.

    record_*: of its spells that were asked about, how many lasted; the estimate counts as record_first of them.
    """

    half_life_seconds: float
    first_wakes: float
    record_half_life_seconds: float
    record_first: float


@dataclass(frozen=True, slots=True)
class HeldSettings:
    """Memory held against the pool's middle. most: bound of the factor. seen_seconds: how lately others were seen."""

    exponent: float
    most: float
    seen_seconds: float


@dataclass(frozen=True, slots=True)
class IdleSettings:
    """All of idle.toml. Ratios 0..1."""

    quiet_ratio: float
    blip_ratio: float
    held_bytes: float
    bridges: Bridges
    lasts_seconds: float
    tide: TideSettings
    own: OwnSettings
    held: HeldSettings
    settings: Mapping[str, Setting]

    def look(self, busy_ratio: float | None, held_bytes: float | None) -> Look:
        """What one sample of a series shows. None: not known, and then nothing is concluded from it."""
        if busy_ratio is not None and busy_ratio > self.quiet_ratio:
            return Look.BLIP if busy_ratio < self.blip_ratio else Look.BUSY
        if busy_ratio is None or held_bytes is None:
            return Look.UNKNOWN
        return Look.QUIET if held_bytes >= self.held_bytes else Look.EMPTY


@cache
def default_settings() -> IdleSettings:
    """The settings shipped with the package."""
    return parse(rule_file.shipped("ullage_collector.detect", FILE), FILE)


def load(file: Path) -> IdleSettings:
    """A site's file. Raises ConfigError for one that cannot be read or is wrong."""
    try:
        return parse(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{file}: cannot be read: {e}") from e


def settings_of(part: Mapping[str, Any]) -> IdleSettings:
    """The shipped settings, or the file that ``thresholds`` of [idle] in collector.toml names. Raises ConfigError."""
    named = part.get("thresholds")
    if named is None:
        return default_settings()
    if not isinstance(named, str) or not named:
        raise ConfigError(f"[idle] thresholds = {named!r}; write the path of a file like detect/idle.toml")
    return load(Path(named))


def parse(text: str, where: str) -> IdleSettings:
    """Raises ConfigError."""
    top = rule_file.opened(text, where)
    look, bridge, spell = top.table("look"), top.table("bridge"), top.table("spell")
    tide, own, held, setting = top.table("tide"), top.table("own"), top.table("held"), top.table("setting")
    of_name = {}
    for name in SETTINGS:
        row = setting.table(name)
        of_name[name] = Setting(
            ask_seconds=row.number("ask_seconds", 3600, 60, 604_800),
            probability=row.number("probability", 1, 0, 1),
            sure_seconds=row.number("sure_seconds", 3600, 60, 604_800),
        )
        row.finish()
    day = 86_400
    settings = IdleSettings(
        quiet_ratio=look.number("quiet_ratio", 0.01, 0, 1),
        blip_ratio=look.number("blip_ratio", 0.05, 0, 1),
        held_bytes=look.number("held_bytes", 2**28, 0, 2**50),
        bridges=Bridges(
            hole_seconds=bridge.number("hole_seconds", 240, 0, day),
            blip_seconds=bridge.number("blip_seconds", 120, 0, day),
        ),
        lasts_seconds=spell.number("lasts_seconds", 3600, 60, 7 * day),
        tide=TideSettings(
            half_life_seconds=tide.number("half_life_seconds", 1800, 60, 7 * day),
            first_rate=tide.number("first_rate", 0.05, 0, 60),
            first_minutes=tide.number("first_minutes", 60, 1, 1e6),
            bin_seconds=tide.number("bin_seconds", 1800, 60, day),
            day_half_life_days=tide.number("day_half_life_days", 3, 0.1, 365),
            day_minutes=tide.number("day_minutes", 300, 1, 1e6),
            ratio_most=tide.number("ratio_most", 4, 1, 1000),
        ),
        own=OwnSettings(
            half_life_seconds=own.number("half_life_seconds", 5400, 60, 30 * day),
            first_wakes=own.number("first_wakes", 1, 0.01, 1000),
            record_half_life_seconds=own.number("record_half_life_seconds", day, 60, 365 * day),
            record_first=own.number("record_first", 8, 0.01, 1e6),
        ),
        held=HeldSettings(
            exponent=held.number("exponent", 1, 0, 10),
            most=held.number("most", 3, 1, 1000),
            seen_seconds=held.number("seen_seconds", 600, 1, day),
        ),
        settings=of_name,
    )
    for table in (look, bridge, spell, tide, own, held, setting, top):
        table.finish()
    return settings
