"""amdgpu's binary ``gpu_metrics`` file: versions 1.0 to 1.8 and 2.0 to 2.4 by layout, 1.9 by its own attributes.

Layouts: kernel drivers/gpu/drm/amd/include/kgd_pp_interface.h, read 2026-11-21; natural alignment, little
endian. The driver fills what it does not measure with all ones of the field's width; such fields are left out.
Not here: what a value means for us (metrics_values.py).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from ullage_contract.errors import Broken, NotSupported

Field = int | tuple[int, ...]

_CODES: Final = {"B": 1, "H": 2, "I": 4, "Q": 8}
_MAX_INT32: Final = 0x7FFFFFFF  # amd-smi's and the exporter's other word for "not measured"

_HEAD_1: Final = "edge:H hotspot:H mem:H vrgfx:H vrsoc:H vrmem:H gfx_activity:H umc_activity:H mm_activity:H average_socket_power:H"
_CLOCKS_1: Final = (
    "average_gfxclk:H average_socclk:H average_uclk:H _:7H current_gfxclk:H current_socclk:H current_uclk:H"
    " _:4H throttle_status:I fan_rpm:H"
)
_HEAD_4: Final = "hotspot:H mem:H vrsoc:H current_socket_power:H gfx_activity:H umc_activity:H"
_LINKS_4: Final = (
    "gfxclk_lock:I pcie_width:H pcie_speed:H xgmi_width:H xgmi_speed:H gfx_activity_acc:I mem_activity_acc:I"
    " pcie_bandwidth_acc:Q pcie_bandwidth_inst:Q pcie_l0_to_recovery:Q pcie_replays:Q pcie_replay_rollover:Q"
)
_NAKS: Final = " pcie_nak_sent:I pcie_nak_received:I"
_XGMI: Final = " xgmi_read_kib:8Q xgmi_write_kib:8Q"
_CLOCKS_4: Final = " firmware_timestamp:Q current_gfxclk:8H current_socclk:4H current_vclk0:4H current_dclk0:4H current_uclk:H"
_RESIDENCY: Final = (
    " accumulation:I residency_prochot:I residency_ppt:I residency_socket:I residency_vr:I residency_hbm:I "
)
_APU: Final = "apu_gfx:H apu_soc:H _:8H _:2H gfx_activity:H mm_activity:H"
_APU_POWER: Final = (
    " average_socket_power:H _:H _:H gfx_power:H _:8H average_gfxclk:H average_socclk:H average_uclk:H _:3H"
    " current_gfxclk:H current_socclk:H current_uclk:H _:3H _:8H _:2H throttle_status:I fan_pwm:H"
)
PARTITIONS: Final = 8
_BUSY: Final = "busy:8I"
"""A partition's block begins so in 1.6, 1.7 and 1.8; how long it is changed, so it is taken from the table's size."""
_WITH_PARTITIONS: Final = frozenset({(1, 6), (1, 7), (1, 8)})
_EARLY_1_6: Final = (1, 106)
"""Kernel 6.12's release candidates had a 1.6 without partitions: known by its size."""

_LAYOUTS: Final[Mapping[tuple[int, int], str]] = {
    (1, 0): f"system_clock:Q {_HEAD_1} energy:I "
    + _CLOCKS_1.replace("_:7H", "_:4H")
    + " pcie_width:B pcie_speed:B",
    (1, 1): f"{_HEAD_1} energy:Q system_clock:Q "
    + _CLOCKS_1.replace("_:7H", "_:4H")
    + " pcie_width:H pcie_speed:H _:H gfx_activity_acc:I mem_activity_acc:I hbm:4H",
    (1, 2): "+(1,1) firmware_timestamp:Q",
    (1, 3): "+(1,2) voltage_soc_mv:H voltage_gfx_mv:H voltage_mem_mv:H _:H independent_throttle:Q",
    (
        1,
        4,
    ): f"{_HEAD_4} vcn_activity:4H energy:Q system_clock:Q throttle_status:I {_LINKS_4}{_XGMI}{_CLOCKS_4} _:H",
    (
        1,
        5,
    ): f"{_HEAD_4} vcn_activity:4H _:32H energy:Q system_clock:Q throttle_status:I {_LINKS_4}{_NAKS}{_XGMI}"
    f"{_CLOCKS_4} _:H",
    (1, 6): f"{_HEAD_4} energy:Q system_clock:Q{_RESIDENCY}{_LINKS_4}{_NAKS}{_XGMI}{_CLOCKS_4} partitions:H",
    (1, 7): f"{_HEAD_4} _:Q energy:Q system_clock:Q{_RESIDENCY}{_LINKS_4}{_NAKS}{_XGMI} xgmi_up:8H _:H"
    f"{_CLOCKS_4} partitions:H",
    _EARLY_1_6: f"{_HEAD_4} vcn_activity:4H _:32H energy:Q system_clock:Q{_RESIDENCY}throttle_status:I {_LINKS_4}"
    f"{_NAKS}{_XGMI}{_CLOCKS_4} _:H",
    (2, 0): f"system_clock:Q {_APU}" + _APU_POWER + " _:H",
    (2, 1): f"{_APU} system_clock:Q" + _APU_POWER + " _:3H",
    (2, 2): "+(2,1) independent_throttle:Q",
    (2, 3): "+(2,2) _:12H",
    (2, 4): "+(2,3) _:H _:H voltage_gfx_mv:H _:3H",
}

_ATTRIBUTES: Final[Mapping[int, str]] = {
    # amdgpu_metrics_attr_id of version 1.9
    0: "hotspot", 1: "mem", 2: "vrsoc", 3: "current_socket_power", 4: "gfx_activity", 5: "umc_activity",
    7: "energy", 8: "system_clock", 9: "accumulation", 10: "residency_prochot", 11: "residency_ppt",
    12: "residency_socket", 13: "residency_vr", 14: "residency_hbm", 16: "pcie_width", 17: "pcie_speed",
    18: "xgmi_width", 19: "xgmi_speed", 20: "gfx_activity_acc", 21: "mem_activity_acc",
    24: "pcie_l0_to_recovery", 25: "pcie_replays", 26: "pcie_replay_rollover", 29: "xgmi_read_kib",
    30: "xgmi_write_kib", 31: "xgmi_up", 32: "firmware_timestamp", 33: "current_gfxclk", 34: "current_socclk",
    37: "current_uclk", 38: "partitions", 40: "busy",
}  # fmt: skip
_ATTRIBUTE_TYPES: Final = "BbHhIiQq"  # amdgpu_metrics_attr_type in its order


@dataclass(frozen=True, slots=True)
class Metrics:
    """version: (format, content). fields: name -> value or values, in the file's own units; a field that was not
    measured is absent; in a tuple, unmeasured elements are left out. partitions: busy per cent of each XCC of
    each partition."""

    version: tuple[int, int]
    fields: Mapping[str, Field]
    partitions: tuple[tuple[int, ...], ...] = ()

    def one(self, name: str) -> int | None:
        """A single value, or the mean of several (clocks of XCCs)."""
        found = self.fields.get(name)
        if isinstance(found, tuple):
            return round(sum(found) / len(found)) if found else None
        return found

    def total(self, name: str) -> int | None:
        """The sum of several."""
        found = self.fields.get(name)
        if isinstance(found, tuple):
            return sum(found) if found else None
        return found


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    offset: int
    count: int
    code: str


def parse(raw: bytes) -> Metrics:
    """The file's fields. Raises NotSupported for a version not known here, Broken for a torn or empty file."""
    if len(raw) < 4:
        raise Broken(f"gpu_metrics holds {len(raw)} bytes, no header")
    size, form, content = struct.unpack_from("<HBB", raw)
    if (form, content) == (1, 9):
        return _attributes(raw[:size] if 4 < size <= len(raw) else raw)
    layout = (1, 7) if (form, content) == (1, 8) else (form, content)
    if layout == (1, 6) and size < _compiled(layout)[1] + PARTITIONS * 8:
        layout = _EARLY_1_6
    if layout not in _LAYOUTS:
        raise NotSupported(f"gpu_metrics of version {form}.{content} is not known yet")
    slots, end = _compiled(layout)
    if not end <= size <= len(raw):
        raise Broken(
            f"gpu_metrics {form}.{content} is {len(raw)} bytes, its header says {size}; {end} are needed"
        )
    fields = _read(raw, slots)
    if (form, content) == (2, 4):
        fields = _fine_units(fields)
    partitions = layout != _EARLY_1_6 and (form, content) in _WITH_PARTITIONS
    return Metrics((form, content), fields, _blocks(raw[:size], end) if partitions else ())


def _blocks(raw: bytes, start: int) -> tuple[tuple[int, ...], ...]:
    """Busy per cent of each XCC of each partition; partitions that are not there are left out."""
    slots, needed = _compiled_text(_BUSY, 0)
    start = _aligned(start, 8)
    # eight blocks of whole 8 bytes, then one u32
    length = (len(raw) - start) // PARTITIONS // 8 * 8
    if length < needed:
        return ()
    found: list[tuple[int, ...]] = []
    for number in range(PARTITIONS):
        at = start + number * length
        busy = _read(raw[at : at + length], slots).get("busy", ())
        found.append(busy if isinstance(busy, tuple) else (busy,))
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def _read(raw: bytes, slots: tuple[_Slot, ...]) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for slot in slots:
        values = struct.unpack_from(f"<{slot.count}{slot.code}", raw, slot.offset)
        nothing = (1 << (8 * _CODES[slot.code])) - 1
        known = tuple(v for v in values if v != nothing and not (slot.code == "I" and v == _MAX_INT32))
        if slot.count == 1:
            if known:
                fields[slot.name] = known[0]
        elif known:
            fields[slot.name] = known
    return fields


def _fine_units(fields: dict[str, Field]) -> dict[str, Field]:
    """2.4 counts centi-degrees, centi-per-cent and milliwatts where 2.3 counts whole ones."""
    for name in ("apu_gfx", "apu_soc", "gfx_activity", "mm_activity"):
        value = fields.get(name)
        if isinstance(value, int):
            fields[name] = round(value / 100)
    power = fields.get("average_socket_power")
    if isinstance(power, int):
        fields["average_socket_power"] = round(power / 1000)
    return fields


def _attributes(raw: bytes) -> Metrics:
    """1.9: a count, then (encoding, values) after one another; the encoding says id, type and how many."""
    if len(raw) < 8:
        raise Broken(f"gpu_metrics 1.9 holds {len(raw)} bytes, no attribute count")
    (count,) = struct.unpack_from("<i", raw, 4)
    fields: dict[str, Field] = {}
    at = 8
    for _ in range(max(0, count)):
        if at + 8 > len(raw):
            raise Broken(f"gpu_metrics 1.9 ends within attribute {len(fields)} of {count}")
        (encoding,) = struct.unpack_from("<Q", raw, at)
        at += 8
        kind, name, instances = encoding >> 20 & 0xF, encoding >> 10 & 0x3FF, encoding & 0x3FF
        if kind >= len(_ATTRIBUTE_TYPES):
            raise Broken(f"gpu_metrics 1.9 has an attribute of type {kind}")
        code = _ATTRIBUTE_TYPES[kind]
        width = _CODES[code.upper()]
        if at + width * instances > len(raw):
            raise Broken(f"gpu_metrics 1.9 ends within attribute {len(fields)} of {count}")
        values = struct.unpack_from(f"<{instances}{code}", raw, at)
        at += width * instances
        nothing = (1 << (8 * width)) - 1 if code.isupper() else -1
        known = tuple(v for v in values if v != nothing)
        word = _ATTRIBUTES.get(name)
        if word and known:
            fields[word] = known[0] if instances == 1 else known
    busy = fields.pop("busy", ())
    partitions = (busy if isinstance(busy, tuple) else (busy,),) if busy != () else ()
    return Metrics((1, 9), fields, partitions)


@cache
def _compiled(version: tuple[int, int]) -> tuple[tuple[_Slot, ...], int]:
    return _compiled_text(_spelled(version), 4)


def _spelled(version: tuple[int, int]) -> str:
    text = _LAYOUTS[version]
    if text.startswith("+"):
        base, _, rest = text[1:].partition(" ")
        form, content = base.strip("()").split(",")
        return f"{_spelled((int(form), int(content)))} {rest}"
    return text


@cache
def _compiled_text(text: str, start: int) -> tuple[tuple[_Slot, ...], int]:
    """Slots with natural alignment, and the first byte after them."""
    slots: list[_Slot] = []
    offset = start
    for word in text.split():
        name, _, kind = word.partition(":")
        code = kind[-1]
        count = int(kind[:-1] or 1)
        offset = _aligned(offset, _CODES[code])
        if name != "_":
            slots.append(_Slot(name, offset, count, code))
        offset += count * _CODES[code]
    return tuple(slots), offset


def _aligned(offset: int, width: int) -> int:
    return (offset + width - 1) // width * width
