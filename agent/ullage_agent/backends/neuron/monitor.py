"""One report of neuron-monitor, as the reader asks it: per device, with what could not be collected said.

Format: neuron-monitor user guide, "The JSON output format". Counts of a report are per period, ECC counts
since the driver was loaded. Not here: running the tool (toolstream).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ullage_agent.backends.json_text import listing, mapping, word
from ullage_agent.backends.neuron.decode import core_use, device_memory
from ullage_agent.backends.printed import said, whole
from ullage_contract.errors import Broken


@dataclass(frozen=True, slots=True)
class Report:
    """per_device: cores a device counts here (logical ones where cores are joined)."""

    document: Mapping[str, Any]
    per_device: int

    def utilization(self, device: int) -> float:
        """Share of the period its cores were busy, 0..1; 0 where no process used any of them.

        Raises Broken when a process's counters could not be collected: what it did is unknown.
        """
        for runtime in self._runtimes():
            group = mapping(mapping(runtime.get("report")).get("neuroncore_counters"))
            if not group or said(word(group.get("error"))):
                why = said(word(group.get("error"))) or said(word(runtime.get("error"))) or "no counters"
                raise Broken(f"neuron-monitor has no core counters of a process: {why[:120]}")
        used = core_use(self.document)
        own = [share for core, share in used.items() if core // self.per_device == device]
        return min(1.0, sum(own) / self.per_device)

    def memory_used(self, device: int) -> int | None:
        """Bytes held by the monitored processes; None where the report has no breakdown."""
        return device_memory(self.document, self.per_device).get(device)

    def memory_total(self) -> int | None:
        """Bytes of one device."""
        size = whole(
            word(mapping(self.document.get("neuron_hardware_info")).get("neuron_device_memory_size"))
        )
        return size or None

    def errors(self, device: int) -> Mapping[str, int]:
        """mem_ecc_corrected and its like; empty where the group is missing or says an error."""
        group = mapping(mapping(self.document.get("system_data")).get("neuron_hw_counters"))
        if said(word(group.get("error"))):
            return {}
        for entry in map(mapping, listing(group.get("neuron_devices"))):
            if whole(word(entry.get("neuron_device_index"))) == device:
                return {
                    name: count
                    for name, value in entry.items()
                    if name != "neuron_device_index"
                    and (count := whole(word(value))) is not None
                    and count >= 0
                }
        return {}

    def processes(self, device: int) -> list[tuple[int, float | None, int | None]]:
        """(pid, share of the device it kept busy, bytes it holds there) of each process that uses it."""
        found = []
        for runtime in self._runtimes():
            pid = whole(word(runtime.get("pid")))
            if pid is None or pid <= 0:
                continue
            alone = {"neuron_runtime_data": [runtime]}
            shares = [s for core, s in core_use(alone).items() if core // self.per_device == device]
            held = device_memory(alone, self.per_device).get(device)
            # every process lists every core: one that neither works nor holds memory here is not on it
            if any(shares) or held:
                found.append((pid, sum(shares) / self.per_device if shares else None, held))
        return found

    def _runtimes(self) -> list[Mapping[str, Any]]:
        return [mapping(entry) for entry in listing(self.document.get("neuron_runtime_data"))]


def parse(line: str, cores_per_device: int) -> Report:
    """A report line. cores_per_device: of the driver, where the report does not say. Raises Broken."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise Broken(f"neuron-monitor printed no report: {line[:80]!r}") from e
    # without this key it is another document, and no process in it would be no idleness
    if not isinstance(document, dict) or "neuron_runtime_data" not in document:
        raise Broken(f"neuron-monitor printed something else: {line[:80]!r}")
    hardware = mapping(document.get("neuron_hardware_info"))
    per_device = whole(word(hardware.get("neuroncore_per_device_count"))) or cores_per_device
    return Report(document, max(1, per_device))
