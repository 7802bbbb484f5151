"""MXSML's structs and enumerations as our reader uses them.

From mx_sml.h (sizes: DEVICE_BDF_ID_SIZE 32, DEVICE_UUID_SIZE 96, DEVICE_NAME_SIZE 32, PROCESS_NAME_SIZE 64).
"""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_float, c_int, c_long, c_uint, c_ulong
from typing import Final

from ullage_agent.backends.handles import Codes

CODES: Final = Codes(
    unsupported=frozenset(
        {3, 9, 19, 999}
    ),  # not supported, invalid input (an enum it does not know), no function
    absent=frozenset({2, 26}),
    permission=frozenset({8}),
    lost=frozenset({6}),  # invalid device id: it was listed and is not any more
    more=frozenset({10}),
    messages={
        2: "no MetaX device was discovered",
        4: "sysfs error",
        6: "the card is not known any more",
        8: "permission denied: run as root or make /dev/mxcd readable",
        20: "a function level reset is not ready",
        21: "the device file cannot be opened",
        23: "the device is busy",
    },
)

# mxSmlDeviceBrand_t
BRAND_N: Final = 1
# mxSmlDeviceVirtualizationMode_t
MODE_PF: Final = 1
MODE_VF: Final = 2
# mxSmlUsageIp_t, mxSmlClockIp_t, mxSmlDpmIp_t: (C and G cards, N cards)
USAGE_CORE: Final = (4, 0)
USAGE_ENCODER: Final = 1
USAGE_DECODER: Final = 2
CLOCK_CORE: Final = (11, 1)
CLOCK_MEMORY: Final = (3, 2)
DPM_CORE: Final = (1, 0)
# mxSmlTemperatureSensors_t
HOTSPOT: Final = 0
HOTLIMIT: Final = 1
HBM: Final = 15
# mxSmlVersionUnit_t
VERSION_BIOS: Final = 0
VERSION_DRIVER: Final = 1
# mxSmlMxlkPortState_t
PORT_UP: Final = 1
PORT_DOWN: Final = frozenset({2, 3})
PORT_UNUSED: Final = frozenset({4, 5})
LINKS: Final = 7
SGPUS: Final = 16

THROTTLE: Final = {
    0x001: "idle",
    0x002: "application_clocks",
    0x004: "software_power_cap",
    0x008: "software_thermal",
    0x010: "software_thermal",
    0x020: "software_thermal",
    0x040: "software_thermal",
    0x080: "current_limit",
    0x100: "hardware_power_brake",
    0x200: "current_limit",
}
"""mxsmlClocksThrottleReason*; utilisation modulation (0x400) and other (1 << 31) are unknown to us."""

PCI_EVENTS: Final = {
    0: ("AER_UE", True),
    1: ("AER_CE", False),
    2: ("SYNFLD", True),
    3: ("DBE", True),
    4: ("MMIO", True),
}
"""mxSmlPciEventType_t -> name, and whether it takes the card away: uncorrectable AER, sync flood, device base
error, MMIO disconnect. Our choice: because after any of them the card's answers or results are not safe."""


class DeviceInfo(ctypes.Structure):
    _fields_ = [
        ("deviceId", c_uint),
        ("type", c_uint),
        ("bdfId", c_char * 32),
        ("gpuId", c_uint),
        ("nodeId", c_uint),
        ("uuid", c_char * 96),
        ("brand", c_uint),
        ("mode", c_uint),
        ("deviceName", c_char * 32),
    ]


class DeviceIds(ctypes.Structure):
    _fields_ = [("number", c_int), ("deviceId", c_int * 128)]


class MemoryInfo(ctypes.Structure):
    """KiB."""

    _fields_ = [
        (name, c_long)
        for name in ("visVramTotal", "visVramUse", "vramTotal", "vramUse", "xttTotal", "xttUse")
    ]


class ElectricInfo(ctypes.Structure):
    """mV, mA, mW of one way of the board's supply."""

    _fields_ = [("voltage", c_uint), ("current", c_uint), ("power", c_uint)]


class PcieInfo(ctypes.Structure):
    """GT/s and lanes."""

    _fields_ = [("speed", c_float), ("width", c_uint)]


class PcieThroughput(ctypes.Structure):
    """MBytes/s."""

    _fields_ = [("rx", c_int), ("tx", c_int)]


class EccErrors(ctypes.Structure):
    _fields_ = [(name, c_uint) for name in ("sramCE", "sramUE", "dramCE", "dramUE", "retiredPage")]


class UnavailableReason(ctypes.Structure):
    _fields_ = [("unavailableCode", c_int), ("unavailableReason", c_char * 64)]


class PciEvent(ctypes.Structure):
    _fields_ = [("bitNumber", c_int), ("count", c_int), ("firstTime", c_char * 20), ("name", c_char * 64)]


class Number(ctypes.Structure):
    """An ``unsigned int`` of an array."""

    _fields_ = [("value", c_uint)]


class ProcessGpu(ctypes.Structure):
    """Bytes."""

    _fields_ = [("bdfId", c_char * 32), ("gpuId", c_uint), ("gpuMemoryUsage", c_ulong)]


class ProcessGpuV2(ctypes.Structure):
    _fields_ = [*ProcessGpu._fields_, ("dieId", c_uint)]


class Process(ctypes.Structure):
    _fields_ = [
        ("processId", c_uint),
        ("processName", c_char * 64),
        ("gpuNumber", c_uint),
        ("processGpuInfo", ProcessGpu * 64),
    ]


class ProcessV2(ctypes.Structure):
    _fields_ = [
        ("processId", c_uint),
        ("processName", c_char * 64),
        ("gpuNumber", c_uint),
        ("processGpuInfo", ProcessGpuV2 * 64),
    ]


class SgpuInfo(ctypes.Structure):
    """vramQuota in MB, computeQuota in per cent."""

    _fields_ = [
        ("parentDeviceId", c_uint),
        ("sgpuId", c_uint),
        ("vramQuota", c_uint),
        ("swQueuePriority", c_uint),
        ("computeQuota", c_uint),
        ("minor", c_uint),
        ("deviceQueuePriority", c_uint),
        ("uuid", c_char * 96),
    ]


class SgpuMemory(ctypes.Structure):
    """Bytes."""

    _fields_ = [("total", c_long), ("used", c_long), ("free", c_long)]
