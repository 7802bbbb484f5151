"""``nvidia-smi dmon`` and ``nvidia-smi pmon``: scrolling columns named by ``# `` lines, ``-`` for no value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ullage_agent.backend import Decoded
from ullage_agent.backends.nvidia import printed
from ullage_contract.errors import BadInput


def _megabytes_per_second(text: str | None) -> float | None:
    value = printed.number(text)
    return None if value is None else value * 1e6


_DEVICE: Final[Mapping[str, tuple[str, Callable[[str | None], Any]]]] = {
    "gpu": ("index", printed.whole),
    "pwr": ("power_watts", printed.watts),
    "gtemp": ("temperature_celsius", printed.celsius),
    "temp": ("temperature_celsius", printed.celsius),
    "mtemp": ("memory_temperature_celsius", printed.celsius),
    "sm": ("utilization_ratio", printed.ratio),
    "mem": ("memory_bandwidth_ratio", printed.ratio),
    "enc": ("encoder_ratio", printed.ratio),
    "dec": ("decoder_ratio", printed.ratio),
    "mclk": ("clock_memory_hertz", printed.hertz),
    "pclk": ("clock_core_hertz", printed.hertz),
    "fb": ("memory_used_bytes", printed.size),
    "bar1": ("memory_host_used_bytes", printed.size),
    "sbecc": ("ecc_corrected", printed.whole),
    "dbecc": ("ecc_uncorrected", printed.whole),
    "pci": ("pcie_replays", printed.whole),
    "rxpci": ("pcie_rx_bytes_per_second", _megabytes_per_second),
    "txpci": ("pcie_tx_bytes_per_second", _megabytes_per_second),
}
_PROCESS: Final[Mapping[str, tuple[str, Callable[[str | None], Any]]]] = {
    "gpu": ("index", printed.whole),
    "pid": ("pid", printed.whole),
    "type": ("type", printed.said),
    "sm": ("process_utilization_ratio", printed.ratio),
    "mem": ("memory_bandwidth_ratio", printed.ratio),
    "enc": ("encoder_ratio", printed.ratio),
    "dec": ("decoder_ratio", printed.ratio),
    "fb": ("process_memory_used_bytes", printed.size),
    "command": ("command", printed.said),
}
"""Column -> our name. Anything else keeps its own name (jpg, ofa, ccpm, pviol, tviol, gi, ci ...)."""


def decode_monitor(text: str) -> Decoded:
    """Rows in the order printed as ``samples``; the heads may repeat and change between them."""
    head: list[str] = []
    units: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0].startswith("#"):
            names = [word for word in (words[0].lstrip("#"), *words[1:]) if word]
            if any(name.lower() == "gpu" for name in names):
                head = [name.lower() for name in names]
            elif head and len(names) == len(head):
                units = {name: unit for name, unit in zip(head, names, strict=True) if unit != "-"}
            continue
        if head and len(words) >= len(head):
            last = len(head) - 1
            cells = [*words[:last], " ".join(words[last:])]  # only a command holds spaces, and it is last
            rows.append(dict(zip(head, cells, strict=True)))
    if not head:
        raise BadInput("neither nvidia-smi dmon nor pmon: no '# gpu ...' line names the columns")
    processes = "pid" in head
    table = _PROCESS if processes else _DEVICE
    samples = [_row(row, table) for row in rows if not processes or printed.said(row.get("pid"))]
    identities = [(row.get("gpu"), row.get("pid")) for row in rows]
    rounds = max((identities.count(identity) for identity in set(identities)), default=0)
    units = {name: unit for name, unit in units.items() if name not in ("gpu", "pid", "type", "command")}
    if "gtemp" in units:
        units["temp"] = units["gtemp"]  # the column was called temp before there was a memory sensor
    extra: dict[str, Any] = {"samples": rounds, "units": units}
    if processes:
        extra["rows_per_sample"] = len(rows) // rounds if rounds else 0
    return Decoded(
        maker="nvidia",
        tool="nvidia-smi pmon" if processes else "nvidia-smi dmon",
        format="text",
        samples=tuple(samples),
        extra=extra,
    )


def _row(
    row: Mapping[str, str], table: Mapping[str, tuple[str, Callable[[str | None], Any]]]
) -> dict[str, Any]:
    """Only what the row says; a dash leaves the key out."""
    sample: dict[str, Any] = {}
    for name, text in row.items():
        key, read = table.get(name, (name, _plain))
        value = read(text)
        if value is not None:
            sample[key] = value
    return sample


def _plain(text: str | None) -> Any:
    value = printed.number(text)
    if value is None:
        return printed.said(text)
    return int(value) if value == int(value) else value
