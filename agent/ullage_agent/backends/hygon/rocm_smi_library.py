"""librocm_smi64.so as Hygon ships it: functions, structs, and status codes as our errors.

From the public header rocm_smi.h (HYGON-AI/dcu-dcgm, read 2026-11-21), which is AMD's with additions. Never
called: rsmi_dev_gpu_clk_freq_get, because rsmi_frequencies_t has two layouts that cannot be told apart (with and
without ``has_deep_sleep``), and what blocks for a second (rsmi_dev_pci_throughput_get).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

from ullage_agent.backends.clibrary import CLibrary, roomy, text_of
from ullage_contract.errors import Broken, CardLost, NotPermitted, NotSupported

NAMES: Final = (
    "librocm_smi64.so.2",
    "librocm_smi64.so",
    "/opt/hyhal/lib/librocm_smi64.so",
    "/opt/hyhal/lib/librocm_smi64.so.2.8",
    "/opt/dtk/.hyhal/rocm_smi/lib/librocm_smi64.so",
    "/opt/rocm/lib/librocm_smi64.so",
)
"""Where it is found, in order: the loader's own places first, so that LD_LIBRARY_PATH decides."""

# rsmi_status_t
_OK: Final = 0
_LACKING: Final = frozenset({1, 2, 9, 10, 14})
"""INVALID_ARGS (a sensor an old release does not know), NOT_SUPPORTED, NOT_YET_IMPLEMENTED, NOT_FOUND, NO_DATA."""
_FILE_ERROR: Final = 3
_PERMISSION: Final = 4
_WORDS: Final = {
    5: "out of resources", 6: "internal exception", 7: "input out of bounds", 8: "not initialized",
    11: "insufficient size", 12: "interrupted", 13: "unexpected size", 15: "unexpected data", 16: "busy",
}  # fmt: skip

# rsmi_temperature_type_t, rsmi_temperature_metric_t
EDGE, JUNCTION, MEMORY, HBM, CORE = 0, 1, 2, (7, 8, 9, 10), 11
CURRENT, CRITICAL = 0, 5

BLOCKS: Final = {
    # rsmi_gpu_block_t
    "umc": 0x1, "sdma": 0x2, "gfx": 0x4, "mmhub": 0x8, "athub": 0x10, "pcie_bif": 0x20, "hdp": 0x40,
    "xgmi_wafl": 0x80, "df": 0x100, "smn": 0x200, "sem": 0x400, "mp0": 0x800, "mp1": 0x1000, "fuse": 0x2000,
    "mca": 0x4000, "vcn": 0x8000, "jpeg": 0x10000, "ih": 0x20000, "mpio": 0x40000,
}  # fmt: skip

MOST_PROCESSES: Final = 1024  # our choice: because a node runs fewer compute processes than this
MOST_PAGES: Final = 4096  # our choice: because a card is replaced long before


class ErrorCount(ctypes.Structure):
    """rsmi_error_count_t; releases before 2023 end after the second number."""

    _fields_ = [
        ("correctable", ctypes.c_uint64),
        ("uncorrectable", ctypes.c_uint64),
        ("deferred", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 5),
    ]


class ProcessInfo(ctypes.Structure):
    """rsmi_process_info_t: 32 bytes."""

    _fields_ = [
        ("process_id", ctypes.c_uint32),
        ("pasid", ctypes.c_uint32),
        ("vram_usage", ctypes.c_uint64),
        ("sdma_usage", ctypes.c_uint64),
        ("cu_occupancy", ctypes.c_uint32),
    ]


class PageRecord(ctypes.Structure):
    """rsmi_retired_page_record_t. status: 0 reserved, 1 pending, 2 cannot be reserved."""

    _fields_ = [
        ("page_address", ctypes.c_uint64),
        ("page_size", ctypes.c_uint64),
        ("status", ctypes.c_int),
    ]


class RocmSmi:
    """The opened library. Every function raises a ReadingError; card errors name the card's index."""

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self.library = CLibrary("Hygon's librocm_smi64", names)
        self._ready = False

    def open(self) -> None:
        """Load and initialize, once."""
        self.library.open()
        if not self._ready:
            self._run("rsmi_init", ctypes.c_uint64(0))
            self._ready = True

    def close(self) -> None:
        """rsmi_shut_down (not rsmi_shutdown). Never raises."""
        if self._ready:
            self._ready = False
            try:
                self._run("rsmi_shut_down")
            except Exception:  # noqa: S110 it is the end; what it says helps nobody
                pass

    def count(self) -> int:
        """Cards the library found when it was initialized."""
        found = ctypes.c_uint32(0)
        self._run("rsmi_num_monitor_devices", ctypes.byref(found))
        return found.value

    def wide(self, name: str, card: int, *arguments: Any, signed: bool = False) -> int:
        """A function (card, ..., 64-bit out)."""
        out = ctypes.c_int64(0) if signed else ctypes.c_uint64(0)
        self._run(name, ctypes.c_uint32(card), *arguments, ctypes.byref(out))
        return out.value

    def narrow(self, name: str, card: int) -> int:
        """A function (card, u32 out)."""
        out = ctypes.c_uint32(0)
        self._run(name, ctypes.c_uint32(card), ctypes.byref(out))
        return out.value

    def window(self, name: str, card: int, milliseconds: int) -> float:
        """A function (card, duration, float out) that takes as long as it is told."""
        out = ctypes.c_float(-1.0)
        self._run(name, ctypes.c_uint32(card), ctypes.c_uint32(milliseconds), ctypes.byref(out))
        return out.value

    def text(self, name: str, card: int, *, wide_length: bool = False) -> str | None:
        """A function (card, buffer, length); None for an empty answer."""
        buffer = ctypes.create_string_buffer(256)
        length = ctypes.c_size_t(256) if wide_length else ctypes.c_uint32(256)
        self._run(name, ctypes.c_uint32(card), buffer, length)
        return text_of(buffer.raw)

    def driver_version(self) -> str | None:
        """rsmi_version_str_get of the driver; None where the release lacks it."""
        buffer = ctypes.create_string_buffer(256)
        try:
            self._run("rsmi_version_str_get", ctypes.c_int(0), buffer, ctypes.c_uint32(256))
        except (NotSupported, Broken):
            return None
        return text_of(buffer.raw)

    def power_now(self, card: int) -> int:
        """rsmi_dev_power_get: microwatts, average or instant as the card has it."""
        out, kind = ctypes.c_uint64(0), ctypes.c_int(0)
        self._run("rsmi_dev_power_get", ctypes.c_uint32(card), ctypes.byref(out), ctypes.byref(kind))
        return out.value

    def errors(self, card: int, block: int) -> ErrorCount:
        """Error counts of one block since driver load."""
        out = roomy(ErrorCount)
        self._run("rsmi_dev_ecc_count_get", ctypes.c_uint32(card), ctypes.c_uint64(block), ctypes.byref(out))
        return out

    def pages(self, card: int) -> list[int]:
        """The status of every bad page."""
        count = ctypes.c_uint32(0)
        name = "rsmi_dev_memory_reserved_pages_get"
        self._run(name, ctypes.c_uint32(card), ctypes.byref(count), None)
        if count.value > MOST_PAGES:
            raise Broken(f"card {card}: {count.value} bad pages")
        if not count.value:
            return []
        records = roomy(PageRecord * count.value)
        self._run(name, ctypes.c_uint32(card), ctypes.byref(count), records)
        return [int(record.status) for record in records[: min(count.value, len(records))]]

    def pids(self) -> list[int]:
        """Compute processes on any card. Sizes in this list are 0 on recent drivers: see ``held``."""
        count = ctypes.c_uint32(0)
        self._run("rsmi_compute_process_info_get", None, ctypes.byref(count))
        if count.value > MOST_PROCESSES:
            raise Broken(f"{count.value} compute processes")
        room = count.value + 16  # a process may have started since the count
        records, count = roomy(ProcessInfo * room), ctypes.c_uint32(room)
        self._run("rsmi_compute_process_info_get", records, ctypes.byref(count))
        return [int(record.process_id) for record in records[: min(count.value, room)]]

    def cards_of(self, pid: int) -> list[int]:
        """The cards a process uses. Raises NotSupported (NOT_FOUND) when it ended."""
        room = 64
        indices, count = (ctypes.c_uint32 * room)(), ctypes.c_uint32(room)
        self._run("rsmi_compute_process_gpus_get", ctypes.c_uint32(pid), indices, ctypes.byref(count))
        return [int(index) for index in indices[: min(count.value, room)]]

    def held(self, pid: int, card: int) -> int:
        """Bytes a process holds on one card."""
        out = roomy(ProcessInfo)
        name = "rsmi_compute_process_info_by_device_get"
        self._run(name, ctypes.c_uint32(pid), ctypes.c_uint32(card), ctypes.byref(out))
        return int(out.vram_usage)

    def _run(self, name: str, *arguments: Any) -> None:
        status = self.library.function(name, restype=ctypes.c_uint32)(*arguments)
        if status == _OK:
            return
        if status in _LACKING:
            raise NotSupported(f"{name}: status {status}")
        if status == _PERMISSION:
            raise NotPermitted(
                f"{name}: needs root or the video group, with /dev/kfd, /dev/mkfd and /dev/dri"
            )
        if status == _FILE_ERROR:
            raise FileError(f"{name}: a file of the driver cannot be read")
        raise Broken(f"{name}: {_WORDS.get(status, 'status')} ({status})")


class FileError(NotSupported):
    """The driver's file is not there: this card cannot, or it is gone; who knows the PCI bus can tell."""


def lost_or_lacking(error: FileError, there: bool) -> NotSupported | CardLost:
    """What a FileError means once it is known whether the card is on the bus."""
    return error if there else CardLost(f"{error}; the card is not on the PCI bus any more")
