"""libdcmi.so as we call it: functions of one chip, structs, return codes as our errors.

From the public headers dcmi_interface_api.h and dcmi_interface_api_v2.h (Ascend/mind-cluster, read 2026-11-21).
There are two sets of functions: ``dcmi_*`` name a chip by (card, device), the newer ``dcmiv2_*`` by one device
id. The library has no shutdown call. Not here: what the values mean to us (chip.py).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backend import Call
from ullage_agent.backends.clibrary import CLibrary
from ullage_contract.errors import Broken, NotPermitted, NotSupported, ReadingError

LIBRARIES: Final = (
    "libdcmi.so",
    "/usr/local/Ascend/driver/lib64/driver/libdcmi.so",
    "/usr/local/dcmi/libdcmi.so",
)
"""Where gpustack's and Huawei's own tools look for it."""
MOST_CARDS: Final = 64
MOST_DEVICES: Final = 16  # our choice: because the largest board has four chips; more is garbage
MOST_PROCESSES: Final = 32
MOST_CODES: Final = 128
NPU: Final = 0
HBM: Final = 2
DDR: Final = 0
HCCS: Final = 16
VDEV_MNG: Final = 52
STATISTIC_U64: Final = 5
VDEV_RESOURCE: Final = 0
TOTAL_RESOURCE: Final = 1
VDEV_ACTIVITY: Final = 5

NOT_SUPPORTED: Final = -8255
_UNSUPPORTED: Final = frozenset({-8001, NOT_SUPPORTED})
"""Bad parameter (an input type this release does not know) and not supported: asking again is useless."""
_MESSAGES: Final = {
    -8002: "not permitted: run as root or in the group HwHiAiUser",
    -8005: "inner error",
    -8006: "it timed out inside the driver",
    -8008: "it does not exist",
    -8012: "it is not ready",
    -8013: "not allowed in a container: mount /dev/davinci_manager, /dev/hisi_hdc, /dev/devmm_svm and the chip's node",
    -8017: "it is being upgraded",
    -8020: "the resource is occupied",
}
_V2_NAMES: Final = {
    "dcmi_get_device_die_v2": ("dcmiv2_get_device_die_id", "dcmiv2_get_device_die"),
    "dcmi_get_device_chip_info_v2": ("dcmiv2_get_device_chip_info",),
    "dcmi_get_device_pcie_info_v2": ("dcmiv2_get_device_pcie_info",),
    "dcmi_get_device_errorcode_v2": ("dcmiv2_get_device_error_code_list",),
    "dcmi_get_device_resource_info": ("dcmiv2_get_device_proc_mem_info",),
    "dcmi_get_card_elabel_v2": ("dcmiv2_get_device_elabel_info",),
}
"""Functions whose dcmiv2 name is not the same word behind the prefix."""


class ChipInfo(ctypes.Structure):
    """dcmi_chip_info_v2, 132 bytes."""

    _fields_ = (
        ("chip_type", ctypes.c_char * 32),
        ("chip_name", ctypes.c_char * 32),
        ("chip_ver", ctypes.c_char * 32),
        ("aicore_cnt", ctypes.c_uint),
        ("npu_name", ctypes.c_char * 32),
    )


class PcieInfo(ctypes.Structure):
    """dcmi_pcie_info_all, 64 bytes."""

    _fields_ = (
        ("vendor", ctypes.c_uint),
        ("subvendor", ctypes.c_uint),
        ("device_id", ctypes.c_uint),
        ("subdevice", ctypes.c_uint),
        ("domain", ctypes.c_int),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("function", ctypes.c_uint),
        ("reserve", ctypes.c_ubyte * 32),
    )


class DieId(ctypes.Structure):
    """dcmi_die_id, 20 bytes."""

    _fields_ = (("soc_die", ctypes.c_uint * 5),)


class HbmInfo(ctypes.Structure):
    """dcmi_hbm_info, 32 bytes; sizes in MB, frequency in MHz."""

    _fields_ = (
        ("memory_size", ctypes.c_ulonglong),
        ("freq", ctypes.c_uint),
        ("memory_usage", ctypes.c_ulonglong),
        ("temp", ctypes.c_int),
        ("bandwith_util_rate", ctypes.c_uint),
    )


class MemoryInfo(ctypes.Structure):
    """dcmi_get_memory_info_stru, 112 bytes (its comment in the header says 96); sizes in MB."""

    _fields_ = (
        ("memory_size", ctypes.c_ulonglong),
        ("memory_available", ctypes.c_ulonglong),
        ("freq", ctypes.c_uint),
        ("hugepagesize", ctypes.c_ulong),
        ("hugepages_total", ctypes.c_ulong),
        ("hugepages_free", ctypes.c_ulong),
        ("utiliza", ctypes.c_uint),
        ("reserve", ctypes.c_ubyte * 60),
    )


class EccInfo(ctypes.Structure):
    """dcmi_ecc_info, 36 bytes."""

    _fields_ = (
        ("enable_flag", ctypes.c_int),
        ("single_bit_error_cnt", ctypes.c_uint),
        ("double_bit_error_cnt", ctypes.c_uint),
        ("total_single_bit_error_cnt", ctypes.c_uint),
        ("total_double_bit_error_cnt", ctypes.c_uint),
        ("single_bit_isolated_pages_cnt", ctypes.c_uint),
        ("double_bit_isolated_pages_cnt", ctypes.c_uint),
        ("single_bit_next_isolated_pages_cnt", ctypes.c_uint),
        ("double_bit_next_isolated_pages_cnt", ctypes.c_uint),
    )


class ProcessMemory(ctypes.Structure):
    """dcmi_proc_mem_info, 16 bytes; memory in bytes."""

    _fields_ = (("pid", ctypes.c_int), ("memory", ctypes.c_ulong))


class Elabel(ctypes.Structure):
    """dcmi_elabel_info, 1280 bytes."""

    _fields_ = (
        ("product_name", ctypes.c_char * 256),
        ("model", ctypes.c_char * 256),
        ("manufacturer", ctypes.c_char * 256),
        ("manufacturer_date", ctypes.c_char * 256),
        ("serial_number", ctypes.c_char * 256),
    )


class HccsStatistic(ctypes.Structure):
    """dcmi_hccs_statistic_info_u64: one entry a lane (PCS)."""

    _fields_ = (
        ("tx_cnt", ctypes.c_ulonglong * 16),
        ("rx_cnt", ctypes.c_ulonglong * 16),
        ("crc_err_cnt", ctypes.c_ulonglong * 16),
        ("retry_cnt", ctypes.c_ulonglong * 16),
        ("reserved", ctypes.c_ulonglong * 64),
    )


class BaseResource(ctypes.Structure):
    """dcmi_base_resource."""

    _fields_ = (
        ("token", ctypes.c_ulonglong),
        ("token_max", ctypes.c_ulonglong),
        ("task_timeout", ctypes.c_ulonglong),
        ("vfg_id", ctypes.c_uint),
        ("vip_mode", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte * 31),
    )


class ComputingResource(ctypes.Structure):
    """dcmi_computing_resource; memory_size in MB, aic and aiv in cores."""

    _fields_ = (
        ("aic", ctypes.c_float),
        ("aiv", ctypes.c_float),
        ("others", ctypes.c_ushort * 8),
        ("memory_size", ctypes.c_ulonglong),
        ("ids", ctypes.c_uint * 4),
        ("cpus", ctypes.c_ushort * 5),
        ("vdev_aicore_utilization", ctypes.c_uint),
        ("vdev_memory_total", ctypes.c_ulonglong),
        ("vdev_memory_free", ctypes.c_ulonglong),
        ("reserved", ctypes.c_ubyte * 12),
    )


class MediaResource(ctypes.Structure):
    """dcmi_media_resource."""

    _fields_ = (("units", ctypes.c_float * 6), ("reserved", ctypes.c_ubyte * 32))


class TotalResource(ctypes.Structure):
    """dcmi_soc_total_resource, 360 bytes: which vNPUs a chip is cut into."""

    _fields_ = (
        ("vdev_num", ctypes.c_uint),
        ("vdev_id", ctypes.c_uint * 32),
        ("vfg_num", ctypes.c_uint),
        ("vfg_bitmap", ctypes.c_uint),
        ("base", BaseResource),
        ("computing", ComputingResource),
        ("media", MediaResource),
    )


class VdevQuery(ctypes.Structure):
    """dcmi_vdev_query_stru, 264 bytes: vdev_id is asked with, the rest is the answer."""

    _fields_ = (
        ("vdev_id", ctypes.c_uint),
        ("_padding", ctypes.c_uint),
        ("name", ctypes.c_char * 16),
        ("status", ctypes.c_uint),
        ("is_container_used", ctypes.c_uint),
        ("vfid", ctypes.c_uint),
        ("vfg_id", ctypes.c_uint),
        ("container_id", ctypes.c_ulonglong),
        ("base", BaseResource),
        ("computing", ComputingResource),
        ("media", MediaResource),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where the library has a chip: (card, device), or (device id, 0) where it counts chips only."""

    card: int
    device: int
    flat: bool = False

    def __str__(self) -> str:
        return f"device {self.card}" if self.flat else f"card {self.card} chip {self.device}"

    @property
    def arguments(self) -> tuple[ctypes.c_int, ...]:
        """What stands first in every call about this chip."""
        return (
            (ctypes.c_int(self.card),) if self.flat else (ctypes.c_int(self.card), ctypes.c_int(self.device))
        )


def failure(code: int, function: str) -> ReadingError:
    """What DCMI's return code means to us."""
    text = f"{function}: {_MESSAGES.get(code, f'DCMI error {code}')}"
    if code in _UNSUPPORTED:
        return NotSupported(f"{function}: not supported ({code})")
    if code in (-8002, -8013):
        return NotPermitted(text)
    # a chip that does not exist any more is found lost by the next look; a probe only fails
    return Broken(text)


class Dcmi:
    """The library. ``flat``: it is of the generation that has dcmiv2_* alone or finds its chips through them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.library = CLibrary("Huawei's DCMI library", names)
        self.flat = False
        self._open = False

    def open(self, call: Call) -> None:
        """Load and initialise, once. Raises NotPresent, NotPermitted or Broken saying what to do."""
        if self._open:
            return
        call("", "dlopen", self.library.open)
        self.flat = not self.library.has("dcmi_init") and self.library.has("dcmiv2_init")
        name = "dcmiv2_init" if self.flat else "dcmi_init"
        call("", name, lambda: self.run(name))
        self._open = True

    def reopen(self) -> None:
        """The library is unwell: initialise it anew before the next look."""
        self._open = False

    def run(self, name: str, *arguments: Any) -> None:
        """One function by its own name. Raises a ReadingError for every code but 0."""
        code = self.library.function(name)(*arguments)
        if code != 0:
            raise failure(code, name)

    def ask(self, place: Place, name: str, *arguments: Any) -> None:
        """A function about a chip, by its ``dcmi_*`` name; its ``dcmiv2_*`` twin where the library is flat."""
        self.run(self.named(name), *place.arguments, *arguments)

    def named(self, name: str) -> str:
        """The name under which this library has the function."""
        if not self.flat:
            return name
        choices = _V2_NAMES.get(name, (name.replace("dcmi_", "dcmiv2_", 1),))
        return next((choice for choice in choices if self.library.has(choice)), choices[0])

    def number(self, place: Place, name: str, *before: ctypes.c_int) -> int:
        """A function whose answer is one 32-bit number, read as signed."""
        value = ctypes.c_int(-1)
        self.ask(place, name, *before, ctypes.byref(value))
        return value.value

    def info(self, place: Place, main: int, sub: int, buffer: Any) -> None:
        """dcmi_get_device_info into ``buffer``."""
        size = ctypes.c_uint(ctypes.sizeof(type(buffer)))
        self.ask(
            place,
            "dcmi_get_device_info",
            ctypes.c_int(main),
            ctypes.c_uint(sub),
            ctypes.byref(buffer),
            ctypes.byref(size),
        )

    def places(self, call: Call) -> list[Place]:
        """Every chip that enumerates. A card that does not answer is left out; raises when no list is given."""
        if not self.flat:
            cards = call("", "dcmi_get_card_list", self._cards)
            if cards or not self.library.has("dcmiv2_get_device_list"):
                return [place for card in cards for place in self._chips(call, card)]
            call("", "dcmiv2_init", lambda: self.run("dcmiv2_init"))
            self.flat = True
        return [Place(number, 0, flat=True) for number in call("", "dcmiv2_get_device_list", self._devices)]

    def _cards(self) -> list[int]:
        count, found = ctypes.c_int(0), (ctypes.c_int * MOST_CARDS)()
        self.run("dcmi_get_card_list", ctypes.byref(count), found, ctypes.c_int(MOST_CARDS))
        if not 0 <= count.value <= MOST_CARDS:
            raise Broken(f"dcmi_get_card_list counts {count.value} cards")
        return list(found[: count.value])

    def _devices(self) -> list[int]:
        count, found = ctypes.c_int(0), (ctypes.c_int * MOST_CARDS)()
        self.run("dcmiv2_get_device_list", found, ctypes.byref(count), ctypes.c_int(MOST_CARDS))
        if not 0 <= count.value <= MOST_CARDS:
            raise Broken(f"dcmiv2_get_device_list counts {count.value} chips")
        return list(found[: count.value])

    def _chips(self, call: Call, card: int) -> list[Place]:
        try:
            count = call(f"card {card}", "dcmi_get_device_id_in_card", lambda: self._most(card))
            found = [Place(card, device) for device in range(min(count, MOST_DEVICES))]
            return [place for place in found if self._is_npu(call, place)]
        except ReadingError:
            return []

    def _most(self, card: int) -> int:
        most, mcu, cpu = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
        try:
            self.run(
                "dcmi_get_device_id_in_card",
                ctypes.c_int(card),
                ctypes.byref(most),
                ctypes.byref(mcu),
                ctypes.byref(cpu),
            )
        except NotSupported:
            self.run("dcmi_get_device_num_in_card", ctypes.c_int(card), ctypes.byref(most))
        return max(0, most.value)

    def _is_npu(self, call: Call, place: Place) -> bool:
        """Whether it is a chip that computes: boards also count their MCU and CPU."""

        def ask() -> int:
            return self.number(place, "dcmi_get_device_type")

        try:
            return call(str(place), "dcmi_get_device_type", ask) == NPU
        except NotSupported:
            return True
        except ReadingError:
            return False


def uuid_of(die: DieId) -> str | None:
    """The die id as Huawei's own tools print it; None when it is empty."""
    parts = [int(part) for part in die.soc_die]
    if not any(parts) or all(part == 0xFFFFFFFF for part in parts):
        return None
    return "-".join(f"{part:08X}" for part in parts)
