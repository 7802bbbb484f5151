"""Documents of the commands as text for people: fixed columns, units, a dash for what is not there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ullage_contract import catalogue
from ullage_contract.sample import Family

DASH: Final = "-"
_COLUMNS: Final = (
    ("util", "utilization_ratio", "ratio"),
    ("memory", "memory_used_bytes", "By"),
    ("of", "memory_total_bytes", "By"),
    ("power", "power_watts", "W"),
    ("board power", "board_power_watts", "W"),
    ("temp", "temperature_celsius", "Cel"),
    ("clock", "clock_sm_hertz", "Hz"),
    ("ecc", "ecc_uncorrected", "{error}"),
    ("health", "health", "1"),
)
"""Heading, catalogue key, unit: what one looks at first."""


def once(document: Mapping[str, Any]) -> str:
    """``once``: the cards, the ports, the host, and who could not be read."""
    lines = [
        f"{document['node']['node_id']} (cluster {document['cluster']}), {document['duration_seconds']:.2f} s"
    ]
    cards = document["cards"]
    if cards:
        heads = ["card", "model", *(head for head, _, _ in _COLUMNS)]
        rows = []
        for card in cards:
            simulated = " (simulated)" if card["origin"] == "simulated" else ""
            rows.append([_card_name(card), f"{card.get('model') or DASH}{simulated}", *_cells(card)])
            for part in card["slices"]:
                rows.append([f"  {part.get('profile') or 'slice'}", _tail(part["slice_id"]), *_cells(part)])
        lines += ["", *_table(heads, rows)]
        for card in cards:
            if card["failed"]:
                failed = ", ".join(f"{key} ({reason})" for key, reason in sorted(card["failed"].items()))
                lines.append(f"card {_card_name(card)}: not read: {failed}")
    else:
        lines += ["", "no card:"]
        lines += [
            f"  {name}: {m['why_not'] or m['message'] or 'present'}" for name, m in document["makers"].items()
        ]
    if document["ports"]:
        rows = [
            [
                str(port.get("device") or _tail(port["port_id"]))
                + (" (simulated)" if port["origin"] == "simulated" else ""),
                str(port.get("port") or DASH),
                str(port.get("link_layer") or DASH),
                _value(port["values"].get("state"), "1"),
                _value(port["values"].get("rate_bits_per_second"), "bit/s"),
                _value(port["values"].get("rcv_data_bytes"), "By"),
                _value(port["values"].get("xmit_data_bytes"), "By"),
                str(port.get("netdev") or DASH),
            ]
            for port in document["ports"]
        ]
        lines += [
            "",
            *_table(["device", "port", "layer", "state", "rate", "received", "sent", "netdev"], rows),
        ]
    values = document["node"]["values"]
    units = {key: metric.unit for key, metric in catalogue.keys(Family.NODE).items()}
    shown = [f"{key} {_value(value, units.get(key, '1'))}" for key, value in values.items()]
    lines += ["", "host: " + ", ".join(shown)] if shown else []
    for name, source in document["sources"].items():
        if not source["success"]:
            lines.append(f"{name}: {source['message']}")
    for event in document["events"]:
        lines.append(f"event: {event['severity']} {event['kind']} {event['subject']}: {event['message']}")
    return "\n".join(lines)


def probe(document: Mapping[str, Any]) -> str:
    """``probe``: makers in use first."""
    lines = []
    makers = sorted(document["makers"].items(), key=lambda pair: (not pair[1]["present"], pair[0]))
    for name, maker in makers:
        state = "used" if maker["used"] else "found, not used" if maker["present"] else "not here"
        lines.append(f"{name}: {state}" + (f": {maker['why_not']}" if maker["why_not"] else ""))
        lines += [f"    found {found}" for found in maker["found"]]
        if (
            not maker["present"]
            and maker["tried"]
            and not (maker["why_not"] or "").startswith("none of these")
        ):
            lines += [f"    tried {tried}" for tried in maker["tried"]]
    return "\n".join(lines)


def backends(document: Mapping[str, Any]) -> str:
    """``backends``: what each can do, and what of its description is not so."""
    rows = [
        [
            b["name"],
            b["title"],
            "yes" if b["reads"] else DASH,
            "yes" if b["decodes"] else DASH,
            "yes" if b["kernel_log"] else DASH,
            str(len(b["sources"])),
            b["util_kind"] or DASH,
        ]
        for b in document["backends"]
    ]
    lines = _table(["name", "maker", "reads", "decodes", "kernel log", "metrics", "utilisation means"], rows)
    lines += [f"{b['name']}: {problem}" for b in document["backends"] for problem in b["problems"]]
    lines += [f"{b['name']} ({b['entry']}) is broken: {b['message']}" for b in document["broken"]]
    return "\n".join(lines)


def decoded(document: Mapping[str, Any]) -> str:
    """``decode``: every value of every card, one line a key, cards side by side only where they fit."""
    head = f"{document['maker']}: {document['tool']} ({document['format']})"
    if document["driver_version"]:
        head += f", driver {document['driver_version']}"
    lines = [head]
    units = {key: metric.unit for family in Family for key, metric in catalogue.keys(family).items()}
    cards = document["cards"]
    if cards:
        heads = ["card", "model", *(head for head, _, _ in _COLUMNS), "processes"]
        rows = []
        for card in cards:
            count = DASH if card["processes"] is None else str(len(card["processes"]))
            rows.append([_card_name(card), str(card["model"] or DASH), *_cells(card), count])
            rows += [
                [f"  {part.get('instance', DASH)}", str(part.get("profile") or DASH), *_cells(part), ""]
                for part in card["slices"]
            ]
        lines += ["", *_table(heads, rows)]
        for card in cards:
            more = {k: v for k, v in card["values"].items() if k not in {key for _, key, _ in _COLUMNS}}
            if more:
                told = ", ".join(f"{key} {_value(value, units.get(key, '1'))}" for key, value in more.items())
                lines.append(f"card {_card_name(card)}: {told}")
    for port in document["ports"]:
        lines += ["", *(f"{key}: {_flat(value)}" for key, value in port.items())]
    for event in document["events"]:
        code = f" {event['code']}" if event["code"] else ""
        lines.append(
            f"{_when(event['time'])} {event['severity']} {event['kind']}{code} {event['subject']}: {event['message']}"
        )
    if document["samples"]:
        lines.append(f"{len(document['samples'])} samples over time; --json shows them")
    lines += [f"note: {note}" for note in document["notes"]]
    return "\n".join(lines)


def _cells(entry: Mapping[str, Any]) -> list[str]:
    values, failed = entry.get("values", {}), entry.get("failed", {})
    return [failed[key] if key in failed else _value(values.get(key), unit) for _, key, unit in _COLUMNS]


def _card_name(card: Mapping[str, Any]) -> str:
    index = card.get("index")
    place = card.get("pci_address") or card.get("uuid") or card.get("card_id")
    return " ".join(str(part) for part in (index, place) if part is not None) or DASH


def _value(value: Any, unit: str) -> str:
    if value is None:
        return DASH
    if isinstance(value, str):
        return value
    scale = _SCALES.get(unit)
    return scale(float(value)) if scale else f"{value:g}" if isinstance(value, float) else str(value)


def _of(steps: Sequence[tuple[float, str]], digits: int = 1) -> Callable[[float], str]:
    def show(value: float) -> str:
        for size, name in steps:
            if abs(value) >= size:
                return f"{value / size:.{digits}f} {name}"
        return f"{value:g} {steps[-1][1]}"

    return show


_SCALES: Final[Mapping[str, Callable[[float], str]]] = {
    "ratio": lambda value: f"{value:.0%}",
    "By": _of(((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))),
    "By/s": _of(((1 << 30, "GiB/s"), (1 << 20, "MiB/s"), (1 << 10, "KiB/s"), (1, "B/s"))),
    "Hz": _of(((1e9, "GHz"), (1e6, "MHz"), (1, "Hz")), 2),
    "bit/s": _of(((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1, "bit/s")), 0),
    "W": lambda value: f"{value:.0f} W",
    "Cel": lambda value: f"{value:.0f} C",
    "J": lambda value: f"{value:.0f} J",
    "s": lambda value: f"{value:.6g} s",
}


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    every = [list(heads), *[list(row) for row in rows]]
    keep = [i for i in range(len(heads)) if i < 2 or any(row[i] not in (DASH, "") for row in every[1:])]
    widths = {i: max(len(row[i]) for row in every) for i in keep}
    return ["  ".join(row[i].ljust(widths[i]) for i in keep).rstrip() for row in every]


def _tail(key: str) -> str:
    return key.rpartition("/")[2]


def _flat(value: Any) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)


def _when(seconds: float) -> str:
    # a recorded log may only know seconds since boot
    if seconds < 1e8:
        return f"[{seconds:.3f}]"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
