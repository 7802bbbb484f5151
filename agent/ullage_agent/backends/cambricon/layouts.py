"""The structs of cndev.h as ctypes reads them: names, order and sizes are the header's, nothing is computed here.

From the public header cndev.h (Cambricon/mlu-exporter, API up to CNDEV_VERSION_6, read 2026-11-21). A struct whose
first field is ``version`` is asked with the API version the caller speaks.
"""

from __future__ import annotations

import ctypes
from typing import Final

MOST_INCIDENTS: Final = 64


class CardInfo(ctypes.Structure):
    """cndevCardInfo_t, 8 bytes."""

    _fields_ = (("version", ctypes.c_int), ("number", ctypes.c_uint))


class Uuid(ctypes.Structure):
    """cndevUUID_t, 56 bytes."""

    _fields_ = (("version", ctypes.c_int), ("uuid", ctypes.c_char * 37), ("ncs_uuid", ctypes.c_ulonglong))


class Serial(ctypes.Structure):
    """cndevCardSN_t, 24 bytes."""

    _fields_ = (("version", ctypes.c_int), ("sn", ctypes.c_ulonglong), ("board_sn", ctypes.c_ulonglong))


class Versions(ctypes.Structure):
    """cndevVersionInfo_t, 28 bytes."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("mcu_major", ctypes.c_uint),
        ("mcu_minor", ctypes.c_uint),
        ("mcu_build", ctypes.c_uint),
        ("driver_major", ctypes.c_uint),
        ("driver_minor", ctypes.c_uint),
        ("driver_build", ctypes.c_uint),
    )


class PcieInfo(ctypes.Structure):
    """cndevPCIeInfoV2_t, 64 bytes, without a version."""

    _fields_ = (
        ("subsystem_id", ctypes.c_uint),
        ("device_id", ctypes.c_uint),
        ("vendor", ctypes.c_ushort),
        ("subsystem_vendor", ctypes.c_ushort),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("function", ctypes.c_uint),
        ("module_id", ctypes.c_ushort),
        ("slot_id", ctypes.c_ushort),
        ("reserved", ctypes.c_uint * 8),
    )


class MemoryV2(ctypes.Structure):
    """cndevMemoryInfoV2_t, 176 bytes, without a version; MB."""

    _fields_ = (
        ("total", ctypes.c_longlong),
        ("used", ctypes.c_longlong),
        ("reserved_mb", ctypes.c_longlong),
        ("virtual_total", ctypes.c_longlong),
        ("virtual_used", ctypes.c_longlong),
        ("global_memory", ctypes.c_ulonglong),
        ("reserved", ctypes.c_ulonglong * 16),
    )


class MemoryV1(ctypes.Structure):
    """cndevMemoryInfo_t; MB."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("total", ctypes.c_longlong),
        ("used", ctypes.c_longlong),
        ("virtual_total", ctypes.c_longlong),
        ("virtual_used", ctypes.c_longlong),
        ("channels", ctypes.c_longlong),
        ("channel_used", ctypes.c_longlong * 20),
        ("global_memory", ctypes.c_ulonglong),
    )


class Utilization(ctypes.Structure):
    """cndevUtilizationInfo_t, 328 bytes; per cent."""

    _fields_ = (("version", ctypes.c_int), ("average", ctypes.c_int), ("cores", ctypes.c_int * 80))


class Codecs(ctypes.Structure):
    """cndevVideoCodecUtilization_t; per cent."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("vpu_count", ctypes.c_int),
        ("vpu", ctypes.c_int * 20),
        ("encoder_count", ctypes.c_int),
        ("encoder", ctypes.c_int * 20),
        ("decoder_count", ctypes.c_int),
        ("decoder", ctypes.c_int * 20),
    )


class CardCpu(ctypes.Structure):
    """cndevDeviceCPUUtilization_t; per cent."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("average", ctypes.c_ushort),
        ("core_count", ctypes.c_ubyte),
        ("cores", ctypes.c_ubyte * 80),
    )


class PowerV2(ctypes.Structure):
    """cndevDevicePowerInfo_t, 84 bytes, without a version; W."""

    _fields_ = (
        ("usage", ctypes.c_int),
        ("cap", ctypes.c_int),
        ("machine", ctypes.c_int),
        ("tdp", ctypes.c_int),
        ("max_power", ctypes.c_int),
        ("reserved", ctypes.c_int * 16),
    )


class PowerV1(ctypes.Structure):
    """cndevPowerInfo_t; W."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("usage", ctypes.c_int),
        ("cap", ctypes.c_int),
        ("usage_decimal", ctypes.c_int),
        ("machine", ctypes.c_int),
        ("cap_decimal", ctypes.c_int),
        ("tdp", ctypes.c_ushort),
        ("instant", ctypes.c_ushort),
        ("instant_decimal", ctypes.c_ushort),
    )


class Temperature(ctypes.Structure):
    """cndevTemperatureInfo_t, 148 bytes; degrees Celsius."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("board", ctypes.c_int),
        ("cluster", ctypes.c_int * 20),
        ("memory_die", ctypes.c_int * 8),
        ("chip", ctypes.c_int),
        ("air_inlet", ctypes.c_int),
        ("air_outlet", ctypes.c_int),
        ("memory", ctypes.c_int),
        ("video_input", ctypes.c_int),
        ("cpu", ctypes.c_int),
        ("isp", ctypes.c_int),
    )


class Frequency(ctypes.Structure):
    """cndevFrequencyInfo_t, 68 bytes; MHz."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("board", ctypes.c_int),
        ("ddr", ctypes.c_int),
        ("overtemp", ctypes.c_ubyte),
        ("fast", ctypes.c_ubyte),
        ("cluster_count", ctypes.c_ushort),
        ("cluster", ctypes.c_ushort * 20),
        ("default", ctypes.c_int),
        ("range", ctypes.c_int * 2),
    )


class Voltage(ctypes.Structure):
    """cndevVoltageInfo_t, without a version; mV."""

    _fields_ = (
        ("core", ctypes.c_short),
        ("soc", ctypes.c_short),
        ("hbm_vcc", ctypes.c_short),
        ("hbm_vdd", ctypes.c_short),
        ("reserved", ctypes.c_short * 16),
    )


class Ecc(ctypes.Structure):
    """cndevECCInfo_t, 72 bytes."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("one_bit", ctypes.c_ulonglong),
        ("multiple_one", ctypes.c_ulonglong),
        ("multiple", ctypes.c_ulonglong),
        ("multiple_multiple", ctypes.c_ulonglong),
        ("corrected", ctypes.c_ulonglong),
        ("uncorrected", ctypes.c_ulonglong),
        ("total", ctypes.c_ulonglong),
        ("forbidden", ctypes.c_ulonglong),
    )


class MemoryEcc(ctypes.Structure):
    """cndevMemEccCounter_t: volatile since driver load, aggregate over the card's life."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("sram_sbe", ctypes.c_uint),
        ("sram_dbe", ctypes.c_uint),
        ("sram_parity", ctypes.c_uint),
        ("dram_sbe", ctypes.c_uint),
        ("dram_dbe", ctypes.c_uint),
        ("life_dram_sbe", ctypes.c_ulonglong),
        ("life_dram_dbe", ctypes.c_ulonglong),
        ("life_sram_sbe", ctypes.c_ulonglong),
        ("life_sram_dbe", ctypes.c_ulonglong),
        ("life_sram_parity", ctypes.c_ulonglong),
        ("life_sram_exceeded", ctypes.c_bool),
        ("reserved", ctypes.c_ulonglong * 11),
    )


class Process(ctypes.Structure):
    """cndevProcessInfo_t, 24 bytes; KiB."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("pid", ctypes.c_uint),
        ("physical", ctypes.c_ulonglong),
        ("virtual", ctypes.c_ulonglong),
    )


class HealthV1(ctypes.Structure):
    """cndevCardHealthState_t, 16 bytes."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("health", ctypes.c_int),
        ("device_state", ctypes.c_int),
        ("driver_state", ctypes.c_int),
    )


class Incident(ctypes.Structure):
    """cndevIncidentInfo_t with its cndevDiagErrorDetail_t, 540 bytes."""

    _fields_ = (
        ("system", ctypes.c_int),
        ("health", ctypes.c_int),
        ("message", ctypes.c_char * 512),
        ("device_id", ctypes.c_uint),
        ("bdf", ctypes.c_uint),
        ("code", ctypes.c_int),
        ("category", ctypes.c_uint),
        ("severity", ctypes.c_uint),
    )


class HealthV2(ctypes.Structure):
    """cndevCardHealthStateV2_t, 34612 bytes, without a version."""

    _fields_ = (
        ("health", ctypes.c_int),
        ("device_state", ctypes.c_int),
        ("driver_state", ctypes.c_int),
        ("overall", ctypes.c_int),
        ("incident_count", ctypes.c_uint),
        ("incidents", Incident * MOST_INCIDENTS),
        ("reserved", ctypes.c_uint * 8),
    )


class Number(ctypes.Structure):
    """A version and one number: heartbeat, PCIe replays."""

    _fields_ = (("version", ctypes.c_int), ("number", ctypes.c_uint))


class Throughput(ctypes.Structure):
    """cndevPCIethroughputV2_t, without a version; bytes, totals since driver load."""

    _fields_ = (
        ("read", ctypes.c_longlong),
        ("write", ctypes.c_longlong),
        ("read_total", ctypes.c_longlong),
        ("write_total", ctypes.c_longlong),
        ("timestamp", ctypes.c_ulonglong),
        ("reserved", ctypes.c_longlong * 8),
    )


class LinkStatus(ctypes.Structure):
    """cndevMLULinkStatusV2_t, 44 bytes, without a version."""

    _fields_ = (
        ("mac", ctypes.c_int),
        ("serdes", ctypes.c_int),
        ("presence", ctypes.c_int),
        ("reserved", ctypes.c_uint * 8),
    )


class LinkCounter(ctypes.Structure):
    """cndevMLULinkCounter_t, 18 counters of one port."""

    _fields_ = (("version", ctypes.c_int), ("counters", ctypes.c_ulonglong * 18))


class RemappedRows(ctypes.Structure):
    """cndevRemappedRowV2_t and, in its first fields, cndevRemappedRow_t."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("corrected", ctypes.c_uint),
        ("uncorrected", ctypes.c_uint),
        ("rest", ctypes.c_uint * 3),
    )


class RetiredPages(ctypes.Structure):
    """cndevRetiredPageInfo_t, 4112 bytes; ``cause`` is asked with (0 single bit, 1 double bit)."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("cause", ctypes.c_int),
        ("count", ctypes.c_uint),
        ("addresses", ctypes.c_ulonglong * 512),
    )


class Repair(ctypes.Structure):
    """cndevRepairStatus_t."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("retire_pending", ctypes.c_bool),
        ("pending", ctypes.c_bool),
        ("failure", ctypes.c_bool),
    )


class Throttle(ctypes.Structure):
    """cndevPerformanceThrottleReason_t: each 0 or 1."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("tdp", ctypes.c_int),
        ("power_setting", ctypes.c_int),
        ("clock_setting", ctypes.c_int),
        ("frequency_locked", ctypes.c_int),
        ("power_brake", ctypes.c_int),
        ("thermal_slowdown", ctypes.c_int),
    )


class Mode(ctypes.Structure):
    """cndevMimMode_t and cndevSMLUMode_t: 0 off, 1 on."""

    _fields_ = (("version", ctypes.c_int), ("on", ctypes.c_int))


class SoftSlice(ctypes.Structure):
    """cndevSMluInfo_t, 904 bytes; quota in per cent, memory in bytes; [0] is the most, [1] what is used."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("profile_id", ctypes.c_int),
        ("instance_id", ctypes.c_int),
        ("uuid", ctypes.c_char * 37),
        ("domain", ctypes.c_int),
        ("bus", ctypes.c_int),
        ("device", ctypes.c_int),
        ("function", ctypes.c_int),
        ("profile_name", ctypes.c_char * 100),
        ("instance_name", ctypes.c_char * 100),
        ("node_name", ctypes.c_char * 100),
        ("quota", ctypes.c_uint * 2),
        ("memory", ctypes.c_ulonglong * 2),
        ("reserved", ctypes.c_uint * 128),
    )


class HardSlice(ctypes.Structure):
    """cndevMluInstanceInfo_t."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("parent", ctypes.c_int),
        ("instance_id", ctypes.c_int),
        ("profile_id", ctypes.c_int),
        ("uuid", ctypes.c_char * 37),
        ("domain", ctypes.c_int),
        ("bus", ctypes.c_int),
        ("device", ctypes.c_int),
        ("function", ctypes.c_int),
        ("placement", ctypes.c_int * 3),
        ("core_count", ctypes.c_int),
        ("vpu_count", ctypes.c_int),
        ("jpu_count", ctypes.c_int),
        ("gdma_count", ctypes.c_int),
        ("memory_size", ctypes.c_int),
        ("profile_name", ctypes.c_char * 100),
        ("node_name", ctypes.c_char * 100),
        ("ipcm_node_name", ctypes.c_char * 100),
        ("instance_name", ctypes.c_char * 100),
        ("reserved", ctypes.c_uint * 128),
    )


class EventData(ctypes.Structure):
    """cndevEventData_t, 104 bytes."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("device", ctypes.c_int),
        ("data", ctypes.c_ulonglong),
        ("type", ctypes.c_ulonglong),
        ("timestamp", ctypes.c_ulonglong),
        ("compute_instance", ctypes.c_uint),
        ("mlu_instance", ctypes.c_uint),
        ("reserved", ctypes.c_ulonglong * 8),
    )
