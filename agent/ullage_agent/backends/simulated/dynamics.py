"""How a simulated card's values move: the numbers and equations, without state.

Aimed at what large fleets publish (Acme, Philly, Helios, PAI, GenAI traces): plateaus near full use,
checkpoints, bursts of inference with the day, notebooks that do nothing, power and temperature that
lag. Shared by the live backend and the demonstration's history; works on numbers and on arrays alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final


class Work(StrEnum):
    """What a held card is busy with."""

    TRAINING = "training"
    INFERENCE = "inference"
    LLM = "llm"
    NOTEBOOK = "notebook"
    HELD = "held"
    """allocated and doing nothing"""


@dataclass(frozen=True, slots=True)
class Habit:
    """One kind of work.

    share: of card time over a fleet; what is left is free. life_median_seconds, life_sigma: lognormal lifetime.
    intensity: range of how hard it drives the compute units (power, tensor units).
    memory: range of the device memory it holds.
    """

    share: float
    life_median_seconds: float
    life_sigma: float
    intensity: tuple[float, float]
    memory: tuple[float, float]


HABITS: Final[Mapping[Work, Habit]] = MappingProxyType(
    {
        Work.TRAINING: Habit(0.42, 2400.0, 1.7, (0.35, 0.95), (0.45, 0.95)),
        Work.INFERENCE: Habit(0.14, 6 * 3600.0, 1.2, (0.15, 0.5), (0.25, 0.7)),
        Work.LLM: Habit(0.11, 24 * 3600.0, 1.0, (0.25, 0.6), (0.85, 0.93)),
        Work.NOTEBOOK: Habit(0.05, 3 * 3600.0, 1.0, (0.2, 0.7), (0.02, 0.4)),
        Work.HELD: Habit(0.08, 4 * 3600.0, 1.0, (0.2, 0.4), (0.005, 0.3)),
    }
)
"""Shares and training's lifetime as measured; other lifetimes are our choice, of the order sites report."""

GANG_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
GANG_WEIGHTS: Final = (0.46, 0.12, 0.10, 0.17, 0.08, 0.04, 0.02, 0.01)
GANG_LIFE_EXPONENT: Final = 0.35
"""A training job of n cards lives n^0.35 times as long."""

FULL_PLATEAU_SHARE: Final = 0.75  # of training jobs run at 92 % or more
CHECKPOINT_EVERY_SECONDS: Final = (15 * 60.0, 90 * 60.0)
CHECKPOINT_SECONDS: Final = (10.0, 120.0)
STARTUP_SECONDS: Final = (20.0, 240.0)
STARTUP_MEMORY_STEPS: Final = 5
STEP_MEDIAN_SECONDS: Final = 8.0
STEP_SIGMA: Final = 0.6
DIP_SHARE: Final = (0.001, 0.05)
BURST_ON_SECONDS: Final = 180.0
BURST_OFF_DAY_SECONDS: Final = 120.0
BURST_OFF_NIGHT_SECONDS: Final = 540.0
NOTEBOOK_ON_SHARE: Final = 0.06  # our choice: a person runs a cell for minutes in an afternoon

IDLE_SPREAD: Final = 0.035
IDLE_NOISE: Final = 0.0025
BUSY_NOISE: Final = 0.015
POWER_LAG_SECONDS: Final = 6.0
POWER_CAP: Final = 1.03
AMBIENT_CELSIUS: Final = 24.0
AMBIENT_SPREAD_CELSIUS: Final = 2.0
SLOT_CELSIUS: Final = (-1.5, 3.5)
TEMPERATURE_LAG_SECONDS: Final = (35.0, 90.0)
MEMORY_LAG_FACTOR: Final = 1.4
MEMORY_ABOVE_CORE_CELSIUS: Final = 6.0
BAD_MEMORY_SHARE: Final = 0.01
CORRECTED_PER_SECOND: Final = 0.02  # on a bad card
UNCORRECTED_PER_CARD_SECOND: Final = 1e-9
LOST_SAMPLE_SHARE: Final = 0.0005


def busy_watts(idle: Any, tdp: Any, intensity: Any, utilization: Any) -> Any:
    """Power under load, without noise or cap: idle + (TDP - idle)(0.18 + 0.82 i) u^0.8."""
    return idle + (tdp - idle) * (0.18 + 0.82 * intensity) * utilization**0.8


def sm_active(utilization: Any, intensity: Any) -> Any:
    """Share of compute units active: a resident kernel rarely fills them all."""
    return utilization * (0.35 + 0.55 * intensity)


def tensor_active(utilization: Any, intensity: Any) -> Any:
    """Share of time the matrix units work."""
    return utilization * 0.75 * intensity**1.5


def memory_bandwidth(utilization: Any, intensity: Any) -> Any:
    """Share of time device memory is read or written."""
    return utilization * (0.18 + 0.32 * intensity)


def day_curve(hour: float) -> float:
    """Demand of people over a local day, 0.25 at five in the morning to 1 in the evening; hour: 0..24."""
    return 0.625 - 0.375 * math.cos((hour - 5.0) * (2 * math.pi / 24.0))


def off_seconds(demand: Any) -> Any:
    """How long a bursty service rests at this demand (day_curve)."""
    return (
        BURST_OFF_NIGHT_SECONDS + (BURST_OFF_DAY_SECONDS - BURST_OFF_NIGHT_SECONDS) * (demand - 0.25) / 0.75
    )


def lag(seconds: float, constant: Any) -> Any:
    """How far a first-order lag moves towards its target within ``seconds``: 0..1."""
    return 1.0 - math.e ** (-seconds / constant)
