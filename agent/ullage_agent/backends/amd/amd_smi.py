"""``amd-smi`` in its forms: JSON (a list, or ``gpu_data``), indented text, CSV, ``monitor`` columns, the ROCm 7 table.

JSON and text are one tree (text in capitals); CSV is its leaves. So one list of paths reads all three.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.amd.throttling import reasons_of_bits
from ullage_agent.backends.column_table import column_table
from ullage_agent.backends.json_text import listing, mapping, word
from ullage_agent.backends.printed import (
    GIB,
    MIB,
    address,
    box,
    celsius,
    csv_rows,
    number,
    ratio,
    said,
    size,
    watts,
    whole,
)
from ullage_agent.backends.rocm_words import generation
from ullage_contract.sample import Value

Tree = dict[str, Any]

_TEXT_CARD: Final = re.compile(r"^\s*GPU:\s*(\d+)\s*$")
# possessive: a line of thousands of blanks is looked at once, not from each of them
_TEXT_PAIR: Final = re.compile(r"^(\s*+)([^\s:][^:]*+):(?:\s++(\S.*)?)?$")
_MEMORY_UNITS: Final = {"b": 1, "kb": 1 << 10, "mb": MIB, "gb": GIB, "kib": 1 << 10, "mib": MIB, "gib": GIB}

_CSV: Final[Mapping[str, str]] = {
    # columns of `amd-smi metric|static|list --csv` -> place in the tree
    **{name: f"usage.{name}" for name in ("gfx_activity", "umc_activity", "mm_activity", "vcn_activity")},
    **{
        name: f"power.{name}"
        for name in ("socket_power", "gfx_voltage", "soc_voltage", "mem_voltage", "throttle_status")
    },
    "gfx_0_clk": "clock.gfx_0.clk",
    "gfx_0_max_clk": "clock.gfx_0.max_clk",
    "gfx_0_min_clk": "clock.gfx_0.min_clk",
    "mem_0_clk": "clock.mem_0.clk",
    "edge": "temperature.edge",
    "hotspot": "temperature.hotspot",
    "mem": "temperature.mem",
    "width": "pcie.width",
    "speed": "pcie.speed",
    "replay_count": "pcie.replay_count",
    "total_correctable_count": "ecc.total_correctable_count",
    "total_uncorrectable_count": "ecc.total_uncorrectable_count",
    "total_deferred_count": "ecc.total_deferred_count",
    "total_energy_consumption": "energy.total_energy_consumption",
    **{
        name: f"mem_usage.{name}"
        for name in ("total_vram", "used_vram", "free_vram", "total_gtt", "used_gtt")
    },
    "market_name": "asic.market_name",
    "product_name": "board.product_name",
    "product_serial": "board.product_serial",
    "bdf": "bdf",
    "gpu_bdf": "bdf",
    "uuid": "uuid",
    "gpu_uuid": "uuid",
}

_MONITOR: Final[Mapping[str, str]] = {
    # columns of `amd-smi monitor`, whose names were shortened over the years
    "power": "power",
    "power_usage": "power",
    "gpu_temp": "hotspot",
    "gpu_t": "hotspot",
    "hotspot_temperature": "hotspot",
    "mem_temp": "memory",
    "mem_t": "memory",
    "memory_temperature": "memory",
    "gfx_util": "busy",
    "gfx%": "busy",
    "gfx": "busy",
    "gfx_clock": "clock",
    "gfx_clk": "clock",
    "mem_util": "umc",
    "mem%": "umc",
    "mem_clock": "memory_clock",
    "enc%": "encoder",
    "enc_util": "encoder",
    "encoder": "encoder",
    "dec%": "decoder",
    "dec_util": "decoder",
    "decoder": "decoder",
    "single_ecc": "corrected",
    "double_ecc": "uncorrected",
    "pcie_replay": "replays",
    "vram_used": "used",
    "vram_total": "total",
    "vram_usage": "usage",
}


def from_json(document: Any) -> Decoded | None:
    """Any amd-smi command's ``--json``; None when no entry names its ``gpu``."""
    entries = document if isinstance(document, list) else listing(mapping(document).get("gpu_data"))
    if not entries and isinstance(document, dict) and "gpu" in document:
        entries = [document]
    trees = [_lowered(mapping(entry)) for entry in entries]
    trees = [tree for tree in trees if "gpu" in tree]
    if not trees:
        return None
    if all("power_usage" in tree or "hotspot_temperature" in tree for tree in trees):
        return _decoded("amd-smi monitor", "json", [_monitored(tree) for tree in trees])
    return _decoded(_tool(trees[0]), "json", [_card(tree) for tree in _merged(trees)], trees)


def from_text(lines: Sequence[str]) -> Decoded | None:
    """``GPU: 0`` and an indented tree below it; None where there is none."""
    trees = list(_trees(lines))
    if not trees:
        return None
    return _decoded(_tool(trees[0]), "text", [_card(tree) for tree in _merged(trees)], trees)


def from_csv(lines: Sequence[str]) -> Decoded | None:
    """A head with a ``gpu`` column; rows over time (a ``timestamp`` column) are samples, the last row of each card its card."""
    rows = [row for row in csv_rows(lines) if row]
    start = next((n for n, row in enumerate(rows) if _is_head(row)), None)
    if start is None:
        return None
    head = [name.strip().lower() for name in rows[start]]
    trees: list[Tree] = []
    torn = 0
    for row in rows[start + 1 :]:
        torn += len(row) != len(head)
        pairs = {name: cell.strip() for name, cell in zip(head, row, strict=False)}
        if not pairs.get("gpu", "").isdecimal():
            continue
        tree: Tree = {"gpu": pairs["gpu"], "timestamp": pairs.get("timestamp")}
        monitor = "power_usage" in pairs or "hotspot_temperature" in pairs
        for name, cell in pairs.items():
            if monitor:
                tree[name] = cell
            elif place := _CSV.get(name):
                _put(tree, place, cell)
        if "pid" in pairs:
            tree["process_list"] = [{"process_info": {k: v for k, v in pairs.items() if k != "gpu"}}]
        trees.append(tree)
    if not trees:
        return None
    read = _monitored if "power_usage" in head or "hotspot_temperature" in head else _card
    times = {tree.get("timestamp") for tree in trees}
    samples = []
    if len(times) > 1:
        samples = [
            {"index": card.index, "time": number(word(tree.get("timestamp"))), **card.values}
            for tree in trees
            if (card := read(tree))
        ]
    latest: dict[str, Tree] = {}
    for tree in trees:
        before = latest.get(tree["gpu"], {})
        together = [*before.get("process_list", []), *tree.get("process_list", [])]
        latest[tree["gpu"]] = {**tree, **({"process_list": together} if together else {})}
    decoded = _decoded(_tool(trees[0]), "csv", [read(tree) for tree in latest.values()])
    notes = [f"{torn} rows do not fit their head"] if torn else []
    return Decoded(
        maker="amd", tool=decoded.tool, format="csv", cards=decoded.cards, samples=samples, notes=notes
    )


def from_monitor(lines: Sequence[str]) -> Decoded | None:
    """``amd-smi monitor``: one row a card, or a row a card and partition (XCP)."""
    table = column_table(
        lines, lambda names: names[0] in ("gpu", "timestamp") and bool(set(names[1:]) & _MONITOR.keys())
    )
    if table is None:
        return None
    cards: dict[str, list[Tree]] = {}
    for record in table.records():
        if record.get("gpu", "").isdecimal():
            cards.setdefault(record["gpu"], []).append(dict(record))
    notes = [f"{table.torn} rows do not fit their head"] if table.torn else []
    return _decoded(
        "amd-smi monitor", "table", [_monitored(rows[0], rows) for rows in cards.values()], notes=notes
    )


def from_table(text: str, lines: Sequence[str]) -> Decoded | None:
    """``amd-smi`` alone (ROCm 7): two lines a card in a box, processes below; None where it is not that table."""
    if "AMD-SMI" not in text:
        return None
    cards: list[DecodedCard] = []
    for group in box(lines).groups:
        pair: list[tuple[str, ...]] = []
        for row in group:
            if len(row) != 2 or row[0].split()[:1] in (["BDF"], ["GPU"]):
                pair = []
                continue
            pair.append(row)
            if len(pair) == 2:
                cards.append(_boxed(pair[0], pair[1]))
                pair = []
        if pair:
            cards.append(_boxed(pair[0], ("", "")))
    driver = re.search(r"amdgpu version:\s*(\S+)", text)
    runtime = re.search(r"ROCm version:\s*(\S+)", text)
    decoded = _with_listed_processes(cards, lines)
    return Decoded(
        maker="amd",
        tool="amd-smi",
        format="table",
        driver_version=said(driver[1]) if driver else None,
        cards=decoded,
        extra={"rocm_version": runtime[1]} if runtime and said(runtime[1]) else {},
    )


def _is_head(row: Sequence[str]) -> bool:
    return len(row) > 1 and "gpu" in [name.strip().lower() for name in row]


# ---- the tree


def _trees(lines: Sequence[str]) -> Iterator[Tree]:
    tree: Tree | None = None
    stack: list[tuple[int, Tree]] = []
    pending: tuple[Tree, str] | None = None
    for line in lines:
        if pending is not None:  # a list that goes on over lines
            branch, key = pending
            branch[key] = f"{branch[key]} {line.strip()}"
            if "]" in line:
                pending = None
            continue
        if match := _TEXT_CARD.match(line):
            if tree is not None:
                yield tree
            tree = {"gpu": match[1]}
            stack = [(-1, tree)]
            continue
        pair = _TEXT_PAIR.match(line.rstrip())
        if tree is None or pair is None:
            continue
        depth, key = len(pair[1].expandtabs()), pair[2].strip().lower().replace(" ", "_")
        while len(stack) > 1 and stack[-1][0] >= depth:
            stack.pop()
        branch = stack[-1][1]
        if pair[3]:
            if not isinstance(branch.get(key), dict):
                branch[key] = pair[3]
            if pair[3].startswith("[") and "]" not in pair[3]:
                pending = (branch, key)
        elif key.startswith("process_info"):
            info: Tree = {}
            branch.setdefault("process_list", []).append({"process_info": info})
            stack.append((depth, info))
        else:
            inner = branch.setdefault(key, {})
            if not isinstance(inner, dict):
                inner = branch[key] = {}
            stack.append((depth, inner))
    if tree is not None:
        yield tree


def _lowered(tree: Mapping[str, Any]) -> Tree:
    return {
        str(key).lower(): _lowered(value) if isinstance(value, dict) and not _is_leaf(value) else value
        for key, value in tree.items()
    }


def _is_leaf(value: Mapping[str, Any]) -> bool:
    return bool(value.keys() & {"value", "VALUE"}) and len(value) <= 2


def _put(tree: Tree, place: str, cell: Any) -> None:
    *branches, leaf = place.split(".")
    for branch in branches:
        tree = tree.setdefault(branch, {})
    tree[leaf] = cell


def _merged(trees: Sequence[Tree]) -> list[Tree]:
    """Several commands' outputs one after another: one tree a card; what came first stays."""
    cards: dict[str, Tree] = {}
    for tree in trees:
        known = cards.setdefault(str(tree["gpu"]), {})
        for key, value in tree.items():
            if isinstance(value, dict) and isinstance(known.get(key), dict):
                known[key] = {**value, **known[key]}
            elif isinstance(value, list) and isinstance(known.get(key), list):
                known[key] = known[key] + value
            else:
                known.setdefault(key, value)
    return list(cards.values())


def _tool(tree: Mapping[str, Any]) -> str:
    for key, command in (
        ("process_list", "process"),
        ("process_info", "process"),
        ("usage", "metric"),
        ("power", "metric"),
        ("asic", "static"),
        ("fw_list", "firmware"),
        ("retired", "bad-pages"),
    ):
        if key in tree:
            return f"amd-smi {command}"
    return "amd-smi"


class _Leaf:
    """Reads leaves of a tree by path: ``{"value": 20, "unit": "W"}``, ``20 W`` and 20 alike."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree

    def raw(self, *paths: str) -> Any:
        for path in paths:
            node: Any = self._tree
            for name in path.split("."):
                node = node.get(name) if isinstance(node, dict) else None
            if isinstance(node, dict) and _is_leaf(node):
                lowered = {str(key).lower(): value for key, value in node.items()}
                value, unit = lowered.get("value"), lowered.get("unit")
                if said(word(value)) is not None:
                    return f"{value} {unit}" if unit else value
            elif node is not None and not isinstance(node, dict | list) and said(str(node)) is not None:
                return node
        return None

    def text(self, *paths: str) -> str | None:
        raw = self.raw(*paths)
        return None if raw is None or isinstance(raw, bool) else said(str(raw))

    def number(self, *paths: str) -> float | None:
        return number(self.text(*paths))

    def scaled(self, factor: float, *paths: str) -> float | None:
        found = self.number(*paths)
        return None if found is None or found < 0 else found * factor

    def bytes(self, *paths: str) -> int | None:
        text = self.text(*paths)
        found = number(text)
        if text is None or found is None or found < 0:
            return None
        unit = text.split()[-1].lower() if len(text.split()) > 1 else "mb"
        return round(found * _MEMORY_UNITS.get(unit, MIB))


def _card(tree: Mapping[str, Any]) -> DecodedCard:
    leaf = _Leaf(tree)
    core = leaf.scaled(1e6, "clock.gfx_0.clk", "clock.gfx.clk")
    voltage = leaf.scaled(1e-3, "power.gfx_voltage")
    umc = ratio(leaf.text("usage.umc_activity"))
    speed = leaf.number("pcie.speed", "pcie.current_speed")
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(leaf.text("usage.gfx_activity")),
        "memory_bandwidth_ratio": umc,
        "power_watts": watts(
            leaf.text("power.socket_power", "power.current_socket_power", "power.average_socket_power")
        ),
        "power_limit_watts": watts(
            leaf.text(
                "limit.socket_power",
                "limit.ppt0.socket_power_limit",
                "limit.max_power",
                "power.power_limit",
            )
        ),
        "voltage_volts": voltage,
        "temperature_celsius": celsius(leaf.text("temperature.edge")),
        "hotspot_temperature_celsius": celsius(leaf.text("temperature.hotspot")),
        "memory_temperature_celsius": celsius(leaf.text("temperature.mem", "temperature.memory")),
        "clock_core_hertz": core,
        "clock_core_max_hertz": leaf.scaled(1e6, "clock.gfx_0.max_clk"),
        "clock_memory_hertz": leaf.scaled(1e6, "clock.mem_0.clk", "clock.mem.clk"),
        "memory_used_bytes": leaf.bytes("mem_usage.used_vram", "fb_usage.vram_used", "mem_usage.vram_used"),
        "memory_total_bytes": leaf.bytes(
            "mem_usage.total_vram", "vram.size", "vram.vram_size_mb", "fb_usage.vram_total"
        ),
        "memory_host_used_bytes": leaf.bytes("mem_usage.used_gtt"),
        "energy_joules": leaf.number("energy.total_energy_consumption", "energy.amdsmi_accumulated_energy"),
        "ecc_corrected": whole(leaf.text("ecc.total_correctable_count", "ecc.correctable_count")),
        "ecc_uncorrected": whole(leaf.text("ecc.total_uncorrectable_count", "ecc.uncorrectable_count")),
        "pcie_replays": whole(leaf.text("pcie.replay_count")),
        "pcie_width": whole(leaf.text("pcie.width", "pcie.current_lanes")),
        "pcie_generation": generation(speed),
        "pcie_width_max": whole(leaf.text("bus.max_pcie_width", "bus.max_pcie_lanes")),
        "fan_rpm": leaf.number("fan.rpm"),
        "fan_ratio": ratio(leaf.text("fan.usage")),
        "throttle_reasons": _throttle(leaf.text("power.throttle_status")),
    }
    if (greatest := leaf.number("bus.max_pcie_speed")) is not None:
        values["pcie_generation_max"] = generation(greatest)
    pages = tree.get("retired")
    if isinstance(pages, list):
        values["retired_pages"] = len(pages)
    partition = leaf.text(
        "partition.compute_partition", "partition.accelerator_partition", "current_compute_partition"
    )
    extra: dict[str, Any] = {
        "throttle_status": leaf.text("power.throttle_status"),
        "gfx_min_mhz": leaf.number("clock.gfx_0.min_clk"),
        "deferred_ecc": whole(leaf.text("ecc.total_deferred_count")),
        "asic_serial": leaf.text("asic.asic_serial"),
        "vbios_version": leaf.text("vbios.version", "ifwi.version"),
        "memory_partition": leaf.text("partition.memory_partition", "current_memory_partition"),
        "partition_id": whole(leaf.text("partition_id", "partition.partition_id")),
    }
    return DecodedCard(
        index=whole(str(tree.get("gpu"))),
        model=leaf.text("asic.market_name", "board.product_name"),
        uuid=leaf.text("uuid"),
        serial=leaf.text("board.product_serial"),
        pci_address=address(leaf.text("bdf", "bus.bdf")),
        partition_mode=partition.lower() if partition else None,
        values={key: value for key, value in values.items() if value is not None},
        processes=_processes(tree),
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _throttle(text: str | None) -> int | None:
    """``UNTHROTTLED`` is none; ``THROTTLED`` or bits of the ASIC say that, not why."""
    if text is None:
        return None
    if text.upper() == "UNTHROTTLED" or text == "0":
        return 0
    return reasons_of_bits(None)


def _processes(tree: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...] | None:
    if "process_list" not in tree and "process_info" not in tree:
        return None
    entries = tree.get("process_list")
    if not isinstance(entries, list):
        entries = [] if isinstance(tree.get("process_info"), str) else [tree]
    found = []
    for entry in entries:
        info = mapping(mapping(entry).get("process_info", entry))
        leaf = _Leaf(_lowered(info))
        pid = whole(leaf.text("pid"))
        if pid is None:
            continue
        process: dict[str, Any] = {
            "pid": pid,
            "name": leaf.text("name"),
            "memory_used_bytes": leaf.bytes("memory_usage.vram_mem", "vram_mem", "vram_mem_usage"),
            "gtt_bytes": leaf.bytes("memory_usage.gtt_mem", "gtt_mem"),
            "mem_usage_bytes": leaf.bytes("mem_usage"),
            "cu_occupancy": leaf.number("cu_occupancy"),
        }
        found.append({key: value for key, value in process.items() if value is not None})
    return tuple(found)


# ---- monitor and the table of ROCm 7


def _monitored(row: Mapping[str, Any], partitions: Sequence[Mapping[str, Any]] = ()) -> DecodedCard:
    leaf = _Leaf(row)
    cells: dict[str, str] = {}
    for name in row:
        meaning = _MONITOR.get(str(name))
        text = leaf.text(str(name)) if meaning else None
        if meaning and text is not None:
            cells.setdefault(meaning, text)
    used, total = cells.get("used"), cells.get("total")
    if "usage" in cells and "/" in cells["usage"]:
        left, _, right = cells["usage"].partition("/")
        unit = re.search(r"[A-Za-z]+$", right)
        used, total = f"{left}{unit[0] if unit else ''}", right
    draw, _, cap = cells.get("power", "").partition("/")
    clock, memory_clock = number(cells.get("clock")), number(cells.get("memory_clock"))
    values: dict[str, Value | None] = {
        "power_watts": watts(draw),
        "power_limit_watts": watts(cap),
        "temperature_celsius": celsius(cells.get("hotspot")),
        "hotspot_temperature_celsius": celsius(cells.get("hotspot")),
        "memory_temperature_celsius": celsius(cells.get("memory")),
        "utilization_ratio": ratio(cells.get("busy")),
        "memory_bandwidth_ratio": ratio(cells.get("umc")),
        "encoder_ratio": ratio(cells.get("encoder")),
        "decoder_ratio": ratio(cells.get("decoder")),
        "clock_core_hertz": None if clock is None else clock * 1e6,
        "clock_memory_hertz": None if memory_clock is None else memory_clock * 1e6,
        "ecc_corrected": whole(cells.get("corrected")),
        "ecc_uncorrected": whole(cells.get("uncorrected")),
        "pcie_replays": whole(cells.get("replays")),
        "memory_used_bytes": size(used),
        "memory_total_bytes": size(total),
    }
    slices: list[dict[str, Any]] = [
        {"instance": part["xcp"], "values": {"utilization_ratio": busy}}
        for part in partitions
        if part.get("xcp") is not None
        and (busy := ratio(said(str(part.get("gfx%", part.get("gfx_util")))))) is not None
    ]
    if len(slices) > 1:
        # each row is one partition's: the card is as busy as they are on the mean
        values["utilization_ratio"] = sum(part["values"]["utilization_ratio"] for part in slices) / len(
            slices
        )
    return DecodedCard(
        index=whole(str(row.get("gpu"))),
        values={key: value for key, value in values.items() if value is not None},
        slices=slices if len(partitions) > 1 else (),
    )


def _boxed(first: Sequence[str], second: Sequence[str]) -> DecodedCard:
    """``0000:ff:00.0 AMD Instinct MI300X | 0 %  37 °C  0  141/750 W`` over ``0 0 2 SPX/NPS1 | 0 % N/A 285/196288 MB``."""
    place, _, model = first[0].partition(" ")
    power = re.search(r"([\d.]+|N/A)\s*/\s*([\d.]+|N/A)\s*W", first[1])
    front = first[1][: power.start()] if power else first[1]
    words = re.findall(r"N/A|[\d.]+\s*%|[\d.]+\s*°?C\b|\d+", front)
    uncorrected = words[2] if len(words) > 2 else None
    memory = re.search(r"([\d.]+|N/A)\s*/\s*([\d.]+|N/A)\s*([KMG]i?B)", second[1])
    ids = second[0].split()
    busy = re.match(r"\s*(N/A|[\d.]+\s*%)(?:\s+(N/A|[\d.]+\s*%))?", second[1])
    mode = ids[3].split("/") if len(ids) > 3 and said(ids[3]) else []
    values: dict[str, Value | None] = {
        "memory_bandwidth_ratio": ratio(words[0]) if words else None,
        "temperature_celsius": celsius(words[1]) if len(words) > 1 else None,
        "ecc_uncorrected": whole(uncorrected),
        "power_watts": watts(power[1]) if power else None,
        # a limit of 0 W is a card without one: "N/A/0 W" was printed by an APU
        "power_limit_watts": (watts(power[2]) or None) if power else None,
        "utilization_ratio": ratio(busy[1]) if busy else None,
        "fan_ratio": ratio(busy[2]) if busy else None,
        "memory_used_bytes": size(f"{memory[1]}{memory[3]}") if memory and memory[1] != "N/A" else None,
        "memory_total_bytes": size(f"{memory[2]}{memory[3]}") if memory and memory[2] != "N/A" else None,
    }
    return DecodedCard(
        index=whole(ids[0]) if ids else None,
        model=said(model),
        pci_address=address(place),
        partition_mode=said(mode[0].lower()) if mode else None,
        values={key: value for key, value in values.items() if value is not None},
        extra={"memory_partition": mode[1]} if len(mode) > 1 else {},
    )


def _with_listed_processes(cards: Sequence[DecodedCard], lines: Sequence[str]) -> list[DecodedCard]:
    """The ``Processes:`` box: GPU, PID, name, then sizes; () for a card without, None where there is no such box."""
    from dataclasses import replace

    if not any(re.search(r"\bProcesses:", line) for line in lines):
        return list(cards)
    found: dict[int, list[Mapping[str, Any]]] = {}
    inside = False
    for line in lines:
        inside = inside or bool(re.search(r"\bProcesses:", line))
        match = re.match(
            r"^\|?\s*(\d+)\s+(\d+)\s+(\S.*?)\s+(N/A|[\d.]+\s*[KMG]?i?B)\s+(N/A|[\d.]+\s*[KMG]?i?B)", line
        )
        if inside and match:
            process: dict[str, Any] = {"pid": int(match[2]), "name": match[3], "gtt_bytes": size(match[4])}
            if (used := size(match[5])) is not None:
                process["memory_used_bytes"] = used
            found.setdefault(int(match[1]), []).append(process)
    return [replace(card, processes=tuple(found.get(card.index or 0, ()))) for card in cards]


def _decoded(
    tool: str,
    form: str,
    cards: Sequence[DecodedCard],
    trees: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
) -> Decoded:
    driver = next((text for tree in trees if (text := _Leaf(tree).text("driver.version"))), None)
    return Decoded(maker="amd", tool=tool, format=form, driver_version=driver, cards=cards, notes=notes)
