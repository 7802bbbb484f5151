"""NVIDIA cards through NVML: who is there, who was lost, and one reading of each.

Cards are known by UUID, never by index: the index moves when a card falls off the bus. A card is lost
when it answers GPU_IS_LOST, when its handle cannot be had, or when it is not listed any more; it then
has health "lost" and no other value until it answers again, and the others go on.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_agent.backend import Call, Host, Reading
from ullage_agent.backends.nvidia.nvml_card import Card
from ullage_agent.backends.nvidia.nvml_library import Library
from ullage_agent.backends.nvidia.nvml_mig import Slices
from ullage_agent.backends.nvidia.nvml_processes import Processes
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput, CardLost, DeadlineExceeded, NotSupported, ReadingError
from ullage_contract.event import Event, Severity
from ullage_contract.identity import card_id, pci_address
from ullage_contract.sample import Facts, Family, Value

log = logging.getLogger(__name__)

_UUID: Final = re.compile(r"^GPU-[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_WORD: Final = re.compile(r"^[\x20-\x7e]{1,120}$")
Attributes = dict[str, Value | list[str] | None]


def open_reader(host: Host) -> NvmlReader:
    """The backend's reader. Nothing is called in NVML yet: the first question does, under watch."""
    return NvmlReader(host)


@dataclass(slots=True)
class _Known:
    """A card that was seen once. lost: why it is not there now, or None."""

    card_id: str
    index: int
    pci: str | None
    card: Card
    slices: Slices
    processes: Processes
    generation: int
    attributes: Attributes = field(default_factory=dict)
    partition_mode: str = "none"
    card_memory: int | None = None
    lost: str | None = None
    action: str | None = None
    uncorrected: int | None = None


class NvmlReader:
    """A ``backend.Reader``."""

    def __init__(self, host: Host, library: Library | None = None) -> None:
        self._host = host
        self._library = library if library is not None else Library()
        self._known: dict[str, _Known] = {}
        self._unreachable: dict[str, str] = {}
        self._held: list[str] = []
        self._events: list[Event] = []
        self._looked = False

    # ---- the Reader protocol

    def facts(self, call: Call) -> Iterator[Facts]:
        """Cards, their MIG slices and their processes. What a card cannot is learnt here, anew each time."""
        self._library.open(call)
        self._look(call)
        for known in list(self._known.values()):
            if known.lost is not None:
                yield self._facts_of(known)  # what was known of it still holds; it is only away
                continue
            try:
                self._probe(known, call)
            except CardLost as e:
                self._lose(known, str(e))
            yield self._facts_of(known)
            if known.lost is None:
                yield from known.slices.facts(self._slice_base(known), known.card_memory)
                yield from known.processes.facts()

    def read(self, tier: Tier, call: Call) -> Iterator[Reading | Facts]:
        """Cards in index order, each followed by its slices and, on SLOW, its processes."""
        self._library.open(call)
        if tier is Tier.SLOW or not self._looked:
            self._look(call)
        for known in sorted(self._known.values(), key=lambda k: k.index):
            if known.lost is None:
                try:
                    yield from self._read_card(known, tier, call)
                    continue
                except CardLost as e:
                    self._lose(known, str(e))
            yield Reading(
                Family.CARD, known.card_id, {"health": "lost", "health_detail": known.lost or "lost"}
            )

        for card in self._held:
            yield Reading(Family.CARD, card, {}, {"health": DeadlineExceeded.reason})

    def events(self, call: Call) -> Iterator[Event]:
        """What the readings since the last call showed."""
        events, self._events = self._events, []
        yield from events

    def close(self) -> None:
        for known in self._known.values():
            known.card.close()
            known.slices.close()
        self._library.close()

    # ---- who is there

    def _look(self, call: Call) -> None:
        """List the cards; find the lost and the returned. Raises ReadingError when the library is unwell."""
        nvml = self._library.nvml
        try:
            count = self._library.ask(call, "", "nvmlDeviceGetCount_v2", nvml.nvmlDeviceGetCount)
        except CardLost:  # the library answers so when the only card is gone
            count = 0
        present: set[str] = set()
        nameless: list[tuple[int, str]] = []
        skipped: set[str] = set()
        held = 0
        for index in range(min(count, 256)):
            try:
                handle = self._library.ask(
                    call,
                    f"index {index}",
                    "nvmlDeviceGetHandleByIndex_v2",
                    lambda i=index: nvml.nvmlDeviceGetHandleByIndex(i),  # type: ignore[misc]
                )
                identity = self._identity(call, index, handle)
            except DeadlineExceeded:
                # which card hangs here cannot be asked; those known by this index are not lost for it
                skipped |= {k.card_id for k in self._known.values() if k.index == index}
                held += 1
                continue
            except ReadingError as e:
                nameless.append((index, str(e)))
                continue
            present.add(identity)
            self._here(call, index, handle, identity)
        self._looked = True
        self._held = self._held_cards(present) if held > len(skipped) else []
        for known in list(self._known.values()):
            if known.card_id not in present | skipped and known.lost is None:
                why = "its handle cannot be had" if nameless else "it is not listed any more"
                self._lose(known, f"{why} ({nameless[0][1]})" if nameless else why)
        self._tell_unreachable(nameless, present)

    def _held_cards(self, present: set[str]) -> list[str]:
        """Cards whose very name hangs: the driver's list knows them, and nothing else about them is known."""
        there = present | set(self._known)
        return sorted(u for u in self._driver_list().values() if u is not None and u not in there)

    def _identity(self, call: Call, index: int, handle: Any) -> str:
        nvml = self._library.nvml
        where = f"index {index}"
        uuid = self._library.ask(call, where, "nvmlDeviceGetUUID", lambda: nvml.nvmlDeviceGetUUID(handle))
        if isinstance(uuid, str) and _WORD.match(uuid):
            return card_id(vendor="nvidia", uuid=uuid)
        raise BadIdentity(f"nvmlDeviceGetUUID of {where}: {uuid!r:.60} is no UUID")

    def _here(self, call: Call, index: int, handle: Any, identity: str) -> None:
        known = self._known.get(identity)
        if known is None:
            known = _Known(
                identity,
                index,
                None,
                Card(self._library, handle, identity),
                Slices(self._library, identity, handle),
                Processes(self._library, identity, handle, self._host.proc),
                self._library.generation,
            )
            self._known[identity] = known
            known.attributes = self._static(call, index, handle, identity)
            pci = known.attributes.get("pci_address")
            known.pci = pci if isinstance(pci, str) else None
            self._mig_mode(known, call)
        known.index = index
        if known.lost is not None and self._answers(call, known, handle):
            self._renew(known, handle)
            known.lost = None
            self._mig_mode(known, call)
            self._tell("card_back", Severity.INFO, known, "it answers again")
        elif known.generation != self._library.generation:
            self._renew(known, handle)
            self._mig_mode(known, call)

    def _renew(self, known: _Known, handle: Any) -> None:
        """Handles of before a reset, or of before the library was opened anew, mean nothing any more."""
        known.card.close()
        known.slices.close()
        known.card = Card(self._library, handle, known.card_id)
        known.slices = Slices(self._library, known.card_id, handle)
        known.processes = Processes(self._library, known.card_id, handle, self._host.proc)
        known.generation = self._library.generation

    def _answers(self, call: Call, known: _Known, handle: Any) -> bool:
        """Whether a card that was lost answers again: its power or temperature, whichever it has."""
        nvml = self._library.nvml
        for function, ask in (
            ("nvmlDeviceGetPowerUsage", lambda: nvml.nvmlDeviceGetPowerUsage(handle)),
            ("nvmlDeviceGetTemperature", lambda: nvml.nvmlDeviceGetTemperature(handle, 0)),
        ):
            try:
                self._library.ask(call, known.card_id, function, ask)
                return True
            except NotSupported:
                continue
            except ReadingError:
                return False
        return True

    def _lose(self, known: _Known, why: str) -> None:
        if known.lost is None:
            known.lost = why
            known.slices.close()
            self._tell("card_lost", Severity.FATAL, known, why)

    def _tell_unreachable(self, nameless: list[tuple[int, str]], present: set[str]) -> None:
        """Cards that were already gone when we started: the driver's own list knows their names."""
        lost = {k.card_id for k in self._known.values() if k.lost is not None}
        found: dict[str, str] = {}
        for pci, uuid in self._driver_list().items():
            if uuid is not None and uuid not in present and uuid not in lost and nameless:
                found[uuid] = pci
        unexplained = max(0, len(nameless) - len(lost) - len(found))
        for uuid, pci in found.items():
            if uuid not in self._unreachable:
                self._unreachable[uuid] = pci
                self._event("card_lost", Severity.FATAL, Family.CARD, uuid, nameless[0][1], pci=pci)
        if unexplained and "?" not in self._unreachable:
            self._unreachable["?"] = "?"
            self._event("card_lost", Severity.FATAL, Family.NODE, self._host.node_id, nameless[-1][1])
        if not nameless:
            self._unreachable.clear()

    def _driver_list(self) -> dict[str, str | None]:
        """PCI address -> UUID (None where it is unreadable) as /proc/driver/nvidia/gpus shows them."""
        found: dict[str, str | None] = {}
        try:
            places = sorted((self._host.proc / "driver/nvidia/gpus").iterdir())
        except OSError:
            return found
        for place in places:
            try:
                text = (place / "information").read_text(encoding="utf-8", errors="replace")
                address = pci_address(place.name)
            except (OSError, BadInput):
                continue
            match = re.search(r"^GPU UUID:\s*(\S+)", text, re.MULTILINE)
            found[address] = match.group(1) if match and _UUID.match(match.group(1)) else None
        return found

    # ---- facts

    def _static(self, call: Call, index: int, handle: Any, identity: str) -> Attributes:
        """What does not change while the driver is loaded. What is not answered is left out."""
        nvml = self._library.nvml

        def ask(function: str) -> Any:
            try:
                return self._library.ask(call, identity, function, lambda: getattr(nvml, function)(handle))
            except ReadingError:
                return None

        pci: str | None = None
        info = ask("nvmlDeviceGetPciInfo_v3")
        try:
            pci = pci_address(info.busId) if info is not None else None
        except (BadInput, AttributeError, UnicodeDecodeError):
            pci = None
        limit = ask("nvmlDeviceGetPowerManagementDefaultLimit")
        minor = ask("nvmlDeviceGetMinorNumber")
        shares_board = ask("nvmlDeviceGetMultiGpuBoard")
        board = ask("nvmlDeviceGetBoardId") if shares_board else None
        attributes: Attributes = {
            "vendor": "nvidia",
            "model": _word(ask("nvmlDeviceGetName")),
            "uuid": identity,
            "serial": _word(ask("nvmlDeviceGetSerial")),
            "pci_address": pci,
            "index": index,
            "minor": minor,
            "device_node": f"/dev/nvidia{minor}" if isinstance(minor, int) else None,
            "numa_node": self._numa_node(pci),
            "board_id": f"{self._host.node_id}-board-{board:x}" if isinstance(board, int) else None,
            "power_limit_default_watts": limit / 1000 if isinstance(limit, int) else None,
            "firmware_version": _word(ask("nvmlDeviceGetVbiosVersion")),
            "driver_version": _word(self._library.driver_version),
            "runtime_version": self._library.cuda_version,
            "util_kind": "kernel_resident",
        }
        return attributes

    def _numa_node(self, pci: str | None) -> int | None:
        """From sysfs; -1 there means that the platform does not say."""
        if pci is None:
            return None
        try:
            text = (self._host.sysfs / "bus/pci/devices" / pci / "numa_node").read_text(encoding="ascii")
            node = int(text)
        except (OSError, ValueError):
            return None
        return node if node >= 0 else None

    def _facts_of(self, known: _Known) -> Facts:
        attributes: Attributes = {
            **known.attributes,
            "index": known.index,
            "partition_mode": known.partition_mode,
            "memory_total_bytes": known.card_memory,
            "unsupported": [
                key for key in known.card.unsupported() if key != "processes" or not known.processes.supported
            ],
        }
        return Facts(
            Family.CARD,
            known.card_id,
            time.time(),
            {name: value for name, value in attributes.items() if value is not None},
        )

    def _slice_base(self, known: _Known) -> Attributes:
        names = ("vendor", "model", "serial", "pci_address", "driver_version", "runtime_version", "numa_node")
        return {
            **{name: known.attributes[name] for name in names if known.attributes.get(name) is not None},
            "util_kind": "kernel_resident",  # GPM 1: share of time any kernel was on the instance
        }

    def _probe(self, known: _Known, call: Call) -> None:
        self._mig_mode(known, call)
        reading = known.card.probe(call)
        total = reading.values.get("memory_total_bytes")
        known.card_memory = int(total) if isinstance(total, int) else known.card_memory
        known.processes.read(call)

    # ---- readings

    def _read_card(self, known: _Known, tier: Tier, call: Call) -> Iterator[Reading | Facts]:
        changed = tier is Tier.SLOW and self._mig_mode(known, call)
        reading = known.card.read(tier, call)
        total = reading.values.get("memory_total_bytes")
        known.card_memory = int(total) if isinstance(total, int) else known.card_memory
        items: list[Reading | Facts] = []
        if tier is Tier.SLOW:
            count, why, items = known.processes.read(call)
            values, failed = dict(reading.values), dict(reading.failed)
            if count is not None:
                values["processes"] = count
            elif why is not None:
                failed["processes"] = why
            reading = Reading(
                reading.family, reading.subject, values, failed, counters_epoch=reading.counters_epoch
            )
        self._notice(known, reading)
        yield reading
        if changed:
            yield self._facts_of(known)
            yield from known.slices.facts(self._slice_base(known), known.card_memory)
        yield from known.slices.read(call)
        yield from items

    def _mig_mode(self, known: _Known, call: Call) -> bool:
        """Whether MIG's mode or devices changed since the last look. Raises CardLost."""
        nvml = self._library.nvml
        card = known.card
        before = known.partition_mode
        try:
            current, _ = self._library.ask(
                call,
                known.card_id,
                "nvmlDeviceGetMigMode",
                lambda: nvml.nvmlDeviceGetMigMode(card.handle),
            )
            known.partition_mode = "mig" if current == 1 else "none"
        except CardLost:
            raise
        except NotSupported:
            known.partition_mode = "none"
        except ReadingError:
            return False  # not answered: what was known holds
        switched = known.partition_mode != before
        if switched or card.mig != (known.partition_mode == "mig"):
            card.close()
            card.mig = known.partition_mode == "mig"
            card.probe(call)
        changed = False
        if card.mig:
            try:
                changed = known.slices.look(call)
            except CardLost:
                raise
            except ReadingError as e:
                log.warning("%s: MIG devices cannot be listed: %s", known.card_id, e)
        elif known.slices.found:
            known.slices.close()
            known.slices.found = []
            changed = True
        return switched or changed

    # ---- events

    def _notice(self, known: _Known, reading: Reading) -> None:
        """A recovery action that is new, or uncorrected errors that grew."""
        action = reading.values.get("recovery_action")
        if isinstance(action, str):
            if action not in ("none", known.action):
                text = f"the card asks for {action}"
                self._tell("recovery_action", Severity.CRITICAL, known, text, code=action)
            known.action = action
        errors = reading.values.get("ecc_uncorrected")
        if isinstance(errors, int):
            before = known.uncorrected
            if before is not None and errors > before:
                text = f"{errors - before} uncorrected memory errors, {errors} since driver load"
                self._tell("ecc_uncorrected", Severity.CRITICAL, known, text, count=errors - before)
            known.uncorrected = errors

    def _tell(
        self,
        kind: str,
        severity: Severity,
        known: _Known,
        message: str,
        *,
        code: str | None = None,
        **more: Value,
    ) -> None:
        self._event(
            kind,
            severity,
            Family.CARD,
            known.card_id,
            message,
            pci=known.pci,
            code=code,
            index=known.index,
            **more,
        )

    def _event(
        self,
        kind: str,
        severity: Severity,
        family: Family,
        subject: str,
        message: str,
        *,
        pci: str | None = None,
        code: str | None = None,
        **more: Value,
    ) -> None:
        attributes: dict[str, Value] = dict(more)
        if pci is not None:
            attributes["pci_address"] = pci
        self._events.append(
            Event(
                time=time.time(),
                kind=kind,
                severity=severity,
                family=family,
                subject=subject,
                source="library",
                message=" ".join(message.split())[:500],
                code=code,
                vendor="nvidia",
                attributes=attributes,
            )
        )


class BadIdentity(ReadingError):
    """A card whose UUID is no text: it cannot be told from others."""


def _word(value: Any) -> str | None:
    """Printable text the library gave, or None: some boards have all-blank or binary serials."""
    return value.strip() if isinstance(value, str) and _WORD.match(value) and value.strip() else None
