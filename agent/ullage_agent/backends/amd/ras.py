"""Memory and block errors of amdgpu's RAS files, and what they say of the card.

``ras/<block>_err_count`` (newer kernels also ``ras/aca_<block>``) hold ``ue``, ``ce`` and sometimes ``de`` since
driver load; ``ras/gpu_vram_bad_pages`` one line a page: frame : size : R, P or F (kernel amdgpu_ras.c, read
2026-11-21). Every block's uncorrectable count above 0 is a sick card: device-metrics-exporter,
pkg/amdgpu/gpuagent/gpuagent_health.go, default threshold 0. Reading a block asks the card: slow tier only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ullage_agent.backends.sysfs import SysfsFiles
from ullage_contract.errors import Broken, NotSupported
from ullage_contract.sample import Value

_COUNT: Final = re.compile(r"^\s*(ue|ce|de)\s*:\s*(\d+)\s*$", re.MULTILINE)
_PAGE: Final = re.compile(r":\s*([RPF])\s*$")
_NONSENSE: Final = 0xFFFF0
"""A block read while the card slept answers this, and the driver adds it up at every further reading (seen on a
Radeon: 1048560, 2097120, 3145680 of both kinds)."""
MEMORY_BLOCK: Final = "umc"
PAGES: Final = "ras/gpu_vram_bad_pages"


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one block since driver load."""

    uncorrected: int
    corrected: int
    deferred: int = 0


@dataclass(frozen=True, slots=True)
class Pages:
    """retired: out of use. pending: will be at the next reset. failed: could not be."""

    retired: int
    pending: int
    failed: int


def blocks(files: SysfsFiles) -> tuple[tuple[str, str], ...]:
    """(block, file) of every block this card counts. () when it has no RAS."""
    try:
        names = sorted(os.listdir(files.root / "ras"))  # noqa: PTH208 a handful of names, asked at every look
    except OSError:
        return ()
    found: dict[str, str] = {}
    for name in names:
        if name.endswith("_err_count"):
            found[name.removesuffix("_err_count")] = f"ras/{name}"
    for name in names:
        if name.startswith("aca_"):  # the same counts under the newer name: only where there is no other
            found.setdefault(name.removeprefix("aca_"), f"ras/{name}")
    return tuple(found.items())


def counts(files: SysfsFiles, name: str) -> Counts:
    """One block. Raises as SysfsFiles, NotSupported when the text has no count, Broken for counts of a sleeping card."""
    text = files.text(name)
    files.forget(name)
    found = {kind: int(amount) for kind, amount in _COUNT.findall(text)}
    if "ue" not in found and "ce" not in found:
        raise NotSupported(f"{files.root / name}: {text[:60]!r} has no ue and no ce")
    uncorrected, corrected = found.get("ue", 0), found.get("ce", 0)
    for amount in (uncorrected, corrected):
        if amount and amount % _NONSENSE == 0:
            raise Broken(f"{files.root / name}: {amount} is what a sleeping card answers, no count")
    return Counts(uncorrected, corrected, found.get("de", 0))


def pages(files: SysfsFiles, name: str = PAGES) -> Pages:
    """Bad pages. Raises as SysfsFiles."""
    text = files.text(name)
    files.forget(name)
    flags = [match[1] for line in text.splitlines() if (match := _PAGE.search(line))]
    return Pages(len(flags), flags.count("P"), flags.count("F"))


def values(found: Mapping[str, Counts]) -> dict[str, Value]:
    """The memory's own counts, and those of all other blocks together."""
    answer: dict[str, Value] = {}
    memory = found.get(MEMORY_BLOCK)
    if memory is not None:
        answer |= {"ecc_corrected": memory.corrected, "ecc_uncorrected": memory.uncorrected}
    others = [block for name, block in found.items() if name != MEMORY_BLOCK]
    if others:
        answer["sram_ecc_corrected"] = sum(block.corrected for block in others)
        answer["sram_ecc_uncorrected"] = sum(block.uncorrected for block in others)
    return answer


def health(found: Mapping[str, Counts], bad: Pages | None) -> dict[str, Value]:
    """Our word with the blocks that gave it; nothing where the card counts nothing."""
    if not found and bad is None:
        return {}
    sick = [f"{name} ue={block.uncorrected}" for name, block in found.items() if block.uncorrected]
    deferred = [f"{name} de={block.deferred}" for name, block in found.items() if block.deferred]
    if bad is not None and bad.failed:
        sick.append(f"{bad.failed} pages cannot be retired")
    if sick:
        return {"health": "critical", "health_detail": ", ".join(sick)[:200]}
    if bad is not None and bad.pending:
        deferred.append(f"{bad.pending} pages wait for a reset")
    if deferred:
        return {"health": "degraded", "health_detail": ", ".join(deferred)[:200]}
    return {"health": "ok", "health_detail": f"no uncorrectable error in {len(found)} RAS blocks"}
