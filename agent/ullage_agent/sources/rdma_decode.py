"""Recorded RDMA tool outputs as ports: sysfs dumps, show_counters, ethtool -S, rdma link, rdma statistic.

Each text is told by its structure, not by a file name. What a text does not say is None. A port is one
flat row: what the tool prints under the tool's names (``state`` is its own word), and beside it every
metric of the catalogue that can be told, under its key and in its unit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ullage_agent.backend import Decoded
from ullage_agent.sources import rdma_counters
from ullage_agent.sources.rdma_port import PHYSICAL_STATES, rate, state_word
from ullage_contract.catalogue import metric
from ullage_contract.counters import maximum
from ullage_contract.errors import BadInput
from ullage_contract.sample import Family, Value

ERRORS: Final = (
    "symbol_error",
    "link_error_recovery",
    "link_downed",
    "port_rcv_errors",
    "port_rcv_remote_physical_errors",
    "port_rcv_switch_relay_errors",
    "port_xmit_discards",
    "port_xmit_constraint_errors",
    "port_rcv_constraint_errors",
    "local_link_integrity_errors",
    "excessive_buffer_overrun_errors",
    "VL15_dropped",
    "port_xmit_wait",
)
"""The classic error files, in the order people read them."""

TRANSPORT: Final = (
    "out_of_buffer",
    "out_of_sequence",
    "packet_seq_err",
    "local_ack_timeout_err",
    "duplicate_request",
    "rnr_nak_retry_err",
    "implied_nak_seq_err",
    "np_cnp_sent",
    "np_ecn_marked_roce_packets",
    "rp_cnp_handled",
    "rp_cnp_ignored",
    "roce_adp_retrans",
    "req_cqe_error",
    "resp_cqe_error",
)
"""The hw_counters every decoded sysfs port names, None where the driver has none."""

_PORT_FILE = re.compile(
    r"^(?:.*/)?(?P<device>[^/:\s]+)/ports/(?P<port>\d+)/(?P<file>[\w/]+):\s?(?P<value>.*)$"
)
_DEVICE_FILE = re.compile(
    r"^(?:.*/)?(?P<device>[^/:\s]+)/(?P<file>fw_ver|hca_type|board_id|node_guid|node_desc|hw_rev|node_type|"
    r"sys_image_guid):\s?(?P<value>.*)$"
)
_SECTION = re.compile(r"^\s*Port (\d+) (?:\w+ )*counters:?\s*$", re.IGNORECASE)
_PAIR = re.compile(r"^\s*([A-Za-z][\w.\-\[\] ]*?):\s*(-?\d+)\s*$")
_LINK = re.compile(r"^\s*(?:link\s+|\d+/\d+:\s+)?(?P<device>[^/\s:]+)/(?P<port>\d+):?\s+(?P<rest>\S+ .*)$")

_ETHTOOL: Final[tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]] = (
    ("tx_bytes_port", (("octets_tx_ok",), ("tx_bytes_phy",), ("tx_total_bytes",))),
    ("rx_bytes_port", (("octets_rx_ok",), ("rx_bytes_phy",), ("rx_total_bytes",))),
    ("rx_pause", (("frames_rx_pause",), ("rx_global_pause",), ("rx_pause_frames",), ("rx_pause_ctrl_phy",))),
    ("tx_pause", (("frames_tx_pause",), ("tx_global_pause",), ("tx_pause_frames",), ("tx_pause_ctrl_phy",))),
    (
        "rx_pfc_frames",
        (("frames_rx_pripause",), ("rx_pfc_frames",), tuple(f"rx_prio{p}_pause" for p in range(8))),
    ),
    (
        "tx_pfc_frames",
        (("frames_tx_pripause",), ("tx_pfc_frames",), tuple(f"tx_prio{p}_pause" for p in range(8))),
    ),
    ("rx_bad_fcs", (("frames_rx_bad_fcs",), ("rx_crc_errors_phy",), ("rx_fcs_err_frames",))),
    ("rx_dropped", (("frames_rx_dropped",), ("rx_discards_phy",), ("rx_stat_discard",))),
)
"""What people ask of a port's Ethernet side: the first alternative of which any name is there is added up."""

_PAUSE_TIME: Final = (
    "{d}_pripause_{p}_1us_count",
    "{d}_prio{p}_pause_duration",
    "pfc_pri{p}_{d}_duration_us",
)


def decode(text: str, *, lossless_priority: int = 3) -> Decoded:
    """Whatever of these tools printed ``text``.

    lossless_priority: which priority's pauses are called lossless (site configuration, usually 3).
    Raises BadInput when it is none of them, or a JSON one that is torn.
    """
    stripped = text.lstrip("\ufeff \t\r\n")
    if not stripped:
        raise BadInput("the text is empty: record the output of a tool, e.g. `rdma link`, first")
    if stripped[0] in "[{":
        return _json(stripped)
    lines = text.splitlines()
    if any("/ports/" in line and _PORT_FILE.match(line) for line in lines):
        return _sysfs(lines)
    if any(_SECTION.match(line) for line in lines):
        return _sections(lines)
    if any(line.strip() == "NIC statistics:" for line in lines):
        return _ethtool(lines, lossless_priority)
    links = list(_links(lines))
    if links:
        return _link_text(links)
    pairs = dict(_pairs(lines))
    if any(name in rdma_counters.HARDWARE or name in rdma_counters.CLASSIC for name in pairs):
        return _sections(["Port 1 hw counters:", *lines], port=None)
    if len(pairs) >= 3:
        return _ethtool(lines, lossless_priority)
    raise BadInput(
        "no RDMA ports found: expected a dump of /sys/class/infiniband (`grep -r . DIR`), show_counters, "
        "`ethtool -S NETDEV`, `rdma link` or `rdma statistic [-j]`"
    )


def _sysfs(lines: Iterable[str]) -> Decoded:
    devices: dict[str, dict[str, str]] = {}
    ports: dict[tuple[str, int], dict[str, str]] = {}
    for line in lines:
        if match := _PORT_FILE.match(line):
            files = ports.setdefault((match["device"], int(match["port"])), {})
            files[match["file"]] = match["value"].strip()
        elif match := _DEVICE_FILE.match(line):
            devices.setdefault(match["device"], {})[match["file"]] = match["value"].strip()
    decoded = [
        _sysfs_port(name, number, files, devices.get(name, {})) for (name, number), files in ports.items()
    ]
    refused = any(rdma_counters.NO_PMA in files.values() for files in ports.values())
    saturated: list[str] = []
    for port in decoded:
        saturated += [name for name in port["saturated"] if name not in saturated]
    notes = []
    if refused:
        notes.append(f"{rdma_counters.NO_PMA!r}: the port has no such counter; it is absent, not 0")
    if saturated:
        notes.append(f"at their maximum and counting no further: {', '.join(saturated)}")
    return Decoded(
        maker="rdma",
        tool="/sys/class/infiniband",
        format="sysfs",
        ports=decoded,
        extra={
            "kind": "rdma_ports",
            "format": "sysfs dump",
            "port_count": len(decoded),
            **({"saturated": saturated} if saturated else {}),
        },
        notes=notes,
    )


def _sysfs_port(
    device: str, number: int, files: Mapping[str, str], about: Mapping[str, str]
) -> dict[str, Any]:
    def counter(name: str) -> int | None:
        return rdma_counters.count(files.get(f"counters/{name}", ""))

    def hardware(name: str) -> int | None:
        return rdma_counters.count(files.get(f"hw_counters/{name}", ""))

    def word(name: str) -> str | None:
        text = files.get(name)
        return None if text is None else (text.partition(":")[2].strip() or text.strip() or None)

    bits, lanes = rate(files.get("rate", ""))
    values = _values(files, number_of=counter, hardware_of=hardware)
    physical = state_word(files.get("phys_state", ""), PHYSICAL_STATES)
    if physical is not None:
        values["physical_state"] = physical
    if bits is not None:
        values["rate_bits_per_second"] = bits
    if lanes is not None:
        values["width_lanes"] = lanes
    errors = {name: counter(name) for name in ERRORS}
    data = {name: counter(name) for name in ("port_xmit_data", "port_rcv_data")}
    return {
        **values,
        "device": device,
        "port": number,
        "state": word("state"),
        "phys_state": word("phys_state"),
        "rate_gbps": None if bits is None else bits / 1e9,
        "link_layer": files.get("link_layer"),
        "hca_type": about.get("hca_type"),
        "fw_ver": about.get("fw_ver"),
        "firmware_version": about.get("fw_ver"),
        "board_id": about.get("board_id"),
        "node_guid": about.get("node_guid"),
        "tx_bytes": _times(data["port_xmit_data"], rdma_counters.WORD_BYTES),
        "rx_bytes": _times(data["port_rcv_data"], rdma_counters.WORD_BYTES),
        "tx_packets": counter("port_xmit_packets"),
        "rx_packets": counter("port_rcv_packets"),
        "errors": errors,
        "hw": {name: hardware(name) for name in TRANSPORT},
        "saturated": [name for name, value in errors.items() if _is_saturated(name, value)],
    }


def _values(files: Mapping[str, str], *, number_of: Any, hardware_of: Any) -> dict[str, Value]:
    values: dict[str, Value] = {}
    saturated: set[str] = set()
    for name, (key, factor) in rdma_counters.CLASSIC.items():
        raw = number_of(name)
        if raw == rdma_counters.SATURATED_32 and key in rdma_counters.EXTENDED_KEYS:
            saturated.add(key)
        elif raw is not None:
            values[key] = raw * factor
    for name, (key, factor) in rdma_counters.EXTENDED.items():
        raw = rdma_counters.count(files.get(f"counters_ext/{name}", ""))
        if raw is not None and key in saturated:
            values[key] = raw * factor
    for name, (key, factor) in rdma_counters.HARDWARE.items():
        raw = hardware_of(name)
        if raw is not None and key not in values:
            values[key] = raw * factor
    return values


def _is_saturated(name: str, value: int | None) -> bool:
    known = metric(Family.PORT, rdma_counters.CLASSIC[name][0])
    return known.saturates and value is not None and value == maximum(known)


def _sections(lines: Iterable[str], port: int | None = 1) -> Decoded:
    """show_counters: ``Port N hw counters:`` and the files below it, one section a port."""
    found: dict[int, dict[str, int]] = {}
    number = 0
    for line in lines:
        if match := _SECTION.match(line):
            number = int(match[1])
            found.setdefault(number, {})
        elif (match := _PAIR.match(line)) and number and match[1] != "lifespan":
            found[number][match[1]] = int(match[2])
    ports = [
        {
            "device": None,
            "port": None if port is None else at,
            "hw": counters,
            **_named(counters),
        }
        for at, counters in found.items()
    ]
    first = ports[0] if len(ports) == 1 else {}
    return Decoded(
        maker="rdma",
        tool="show_counters",
        format="text",
        ports=ports,
        extra={
            "kind": "rdma_hw_counters",
            "tool": "show_counters",
            **{name: first[name] for name in ("device", "port", "hw") if name in first},
        },
        notes=[note for each in ports for note in _reading(each["hw"])],
    )


def _reading(counters: Any) -> Iterator[str]:
    """What stands out, in words, with the numbers it is from."""
    for side in ("req", "resp"):
        errors, flushed = counters.get(f"{side}_cqe_error"), counters.get(f"{side}_cqe_flush_error")
        if errors is not None and flushed is not None and errors > flushed:
            yield f"{side}_cqe_error minus its flushes: {errors - flushed} completions truly in error"
    if counters.get("np_cnp_sent") and counters.get("np_ecn_marked_roce_packets"):
        yield "ECN marks seen and congestion notifications sent: this receiver was congested"
    if counters.get("rp_cnp_ignored"):
        yield f"rp_cnp_ignored {counters['rp_cnp_ignored']}: congestion control is misconfigured"


def _ethtool(lines: Iterable[str], lossless_priority: int) -> Decoded:
    statistics = dict(_pairs(lines))
    if not statistics:
        raise BadInput("`ethtool -S` with no statistics below its heading: the file is torn, record it again")
    extra: dict[str, Any] = {"kind": "ethtool_stats", "netdev": None, "counters_total": len(statistics)}
    for name, alternatives in _ETHTOOL:
        extra[name] = None
        for alternative in alternatives:
            there = [statistics[each] for each in alternative if each in statistics]
            if there:
                extra[name] = sum(there)
                break
    for direction in ("rx", "tx"):
        names = (each.format(d=direction, p=lossless_priority) for each in _PAUSE_TIME)
        extra[f"prio{lossless_priority}_{direction}_pause_us"] = next(
            (statistics[each] for each in names if each in statistics), None
        )
    order = list(statistics)
    sums = rdma_counters.resolve(order, lossless_priority)
    values = rdma_counters.ethernet_values(sums, dict(enumerate(statistics.values())))
    return Decoded(
        maker="rdma",
        tool="ethtool -S",
        format="text",
        ports=[{"device": None, "port": None, "netdev": None, **values}],
        extra=extra,
    )


def _json(text: str) -> Decoded:
    """``rdma link -j`` and ``rdma statistic -j``."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadInput(f"this JSON is torn: {e}; record the output of `rdma -j` again") from e
    entries = content if isinstance(content, list) else [content]
    entries = [entry for entry in entries if isinstance(entry, dict) and "ifname" in entry]
    if not entries:
        raise BadInput(
            "this JSON has no entry with an `ifname`: not the output of `rdma link -j` or `rdma statistic -j`"
        )
    if all("state" in entry for entry in entries):
        return _link_text(
            [(str(e["ifname"]), _integer(e.get("port")), e) for e in entries], tool="rdma link -j"
        )
    ports = []
    for entry in entries:
        counters = {k: v for k, v in entry.items() if k not in ("ifindex", "ifname", "port")}
        ports.append(_statistic(str(entry["ifname"]), _integer(entry.get("port")), counters))
    return _statistics(ports, "rdma statistic -j", "json")


def _link_text(
    links: Iterable[tuple[str, int | None, Mapping[str, Any]]], tool: str = "rdma link"
) -> Decoded:
    """``rdma link``, or ``rdma statistic`` without -j, which has the same shape with counters."""
    found = list(links)
    if not any("state" in pairs for _, _, pairs in found):
        return _statistics([_statistic(*each) for each in found], "rdma statistic", "text")
    ports: list[dict[str, Any]] = []
    for device, number, pairs in found:
        state, physical = pairs.get("state"), pairs.get("physical_state")
        ports.append(
            {
                "device": device,
                "port": number,
                "state": state,
                "phys_state": physical,
                "netdev": pairs.get("netdev"),
            }
        )
    return Decoded(
        maker="rdma",
        tool=tool,
        format="json" if tool.endswith("-j") else "text",
        ports=ports,
        extra={"kind": "rdma_links", "links": ports},
    )


def _statistic(device: str, number: int | None, counters: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {}
    for name, value in counters.items():
        counted = value if isinstance(value, int) and not isinstance(value, bool) else None
        if isinstance(value, str):
            counted = rdma_counters.count(value)
        numbers[name] = counted
    values = _named({name: value for name, value in numbers.items() if value is not None})
    return {
        "device": device,
        "port": number,
        "tx_bytes": values.get("xmit_data_bytes"),
        "rx_bytes": values.get("rcv_data_bytes"),
        "cnp_tx": values.get("np_cnp_sent"),
        "cnp_rx": values.get("rp_cnp_handled"),
        "ecn_rx": values.get("np_ecn_marked_roce_packets"),
        **values,
        **numbers,
    }


def _statistics(ports: list[dict[str, Any]], tool: str, format: str) -> Decoded:
    return Decoded(
        maker="rdma",
        tool=tool,
        format=format,
        ports=ports,
        extra={"kind": "rdma_statistics", "tool": tool},
        notes=[note for port in ports for note in _reading(port)],
    )


def _named(counters: Mapping[str, int]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, value in counters.items():
        key, factor = rdma_counters.HARDWARE.get(name) or rdma_counters.CLASSIC.get(name) or ("", 1)
        if key and key not in values and value >= 0:
            values[key] = value * factor
    return values


def _links(lines: Iterable[str]) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
    """``link DEVICE/PORT name value name value ...``; old iproute2 prints ``1/1: DEVICE/PORT: ...``."""
    for line in lines:
        match = _LINK.match(line)
        if match is None:
            continue
        words = match["rest"].split()
        yield match["device"], int(match["port"]), dict(zip(words[::2], words[1::2], strict=False))


def _pairs(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        if match := _PAIR.match(line):
            yield match[1].strip(), int(match[2])


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _times(value: int | None, factor: int) -> int | None:
    return None if value is None else value * factor
