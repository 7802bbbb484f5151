"""Compares what a decoder found in a recorded tool output with what a human reader wrote down.

One recording is ``NAME.txt`` (raw text) and ``NAME.expected.json`` (what a reader finds in it). The
expected files speak two dialects (``memory_used_mib|utilization_pct|name`` and
``memory_used_bytes|util_pct|model``); this module is the one place where their names meet ours.

How a ``Decoded`` must look to match:

cards[] <-> ``Decoded.cards``, matched by order when the indexes agree, else by index. For one expected
  name the value may stand in any of the places listed in ``CARD`` (an attribute of ``DecodedCard``
  such as ``.model``, or a catalogue key in ``values``, converted by the given factor), else in
  ``DecodedCard.extra`` under exactly the expected name. ``extra`` of an expected card is read as if its
  keys stood on the card itself: ``extra: {"pcie_gen": 5}`` matches ``values["pcie_generation"] == 5``,
  ``extra: {"board": 0}`` matches ``DecodedCard.extra["board"] == 0``.
null means our value must be absent or None in *all* of these places. 0 means 0.
health <-> ``values["health_detail"]``: the tool's own word. ``values["health"]`` (our word) is not compared.
power_w <-> ``power_instant_watts`` or ``power_watts``, either; power_average_w <-> ``power_watts``.
throttle_reasons <-> ``values["throttle_reasons"]`` (our bit set; [] is 0, null is absent).
partition_mode <-> ``DecodedCard.partition_mode``; the tools' "disabled" is our "none".
processes <-> ``DecodedCard.processes`` by pid, each expected key under its own name or as ``PROCESS`` says;
  [] is (), null is None. A top-level ``processes`` list names the card by ``card`` (its index).
mig, mig_devices <-> ``DecodedCard.slices`` in order: keys of the slice itself, or ``slice["values"]``.
gpus[], chips[] <-> ``Decoded.cards``, like cards. links (a list) <-> ``DecodedCard.extra["links"]``.
samples[], rows[] <-> ``Decoded.samples`` in order: flat rows with catalogue keys, ``index``, ``time``,
  ``pid``, ``command``; first_sample is its first rows. ``samples: 5`` <-> ``Decoded.extra["samples"]``.
ports[], links[] (top level) <-> ``Decoded.ports`` by (device, port): flat rows with catalogue port keys,
  ``device``, ``port``, ``netdev``, ``link_layer``, ``hca_type``, ``firmware_version``; ``errors`` and ``hw``
  are read as if their keys stood on the port. A recording of a single port gives them at top level.
events, first_event, incidents, xid, sxid <-> ``Decoded.events``: code, time (``t`` is
  ``attributes["uptime_seconds"]``), attributes ``pci_address, pid, process, gpu_uuid, board_serial,
  link, fatal, switch, lines`` (log lines of one burst), ``channels`` (comma-separated).
Any other top-level name <-> ``Decoded.extra`` under exactly that name (lists and tables compared as
  deep as the expected one goes).
Not compared: kind, tool, note, quality, reading, power_w_note, last_xid (remarks and what is known from
  elsewhere). ``format`` is compared by its first word.
Numbers: half of the last decimal the expected file prints ("6.438" allows 0.0005), otherwise 1e-6 of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ullage_agent.backend import Decoded, DecodedCard
from ullage_contract.catalogue import THROTTLE_REASONS
from ullage_contract.errors import BadInput
from ullage_contract.identity import pci_address

REMARKS = frozenset({"kind", "tool", "note", "quality", "reading", "power_w_note", "last_xid"})
"""Expected names that are about the recording, not in it."""

_MIB = float(1 << 20)
_GIB = float(1 << 30)

CARD: Mapping[str, tuple[tuple[str, float], ...]] = {
    # expected name -> places, best first; the factor turns our unit into the expected one
    "index": ((".index", 1),),
    "gpu": ((".index", 1),),
    "name": ((".model", 1),),
    "model": ((".model", 1),),
    "product_name": ((".model", 1),),
    "type": ((".model", 1),),
    "uuid": ((".uuid", 1),),
    "serial": ((".serial", 1),),
    "pci_bdf": ((".pci_address", 1),),
    "board_id": ((".board_id", 1),),
    "chip_id": ((".chip", 1),),
    "partition_mode": ((".partition_mode", 1),),
    "utilization_pct": (("utilization_ratio", 100),),
    "util_pct": (("utilization_ratio", 100),),
    "duty_cycle_pct": (("utilization_ratio", 100),),
    "sm_pct": (("utilization_ratio", 100), ("process_utilization_ratio", 100), ("sm_active_ratio", 100)),
    "mem_pct": (("memory_bandwidth_ratio", 100),),
    "memory_activity_pct": (("memory_bandwidth_ratio", 100),),
    "memory_utilization_pct": (("memory_bandwidth_ratio", 100), ("memory_ratio", 100)),
    "memory_util_pct": (("memory_ratio", 100), ("memory_bandwidth_ratio", 100)),
    "memory_used_bytes": (("memory_used_bytes", 1),),
    "memory_total_bytes": (("memory_total_bytes", 1),),
    "memory_reserved_bytes": (("memory_reserved_bytes", 1),),
    "memory_used_mib": (("memory_used_bytes", 1 / _MIB),),
    "memory_total_mib": (("memory_total_bytes", 1 / _MIB),),
    "memory_reserved_mib": (("memory_reserved_bytes", 1 / _MIB),),
    "memory_used_gib": (("memory_used_bytes", 1 / _GIB),),
    "memory_total_gib": (("memory_total_bytes", 1 / _GIB),),
    "memory_gb": (("memory_total_bytes", 1 / _GIB), ("memory_total_bytes", 1e-9)),
    "gtt_used_bytes": (("memory_host_used_bytes", 1),),
    "power_w": (("power_instant_watts", 1), ("power_watts", 1)),
    "power_average_w": (("power_watts", 1),),
    "power_limit_w": (("power_limit_watts", 1),),
    "power_cap_w": (("power_limit_watts", 1),),
    "memory_power_w": (("memory_power_watts", 1),),
    "voltage_v": (("voltage_volts", 1),),
    "current_a": (("current_amperes", 1),),
    "temperature_c": (("temperature_celsius", 1),),
    "memory_temperature_c": (("memory_temperature_celsius", 1),),
    "hotspot_temperature_c": (("hotspot_temperature_celsius", 1),),
    "tlimit_margin_c": (("temperature_margin_celsius", 1),),
    "thermal_throttle_c": (("temperature_limit_celsius", 1),),
    "fan_pct": (("fan_ratio", 100),),
    "clock_core_mhz": (("clock_core_hertz", 1e-6),),
    "clock_mhz": (("clock_core_hertz", 1e-6),),
    "clock_core_max_mhz": (("clock_core_max_hertz", 1e-6),),
    "gfx_max_mhz": (("clock_core_max_hertz", 1e-6),),
    "core_clock_rate_mhz": (("clock_core_max_hertz", 1e-6),),
    "clock_memory_mhz": (("clock_memory_hertz", 1e-6),),
    "mem_clock_mhz": (("clock_memory_hertz", 1e-6),),
    "sw_power_cap_us": (("throttle_power_seconds", 1e6),),
    "pstate": (("performance_state", 1),),
    "pcie_gen": (("pcie_generation", 1), ("pcie_generation_max", 1)),
    "pcie_width": (("pcie_width", 1),),
    "pcie_width_max": (("pcie_width_max", 1),),
    "pcie_max_width": (("pcie_width_max", 1),),
    "pcie_replays": (("pcie_replays", 1),),
    "pcie_replay_count": (("pcie_replays", 1),),
    "aer_correctable_total": (("pcie_aer_correctable", 1),),
    "aer_nonfatal_total": (("pcie_aer_nonfatal", 1),),
    "aer_fatal_total": (("pcie_aer_fatal", 1),),
    "links_active": (("links_active", 1),),
    "links_total": (("links_total", 1),),
    "ecc_corrected": (("ecc_corrected", 1),),
    "ecc_uncorrected": (("ecc_uncorrected", 1),),
    "uncorrectable_events": (("ecc_uncorrected", 1),),
    "remap_pending": (("remap_pending", 1),),
    "remap_failure": (("remap_failure", 1),),
    "recovery_action": (("recovery_action", 1),),
    "action": (("recovery_action", 1),),
    "reset_required": (("reset_required", 1),),
    "health": (("health_detail", 1),),
    "command": ((".command", 1),),
    "pid": ((".pid", 1),),
    "t": ((".time", 1),),
}

PROCESS: Mapping[str, tuple[tuple[str, float], ...]] = {
    "memory_used_bytes": (("memory_used_bytes", 1),),
    "memory_used_mib": (("memory_used_bytes", 1 / _MIB),),
    "vram_bytes": (("memory_used_bytes", 1),),
    "name": (("command", 1),),
    "card": (("index", 1),),
}

PORT: Mapping[str, tuple[tuple[str, float], ...]] = {
    "phys_state": (("physical_state", 1),),
    "rate_gbps": (("rate_bits_per_second", 1e-9),),
    "fw_ver": (("firmware_version", 1),),
    "tx_bytes": (("xmit_data_bytes", 1),),
    "rx_bytes": (("rcv_data_bytes", 1),),
    "tx_bytes_port": (("xmit_data_bytes", 1),),
    "rx_bytes_port": (("rcv_data_bytes", 1),),
    "tx_packets": (("xmit_packets", 1),),
    "rx_packets": (("rcv_packets", 1),),
    "symbol_error": (("symbol_errors", 1),),
    "link_error_recovery": (("link_error_recoveries", 1),),
    "port_rcv_errors": (("rcv_errors", 1),),
    "port_rcv_remote_physical_errors": (("rcv_remote_physical_errors", 1),),
    "port_rcv_switch_relay_errors": (("rcv_switch_relay_errors", 1),),
    "port_rcv_constraint_errors": (("rcv_constraint_errors", 1),),
    "port_xmit_discards": (("xmit_discards", 1),),
    "port_xmit_constraint_errors": (("xmit_constraint_errors", 1),),
    "port_xmit_wait": (("xmit_wait", 1),),
    "VL15_dropped": (("vl15_dropped", 1),),
    "cnp_tx": (("np_cnp_sent", 1),),
    "cnp_rx": (("rp_cnp_handled", 1),),
    "ecn_rx": (("np_ecn_marked_roce_packets", 1),),
    "req_rx_pkt_seq_err": (("packet_seq_err", 1),),
    "resp_rx_outof_buf": (("out_of_buffer", 1),),
    "rx_pause": (("rx_pause_frames", 1),),
    "tx_pause": (("tx_pause_frames", 1),),
    "rx_pfc_frames": (("lossless_rx_pause_frames", 1), ("rx_pfc_frames", 1)),
    "tx_pfc_frames": (("lossless_tx_pause_frames", 1), ("tx_pfc_frames", 1)),
    "rx_bad_fcs": (("rx_crc_errors_phy", 1),),
    "rx_dropped": (("rx_discards_phy", 1),),
    "prio3_rx_pause_us": (("lossless_rx_pause_seconds", 1e6),),
    "prio3_tx_pause_us": (("lossless_tx_pause_seconds", 1e6),),
}

WORDS: Mapping[str, str] = {
    # the tools' words for what our catalogue names otherwise, after lower-casing
    "disabled": "none",
    "linkup": "link_up",
    "gpu_idle": "idle",
    "sw_power_cap": "software_power_cap",
    "sw_thermal_slowdown": "software_thermal",
    "hw_slowdown": "hardware_slowdown",
    "hw_thermal_slowdown": "hardware_thermal",
    "hw_power_brake_slowdown": "hardware_power_brake",
    "applications_clocks_setting": "application_clocks",
    "display_clocks_setting": "display_clocks",
}

_ABSENT = object()


@dataclass(slots=True)
class Comparison:
    """fields: leaves of the expected file that were compared. wrong: how many of them differ.

    differences: one line for each that differs, or for a place that is not there with all below it.
    """

    fields: int = 0
    wrong: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def right(self) -> int:
        return self.fields - self.wrong

    def differs(self, line: str, count: int = 1) -> None:
        """``count`` fields are wrong, for the reason ``line``."""
        self.wrong += count
        self.differences.append(line)

    def leaf(self, path: str, expected: Any, candidates: Sequence[Any]) -> None:
        """One field: right when any candidate equals ``expected``; for null, when all are absent."""
        self.fields += 1
        present = [c for c in candidates if c is not _ABSENT and c is not None]
        if expected is None:
            if present:
                self.differs(f"{path}: the text does not say, we say {present[0]!r}")
        elif not any(_same(expected, c) for c in present):
            ours = present[0] if present else None
            self.differs(f"{path}: expected {expected!r}, we say {ours!r}")

    def missing(self, path: str, expected: Any) -> None:
        """Everything below ``expected`` is wrong because its place is not there; null leaves count as wrong too."""
        count = max(1, sum(1 for _ in _leaves(expected)))
        self.fields += count
        self.differs(f"{path}: not found ({count} fields)", count)


def compare(expected: Mapping[str, Any], decoded: Decoded, text: str | None = None) -> Comparison:
    """Every leaf of ``expected`` against ``decoded``; see the module's text for what meets what.

    text: the recording; a top-level ``device`` or ``netdev`` that does not stand in it was known to the
    reader from the command line and is not compared.
    """
    result = Comparison()
    single_port = decoded.ports[0] if len(decoded.ports) == 1 else None
    for name, value in expected.items():
        if name in REMARKS:
            continue
        if name in ("device", "netdev") and text is not None and str(value) not in text:
            continue
        if name == "driver_version":
            result.leaf(name, value, [decoded.driver_version])
        elif name == "format":
            result.leaf(name, value.split()[0], [decoded.format])
        elif name == "card_count":
            result.leaf(name, value, [len(decoded.cards)])
        elif name == "port_count":
            result.leaf(name, value, [len(decoded.ports)])
        elif name in ("cards", "gpus", "chips"):
            _cards(result, name, value, decoded.cards)
        elif name == "processes":
            _processes_of_all(result, value, decoded.cards)
        elif name in ("ports", "links"):
            _ports(result, name, value, decoded.ports)
        elif name in ("rows", "first_sample") or (name == "samples" and isinstance(value, list)):
            _samples(result, name, value, decoded.samples)
        elif name in _EVENT_FIELDS:
            _EVENT_FIELDS[name](result, name, value, decoded)
        elif single_port is not None and name not in decoded.extra:
            _port_field(result, name, value, single_port)
        else:
            _deep(result, name, value, decoded.extra.get(name, _ABSENT))
    return result


# ---- cards


def _cards(
    result: Comparison, path: str, expected: Sequence[Mapping[str, Any]], ours: Sequence[DecodedCard]
) -> None:
    same_order = len(expected) == len(ours) and all(
        "index" not in e or e["index"] == c.index for e, c in zip(expected, ours, strict=True)
    )
    by_index = {card.index: card for card in ours}
    for position, card in enumerate(expected):
        place = f"{path}[{position}]"
        found = ours[position] if same_order else by_index.get(card.get("index"))
        if found is None:
            result.missing(place, card)
            continue
        for name, value in {**card, **card.get("extra", {})}.items():
            if name not in REMARKS and name != "extra":
                _card_field(result, f"{place}.{name}", name, value, found)


def _card_field(result: Comparison, path: str, name: str, value: Any, card: DecodedCard) -> None:
    if name == "processes":
        _processes(result, path, value, card.processes)
    elif name in ("mig", "mig_devices"):
        _slices(result, path, value, card)
    elif name == "throttle_reasons":
        _throttle(result, path, value, card.values.get("throttle_reasons"))
    elif name == "pid":
        result.leaf(path, value, [p.get("pid") for p in card.processes or ()] + [card.extra.get("pid")])
    else:
        candidates = [_place(card, place, factor) for place, factor in CARD.get(name, ())]
        extra = card.extra.get(name, _ABSENT)
        if isinstance(value, list | dict) and not candidates:
            _deep(result, path, value, extra)
        else:
            result.leaf(path, value, [*candidates, extra])


def _place(card: DecodedCard, place: str, factor: float) -> Any:
    if place.startswith("."):
        return getattr(card, place[1:], None)
    return _scaled(card.values.get(place), factor)


def _throttle(result: Comparison, path: str, expected: Sequence[str] | None, ours: Any) -> None:
    if expected is None:
        result.leaf(path, None, [ours])
        return
    words = sorted(WORDS.get(word.lower(), word.lower()) for word in expected)
    mine = (
        sorted(word for bit, word in enumerate(THROTTLE_REASONS) if int(ours) >> bit & 1)
        if isinstance(ours, int)
        else None
    )
    result.fields += 1
    if mine != words:
        result.differs(f"{path}: expected {words}, we say {mine}")


def _processes(
    result: Comparison,
    path: str,
    expected: Sequence[Mapping[str, Any]] | None,
    ours: Sequence[Mapping[str, Any]] | None,
) -> None:
    if expected is None:
        result.leaf(path, None, [None if ours is None else list(ours)])
        return
    result.fields += 1
    if ours is None or len(ours) != len(expected):
        result.differs(
            f"{path}: expected {len(expected)} processes, we say {None if ours is None else len(ours)}"
        )
    by_pid = {p.get("pid"): p for p in ours or ()}
    for position, process in enumerate(expected):
        found = by_pid.get(process.get("pid"))
        if found is None:
            result.missing(f"{path}[{position}]", process)
        else:
            _row(result, f"{path}[{position}]", process, found, PROCESS)


def _processes_of_all(
    result: Comparison, expected: Sequence[Mapping[str, Any]], ours: Sequence[DecodedCard]
) -> None:
    for position, process in enumerate(expected):
        path = f"processes[{position}]"
        found = next(
            (
                {"card": card.index, **p}
                for card in ours
                for p in card.processes or ()
                if p.get("pid") == process.get("pid") and card.index == process.get("card", card.index)
            ),
            None,
        )
        if found is None:
            result.missing(path, process)
        else:
            _row(result, path, process, found, PROCESS)


def _slices(result: Comparison, path: str, expected: Sequence[Mapping[str, Any]], card: DecodedCard) -> None:
    result.fields += 1
    if len(card.slices) != len(expected):
        result.differs(f"{path}: expected {len(expected)} slices, we say {len(card.slices)}")
    for position, (want, have) in enumerate(zip(expected, card.slices, strict=False)):
        flat = {**have.get("values", {}), **{k: v for k, v in have.items() if k != "values"}}
        names = {**CARD, "dev": (("device", 1),), "device": (("device", 1),), "index": (("device", 1),)}
        _row(result, f"{path}[{position}]", want, flat, names)


# ---- ports and samples


def _ports(
    result: Comparison,
    path: str,
    expected: Sequence[Mapping[str, Any]],
    ours: Sequence[Mapping[str, Any]],
) -> None:
    by_name = {(port.get("device"), port.get("port")): port for port in ours}
    for position, port in enumerate(expected):
        place = f"{path}[{position}]"
        found = by_name.get((port.get("device"), port.get("port")))
        if found is None:
            result.missing(place, port)
            continue
        for name, value in port.items():
            _port_field(result, name, value, found, place + ".")


def _port_field(result: Comparison, name: str, value: Any, port: Mapping[str, Any], prefix: str = "") -> None:
    if name in ("errors", "hw") and isinstance(value, Mapping):
        _row(result, f"{prefix}{name}", value, port, PORT)
    else:
        _row(result, prefix.rstrip("."), {name: value}, port, PORT)


def _samples(
    result: Comparison,
    path: str,
    expected: Sequence[Mapping[str, Any]],
    ours: Sequence[Mapping[str, Any]],
) -> None:
    if path != "first_sample":
        result.leaf(f"{path} (count)", len(expected), [len(ours)])
    for position, row in enumerate(expected):
        if position >= len(ours):
            result.missing(f"{path}[{position}]", row)
        else:
            _row(result, f"{path}[{position}]", row, ours[position], CARD)


def _row(
    result: Comparison,
    path: str,
    expected: Mapping[str, Any],
    ours: Mapping[str, Any],
    names: Mapping[str, tuple[tuple[str, float], ...]],
) -> None:
    for name, value in expected.items():
        if name in REMARKS:
            continue
        candidates = [_scaled(ours.get(key.lstrip(".")), factor) for key, factor in names.get(name, ())]
        own = ours.get(name, _ABSENT) if not any(c is not None for c in candidates) else _ABSENT
        if isinstance(value, list | dict) and not candidates:
            _deep(result, f"{path}.{name}".lstrip("."), value, own)
        else:
            result.leaf(f"{path}.{name}".lstrip("."), value, [*candidates, own])


# ---- kernel log


def _event_row(event: Any) -> dict[str, Any]:
    attributes = event.attributes
    return {
        "time": event.time,
        "t": attributes.get("uptime_seconds"),
        "xid": event.code if event.kind == "xid" else None,
        "sxid": event.code if event.kind == "sxid" else None,
        "pci": attributes.get("pci_address"),
        "pid": attributes.get("pid"),
        "process": attributes.get("process"),
        "gpu_uuid": attributes.get("gpu_uuid"),
        "board_serial": attributes.get("board_serial"),
        "lines": attributes.get("lines", 1),
        "channels": [c for c in str(attributes.get("channels", "")).split(",") if c],
        "link": attributes.get("link"),
        "switch": attributes.get("switch"),
        "fatal": attributes.get("fatal"),
    }


def _events_of(decoded: Decoded, kind: str) -> list[dict[str, Any]]:
    return [_event_row(event) for event in decoded.events if event.kind == kind]


def _event_rows(
    result: Comparison, path: str, expected: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> None:
    result.leaf(f"{path} (count)", len(expected), [len(rows)])
    for position, want in enumerate(expected):
        if position >= len(rows):
            result.missing(f"{path}[{position}]", want)
            continue
        for name, value in want.items():
            ours = rows[position].get(name)
            if isinstance(value, list):
                _deep(result, f"{path}[{position}].{name}", value, ours)
            else:
                result.leaf(f"{path}[{position}].{name}", value, [ours])


def _event_summary(result: Comparison, path: str, expected: Mapping[str, Any], decoded: Decoded) -> None:
    rows = _events_of(decoded, "xid")
    by_xid: dict[str, int] = {}
    for row in rows:
        by_xid[str(row["xid"])] = by_xid.get(str(row["xid"]), 0) + int(row["lines"])
    summary = {
        "total_xid_lines": sum(by_xid.values()),
        "by_xid": by_xid,
        "devices": sorted({row["pci"] for row in rows}),
    }
    _deep(result, path, expected, summary)


_EVENT_FIELDS: Mapping[str, Callable[[Comparison, str, Any, Decoded], None]] = {
    "events": _event_summary,
    "first_event": lambda r, p, e, d: _event_rows(r, p, [e], _events_of(d, "xid")[:1]),
    "incidents": lambda r, p, e, d: _event_rows(r, p, e, _events_of(d, "xid")),
    "xid": lambda r, p, e, d: _event_rows(r, p, e, _events_of(d, "xid")),
    "sxid": lambda r, p, e, d: _event_rows(r, p, e, _events_of(d, "sxid")),
    "xid_lines": lambda r, p, e, d: r.leaf(p, e, [sum(int(x["lines"]) for x in _events_of(d, "xid"))]),
}


# ---- values


def _deep(result: Comparison, path: str, expected: Any, ours: Any) -> None:
    if isinstance(expected, Mapping):
        if not isinstance(ours, Mapping):
            result.missing(path, expected)
            return
        for name, value in expected.items():
            if name not in REMARKS:
                _deep(result, f"{path}.{name}", value, ours.get(name, _ABSENT))
    elif isinstance(expected, list):
        ours_list = list(ours) if isinstance(ours, Sequence) and not isinstance(ours, str) else None
        result.leaf(f"{path} (count)", len(expected), [None if ours_list is None else len(ours_list)])
        for position, value in enumerate(expected):
            if ours_list is None or position >= len(ours_list):
                result.missing(f"{path}[{position}]", value)
            else:
                _deep(result, f"{path}[{position}]", value, ours_list[position])
    else:
        result.leaf(path, expected, [ours])


def _leaves(expected: Any) -> Iterator[Any]:
    if isinstance(expected, Mapping):
        for name, value in expected.items():
            if name not in REMARKS:
                yield from _leaves(value)
    elif isinstance(expected, list):
        for value in expected:
            yield from _leaves(value)
    else:
        yield expected


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and factor != 1:
        return value * factor
    return value


def _same(expected: Any, ours: Any) -> bool:
    if isinstance(expected, bool):
        return ours in (expected, int(expected)) and not isinstance(ours, str)
    if isinstance(expected, int | float):
        if isinstance(ours, str):
            return ours == str(expected)
        if not isinstance(ours, int | float):
            return False
        return math.isclose(ours, expected, rel_tol=1e-6, abs_tol=_half_of_last_decimal(expected))
    if isinstance(expected, str):
        return _same_text(expected, ours)
    return bool(expected == ours)


def _half_of_last_decimal(number: float) -> float:
    text = repr(number)
    if "." not in text or text.endswith(".0") or "e" in text:
        return 1e-6
    return 0.5 * 10.0 ** -len(text.split(".")[1]) + 1e-9


def _same_text(expected: str, ours: Any) -> bool:
    if isinstance(ours, int | float) and not isinstance(ours, bool):
        return _time(expected) == ours or str(ours) == expected
    if not isinstance(ours, str):
        return False
    if expected == ours or _word(expected) == _word(ours):
        return True
    try:
        return pci_address(expected) == pci_address(ours)
    except BadInput:
        return False


def _word(text: str) -> str:
    low = text.strip().lower()
    return WORDS.get(low, low)


def _time(text: str) -> float | None:
    """``Sun Feb 23 16:24:18 2025``, read as UTC because the text names no zone."""
    try:
        return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
