"""EFML's structs, codes and enumerations as our reader uses them (efml.h of the maker)."""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char, c_float, c_uint, c_ulonglong
from typing import Final

from ullage_agent.backends.handles import Codes

OLD_CODES: Final = Codes(
    # invalid argument, not supported, invalid input, function not found, deprecated
    unsupported=frozenset({2, 3, 8, 9, 13}),
    absent=frozenset({4, 6, 12}),
    permission=frozenset({10}),
    uninitialised=frozenset({1}),
    messages={
        6: "the driver is not loaded",
        10: "the driver cannot be opened: run as root or make the device nodes readable",
        11: "driver and library are not compatible",
        12: "no device",
        253: "timeout",
        254: "it failed",
    },
)
"""efmlReturn_t of the calls by index; those by handle have NVML's codes."""

# efmlGcuVirtualizationMode_t
MODE_PF: Final = 4
MODE_VF: Final = 5
# efmlResetType_t and efmlResetSrc_t, for messages
RESETS: Final = {0: "no reset", 1: "hot reset", 2: "function level reset", 3: "BLR", 4: "QLR"}
RESET_SOURCES: Final = {
    0: "user",
    1: "internal",
    2: "SIP",
    3: "bus",
    4: "firmware",
    5: "DTE",
    6: "DRAM/HBM",
    7: "PCIe",
}


class PciInfo(ctypes.Structure):
    """Releases differ in what stands before ``busId``, so the address is looked for in the bytes."""

    _fields_ = [("bytes", c_char * 68)]


class DeviceInfo(ctypes.Structure):
    _fields_ = [
        ("name", c_char * 128),
        ("vendor_id", c_uint),
        ("device_id", c_uint),
        ("domain_id", c_uint),
        ("bus_id", c_uint),
        ("dev_id", c_uint),
        ("func_id", c_uint),
        ("logic_id", c_uint),
    ]


class Memory(ctypes.Structure):
    """Bytes."""

    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


class Utilization(ctypes.Structure):
    _fields_ = [("gcu", c_uint), ("memory", c_uint)]


class ProcessInfo(ctypes.Structure):
    _fields_ = [
        ("pid", c_uint),
        ("usedGcuMemory", c_ulonglong),
        ("gcuInstanceId", c_uint),
        ("computeInstanceId", c_uint),
    ]


class OldProcessInfo(ctypes.Structure):
    _fields_ = [("pid", c_uint), ("dev_mem_usage", c_ulonglong), ("sys_mem_usage", c_ulonglong)]


class Power(ctypes.Structure):
    """W."""

    _fields_ = [("pwr_capability", c_float), ("cur_pwr_consumption", c_float)]


class OldMemory(ctypes.Structure):
    """MB: efsmi shows the same numbers as MiB."""

    _fields_ = [("mem_total_size", c_ulonglong), ("mem_used", c_uint)]


class Thermal(ctypes.Structure):
    _fields_ = [("cur_asic_temp", c_float), ("cur_mem_temp", c_float), ("cur_board_temp", c_float)]


class Clocks(ctypes.Structure):
    """MHz."""

    _fields_ = [("cur_hbm_clock", c_uint), ("cur_dtu_clock", c_uint)]


class Voltages(ctypes.Structure):
    _fields_ = [(name, c_float) for name in ("vdd_dtu", "vdd_soc", "vdd_hbmqc", "vdd_1v8", "vdd_vddp")]


class EccStatus(ctypes.Structure):
    _fields_ = [
        ("enabled", c_bool),
        ("pending", c_bool),
        ("pdblack", c_bool),
        ("ecnt_sb", c_uint),
        ("ecnt_db", c_uint),
    ]


class RmaStatus(ctypes.Structure):
    _fields_ = [("is_dtu_support_rma", c_bool), ("flags", c_bool)]


class LarePort(ctypes.Structure):
    """The first field of efmlGcuLarePortInfo_t, and room for the rest."""

    _fields_ = [("connected", c_uint), ("rest", c_char * 252)]


class ErrorRecord(ctypes.Structure):
    _fields_ = [
        ("event_id", c_ulonglong),
        ("reset_type", c_uint),
        ("source", c_uint),
        ("time_stamp", c_ulonglong),
        ("bdf", c_uint),
    ]
