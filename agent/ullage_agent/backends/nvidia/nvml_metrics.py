"""What is asked of an NVIDIA card for each catalogue value: fields in batches, and calls.

Tables only. A value may have several sources; a card uses the first it supports. Units are turned
into the catalogue's here. Source of all ids and units: nvml.h of CUDA 13 (nvidia-ml-py 13.580 and newer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backends.nvidia.nvml_fields import ALL_LINKS
from ullage_agent.backends.nvidia.printed import throttle_mask
from ullage_contract.catalogue import RECOVERY_ACTIONS, Tier
from ullage_contract.errors import Broken, NotSupported
from ullage_contract.sample import Value

Convert = Callable[[float], Value]


@dataclass(frozen=True, slots=True)
class FieldSource:
    """``key`` from the sum of ``fields`` times ``factor`` over ``divisor``, then ``convert``.

    A divisor, not a factor of 1e-3: 625680 mW / 1000 is 625.68 W, times 1e-3 it is not.

    per_link: the fields are asked for each NVLink of the card and summed.
    driver_major: the driver from which the ids mean this; ids 251 to 271 were renumbered once.
    """

    key: str
    tier: Tier
    fields: tuple[int, ...]
    factor: int = 1
    divisor: int = 1
    convert: Convert | None = None
    scope: int = 0
    per_link: bool = False
    driver_major: int = 0


@dataclass(frozen=True, slots=True)
class CallSource:
    """``keys`` from one NVML function. ask: (pynvml, handle) -> values in catalogue units."""

    function: str
    keys: tuple[str, ...]
    tier: Tier
    ask: Callable[[Any, Any], Mapping[str, Value]]


def _recovery_word(action: float) -> Value:
    if not 0 <= action < 8:
        raise Broken(f"field 230: recovery action {action:.0f} is none that nvml.h names")
    return RECOVERY_ACTIONS[int(action)]


def _one_if_any(number: float) -> Value:
    return int(number != 0)


def _plausible_watts(watts: float) -> Value:
    # our choice: no card draws 60 kW; a dead one answers 65535 W or all ones
    if watts >= 60_000:
        raise Broken(f"{watts:.0f} W is no power of a card")
    return watts


def _plausible_celsius(degrees: float) -> Value:
    if not -100 <= degrees <= 300:  # our choice: beyond what silicon or solder survives
        raise Broken(f"{degrees:.0f} C is no temperature of a card")
    return float(degrees)


FAST, SLOW = Tier.FAST, Tier.SLOW
_NANO: Final = 1_000_000_000

FIELDS: Final[tuple[FieldSource, ...]] = (
    FieldSource("power_watts", FAST, (185,), divisor=1000, convert=_plausible_watts),
    FieldSource("power_instant_watts", FAST, (186,), divisor=1000, convert=_plausible_watts),
    FieldSource("energy_joules", FAST, (83,), divisor=1000),
    # memory reads 0 C on cards without the sensor's firmware; such cards answer NOT_SUPPORTED instead
    FieldSource("memory_temperature_celsius", FAST, (82,), convert=_plausible_celsius),
    FieldSource("pcie_tx_bytes", FAST, (197,)),
    FieldSource("pcie_rx_bytes", FAST, (198,)),
    # KiB; the driver's own sum. Per-link answers repeat the card's total on some drivers: never summed
    FieldSource("link_tx_bytes", FAST, (138,), factor=1024, scope=ALL_LINKS),
    FieldSource("link_rx_bytes", FAST, (139,), factor=1024, scope=ALL_LINKS),
    FieldSource("link_tx_bytes", FAST, (202,), per_link=True),  # NVLink 5
    FieldSource("link_rx_bytes", FAST, (204,), per_link=True),
    FieldSource("recovery_action", FAST, (230,), convert=_recovery_word),
    # throttle counters are in nanoseconds; 269 to 271 had the ids 251 to 253 before R580
    FieldSource("throttle_power_seconds", SLOW, (74,), divisor=_NANO),
    FieldSource("throttle_thermal_seconds", SLOW, (269, 270), divisor=_NANO, driver_major=580),
    FieldSource("throttle_thermal_seconds", SLOW, (75,), divisor=_NANO),
    FieldSource("throttle_hardware_seconds", SLOW, (270, 271), divisor=_NANO, driver_major=580),
    FieldSource("pcie_replays", SLOW, (94,)),
    FieldSource("pcie_aer_correctable", SLOW, (173,)),
    FieldSource("pcie_aer_nonfatal", SLOW, (179,)),
    FieldSource("pcie_aer_fatal", SLOW, (180,)),
    FieldSource("ecc_corrected", SLOW, (3,)),
    FieldSource("ecc_uncorrected", SLOW, (4,)),
    FieldSource("ecc_corrected_lifetime", SLOW, (5,)),
    FieldSource("ecc_uncorrected_lifetime", SLOW, (6,)),
    # Ampere and newer remap rows; older cards retire pages
    FieldSource("retired_pages", SLOW, (142, 143)),
    FieldSource("retired_pages", SLOW, (29, 30)),
    FieldSource("retired_pages_corrected", SLOW, (142,)),
    FieldSource("retired_pages_corrected", SLOW, (29,)),
    FieldSource("retired_pages_uncorrected", SLOW, (143,)),
    FieldSource("retired_pages_uncorrected", SLOW, (30,)),
    FieldSource("remap_pending", SLOW, (144,), convert=_one_if_any),
    FieldSource("remap_pending", SLOW, (31,), convert=_one_if_any),
    FieldSource("remap_failure", SLOW, (145,), convert=_one_if_any),
    FieldSource("link_crc_errors", SLOW, (38, 45)),
    FieldSource("link_crc_errors", SLOW, (208,), per_link=True),
    FieldSource("link_replay_errors", SLOW, (52,)),
    FieldSource("link_recovery_errors", SLOW, (59,)),
    FieldSource("link_recovery_errors", SLOW, (215,), per_link=True),
    FieldSource("reset_required", SLOW, (226,), convert=_one_if_any),
)


def _utilization(nvml: Any, handle: Any) -> Mapping[str, Value]:
    rates = nvml.nvmlDeviceGetUtilizationRates(handle)
    if rates.gpu > 100 or rates.memory > 100:
        raise Broken(f"utilisation {rates.gpu} and {rates.memory} per cent")
    return {"utilization_ratio": rates.gpu / 100, "memory_bandwidth_ratio": rates.memory / 100}


def memory_v2(nvml: Any, handle: Any) -> Mapping[str, Value]:
    """used is what programs hold; the driver's reserve stands apart (nvml.h nvmlMemory_v2_t)."""
    info = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    return _memory(info.used, info.total, info.reserved)


def memory_v1(nvml: Any, handle: Any) -> Mapping[str, Value]:
    """Before R510: used has the driver's reserve in it, and nobody says how much that is."""
    info = nvml.nvmlDeviceGetMemoryInfo(handle)
    return _memory(info.used, info.total, None)


def _memory(used: int, total: int, reserved: int | None) -> Mapping[str, Value]:
    if total >> 60 or used > total:  # all ones, or nonsense
        raise Broken(f"memory: {used} of {total} bytes used is no memory of a card")
    values: dict[str, Value] = {"memory_used_bytes": used, "memory_total_bytes": total}
    if reserved is not None:
        values["memory_reserved_bytes"] = reserved
    return values


def _bar1(nvml: Any, handle: Any) -> Mapping[str, Value]:
    used = nvml.nvmlDeviceGetBAR1MemoryInfo(handle).bar1Used
    if used >> 60:
        raise NotSupported("BAR1 memory: the value is all ones: not available")
    return {"memory_host_used_bytes": used}


def _ratio(key: str, function: str) -> Callable[[Any, Any], Mapping[str, Value]]:
    def ask(nvml: Any, handle: Any) -> Mapping[str, Value]:
        answer = getattr(nvml, function)(handle)
        return {key: (answer[0] if isinstance(answer, list) else answer) / 100}

    return ask


def _plain(key: str, function: str, *arguments: Any) -> Callable[[Any, Any], Mapping[str, Value]]:
    def ask(nvml: Any, handle: Any) -> Mapping[str, Value]:
        number = getattr(nvml, function)(handle, *arguments)
        if number in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF):
            raise NotSupported(f"{function}: the value is all ones: not available")
        return {key: number}

    return ask


def _scaled(
    key: str,
    function: str,
    *arguments: Any,
    factor: int = 1,
    divisor: int = 1,
    convert: Convert | None = None,
) -> Callable[[Any, Any], Mapping[str, Value]]:
    plain = _plain(key, function, *arguments)

    def ask(nvml: Any, handle: Any) -> Mapping[str, Value]:
        number = float(plain(nvml, handle)[key]) * factor / divisor
        return {key: convert(number) if convert is not None else number}

    return ask


def _clock(key: str, function: str, kind: int) -> CallSource:
    tier = SLOW if key in ("clock_core_max_hertz", "clock_video_hertz") else FAST
    return CallSource(function, (key,), tier, _scaled(key, function, kind, factor=1_000_000))


def _throttle(function: str) -> CallSource:
    def ask(nvml: Any, handle: Any) -> Mapping[str, Value]:
        return {"throttle_reasons": throttle_mask(getattr(nvml, function)(handle))}

    return CallSource(function, ("throttle_reasons",), FAST, ask)


def _pstate(nvml: Any, handle: Any) -> Mapping[str, Value]:
    state = nvml.nvmlDeviceGetPerformanceState(handle)
    if not 0 <= state <= 15:  # 32 is NVML_PSTATE_UNKNOWN
        raise NotSupported("performance state unknown")
    return {"performance_state": f"P{state}"}


_FABRIC: Final = ("not_supported", "not_started", "in_progress", "completed")


def _fabric_state(state: int, status: int) -> Mapping[str, Value]:
    if not 0 <= state < len(_FABRIC):
        raise Broken(f"fabric state {state} is none that nvml.h names")
    if state == 3 and status != 0:  # registration ended, and not well
        return {"fabric_state": "failed"}
    return {"fabric_state": _FABRIC[state]}


def _fabric_v(nvml: Any, handle: Any) -> Mapping[str, Value]:
    info = nvml.c_nvmlGpuFabricInfo_v2_t()
    nvml.nvmlDeviceGetGpuFabricInfoV(handle, nvml.byref(info))
    return _fabric_state(info.state, info.status)


def _fabric(nvml: Any, handle: Any) -> Mapping[str, Value]:
    info = nvml.c_nvmlGpuFabricInfo_t()
    nvml.nvmlDeviceGetGpuFabricInfo(handle, nvml.byref(info))
    return _fabric_state(info.state, info.status)


def _pcie_rate(key: str, counter: int) -> CallSource:
    # KB/s over 20 ms, and the call takes that long: only where the byte counters are missing
    function = "nvmlDeviceGetPcieThroughput"
    return CallSource(function, (key,), SLOW, _scaled(key, function, counter, factor=1000))


def _total_ecc(key: str, error: int, counter: int) -> CallSource:
    function = "nvmlDeviceGetTotalEccErrors"
    return CallSource(function, (key,), SLOW, _plain(key, function, error, counter))


def _sram(key: str, error: int) -> CallSource:
    function = "nvmlDeviceGetMemoryErrorCounter"
    return CallSource(function, (key,), SLOW, _plain(key, function, error, 0, 7))


CALLS: Final[tuple[tuple[CallSource, ...], ...]] = (
    (
        CallSource(
            "nvmlDeviceGetUtilizationRates",
            ("utilization_ratio", "memory_bandwidth_ratio"),
            FAST,
            _utilization,
        ),
    ),
    (
        CallSource(
            "nvmlDeviceGetMemoryInfo_v2",
            ("memory_used_bytes", "memory_total_bytes", "memory_reserved_bytes"),
            FAST,
            memory_v2,
        ),
        CallSource("nvmlDeviceGetMemoryInfo", ("memory_used_bytes", "memory_total_bytes"), FAST, memory_v1),
    ),
    (
        CallSource(
            "nvmlDeviceGetEncoderUtilization",
            ("encoder_ratio",),
            FAST,
            _ratio("encoder_ratio", "nvmlDeviceGetEncoderUtilization"),
        ),
    ),
    (
        CallSource(
            "nvmlDeviceGetDecoderUtilization",
            ("decoder_ratio",),
            FAST,
            _ratio("decoder_ratio", "nvmlDeviceGetDecoderUtilization"),
        ),
    ),
    (
        CallSource(
            "nvmlDeviceGetBAR1MemoryInfo",
            ("memory_host_used_bytes",),
            FAST,
            _bar1,
        ),
    ),
    (
        CallSource(
            "nvmlDeviceGetTemperature",
            ("temperature_celsius",),
            FAST,
            _scaled("temperature_celsius", "nvmlDeviceGetTemperature", 0, convert=_plausible_celsius),
        ),
        CallSource(
            "nvmlDeviceGetTemperatureV",
            ("temperature_celsius",),
            FAST,
            _scaled("temperature_celsius", "nvmlDeviceGetTemperatureV", 0, convert=_plausible_celsius),
        ),
    ),
    (
        CallSource(
            "nvmlDeviceGetMarginTemperature",
            ("temperature_margin_celsius",),
            FAST,
            _scaled(
                "temperature_margin_celsius",
                "nvmlDeviceGetMarginTemperature",
                convert=_plausible_celsius,
            ),
        ),
    ),
    (_clock("clock_core_hertz", "nvmlDeviceGetClockInfo", 0),),
    (_clock("clock_sm_hertz", "nvmlDeviceGetClockInfo", 1),),
    (_clock("clock_memory_hertz", "nvmlDeviceGetClockInfo", 2),),
    (_clock("clock_video_hertz", "nvmlDeviceGetClockInfo", 3),),
    (_clock("clock_core_max_hertz", "nvmlDeviceGetMaxClockInfo", 0),),
    (
        _throttle("nvmlDeviceGetCurrentClocksEventReasons"),
        _throttle("nvmlDeviceGetCurrentClocksThrottleReasons"),
    ),
    (
        CallSource(
            "nvmlDeviceGetEnforcedPowerLimit",
            ("power_limit_watts",),
            SLOW,
            _scaled(
                "power_limit_watts", "nvmlDeviceGetEnforcedPowerLimit", divisor=1000, convert=_plausible_watts
            ),
        ),
    ),
    (
        # 1 is NVML_TEMPERATURE_THRESHOLD_SLOWDOWN; cards with T.Limit answer NOT_SUPPORTED
        CallSource(
            "nvmlDeviceGetTemperatureThreshold",
            ("temperature_limit_celsius",),
            SLOW,
            _scaled(
                "temperature_limit_celsius",
                "nvmlDeviceGetTemperatureThreshold",
                1,
                convert=_plausible_celsius,
            ),
        ),
    ),
    (
        CallSource(
            "nvmlDeviceGetFanSpeed", ("fan_ratio",), SLOW, _ratio("fan_ratio", "nvmlDeviceGetFanSpeed")
        ),
    ),
    (CallSource("nvmlDeviceGetPerformanceState", ("performance_state",), SLOW, _pstate),),
    *(
        (CallSource(function, (key,), SLOW, _plain(key, function)),)
        for key, function in (
            ("pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration"),
            ("pcie_generation_max", "nvmlDeviceGetMaxPcieLinkGeneration"),
            ("pcie_width", "nvmlDeviceGetCurrPcieLinkWidth"),
            ("pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth"),
        )
    ),
    (
        CallSource("nvmlDeviceGetGpuFabricInfoV", ("fabric_state",), SLOW, _fabric_v),
        CallSource("nvmlDeviceGetGpuFabricInfo", ("fabric_state",), SLOW, _fabric),
    ),
    (_sram("sram_ecc_corrected", 0),),
    (_sram("sram_ecc_uncorrected", 1),),
)
"""One slot a tuple: the first source the card supports is used."""

INSTEAD: Final[Mapping[str, CallSource]] = {
    "power_watts": CallSource(
        "nvmlDeviceGetPowerUsage",
        ("power_watts",),
        FAST,
        _scaled("power_watts", "nvmlDeviceGetPowerUsage", divisor=1000, convert=_plausible_watts),
    ),
    "energy_joules": CallSource(
        "nvmlDeviceGetTotalEnergyConsumption",
        ("energy_joules",),
        FAST,
        _scaled("energy_joules", "nvmlDeviceGetTotalEnergyConsumption", divisor=1000),
    ),
    "pcie_replays": CallSource(
        "nvmlDeviceGetPcieReplayCounter",
        ("pcie_replays",),
        SLOW,
        _plain("pcie_replays", "nvmlDeviceGetPcieReplayCounter"),
    ),
    "pcie_tx_bytes": _pcie_rate("pcie_tx_bytes_per_second", 0),
    "pcie_rx_bytes": _pcie_rate("pcie_rx_bytes_per_second", 1),
    "ecc_corrected": _total_ecc("ecc_corrected", 0, 0),
    "ecc_uncorrected": _total_ecc("ecc_uncorrected", 1, 0),
    "ecc_corrected_lifetime": _total_ecc("ecc_corrected_lifetime", 0, 1),
    "ecc_uncorrected_lifetime": _total_ecc("ecc_uncorrected_lifetime", 1, 1),
}
"""What is called for a key none of whose fields the card has."""
