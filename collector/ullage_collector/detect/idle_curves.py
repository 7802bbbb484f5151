"""What each threshold of idle.toml trades: precision, recall and time to a finding by its value, on a recorded series.

One threshold is moved at a time, the others stay as they are set. The truth stays that of the settings as they are: another
threshold finds other things, it does not change what was idle. Curves of the fleet a series is from are worth more than any
number shipped. Not here: the truth (hindsight.py), and showing the curves (curve_page.py, replay.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ullage_collector.detect.hindsight import Score, score, truth
from ullage_collector.detect.replay import flags

if TYPE_CHECKING:
    from ullage_collector.detect.idle_settings import IdleSettings
    from ullage_collector.detect.series import Point

TOP: Final = ("look", "spell")
"""Tables of idle.toml whose keys are attributes of the settings themselves."""
UNITS: Final = {
    "look.quiet_ratio": "0..1",
    "look.blip_ratio": "0..1",
    "look.held_bytes": "bytes",
    "bridge.hole_seconds": "s",
    "bridge.blip_seconds": "s",
    "spell.lasts_seconds": "s",
    "tide.half_life_seconds": "s",
    "tide.first_rate": "wakes a quiet minute",
    "tide.first_minutes": "min",
    "tide.bin_seconds": "s",
    "tide.day_half_life_days": "d",
    "tide.day_minutes": "min",
    "tide.ratio_most": "times",
    "own.half_life_seconds": "s",
    "own.first_wakes": "wakes",
    "own.record_half_life_seconds": "s",
    "own.record_first": "spells",
    "held.exponent": "",
    "held.most": "times",
    "held.seen_seconds": "s",
    "setting.ask_seconds": "s",
    "setting.probability": "0..1",
    "setting.sure_seconds": "s",
}
"""Every threshold of idle.toml by its unit; those of [setting.NAME] are the setting's that is tried."""
FACTORS: Final = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
PROBABILITIES: Final = (0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
"""our choice: because a probability is read from 0 to 1 and not as a multiple of what is shipped."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One threshold. value: as it is set now. points: (value tried, what it gives), ascending; the set value is among them."""

    name: str
    unit: str
    value: float
    points: tuple[tuple[float, Score], ...]


def names(setting: str) -> tuple[str, ...]:
    """Every threshold, as idle.toml writes it, of one setting."""
    return tuple(name.replace("setting.", f"setting.{setting}.") for name in UNITS)


def value_of(settings: IdleSettings, name: str) -> float:
    """What a threshold is set to. Raises KeyError or AttributeError for one that is not in ``names``."""
    table, key = name.rsplit(".", 1)
    return float(getattr(_part(settings, table), key))


def with_value(settings: IdleSettings, name: str, value: float) -> IdleSettings:
    """The settings with one threshold moved."""
    table, key = name.rsplit(".", 1)
    change: dict[str, Any] = {key: value}
    if table in TOP:
        return replace(settings, **change)
    moved = replace(_part(settings, table), **change)
    if table.startswith("setting."):
        return replace(settings, settings={**settings.settings, table.split(".")[1]: moved})
    change = {"bridges" if table == "bridge" else table: moved}
    return replace(settings, **change)


def _part(settings: IdleSettings, table: str) -> Any:
    if table in TOP:
        return settings
    if table.startswith("setting."):
        return settings.settings[table.split(".")[1]]
    return getattr(settings, "bridges" if table == "bridge" else table)


def tried(name: str, value: float) -> list[float]:
    """The values that are tried, ascending; a share stays within 0..1. ``value`` is always among them."""
    if name.endswith("probability"):
        wanted = {*PROBABILITIES, value}
    else:
        wanted = {float(f"{value * factor:.6g}") for factor in FACTORS if factor != 1} | {value}
    most = 1.0 if UNITS.get(_plain(name)) == "0..1" else float("inf")
    return sorted(one for one in wanted if 0 <= one <= most)


def _plain(name: str) -> str:
    table, key = name.rsplit(".", 1)
    return f"setting.{key}" if table.startswith("setting.") else name


def curves(
    points: Sequence[Point], settings: IdleSettings, setting: str, wanted: Sequence[str]
) -> Iterator[Curve]:
    """A curve for each threshold in ``wanted`` (as ``names`` has them), each as soon as it is reckoned."""
    runs = truth(points, settings)
    now = score(flags(points, settings, setting), runs)
    for name in wanted:
        value = value_of(settings, name)
        rows = []
        for one in tried(name, value):
            if one == value:
                rows.append((one, now))
            else:
                found = flags(points, with_value(settings, name, one), setting)
                rows.append((one, score(found, runs)))
        yield Curve(name, UNITS[_plain(name)], value, tuple(rows))
