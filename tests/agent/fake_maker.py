"""A maker for tests: four cards whose trouble is switched on by files, so that it can change while it runs.

settings: ``control``, a directory. A file named ``<trouble>@<card>@<call>`` there makes that call hang,
segfault, raise or vanish; ``<trouble>@@<place>`` does it at open, facts, read or events, outside any call.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ullage_agent.backend import Backend, Call, Host, Reading
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, CardLost, ReadingError
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family

CARDS = ("FAKE-0", "FAKE-1", "FAKE-2", "FAKE-3")
FAST = {
    "utilization_ratio": 0.5,
    "power_watts": 321.5,
    "temperature_celsius": 61.0,
    "memory_used_bytes": 1 << 30,
}
SLOW = {"ecc_uncorrected": 3, "fan_ratio": 0.25}


class FakeReader:
    def __init__(self, host: Host) -> None:
        self._control = Path(host.settings["control"])
        self._trouble("", "open")

    def facts(self, call: Call) -> Iterator[Facts]:
        self._trouble("", "facts")
        for index, card in enumerate(self._cards()):
            try:
                model = call(card, "name", lambda card=card: self._do(card, "name", "Fake 9000"))
            except ReadingError:
                model = None
            yield Facts(
                Family.CARD,
                card,
                time.time(),
                {
                    "vendor": "fake",
                    "model": model,
                    "index": index,
                    "uuid": card,
                    "pci_address": f"0000:{0x3B + index:02x}:00.0",
                },
            )

    def read(self, tier: Tier, call: Call) -> Iterator[Reading]:
        self._trouble("", "read")
        for card in self._cards():
            values: dict[str, float | int | str] = {}
            failed: dict[str, str] = {}
            for key, value in {**FAST, **(SLOW if tier is Tier.SLOW else {})}.items():
                try:
                    values[key] = call(
                        card, key, lambda card=card, key=key, value=value: self._do(card, key, value)
                    )
                except CardLost:
                    values, failed = {"health": "lost"}, {}
                    break
                except ReadingError as e:
                    failed[key] = e.reason
            yield Reading(Family.CARD, card, values, failed, counters_epoch="load-1")
        self._trouble("", "late")

    def events(self, call: Call) -> Iterator[Event]:
        self._trouble("", "events")
        for file in self._control.glob("event@*"):
            file.unlink()
            code = file.name.split("@")[1]
            yield Event(
                time.time(), "ras", Severity.CRITICAL, Family.CARD, CARDS[0], "library", "it said so", code
            )

    def close(self) -> None:
        (self._control / "closed").touch()

    def _cards(self) -> list[str]:
        return [card for card in CARDS if not (self._control / f"vanish@{card}@").exists()]

    def _do(self, card: str, name: str, value: float | str) -> float | str:
        self._trouble(card, name)
        return value

    def _trouble(self, card: str, name: str) -> None:
        for word in (
            "hang",
            "segv",
            "raise",
            "slip",
            "lost",
            "garbage",
            "flood",
            "longline",
            "exit",
            "slow",
            "print",
        ):
            if (self._control / f"{word}@{card}@{name}").exists():
                getattr(self, f"_{word}")()

    def _hang(self) -> None:
        time.sleep(3600)

    def _slow(self) -> None:
        time.sleep(0.3)

    def _segv(self) -> None:
        ctypes.string_at(0)

    def _raise(self) -> None:
        raise Broken("the library answered 999")

    def _slip(self) -> None:
        raise ZeroDivisionError("a slip of the reader's own")

    def _lost(self) -> None:
        raise CardLost("fell off the bus")

    def _garbage(self) -> None:
        os.write(int(sys.argv[3]), b"\x00\xff<not json>\n")

    def _flood(self) -> None:
        for _ in range(30):
            os.write(int(sys.argv[3]), (b'{"id":1,"noise":"' + b"x" * 900_000 + b'"}\n'))

    def _longline(self) -> None:
        os.write(int(sys.argv[3]), b"x" * 3_000_000)

    def _exit(self) -> None:
        os._exit(7)

    def _print(self) -> None:
        print("a library that talks")
        os.write(1, b"and writes to its standard output\n")


class BabblingReader(FakeReader):
    """Yields what the contract does not know."""

    def read(self, tier: Tier, call: Call) -> Iterator[Reading]:
        yield Reading(
            Family.CARD,
            "FAKE-0",
            {
                "power_watts": 100.0,
                "no_such_metric": 1,
                "fan_ratio": float("nan"),
                "health": 3,
                "throttle_reasons": "x",
            },
            {"temperature_celsius": "tired"},
        )
        yield Reading(Family.CARD, "bad\x00key", {"power_watts": 1.0})
        yield Reading(Family.CARD, "FAKE-1", {"power_watts": {"not": "a number"}})  # type: ignore[dict-item]
        yield Reading(Family.CARD, "FAKE-2", {"power_watts": object()})  # type: ignore[dict-item]
        yield Reading(Family.CARD, "FAKE-3", {"power_watts": True})


class MisfitReader(FakeReader):
    """Yields what cannot travel, in a row that else is whole."""

    def read(self, tier: Tier, call: Call) -> Iterator[Reading]:
        yield Reading(Family.CARD, "FAKE-0", {"power_watts": 1.0}, counters_epoch=self.close)  # type: ignore[arg-type]
        yield Reading(Family.CARD, "FAKE-1", {"fan_rpm": 1.0, "power_watts": ctypes.c_int(7)})  # type: ignore[dict-item]
        yield Reading(Family.CARD, "FAKE-2", {"power_watts": 2.0}, counters_epoch=1795000000)  # type: ignore[arg-type]
        yield Reading(Family.CARD, "FAKE-3", {"power_watts": 3.0}, counters_epoch="1795000000")


backend = Backend(name="fake", title="Fake", reader="fake_maker:FakeReader", device_nodes=("fake[0-9]*",))
babbling = Backend(name="babbling", title="Babbling", reader="fake_maker:BabblingReader")
misfit = Backend(name="misfit", title="Misfit", reader="fake_maker:MisfitReader")
