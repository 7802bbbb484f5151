"""One server with cards of four makers: NVIDIA, Ascend, Cambricon and MetaX, every library an emulated one.

``MakersServer(place)`` writes the scenarios and the PCI bus; ``agent()`` is the real agent over it, with the
real supervisors and the real children. Used by test_four_makers and by benchmarks/makers.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.agent.maker_bench import pci_function
from tests.agent.nvml_world import World
from tests.agent.scenario_file import Scenario
from tests.emulators.build import build

from ullage_agent.assembly import Agent
from ullage_agent.config import Config, Sampling, Sources
from ullage_agent.sink import Sink
from ullage_contract.clock import Clock, ManualClock

MIB = 1 << 20
NAMES = ("ascend", "cambricon", "metax", "nvidia")

_ASCEND: Mapping[str, object] = {
    "name": "910B3",
    "cores": 20,
    "power": 2697,
    "temperature": 52,
    "health": 0,
    "codes": "none",
    "hbm": "65536 60211 49 1600 37",
    "rate2": 87,
    "freq7": 1650,
    "ecc2": "5 0 50 1 2 1 0 0",
}
_CAMBRICON: Mapping[str, object] = {
    "name": "MLU590-M9",
    "driver": "5.10.31",
    "cores": 32,
    "memory": "81920 71123 512",
    "utilization": 98,
    "power": "402 550",
    "temperature": "58 41 63 60",
    "frequency": "1000 1600 1300",
    "health": "1 4 0",
    "ecc": "77 7",
}
_METAX: Mapping[str, object] = {
    "name": "MXC500",
    "brand": 2,
    "mode": 0,
    "driver": "3.4.4",
    "memory": "846264 67108864",
    "usage_4": 73,
    "power": "40000 30000 25500",
    "power_limit": 350000,
    "temperature_0": 5150,
    "clock_11": "1500 1480",
    "throttle": "0",
    "sgpu": 0,
}

EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "ascend": {
        "utilization_ratio": 0.87,
        "power_watts": 269.7,
        "temperature_celsius": 52.0,
        "memory_used_bytes": 60211 * MIB,
        "memory_total_bytes": 65536 * MIB,
    },
    "cambricon": {
        "utilization_ratio": 0.98,
        "power_watts": 402.0,
        "temperature_celsius": 58.0,
        "memory_used_bytes": 71123 * MIB,
        "memory_total_bytes": 81920 * MIB,
    },
    "metax": {
        "utilization_ratio": 0.73,
        "power_watts": 95.5,
        "temperature_celsius": 51.5,
        "memory_used_bytes": 846264 * 1024,
        "memory_total_bytes": 67108864 * 1024,
    },
    "nvidia": {
        "utilization_ratio": 0.97,
        "power_watts": 631.95,
        "temperature_celsius": 59.0,
        "memory_used_bytes": 20780679168,
        "memory_total_bytes": 85520809984,
    },
}
"""What each card of a maker says, by catalogue key: the scenarios' numbers in the catalogue's units."""


TEMPERATURE_CALL: Mapping[str, str] = {
    "ascend": "dcmi_get_device_temperature",
    "cambricon": "cndevGetTemperatureInfo",
    "metax": "mxSmlGetTemperatureInfo",
    "nvidia": "nvmlDeviceGetTemperature",
}
"""The call of each library that gives ``temperature_celsius``."""


class MakersServer:
    """The scenarios, libraries and bus below ``place``; ``cards`` of each maker."""

    def __init__(self, place: Path, *, cards: int = 2, makers: tuple[str, ...] = NAMES) -> None:
        self.place = place
        self.root = place / "server"
        self.makers = makers
        self.cards: dict[str, list[str]] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.environment: dict[str, str] = {}
        self.scenarios: dict[str, Scenario] = {}
        for name in ("sys/bus/pci/devices", "proc", "dev"):
            (self.root / name).mkdir(parents=True)
        for name in makers:
            folder = place / name
            folder.mkdir()
            self.cards[name] = [getattr(self, f"_{name}")(folder, number) for number in range(cards)]
            if name in self.scenarios:
                self.scenarios[name].write()

    def agent(self, *, clock: Clock | None = None, sinks: tuple[Sink, ...] = (), **sampling: float) -> Agent:
        """The real agent; the caller closes it."""
        return Agent(
            Config(
                node="n1",
                backends=self.settings,
                sampling=Sampling(
                    **{"call_deadline_seconds": 1.0, "start_deadline_seconds": 20.0, **sampling}
                ),
                sources=Sources(rdma=False, host=False, kernel_log=False),
            ),
            clock or ManualClock(),
            root=self.root,
            sinks=list(sinks),
            environment={**os.environ, **self.environment},
        )

    def trouble(self, maker: str, what: str) -> None:
        """From now on the temperature of the maker's first card does ``what``: hang, crash, garbage."""
        call = TEMPERATURE_CALL[maker]
        if maker == "nvidia":
            self.nvml.cards[0][f"{what} {call}"] = "1"
            self.nvml.write()
            return
        thing = "chip 0.0" if maker == "ascend" else "card 0"
        self.scenarios[maker][thing][f"{what} {call}"] = 1
        self.scenarios[maker].write()

    def _function(self, vendor: str, bus: int) -> str:
        address = f"0000:{bus:02x}:00.0"
        pci_function(self.root / "sys", address, vendor, "0001", "030200" if vendor == "10de" else "120000")
        return address

    def _own_library(self, maker: str, emulator: str) -> None:
        """A copy by itself: an emulator's state lives as long as its library."""
        library = build(emulator)
        self.settings[maker] = {"library": str(shutil.copy(library, self.place / maker / library.name))}

    def _scenario(self, maker: str, folder: Path, emulator: str) -> Scenario:
        if maker not in self.scenarios:
            self.scenarios[maker] = Scenario(folder)
            self.environment[f"ULLAGE_{maker.upper()}_SCENARIO"] = str(self.scenarios[maker].path)
            self._own_library(maker, emulator)
        return self.scenarios[maker]

    def _ascend(self, folder: Path, number: int) -> str:
        scenario = self._scenario("ascend", folder, "ascend")
        scenario[f"chip {number}.0"].update(
            _ASCEND,
            die=f"11111111 22222222 33333333 44444444 {number:08X}",
            pci=self._function("19e5", 0xC0 + number),
            logic=number,
        )
        scenario[f"board {number}"]["serial"] = f"033TEST{number:09d}"
        return f"11111111-22222222-33333333-44444444-{number:08X}"

    def _cambricon(self, folder: Path, number: int) -> str:
        scenario = self._scenario("cambricon", folder, "cambricon")
        uuid = f"77013006-2457-0000-0000-{number:012d}"
        scenario[f"card {number}"].update(
            _CAMBRICON, uuid=uuid, sn=f"b40001{number:05d}", pci=self._function("cabc", 0x20 + number)
        )
        return uuid

    def _metax(self, folder: Path, number: int) -> str:
        scenario = self._scenario("metax", folder, "mxsml")
        scenario["system"].update(maca_version="3.3.0.15", rescan=1)
        uuid = f"GPU-c5000000-0000-0000-0000-{number:012d}"
        scenario[f"card {number}"].update(
            _METAX, uuid=uuid, serial=f"AENATEST{number:06d}", pci=self._function("9999", 0x40 + number)
        )
        return uuid

    def _nvidia(self, folder: Path, number: int) -> str:
        if number == 0:
            self.nvml = World(folder)
            self.environment["ULLAGE_NVML_SCENARIO"] = str(self.nvml.path)
            self.environment["LD_LIBRARY_PATH"] = str(build("nvml").parent)
        uuid = f"GPU-00000000-0000-0000-0000-{number:012x}"
        self.nvml.add(number, uuid, self._function("10de", 0x80 + number))
        self.nvml.write()
        return uuid
