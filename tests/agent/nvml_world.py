"""A machine with emulated NVIDIA cards: the scenario file, and a supervisor whose child finds our library."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.emulators.build import build

from ullage_agent.backend import Host, Reading
from ullage_agent.backends.nvidia import backend
from ullage_agent.children.dialogue import Item
from ullage_agent.children.supervisor import Deadlines, Supervisor
from ullage_agent.source import SourceReport
from ullage_contract.catalogue import Tier
from ullage_contract.clock import ManualClock
from ullage_contract.event import Event
from ullage_contract.sample import Facts, Family

FIRST = "GPU-00000000-0000-0000-0000-0000000000a0"
SECOND = "GPU-00000000-0000-0000-0000-0000000000a1"
THIRD = "GPU-00000000-0000-0000-0000-0000000000a2"

H100: Mapping[str, str] = {
    "name": "NVIDIA H100 80GB HBM3",
    "serial": "1654922003820",
    "minor_number": "0",
    "vbios_version": "96.00.A5.00.01",
    "utilization": "97 41",
    "encoder": "3",
    "decoder": "4",
    "memory_total": "85520809984",
    "memory_used": "20780679168",
    "memory_reserved": "502267904",
    "bar1_used": "20781727744",
    "temperature": "59",
    "temperature_margin": "26",
    "power_limit_mw": "700000",
    "power_limit_default_mw": "700000",
    "clock_graphics": "1980",
    "clock_sm": "1965",
    "clock_memory": "2619",
    "clock_video": "1545",
    "clock_graphics_max": "1980",
    "throttle": "0x44",
    "pstate": "0",
    "pcie_generation": "5",
    "pcie_generation_max": "5",
    "pcie_width": "16",
    "pcie_width_max": "16",
    "fabric_state": "3",
    "sram_corrected": "1",
    "sram_uncorrected": "0",
    "link 0": "up",
    "link 1": "up",
    "link 2": "down",
    "field 185": "uint 631950",
    "field 186": "uint 625680",
    "field 83": "ull 123456789",
    "field 82": "uint 54",
    "field 197": "ull 5000",
    "field 198": "ull 6000",
    "field 138": "ull 1000",
    "field 139": "ull 2000",
    "field 230": "uint 0",
    "field 226": "uint 0",
    "field 74": "ull 5000000000",
    "field 75": "ull 9000000000",
    "field 269": "ull 1000000000",
    "field 270": "ull 500000000",
    "field 271": "ull 250000000",
    "field 94": "uint 9",
    "field 173": "uint 11",
    "field 179": "uint 12",
    "field 180": "uint 13",
    "field 3": "ull 7",
    "field 4": "ull 0",
    "field 5": "ull 70",
    "field 6": "ull 2",
    "field 142": "uint 2",
    "field 143": "uint 1",
    "field 144": "uint 0",
    "field 145": "uint 0",
    "field 38": "ull 21",
    "field 45": "ull 22",
    "field 52": "ull 23",
    "field 59": "ull 24",
    "processes": "1",
    "gpm_supported": "1",
    "gpm 2": "73.5",
    "gpm 3": "41.25",
    "gpm 5": "12.5",
    "gpm 11": "0",
    "gpm 12": "6.25",
    "gpm 13": "50",
    "mig_mode": "0",
}
"""Everything our reader asks of an H100."""


class World:
    """The scenario file. Changes are seen by the library within 10 ms; ``write`` waits for them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scenario.txt"
        self.system: dict[str, str] = {"driver_version": "590.48.01", "cuda_version": "13010"}
        self.cards: dict[int, dict[str, str]] = {}
        self.migs: dict[tuple[int, int], dict[str, str]] = {}
        self.write()

    def add(
        self, number: int, uuid: str, pci: str, values: Mapping[str, str] = H100, **more: str
    ) -> dict[str, str]:
        self.cards[number] = {"uuid": uuid, "pci": pci, **values, **more}
        return self.cards[number]

    def write(self) -> None:
        lines = [f"system {key} {value}" for key, value in self.system.items()]
        for number, card in self.cards.items():
            lines += [f"card {number} {key} {value}" for key, value in card.items()]
        for (number, mig), values in self.migs.items():
            lines += [f"mig {number} {mig} {key} {value}" for key, value in values.items()]
        temporary = self.path.with_suffix(".new")
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        temporary.replace(self.path)
        time.sleep(0.02)


class Machine:
    """A supervisor over the real backend; ``tick`` returns what came."""

    def __init__(
        self,
        world: World,
        clock: ManualClock,
        *,
        hidden: tuple[str, ...] = (),
        proc: Path | None = None,
        library: bool = True,
        **more: Any,
    ) -> None:
        environment = {**os.environ, "ULLAGE_NVML_SCENARIO": str(world.path)}
        environment["LD_LIBRARY_PATH"] = str(build("nvml", hidden=hidden).parent) if library else ""
        host = Host(node_id="n1", proc=proc or Path("/proc"))
        more.setdefault("deadlines", Deadlines(call=1.0, start=20.0))
        self.supervisor = Supervisor(replace(backend), host, clock, environment=environment, **more)
        self.items: list[Item] = []
        self.report: SourceReport | None = None

    def tick(self, tier: Tier = Tier.SLOW, *, facts: bool = False) -> Machine:
        self.items = []
        self.report = self.supervisor.tick(tier, self.items.append, facts=facts)
        return self

    def readings(self, family: Family = Family.CARD) -> dict[str, Reading]:
        return {i.subject: i for i in self.items if isinstance(i, Reading) and i.family is family}

    def facts(self, family: Family = Family.CARD) -> dict[str, Facts]:
        return {i.subject: i for i in self.items if isinstance(i, Facts) and i.family is family}

    def events(self, *kinds: str) -> list[Event]:
        return [i for i in self.items if isinstance(i, Event) and (not kinds or i.kind in kinds)]

    def close(self) -> None:
        self.supervisor.close()


def without(card: dict[str, str], keys: Iterable[str]) -> None:
    for key in keys:
        del card[key]
