"""From activity to readings: power, temperatures, clocks and counters, written as one Parquet file.

A day at a time, sorted by card and time within it. A value its maker does not give is null; a lost card
gives its health alone; a silent server gives nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from demo.activity import Activity
from demo.happenings import Happening
from demo.places import CLUSTER, Card
from ullage_agent.backends.simulated import dynamics
from ullage_contract.catalogue import THROTTLE_REASONS

DAY_MINUTES: Final = 1440
IDLE_BIT: Final = 1 << THROTTLE_REASONS.index("idle")
CAP_BIT: Final = 1 << THROTTLE_REASONS.index("software_power_cap")
HEAT_BIT: Final = 1 << THROTTLE_REASONS.index("hardware_thermal")

_TEXT: Final = pa.dictionary(pa.int16(), pa.string())
SCHEMA: Final = pa.schema(
    [
        ("time", pa.timestamp("us")),
        ("cluster_id", _TEXT),
        ("node_id", _TEXT),
        ("card_id", _TEXT),
        ("vendor", _TEXT),
        ("model", _TEXT),
        ("origin", _TEXT),
        ("interval_seconds", pa.float32()),
        ("utilization_ratio", pa.float32()),
        ("sm_active_ratio", pa.float32()),
        ("tensor_active_ratio", pa.float32()),
        ("memory_bandwidth_ratio", pa.float32()),
        ("memory_used_bytes", pa.int64()),
        ("memory_total_bytes", pa.int64()),
        ("power_watts", pa.float32()),
        ("power_limit_watts", pa.float32()),
        ("energy_joules", pa.float64()),
        ("temperature_celsius", pa.float32()),
        ("memory_temperature_celsius", pa.float32()),
        ("clock_core_hertz", pa.float32()),
        ("throttle_reasons", pa.int32()),
        ("ecc_corrected", pa.int64()),
        ("ecc_uncorrected", pa.int64()),
        ("processes", pa.int32()),
        ("health", _TEXT),
    ],
    metadata={b"ullage.origin": b"simulated", b"ullage.interval_seconds": b"60"},
)
"""time: UTC, without a zone, as the store keeps times; the other names are catalogue keys or those of the store."""

HEALTH: Final = ("ok", "degraded", "critical", "lost")


class _State:
    """What the next day goes on from, one value a card."""

    def __init__(self, cards: Sequence[Card], draw: np.random.Generator) -> None:
        count = len(cards)
        models = [card.model for card in cards]
        self.tdp = np.array([m.tdp_watts for m in models], np.float32)
        self.idle = np.array([m.idle_watts for m in models], np.float32)
        self.idle *= 1 + draw.uniform(-dynamics.IDLE_SPREAD, dynamics.IDLE_SPREAD, count).astype(np.float32)
        nodes = {card.node_id: draw.uniform(-1, 1) * dynamics.AMBIENT_SPREAD_CELSIUS for card in cards}
        low, high = dynamics.SLOT_CELSIUS
        self.ambient = np.array(
            [dynamics.AMBIENT_CELSIUS + nodes[c.node_id] + low + (high - low) * c.place / 7 for c in cards],
            np.float32,
        )
        self.resistance = np.array([m.thermal_resistance for m in models], np.float32)
        lag = draw.uniform(*dynamics.TEMPERATURE_LAG_SECONDS, count)
        self.core_step = dynamics.lag(60.0, lag).astype(np.float32)
        self.memory_step = dynamics.lag(60.0, lag * dynamics.MEMORY_LAG_FACTOR).astype(np.float32)
        self.core = self.ambient + self.idle * self.resistance
        self.memory = self.core + dynamics.MEMORY_ABOVE_CORE_CELSIUS * 0.4
        self.energy = np.zeros(count)
        self.corrected = np.zeros(count, np.int64)
        self.uncorrected = np.zeros(count, np.int64)
        self.bad_memory = draw.random(count) < dynamics.BAD_MEMORY_SHARE
        self.bad_memory[draw.integers(count)] = True


def write(
    path: Path,
    cards: Sequence[Card],
    activity: Activity,
    happenings: Sequence[Happening],
    seed: int,
    *,
    compression_level: int = 1,
) -> int:
    """Write every row of the window to ``path``; how many there are."""
    draw = np.random.default_rng(seed)
    state = _State(cards, draw)
    struck = _struck(cards, activity, happenings)
    rows = 0
    with pq.ParquetWriter(
        path,
        SCHEMA,
        compression="zstd",
        compression_level=compression_level,
        use_dictionary=["cluster_id", "node_id", "card_id", "vendor", "model", "origin", "health"],
        write_statistics=["time", "card_id"],
    ) as writer:
        for first in range(0, activity.minutes, DAY_MINUTES):
            table = _day(
                cards, activity, first, min(first + DAY_MINUTES, activity.minutes), state, struck, draw
            )
            writer.write_table(table, row_group_size=1 << 20)
            rows += table.num_rows
    return rows


def _struck(
    cards: Sequence[Card], activity: Activity, happenings: Sequence[Happening]
) -> dict[int, list[tuple[int, int]]]:
    """card -> (first, last) minutes in which it shows an uncorrectable error."""
    found: dict[int, list[tuple[int, int]]] = {}
    for happening in happenings:
        if happening.effect == "ecc":
            for card in happening.cards:
                first = round((happening.start - activity.begin) / 60)
                last = round((happening.end - activity.begin) / 60)
                found.setdefault(card, []).append((first, last))
    return found


def _day(
    cards: Sequence[Card],
    activity: Activity,
    first: int,
    last: int,
    state: _State,
    struck: dict[int, list[tuple[int, int]]],
    draw: np.random.Generator,
) -> pa.Table:
    window = slice(first, last)
    shape = (len(cards), last - first)
    used = activity.utilization[:, window]
    slow = activity.slow[:, window]
    hard = activity.intensity[:, window] * np.where(slow, np.float32(0.6), np.float32(1))
    held = activity.processes[:, window]
    hot = activity.hot[:, window]
    lost = activity.lost[:, window]
    power = _power(state, used, hard, held, draw)
    core, memory = _temperatures(state, power, used, hot)
    energy = np.cumsum(power, axis=1, dtype=np.float64) * 60 + state.energy[:, None]
    state.energy = energy[:, -1].copy()
    corrected = np.zeros(shape, np.int64)
    for bad in np.flatnonzero(state.bad_memory):
        counts = draw.poisson(dynamics.CORRECTED_PER_SECOND * 60, shape[1])
        corrected[bad] = np.cumsum(counts)
    corrected += state.corrected[:, None]
    state.corrected = corrected[:, -1].copy()
    uncorrected = np.repeat(state.uncorrected[:, None], shape[1], axis=1)
    health = np.zeros(shape, np.int8)
    health[hot | slow] = 1
    for card, spans in struck.items():
        for start, end in spans:
            if first <= start < last:
                uncorrected[card, start - first :] += 1
            health[card, max(0, start - first) : max(0, end - first)] = 2
    state.uncorrected = uncorrected[:, -1].copy()
    health[lost] = 3
    busy = used > 0
    reasons = np.where(busy, 0, IDLE_BIT) | np.where(power > state.tdp[:, None] * 0.985, CAP_BIT, 0)
    reasons |= np.where(hot, HEAT_BIT, 0)
    clock_idle = np.array([c.model.clock_idle_hertz for c in cards], np.float32)[:, None]
    clock_max = np.array([c.model.clock_max_hertz for c in cards], np.float32)[:, None]
    clock = np.where(busy, clock_max, clock_idle) * np.where(hot | slow, np.float32(0.6), np.float32(1))
    total = np.array([c.model.memory_bytes for c in cards], np.int64)[:, None]
    used_bytes = (activity.memory[:, window].astype(np.float64) * total).astype(np.int64) >> 21 << 21
    step = np.array([max(c.model.power_step_watts, 0.01) for c in cards], np.float32)[:, None]

    keep = ~activity.silent[:, window] & (draw.random(shape) >= dynamics.LOST_SAMPLE_SHARE)
    kept = keep.ravel()
    blank = lost.ravel()[kept]
    cards_of = np.repeat(np.arange(len(cards), dtype=np.int16), shape[1])[kept]
    times = (int(activity.begin) + 60 * np.arange(first, last, dtype=np.int64)) * 1_000_000

    def column(key: str, values: NDArray[Any], type: pa.DataType) -> pa.Array:
        flat = np.broadcast_to(values, shape).ravel()[kept]
        has = np.array([key in card.model.keys for card in cards])
        mask = blank | ~has[cards_of]
        return pa.array(flat, type=type, mask=mask)

    def text(values: Sequence[str]) -> pa.Array:
        names = sorted(set(values))
        codes = np.array([names.index(value) for value in values], np.int16)
        return pa.DictionaryArray.from_arrays(pa.array(codes[cards_of]), pa.array(names))

    columns: dict[str, Any] = {
        "time": pa.array(np.broadcast_to(times, shape).ravel()[kept], pa.timestamp("us")),
        "cluster_id": text([CLUSTER] * len(cards)),
        "node_id": text([card.node_id for card in cards]),
        "card_id": text([card.who.card_id for card in cards]),
        "vendor": text([card.model.vendor for card in cards]),
        "model": text([card.model.name for card in cards]),
        "origin": text(["simulated"] * len(cards)),
        "interval_seconds": pa.array(np.full(len(cards_of), 60, np.float32)),
        "health": pa.DictionaryArray.from_arrays(
            pa.array(health.ravel()[kept].astype(np.int16)), pa.array(HEALTH)
        ),
    }
    readings: dict[str, NDArray[Any]] = {
        "utilization_ratio": np.round(used, 2),
        "sm_active_ratio": np.round(dynamics.sm_active(used, hard), 3),
        "tensor_active_ratio": np.round(dynamics.tensor_active(used, hard), 3),
        "memory_bandwidth_ratio": np.round(dynamics.memory_bandwidth(used, hard), 3),
        "memory_used_bytes": used_bytes,
        "memory_total_bytes": total,
        "power_watts": np.round(np.round(power / step) * step, 2),
        "power_limit_watts": state.tdp[:, None],
        "energy_joules": np.round(energy),
        "temperature_celsius": np.round(core),
        "memory_temperature_celsius": np.round(memory),
        "clock_core_hertz": clock,
        "throttle_reasons": reasons,
        "ecc_corrected": corrected,
        "ecc_uncorrected": uncorrected,
        "processes": held,
    }
    for key, values in readings.items():
        columns[key] = column(key, values, SCHEMA.field(key).type)
    return pa.Table.from_arrays([columns[field.name] for field in SCHEMA], schema=SCHEMA)


def _power(
    state: _State, used: NDArray[Any], hard: NDArray[Any], held: NDArray[Any], draw: np.random.Generator
) -> NDArray[np.float32]:
    idle, tdp = state.idle[:, None], state.tdp[:, None]
    noise = draw.standard_normal(used.shape, np.float32)
    resting = idle * (1 + np.float32(dynamics.IDLE_NOISE) * noise) + np.where(held > 0, 0.04 * tdp, 0)
    busy = dynamics.busy_watts(idle, tdp, hard, used) * (1 + np.float32(dynamics.BUSY_NOISE) * noise)
    power = np.where(used > 0, np.maximum(busy, resting), resting)
    return np.asarray(np.minimum(power, tdp * np.float32(dynamics.POWER_CAP)), np.float32)


def _temperatures(
    state: _State, power: NDArray[np.float32], used: NDArray[Any], hot: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Core and memory, each following its target with its own lag, minute by minute."""
    target = state.ambient[:, None] + power * state.resistance[:, None] + np.where(hot, np.float32(30), 0)
    memory_target = target + dynamics.MEMORY_ABOVE_CORE_CELSIUS * (0.4 + used)
    core = np.empty_like(power)
    memory = np.empty_like(power)
    # minute-major copies: a column of 512 values at a time is contiguous
    by_minute, memory_by_minute = np.ascontiguousarray(target.T), np.ascontiguousarray(memory_target.T)
    core_rows, memory_rows = np.empty_like(by_minute), np.empty_like(memory_by_minute)
    c, m = state.core, state.memory
    for minute in range(power.shape[1]):
        c = c + (by_minute[minute] - c) * state.core_step
        m = m + (memory_by_minute[minute] - m) * state.memory_step
        core_rows[minute], memory_rows[minute] = c, m
    state.core, state.memory = c, m
    core[:], memory[:] = core_rows.T, memory_rows.T
    return core, memory
