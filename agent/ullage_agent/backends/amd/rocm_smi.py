"""``rocm-smi`` in its four forms: ``--json``, ``GPU[n] : key: value`` lines, ``--csv`` and the concise table.

Exit code 2 goes with usable output, log lines stand between the values, and keys change from release to release
(rocm_words.py). Not here: amd-smi, which is another tool (amd_smi.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.amd.throttling import reasons_of_bits
from ullage_agent.backends.column_table import Table, column_table
from ullage_agent.backends.json_text import mapping, word
from ullage_agent.backends.printed import celsius, csv_rows, number, ratio, said, watts, whole
from ullage_agent.backends.rocm_words import clock, generation, identity_of, plain, values_of
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_CARD: Final = re.compile(r"^card(\d+)$", re.IGNORECASE)
_LINE: Final = re.compile(r"^\s*(?:GPU|DCU|HCU)\[(\d+)\]\s*:\s*(.*\S)\s*$")
_DRIVER: Final = re.compile(r"^\s*Driver version:\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_RAS: Final = re.compile(r"^\s*([A-Z][A-Z0-9_]+)\s+(ENABLED|DISABLED)\s+(\d+)\s+(\d+)\s*$")
_PROCESS: Final = re.compile(r"^\s*(\d+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+|unknown)\s*$", re.IGNORECASE)
_SENTINEL: Final = 0xFFFF  # all ones of gpu_metrics' 16 bits: not measured


def from_json(document: Mapping[str, Any], *, maker: str = "amd", memory_use_is: str) -> Decoded:
    """``rocm-smi -a --json``. Raises BadInput when no key is cardN."""
    cards = [(int(m[1]), mapping(value)) for key, value in document.items() if (m := _CARD.match(key))]
    if not cards:
        raise BadInput("this JSON is not rocm-smi's: it has no card0, card1, ...")
    system = mapping(document.get("system"))
    driver = said(word(system.get("Driver version")))
    pids = {key: value for key, value in system.items() if re.fullmatch(r"PID\d+", key)}
    extra = {"processes": [_pid(key, str(value)) for key, value in pids.items()]} if pids else {}
    return Decoded(
        maker=maker,
        tool="rocm-smi",
        format="json",
        driver_version=driver,
        cards=[
            _card(
                index,
                {plain(key): text for key, value in pairs.items() if (text := word(value)) is not None},
                driver,
                memory_use_is,
            )
            for index, pairs in cards
        ],
        extra=extra,
    )


def from_lines(text: str, *, maker: str = "amd", memory_use_is: str) -> Decoded | None:
    """``rocm-smi -a`` or ``--showmetrics`` as lines; None where there is no ``GPU[n] :`` line."""
    cards: dict[int, dict[str, str]] = {}
    blocks: dict[int, dict[str, tuple[int, int]]] = {}
    processes: list[dict[str, Any]] = []
    index = -1
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            index = int(match[1])
            pairs = cards.setdefault(index, {})
            key, colon, value = match[2].partition(":")
            # "Metric Version and Size (Bytes): 1.3 120"; "temperature_edge (C): 41"; the first value of a key counts
            if colon and value.strip():
                pairs.setdefault(plain(key), value.strip())
            continue
        if index >= 0 and (ras := _RAS.match(line)):
            blocks.setdefault(index, {})[ras[1].lower()] = (int(ras[3]), int(ras[4]))
        elif found := _PROCESS.match(line):
            processes.append(_process(found))
    if not cards:
        return None
    driver = _DRIVER.search(text)
    version = driver[1] if driver else None
    decoded = [
        _card(i, pairs, version, memory_use_is, blocks.get(i), metrics=True) for i, pairs in cards.items()
    ]
    if len(decoded) == 1 and processes:
        decoded = [_with_processes(decoded[0], processes)]
        processes = []
    tool = "rocm-smi --showmetrics" if "etric Version and Size" in text else "rocm-smi"
    return Decoded(
        maker=maker,
        tool=tool,
        format="text",
        driver_version=version,
        cards=decoded,
        extra={"processes": processes} if processes else {},
    )


def from_csv(lines: Sequence[str], *, maker: str = "amd", memory_use_is: str) -> Decoded | None:
    """``rocm-smi --csv``: a head that begins with ``device``; None where there is none.

    Keys with a comma inside are not quoted by the tool; rows that do not fit the head keep their first cells.
    """
    rows = csv_rows(lines)
    start = next(
        (n for n, row in enumerate(rows) if len(row) > 1 and row[0].strip().lower() == "device"), None
    )
    if start is None:
        return None
    cards: dict[int, dict[str, str]] = {}
    driver = None
    torn = 0
    names: list[str] = []
    for row in rows[start:]:
        if row and row[0].strip().lower() == "device":
            names = [plain(name) for name in row]
            continue
        match = _CARD.match(row[0].strip()) if row else None
        if match is None:
            if row and row[0].strip().lower() == "system" and len(row) > 1:
                driver = said(row[1])
            continue
        torn += len(row) != len(names)
        cards.setdefault(int(match[1]), {}).update(zip(names, row, strict=False))
    if not cards:
        return None
    return Decoded(
        maker=maker,
        tool="rocm-smi",
        format="csv",
        driver_version=driver,
        cards=[_card(index, pairs, driver, memory_use_is) for index, pairs in cards.items()],
        notes=[f"{torn} rows do not fit their head"] if torn else [],
    )


def from_concise(
    lines: Sequence[str], *, first_names: frozenset[str], maker: str = "amd", tool: str = "rocm-smi"
) -> Decoded | None:
    """The concise table; None where there is none. first_names: what its first column may be called."""
    table = column_table(lines, lambda names: names[0] in first_names and "perf" in names)
    if table is None:
        return None
    cards = [
        _row(record, below, table)
        for record, below in zip(table.records(), table.below, strict=True)
        if record.get(table.names[0], "").isdecimal()
    ]
    notes = [f"{table.torn} rows do not fit their head"] if table.torn else []
    return Decoded(maker=maker, tool=tool, format="table", cards=cards, notes=notes)


def _row(record: Mapping[str, str], below: str, table: Table) -> DecodedCard:
    def cell(*names: str) -> str | None:
        return next((text for name in names if (text := said(record.get(name))) is not None), None)

    busy = cell("gpu%", "dcu%", "hcu%")
    temperature = celsius(cell("temp"))
    hot = "junction" in table.labels.lower()
    values: dict[str, Value | None] = {
        "utilization_ratio": ratio(busy),
        "memory_ratio": ratio(cell("vram%")),
        "temperature_celsius": temperature,
        "hotspot_temperature_celsius": temperature if hot else None,
        "power_watts": watts(cell("avgpwr", "power")),
        "power_limit_watts": watts(cell("pwrcap")),
        "fan_ratio": ratio(cell("fan")),
        "decoder_ratio": ratio(cell("dec%")),
        "encoder_ratio": ratio(cell("enc%")),
        "clock_core_hertz": clock(cell("sclk")),
        "clock_memory_hertz": clock(cell("mclk")),
    }
    partitions = (cell("partitions") or "").split(",")
    extra: dict[str, Any] = {"performance_level": cell("perf"), "mode": cell("mode")}
    if len(partitions) == 3:
        extra |= {"memory_partition": said(partitions[0]), "partition_id": whole(partitions[2])}
    return DecodedCard(
        index=whole(record[table.names[0]]),
        model=said(below) if below and not below.startswith("(") else None,
        partition_mode=(said(partitions[1]) or "").lower() or None if len(partitions) == 3 else None,
        values={key: value for key, value in values.items() if value is not None},
        extra={key: value for key, value in extra.items() if value is not None},
    )


def _card(
    index: int,
    pairs: Mapping[str, str],
    driver: str | None,
    memory_use_is: str,
    blocks: Mapping[str, tuple[int, int]] | None = None,
    *,
    metrics: bool = False,
) -> DecodedCard:
    values = values_of(pairs, memory_use_is=memory_use_is)
    extra: dict[str, Any] = {"driver": driver, "performance_level": said(pairs.get("performance level"))}
    if metrics:
        more, further = _metrics(pairs)
        values |= more
        extra |= further
    if blocks:
        corrected = sum(ce for ce, _ in blocks.values())
        values |= {"ecc_corrected": corrected, "ecc_uncorrected": sum(ue for _, ue in blocks.values())}
        extra["ras_blocks"] = {name: {"ce": ce, "ue": ue} for name, (ce, ue) in blocks.items()}
    identity = identity_of(pairs)
    partition = said(pairs.get("compute partition"))
    extra["memory_partition"] = said(pairs.get("memory partition"))
    return DecodedCard(
        index=index,
        partition_mode=partition.lower() if partition else None,
        values=values,
        extra={key: value for key, value in extra.items() if value is not None},
        **identity,
    )


def _metrics(pairs: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, Any]]:
    """The lines of ``--showmetrics``: gpu_metrics in words. An energy of 0 is a card that does not count it."""

    def measured(*names: str) -> float | None:
        for name in names:
            found = number(_first_of_list(pairs.get(name)))
            if found is not None and found < _SENTINEL:
                return found
        return None

    core = measured("current_gfxclk (mhz)", "average_gfxclk_frequency (mhz)")
    memory = measured("current_uclk (mhz)", "average_uclk_frequency (mhz)")
    umc = measured("average_umc_activity (%)")
    width = measured("pcie_link_width (lanes)")
    speed = measured("pcie_link_speed (0.1 gt/s)")
    energy = whole(pairs.get("energy_accumulator (15.259uj (2^-16))"))
    values: dict[str, Value | None] = {
        "clock_core_hertz": None if core is None else core * 1e6,
        "clock_memory_hertz": None if memory is None else memory * 1e6,
        "memory_bandwidth_ratio": None if umc is None else umc / 100,
        "pcie_width": None if width is None else int(width),
        "pcie_generation": generation(None if speed is None else speed / 10),
        # 15.259 uJ are 2^-16 J; 0 is "not counted" (a card at 20 W printed it)
        "energy_joules": energy / 65536 if energy else None,
        "throttle_reasons": _throttle(pairs),
    }
    extra = {"energy_accumulator": energy, "pcie_speed_gts": None if speed is None else speed / 10}
    return {key: value for key, value in values.items() if value is not None}, extra


def _throttle(pairs: Mapping[str, str]) -> int | None:
    independent = whole(pairs.get("indep_throttle_status"))
    if independent is not None and independent != (1 << 64) - 1:
        return reasons_of_bits(independent)
    status = whole(pairs.get("throttle_status"))
    if status is None or status == 0xFFFFFFFF:
        return None
    return reasons_of_bits(None) if status else 0


def _first_of_list(text: str | None) -> str | None:
    return text.strip("[] ").split(",")[0] if text else None


def _pid(key: str, text: str) -> dict[str, Any]:
    """``"PID29453": "python3, 1, 1073741824, 0, 12"``: name, number of cards, VRAM, SDMA, occupancy."""
    words = [part.strip() for part in text.split(",")]
    found: dict[str, Any] = {"pid": int(key[3:]), "name": words[0] or None}
    if len(words) > 2:
        found |= {"cards": whole(words[1]), "memory_used_bytes": whole(words[2])}
    return found


def _process(match: re.Match[str]) -> dict[str, Any]:
    return {
        "pid": int(match[1]),
        "name": said(match[2]),
        "cards": int(match[3]),
        "memory_used_bytes": int(match[4]),
    }


def _with_processes(card: DecodedCard, processes: Sequence[Mapping[str, Any]]) -> DecodedCard:
    from dataclasses import replace

    return replace(card, processes=tuple(processes))
