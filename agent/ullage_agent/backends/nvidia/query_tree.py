"""``nvidia-smi -q`` (text) and ``nvidia-smi -q -x`` (XML, DTD v4 to v13) as one tree, and the tree as cards.

Both formats print the same sections under slightly different names; ``PLACES`` lists, for every value
we know, the paths under which drivers 340 to 610 print it. The first path that says something wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from xml.etree import ElementTree

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.nvidia import printed
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value


@dataclass(slots=True)
class Node:
    """One label or element: ``name`` as printed.key spells it, its text, and what stands below it in order."""

    name: str
    text: str | None = None
    below: list[Node] = field(default_factory=list)

    def child(self, name: str) -> Node | None:
        return next((node for node in self.below if node.name == name), None)

    def at(self, path: str) -> Node | None:
        """The node at ``a/b/c``, first match at each step."""
        node: Node | None = self
        for name in path.split("/"):
            node = node.child(name) if node is not None else None
        return node

    def said(self, *paths: str) -> str | None:
        """The first of ``paths`` that says something (printed.said), else None."""
        for path in paths:
            node = self.at(path)
            if node is not None and (text := printed.said(node.text)) is not None:
                return text
        return None


_POWER = ("gpu_power_readings", "power_readings")

PLACES: Final[Mapping[str, tuple[Callable[[str | None], Value | None], tuple[str, ...]]]] = {
    "utilization_ratio": (printed.ratio, ("utilization/gpu_util", "utilization/gpu")),
    "memory_bandwidth_ratio": (printed.ratio, ("utilization/memory_util", "utilization/memory")),
    "encoder_ratio": (printed.ratio, ("utilization/encoder_util", "utilization/encoder")),
    "decoder_ratio": (printed.ratio, ("utilization/decoder_util", "utilization/decoder")),
    "memory_used_bytes": (printed.size, ("fb_memory_usage/used", "memory_usage/used")),
    "memory_total_bytes": (printed.size, ("fb_memory_usage/total", "memory_usage/total")),
    "memory_reserved_bytes": (printed.size, ("fb_memory_usage/reserved",)),
    "memory_host_used_bytes": (printed.size, ("bar1_memory_usage/used",)),
    "power_watts": (
        printed.watts,
        tuple(f"{g}/{n}" for n in ("average_power_draw", "power_draw") for g in _POWER),
    ),
    "power_instant_watts": (
        printed.watts,
        tuple(f"{g}/{n}" for n in ("instant_power_draw", "instantaneous_power_draw") for g in _POWER),
    ),
    "power_limit_watts": (
        printed.watts,
        tuple(
            f"{g}/{n}" for n in ("current_power_limit", "enforced_power_limit", "power_limit") for g in _POWER
        ),
    ),
    "memory_power_watts": (printed.watts, ("gpu_memory_power_readings/average_power_draw",)),
    "temperature_celsius": (printed.celsius, ("temperature/gpu_temp", "temperature/gpu_current_temp")),
    "memory_temperature_celsius": (
        printed.celsius,
        ("temperature/memory_temp", "temperature/memory_current_temp"),
    ),
    "temperature_margin_celsius": (
        printed.celsius,
        ("temperature/gpu_temp_tlimit", "temperature/gpu_t_limit_temp"),
    ),
    # Hopper and newer print thresholds as margins ("-2 C") under other names: those are no limits.
    "temperature_limit_celsius": (
        printed.celsius,
        ("temperature/gpu_temp_slow_threshold", "temperature/gpu_slowdown_temp"),
    ),
    "fan_ratio": (printed.ratio, ("fan_speed",)),
    "clock_core_hertz": (printed.hertz, ("clocks/graphics_clock", "clocks/graphics")),
    "clock_core_max_hertz": (printed.hertz, ("max_clocks/graphics_clock", "max_clocks/graphics")),
    "clock_sm_hertz": (printed.hertz, ("clocks/sm_clock", "clocks/sm")),
    "clock_memory_hertz": (printed.hertz, ("clocks/mem_clock", "clocks/memory")),
    "clock_video_hertz": (printed.hertz, ("clocks/video_clock", "clocks/video")),
    "performance_state": (printed.said, ("performance_state",)),
    "pcie_generation": (
        printed.whole,
        (
            "pci/pci_gpu_link_info/pcie_gen/current_link_gen",
            "pci/gpu_link_info/pcie_generation/current",
        ),
    ),
    "pcie_generation_max": (
        printed.whole,
        ("pci/pci_gpu_link_info/pcie_gen/max_link_gen", "pci/gpu_link_info/pcie_generation/max"),
    ),
    "pcie_width": (
        printed.whole,
        (
            "pci/pci_gpu_link_info/link_widths/current_link_width",
            "pci/gpu_link_info/link_width/current",
        ),
    ),
    "pcie_width_max": (
        printed.whole,
        ("pci/pci_gpu_link_info/link_widths/max_link_width", "pci/gpu_link_info/link_width/max"),
    ),
    "pcie_replays": (printed.whole, ("pci/replay_counter", "pci/replays_since_reset")),
    "recovery_action": (printed.recovery, ("gpu_recovery_action",)),
    "reset_required": (printed.yes, ("gpu_reset_status/reset_required",)),
    "remap_pending": (printed.yes, ("remapped_rows/remapped_row_pending", "remapped_rows/pending")),
    "remap_failure": (
        printed.yes,
        ("remapped_rows/remapped_row_failure", "remapped_rows/remapping_failure_occurred"),
    ),
}

_EXTRA: Final[Mapping[str, tuple[Callable[[str | None], Any], tuple[str, ...]]]] = {
    "minor_number": (printed.whole, ("minor_number",)),
    "module_id": (
        printed.whole,
        ("platforminfo/module_id", "platform_info/module_id", "gpu_module_id", "module_id"),
    ),
    "architecture": (printed.said, ("product_architecture",)),
    "vbios_version": (printed.said, ("vbios_version",)),
    "gsp_firmware_version": (printed.said, ("gsp_firmware_version",)),
    "board_part_number": (printed.said, ("board_part_number",)),
    "persistence_mode": (lambda text: (printed.said(text) or "").lower() or None, ("persistence_mode",)),
    "compute_mode": (printed.said, ("compute_mode",)),
    "ecc_mode": (
        lambda text: (printed.said(text) or "").lower() or None,
        ("ecc_mode/current_ecc", "ecc_mode/current"),
    ),
    "default_power_limit_w": (printed.watts, tuple(f"{g}/default_power_limit" for g in _POWER)),
    "min_power_limit_w": (printed.watts, tuple(f"{g}/min_power_limit" for g in _POWER)),
    "max_power_limit_w": (printed.watts, tuple(f"{g}/max_power_limit" for g in _POWER)),
    "retired_pages_pending": (
        lambda text: None if (state := printed.yes(text)) is None else bool(state),
        (
            "retired_pages/pending_retirement",
            "retired_pages/pending_blacklist",
            "retired_pages/pending_page_blacklist",
        ),
    ),
    "drain_and_reset_recommended": (printed.yes, ("gpu_reset_status/drain_and_reset_recommended",)),
    "fabric_clique_id": (printed.whole, ("fabric/cliqueid",)),
    "sram_threshold_exceeded": (printed.yes, ("ecc_errors/aggregate/sram_threshold_exceeded",)),
}


def decode_xml(text: str) -> Decoded:
    """``nvidia-smi -q -x``. A document that breaks off yields the cards that are whole, and a note.

    Raises BadInput when not one card can be read or the document declares entities.
    """
    if "<!ENTITY" in text:
        raise BadInput("nvidia-smi XML declares entities, which nvidia-smi never does: refused")
    head = Node("nvidia_smi_log")
    cards: list[Node] = []
    broken: str | None = None
    try:
        for element in _elements(text[text.find("<nvidia_smi_log") :]):
            if element.tag == "gpu" and element.get("id") is not None:
                node = _from_xml(element)
                node.text = element.get("id")
                cards.append(node)
            elif element.tag in _HEAD:
                head.below.append(Node(str(element.tag), (element.text or "").strip()))
    except ElementTree.ParseError as e:
        broken = f"the document breaks off or is damaged ({e}): only whole cards are read"
    if not cards and broken:
        raise BadInput(f"nvidia-smi XML: {broken}, and there is none")
    return _decoded("nvidia-smi -q -x", "xml", head, cards, broken)


_HEAD: Final = frozenset(
    {"timestamp", "driver_version", "kmd_version", "cuda_version", "cuda_umd_version", "attached_gpus"}
)


def _elements(text: str) -> Iterator[ElementTree.Element]:
    """Every element when it ends, so that what stands before a damage is read. Raises ParseError at it."""
    parser: Any = ElementTree.XMLPullParser(events=("end",))
    parser.feed(text)
    for _, element in parser.read_events():
        yield element
    parser.close()


def _from_xml(element: ElementTree.Element) -> Node:
    below = [_from_xml(child) for child in element]
    return Node(printed.key(str(element.tag)), None if below else (element.text or "").strip(), below)


_COLON: Final = re.compile(r"\s:(?=\s|$)")


def decode_text(text: str) -> Decoded:
    """``nvidia-smi -q``: sections by indentation, ``label : value``."""
    head = Node("log")
    cards: list[Node] = []
    stack: list[tuple[int, Node]] = [(-1, head)]
    for line in text.splitlines():
        line = line.expandtabs(4)
        if not line.strip() or set(line.strip()) <= {"="} or "NVSMI LOG" in line:
            continue
        said = line.strip()
        indent = len(line) - len(line.lstrip())
        # " : " ends the label; a colon without a blank before it belongs to it (a PCI address)
        colon = _COLON.search(said)
        label = said[: colon.start()].rstrip() if colon else said
        value = said[colon.end() :].strip() or None if colon else None
        if indent == 0 and re.match(r"^GPU\s+[0-9A-Fa-f]{4,}:", label):
            node = Node("gpu", label.split(None, 1)[1])
            cards.append(node)
            stack = [(-1, head), (0, node)]
            continue
        while len(stack) > 1 and indent <= stack[-1][0]:
            stack.pop()
        node = Node(printed.key(label), value)
        stack[-1][1].below.append(node)
        stack.append((indent, node))
    return _decoded("nvidia-smi -q", "text", head, cards, None)


def _decoded(tool: str, format: str, head: Node, cards: Sequence[Node], broken: str | None) -> Decoded:
    notes = [broken] if broken else []
    attached = printed.whole(head.said("attached_gpus"))
    extra: dict[str, Any] = {}
    if attached is not None:
        extra["attached_gpus"] = attached
        if attached != len(cards):
            notes.append(f"the head says {attached} attached GPUs, the text shows {len(cards)}")
    for name, paths in (
        ("cuda_version", ("cuda_version", "cuda_umd_version")),
        ("timestamp", ("timestamp",)),
    ):
        if (value := head.said(*paths)) is not None:
            extra[name] = value
    return Decoded(
        maker="nvidia",
        tool=tool,
        format=format,
        driver_version=head.said("driver_version", "kmd_version"),
        cards=tuple(_card(position, node) for position, node in enumerate(cards)),
        extra=extra,
        notes=tuple(notes),
    )


def _card(position: int, gpu: Node) -> DecodedCard:
    values: dict[str, Value] = {}
    for key, (read, paths) in PLACES.items():
        for path in paths:
            node = gpu.at(path)
            value = read(node.text) if node is not None else None
            if value is not None:
                values[key] = value
                break
    values.update(_throttling(gpu))
    values.update(_ecc(gpu))
    values.update(_retired(gpu))
    if (fabric := _fabric(gpu)) is not None:
        values["fabric_state"] = fabric
    for direction in ("rx", "tx"):
        rate = printed.number(gpu.said(f"pci/{direction}_util", f"pci/{direction}_throughput"))
        if rate is not None:
            values[f"pcie_{direction}_bytes_per_second"] = rate * 1000  # printed in KB/s
    extra: dict[str, Any] = {}
    for key, (read, paths) in _EXTRA.items():
        for path in paths:
            node = gpu.at(path)
            found = read(node.text) if node is not None else None
            if found is not None:
                extra[key] = found
                break
    slices = tuple(_slices(gpu))
    shared = shared_memory(slices)
    if shared:
        extra["memory_shared_between"] = shared
    return DecodedCard(
        index=position,
        model=gpu.said("product_name"),
        uuid=gpu.said("uuid", "gpu_uuid"),
        serial=gpu.said("serial", "serial_number"),
        pci_address=printed.address(gpu.said("pci/pci_bus_id", "pci/bus_id") or gpu.text),
        partition_mode=printed.mig_mode(gpu.said("mig_mode/current_mig", "mig_mode/current")),
        values=values,
        processes=_processes(gpu),
        slices=slices,
        extra=extra,
    )


def _leaves(node: Node) -> Iterator[Node]:
    for child in node.below:
        if child.text is not None:
            yield child
        yield from _leaves(child)


def _throttling(gpu: Node) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for prefix in ("clocks_event_reason", "clocks_throttle_reason"):
        section = gpu.child(prefix + "s")
        if section is None:
            continue
        mask, known = 0, False
        for leaf in _leaves(section):
            state = printed.yes(leaf.text)
            if state is None:
                continue
            known = True
            bit = printed.throttle_bit(leaf.name.removeprefix(prefix + "_"))
            mask |= (bit or printed.throttle_bit("unknown") or 0) if state else 0
        if known:
            values["throttle_reasons"] = mask
    counters = gpu.child("clocks_event_reasons_counters")
    if counters is not None:
        spent = {
            leaf.name.removeprefix("clocks_event_reasons_counters_"): printed.number(leaf.text)
            for leaf in _leaves(counters)
        }
        values.update(
            throttle_seconds(
                power=_first(spent, "sw_power_cap", "sw_power_capping"),
                software_thermal=_first(spent, "sw_therm_slowdown", "sw_thermal_slowdown"),
                hardware_thermal=_first(spent, "hw_therm_slowdown", "hw_thermal_slowdown"),
                power_brake=_first(spent, "hw_power_brake", "hw_power_braking", "hw_power_brake_slowdown"),
                unit=1e-6,
            )
        )
    return values


def throttle_seconds(
    *,
    power: float | None,
    software_thermal: float | None,
    hardware_thermal: float | None,
    power_brake: float | None,
    unit: float,
) -> dict[str, Value]:
    """Time counters in the catalogue's three groups, from counters in ``unit`` seconds.

    Thermal is software plus hardware thermal; hardware is hardware thermal plus power brake, so
    hardware thermal stands in both: it is held down by temperature and by the hardware itself.
    """
    values: dict[str, Value] = {}
    if power is not None:
        values["throttle_power_seconds"] = power * unit
    thermal = _sum(software_thermal, hardware_thermal)
    if thermal is not None:
        values["throttle_thermal_seconds"] = thermal * unit
    hardware = _sum(hardware_thermal, power_brake)
    if hardware is not None:
        values["throttle_hardware_seconds"] = hardware * unit
    return values


def _first(spent: Mapping[str, float | None], *names: str) -> float | None:
    return next((value for name in names if (value := spent.get(name)) is not None), None)


def _sum(*parts: float | None) -> float | None:
    """The sum of what is said; None when nothing is."""
    there = [part for part in parts if part is not None]
    return sum(there) if there else None


def _ecc(gpu: Node) -> dict[str, Value]:
    """Totals are device memory plus on-chip memory: what the table's "Volatile Uncorr. ECC" counts."""
    values: dict[str, Value] = {}
    for section, suffix in (("volatile", ""), ("aggregate", "_lifetime")):
        node = gpu.at(f"ecc_errors/{section}")
        if node is None:
            continue

        def count(name: str, node: Node = node) -> float | None:
            return printed.number(node.said(name))

        sram = {
            "corrected": count("sram_correctable"),
            "uncorrected": _sum(
                count("sram_uncorrectable"),
                count("sram_uncorrectable_parity"),
                _sum(count("sram_uncorrectable_secded"), count("sram_uncorrectable_sec_ded")),
            ),
        }
        dram = {"corrected": count("dram_correctable"), "uncorrected": count("dram_uncorrectable")}
        old = {"corrected": count("single_bit/total"), "uncorrected": count("double_bit/total")}
        for word in ("corrected", "uncorrected"):
            total = old[word] if old[word] is not None else _sum(dram[word], sram[word])
            if total is not None:
                values[f"ecc_{word}{suffix}"] = int(total)
            on_chip = sram[word]
            if on_chip is not None and not suffix:
                values[f"sram_ecc_{word}"] = int(on_chip)
    return values


def _retired(gpu: Node) -> dict[str, Value]:
    """Remapped rows (Ampere and newer) or retired pages (before)."""
    corrected = printed.whole(
        gpu.said(
            "remapped_rows/remapped_row_corr",
            "remapped_rows/correctable_error",
            "retired_pages/multiple_single_bit_retirement/retired_count",
            "retired_pages/single_bit_ecc",
        )
    )
    uncorrected = printed.whole(
        gpu.said(
            "remapped_rows/remapped_row_unc",
            "remapped_rows/uncorrectable_error",
            "retired_pages/double_bit_retirement/retired_count",
            "retired_pages/double_bit_ecc",
        )
    )
    values: dict[str, Value] = {}
    if corrected is not None:
        values["retired_pages_corrected"] = corrected
    if uncorrected is not None:
        values["retired_pages_uncorrected"] = uncorrected
    if corrected is not None and uncorrected is not None:
        values["retired_pages"] = corrected + uncorrected
    return values


def _fabric(gpu: Node) -> str | None:
    state = printed.key(gpu.said("fabric/state") or "")
    if state == "completed":
        status = printed.key(gpu.said("fabric/status") or "success")
        return "completed" if status == "success" else "failed"
    return state if state in ("not_supported", "not_started", "in_progress") else None


def _processes(gpu: Node) -> tuple[Mapping[str, Any], ...] | None:
    """None when the section is missing or empty: an empty one is also what a container sees of others."""
    section = gpu.child("processes")
    if section is None:
        return None
    if (section.text or "").strip().lower() == "none":
        return ()
    entries: list[dict[str, Any]] = []
    instances: dict[str, int | None] = {}
    for node in section.below:
        if node.name == "process_info":
            entries.append(_process(node, node.said("pid"), {}))
        elif node.name in ("gpu_instance_id", "compute_instance_id"):
            instances[node.name] = printed.whole(node.text)
        elif node.name == "process_id":
            entries.append(_process(node, node.text, instances))
            instances = {}
    return tuple(entries) or None


def _process(node: Node, pid: str | None, instances: Mapping[str, int | None]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "pid": printed.whole(pid),
        "name": node.said("process_name", "name"),
        "type": node.said("type"),
        "memory_used_bytes": printed.size(node.said("used_memory", "used_gpu_memory")),
    }
    gi = instances.get("gpu_instance_id", printed.whole(node.said("gpu_instance_id")))
    ci = instances.get("compute_instance_id", printed.whole(node.said("compute_instance_id")))
    if gi is not None:
        entry["gi"], entry["ci"] = gi, ci
    return entry


def _slices(gpu: Node) -> Iterator[dict[str, Any]]:
    """MIG devices, XML (mig_devices/mig_device) or text (MIG Device repeated below the card)."""
    listed = gpu.child("mig_devices")
    found = [n for n in (listed or gpu).below if n.name in ("mig_device", "mig_devices") and n.below]
    for position, node in enumerate(found):
        gi = printed.whole(node.said("gpu_instance_id"))
        ci = printed.whole(node.said("compute_instance_id"))
        index = printed.whole(node.said("index"))
        values: dict[str, Value] = {}
        for key, (read, paths) in PLACES.items():
            if key.startswith(("memory_used", "memory_total", "memory_reserved", "utilization")):
                value = next((v for p in paths if (v := read(node.said(p))) is not None), None)
                if value is not None:
                    values[key] = value
        yield {
            "instance": f"gi{gi}-ci{ci}",
            "device": position if index is None else index,
            "gi": gi,
            "ci": ci,
            "uuid": node.said("uuid", "mig_uuid"),
            "sm": printed.whole(
                node.said(
                    "device_attributes/shared/multiprocessor_count",
                    "device_attributes/shared/multiprocessor",
                )
            ),
            "ecc_uncorrected": printed.whole(
                node.said(
                    "ecc_error_count/volatile_count/sram_uncorrectable",
                    "ecc_errors/volatile/sram_uncorrectable",
                    "ecc_errors/volatile_count/sram_uncorrectable",
                )
            ),
            "values": values,
        }


def shared_memory(slices: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Groups of MIG devices that sit in one GPU instance and so show one and the same memory pool."""
    groups: dict[Any, list[int]] = {}
    for entry in slices:
        if entry.get("gi") is not None:
            groups.setdefault(entry["gi"], []).append(int(entry["device"]))
    return [group for group in groups.values() if len(group) > 1]
