"""Where each value of an Intel GPU comes from; printed in docs/metrics.md. DEV: /sys/bus/pci/devices/BDF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_agent.backends.pcie_sources import SOURCES as PCIE

_FDINFO: Final = "/proc/PID/fdinfo of its users"

SOURCES: Final[Mapping[str, str]] = {
    "utilization_ratio": f"{_FDINFO}: drm-engine-* (i915), drm-cycles-* (xe), the busiest class; without CAP_SYS_PTRACE: "
    "time not in gtidle/idle_residency_ms (xe), rc6_residency_ms (i915)",
    "memory_used_bytes": f"{_FDINFO}: drm-resident-vram*, drm-resident-local*",
    "memory_total_bytes": "xe: DEV/tileN/physical_vram_size_bytes; i915 of Intel's packages: lmem_total_bytes",
    "energy_joules": "hwmon energy1_input (card), else energy2_input (package)",
    "power_watts": "growth of energy_joules between two readings",
    "power_limit_watts": "hwmon power1_max, else power2_max, power1_cap; 0 is no limit",
    "temperature_celsius": "hwmon temp labelled pkg (xe), temp1_input (i915, Linux 6.12)",
    "memory_temperature_celsius": "hwmon temp labelled vram (xe), the hottest vram_ch_N",
    "temperature_limit_celsius": "hwmon temp2_max, temp2_crit",
    "voltage_volts": "hwmon in1_input (xe), in0_input (i915)",
    "fan_rpm": "hwmon fan1_input",
    "clock_core_hertz": "xe: DEV/tileN/gt0/freq0/act_freq; i915: gt/gtN/rps_act_freq_mhz; mean of tiles",
    "clock_core_max_hertz": "xe: rp0_freq; i915: rps_RP0_freq_mhz",
    "clock_video_hertz": "xe: act_freq of the media gt",
    "throttle_reasons": "xe: freq0/throttle/reason_*; i915: throttle_reason_*",
    "ecc_uncorrected": "i915 of Intel's packages: gt/gtN/error_counter/*fatal*hbm*",
    "sram_ecc_corrected": "i915 of Intel's packages: gt/gtN/error_counter/*correctable*",
    "sram_ecc_uncorrected": "i915 of Intel's packages: gt/gtN/error_counter/*fatal*",
    "health": "derived: off the bus, survivability_mode, fatal error counters; no word without one of these",
    "health_detail": "what the health word was derived from",
    "processes": _FDINFO,
    "process_memory_used_bytes": f"{_FDINFO}: drm-resident-vram*, drm-resident-local*",
    "process_utilization_ratio": f"{_FDINFO}: its busiest engine class",
    **{
        key: f"{source} (link values of the card's own switch where it has one)"
        if "aer" not in key
        else source
        for key, source in PCIE.items()
    },
}
