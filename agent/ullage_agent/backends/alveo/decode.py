"""``xbutil examine`` and ``xbmgmt examine``: JSON (-f JSON) and text; names as XRT's reports put them.

A rail or sensor that is not fitted is printed as 0 with ``is_present`` false: it is none. Several reports may
be in one text, in any order. Not here: legacy ``xbutil query`` and ``dump``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.json_text import find_json, listing, looks_like_json, mapping, word
from ullage_agent.backends.printed import address, celsius, number, said, watts, whole
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_DEVICE: Final = re.compile(r"^\s*(?:\d+/\d+\s+)?\[([0-9a-fA-F:.]{7,})\]\s*:\s*(\S.*?)\s*$")
_PAIR: Final = re.compile(r"^\s*([A-Za-z0-9][\w .()/-]*?)\s*:\s(.*)$")
_GENERATION: Final = re.compile(r"Gen\s*(\d+)x(\d+)")
_SPEEDS: Final = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5}
_MEMORY_TYPES: Final = ("ddr", "dram", "hbm")


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not one of these tools'."""
    if looks_like_json(text) and not any(_DEVICE.match(line) for line in text.splitlines()):
        return _json(mapping(find_json(text, "xbutil examine")))
    return _text(text)


# ---- JSON


def _json(document: Mapping[str, Any]) -> Decoded:
    entries = [mapping(entry) for entry in listing(document.get("devices"))]
    host = mapping(mapping(document.get("system")).get("host"))
    listed = [mapping(entry) for entry in listing(host.get("devices"))]
    if not entries and not listed:
        raise BadInput("this JSON is not xbutil's: it has neither devices nor system.host.devices")
    names = {address(word(entry.get("bdf"))): said(word(entry.get("vbnv"))) for entry in listed}
    cards = [_device(n, entry, names) for n, entry in enumerate(entries)]
    seen = {card.pci_address for card in cards}
    for entry in listed:
        place = address(word(entry.get("bdf")))
        if place not in seen:
            ready = {"ready": said(word(entry.get("is_ready")))}
            cards.append(
                DecodedCard(len(cards), model=said(word(entry.get("vbnv"))), pci_address=place, extra=ready)
            )
    return Decoded("alveo", "xbutil examine", "json", _driver(host), cards)


def _driver(host: Mapping[str, Any]) -> str | None:
    """xocl's version: "2.14.384, 090bb050d570d2b668477c3bd0f979dc3a34b9db"."""
    for entry in map(mapping, listing(mapping(host.get("xrt")).get("drivers"))):
        if entry.get("name") in ("xocl", "xclmgmt"):
            version = said(word(entry.get("version")))
            if version is not None:
                return version.split(",")[0].strip()
    return None


def _device(index: int, entry: Mapping[str, Any], names: Mapping[str | None, str | None]) -> DecodedCard:
    place = address(word(entry.get("device_id")) or word(entry.get("bdf")))
    platform = mapping(next(iter(listing(entry.get("platforms"))), None))
    region, board = mapping(platform.get("static_region")), mapping(platform.get("off_chip_board_info"))
    controller = mapping(platform.get("controller"))
    electrical, pcie = mapping(entry.get("electrical")), mapping(entry.get("pcie_info"))
    used, total, corrected, uncorrected = _memory(entry)
    heat = dict(_thermals(entry))
    rails = {str(rail.get("id")): rail for rail in map(mapping, listing(electrical.get("power_rails")))}
    core = mapping(rails.get("vccint"))
    values: dict[str, Value | None] = {
        "power_watts": watts(word(electrical.get("power_consumption_watts"))),
        "power_limit_watts": watts(word(electrical.get("power_consumption_max_watts"))),
        "voltage_volts": _present(core, "voltage", "volts"),
        "current_amperes": _present(core, "current", "amps"),
        "temperature_celsius": next((t for name, t in heat.items() if name in ("fpga0", "fpga")), None),
        "memory_temperature_celsius": max((t for name, t in heat.items() if "hbm" in name or "dimm" in name), default=None),
        "board_temperature_celsius": max((t for name, t in heat.items() if name.startswith("pcb")), default=None),
        "fan_rpm": _fan(entry),
        "memory_used_bytes": used,
        "memory_total_bytes": total if total else whole(word(board.get("ddr_size_bytes"))) or None,
        "ecc_corrected": corrected,
        "ecc_uncorrected": uncorrected,
        "pcie_generation": _link(pcie.get("link_speed_gbit_sec")),
        "pcie_generation_max": _link(pcie.get("expected_link_speed_gbit_sec")),
        "pcie_width": whole(word(pcie.get("express_lane_width_count"))) or None,
        "pcie_width_max": whole(word(pcie.get("expected_express_lane_width_count"))) or None,
        "clock_core_hertz": _clock(platform),
    }  # fmt: skip
    _health(entry, values)
    serial = said(word(mapping(controller.get("card_mgmt_controller")).get("serial_number")))
    extra: dict[str, Any] = {
        "shell": said(word(region.get("vbnv"))),
        "fpga": said(word(region.get("fpga_name"))),
        "logic_uuid": said(word(region.get("logic_uuid"))),
        "firmware": said(word(mapping(controller.get("satellite_controller")).get("version"))),
        "xclbin_uuid": said(word(_find(entry, "xclbin_uuid"))),
        "power_warning": said(word(electrical.get("power_consumption_warning"))),
    }
    return DecodedCard(
        index=index,
        model=extra["shell"] or names.get(place),
        serial=serial,
        pci_address=place,
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _health(entry: Mapping[str, Any], values: dict[str, Value | None]) -> None:
    """device_status, and a tripped AXI firewall: level 0 is none."""
    status = said(word(entry.get("device_status")))
    firewall = mapping(entry.get("firewall"))
    level = whole(word(firewall.get("firewall_level")))
    if status is not None:
        values["health_detail"] = status
        values["health"] = "ok" if status.upper() == "HEALTHY" else "degraded"
    if level:
        name = said(word(firewall.get("firewall_level_name"))) or f"firewall level {level}"
        values["health"], values["health_detail"] = (
            "critical",
            f"{name} {word(firewall.get('firewall_status')) or ''}".strip(),
        )


def _memory(entry: Mapping[str, Any]) -> tuple[int | None, int | None, int | None, int | None]:
    """(used, total, ECC corrected, uncorrected) over device memories in use; host and on-chip ones left out."""
    memories = [
        memory
        for memory in map(mapping, listing(_find(entry, "memories")))
        if any(kind in str(memory.get("type", "")).lower() for kind in _MEMORY_TYPES)
        and str(memory.get("enabled", "true")).lower() != "false"
    ]
    if not memories:
        return None, None, None, None
    used = [_find(memory, "allocated_bytes") for memory in memories]
    counts = [mapping(mapping(_find(memory, "ecc")).get("error")) for memory in memories]
    corrected = [whole(word(mapping(c.get("correctable")).get("count"))) for c in counts if c]
    uncorrected = [whole(word(mapping(c.get("uncorrectable")).get("count"))) for c in counts if c]
    return (
        _total([whole(word(v)) for v in used]),
        _total([whole(word(memory.get("range_bytes"))) for memory in memories]),
        _total(corrected) if corrected else None,
        _total(uncorrected) if uncorrected else None,
    )


def _total(found: Sequence[int | None]) -> int | None:
    """The sum; None when one of them is not known."""
    return (
        None if not found or any(value is None for value in found) else sum(v for v in found if v is not None)
    )


def _thermals(entry: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    thermals = entry.get("thermals")
    for sensor in map(mapping, listing(mapping(thermals).get("thermals")) or listing(thermals)):
        found = celsius(word(sensor.get("temp_C")))
        if found is not None and found != 0 and str(sensor.get("is_present", "true")).lower() == "true":
            yield (word(sensor.get("location_id")) or word(sensor.get("description")) or "").lower(), found


def _fan(entry: Mapping[str, Any]) -> float | None:
    for fan in map(mapping, listing(_find(entry, "fans"))):
        if str(fan.get("is_present", "")).lower() in ("true", "p", "present"):
            return number(word(fan.get("speed_rpm")))
    return None


def _clock(platform: Mapping[str, Any]) -> float | None:
    """The first kernel clock."""
    for clock in map(mapping, listing(_find(platform, "clocks"))):
        if str(clock.get("description", "")).lower() in ("data", "kernel"):
            found = number(word(clock.get("freq_mhz")))
            return found * 1e6 if found else None
    return None


def _present(rail: Mapping[str, Any], what: str, unit: str) -> float | None:
    reading = mapping(rail.get(what))
    return number(word(reading.get(unit))) if str(reading.get("is_present", "")).lower() == "true" else None


def _link(value: Any) -> int | None:
    """XRT prints the generation in this field on most cards, the speed in GT/s on others."""
    found = number(word(value))
    if found is None or found <= 0:
        return None
    return _SPEEDS.get(found, int(found) if found in (1, 2, 3, 4, 6) else None)


def _find(value: Any, name: str, depth: int = 8) -> Any:
    """The first value under a name, at any depth; lists under ``clocks`` may stand under another ``clocks``."""
    if depth == 0:
        return None
    if isinstance(value, dict):
        found = value.get(name)
        if found is not None and not (isinstance(found, dict) and name in found):
            return found
        children: Sequence[Any] = list(value.values())
    else:
        children = listing(value)
    return next((hit for child in children if (hit := _find(child, name, depth - 1)) is not None), None)


# ---- text


def _text(text: str) -> Decoded:
    """``[0000:65:00.1] : xilinx_u50_...`` and the reports below it, as ``Name : value``."""
    places: dict[str, DecodedCard] = {}
    pairs: dict[str, dict[str, str]] = {}
    host: dict[str, str] = {}
    current: str | None = None
    for line in text.splitlines():
        device = _DEVICE.match(line)
        if device and (place := address(device[1])):
            current = place
            places.setdefault(place, DecodedCard(len(places), model=device[2].split()[0], pci_address=place))
            continue
        pair = _PAIR.match(line)
        if pair:
            target = host if current is None else pairs.setdefault(current, {})
            target.setdefault(pair[1].strip().lower(), pair[2].strip())
    if not places:
        raise BadInput("this text is no output of xbutil examine: no line like [0000:65:00.1] : SHELL")
    cards = [_text_card(card, pairs.get(place, {})) for place, card in places.items()]
    version = said(host.get("xocl") or host.get("xclmgmt"))
    return Decoded("alveo", "xbutil examine", "text", version.split(",")[0] if version else None, cards)


def _text_card(card: DecodedCard, found: Mapping[str, str]) -> DecodedCard:
    link = _GENERATION.search(found.get("pcie", ""))
    values: dict[str, Value | None] = {
        "power_watts": watts(found.get("power")),
        "power_limit_watts": watts(found.get("max power")),
        "temperature_celsius": celsius(found.get("fpga") or found.get("temperature")) or None,
        "board_temperature_celsius": celsius(found.get("pcb top front")) or None,
        "memory_temperature_celsius": celsius(found.get("fpga hbm")) or None,
        "memory_total_bytes": whole(found.get("ddr size")) or None,
        "pcie_generation": int(link[1]) if link else None,
        "pcie_width": int(link[2]) if link else None,
    }
    return DecodedCard(
        index=card.index,
        model=said(found.get("xsa name")) or card.model,
        serial=said(found.get("serial number") or found.get("serial num")),
        pci_address=card.pci_address,
        values={key: value for key, value in values.items() if value is not None},
        extra={"fpga": said(found.get("fpga name"))} if said(found.get("fpga name")) else {},
    )
