"""MIG devices as slices of their card.

A slice is a compute instance. Several compute instances of one GPU instance share its memory: it is
one pool, and stands on the first of them (lowest compute instance id); the others have no memory
values and memory_share 0, so that sums over slices are right. GPM measures a GPU instance: with
several compute instances nobody can tell which of them was busy, so none gets the value.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ullage_agent.backend import Call, Reading
from ullage_agent.backends.nvidia import nvml_gpm
from ullage_agent.backends.nvidia.nvml_library import NOT_FOUND, Library
from ullage_agent.backends.nvidia.nvml_metrics import memory_v1, memory_v2
from ullage_contract import catalogue
from ullage_contract.errors import CardLost, NotSupported, ReadingError
from ullage_contract.identity import slice_id
from ullage_contract.sample import Facts, Family, Value

_MEMORY: Final = ("memory_used_bytes", "memory_total_bytes", "memory_reserved_bytes")


@dataclass(slots=True)
class Slice:
    """One MIG device. owner: it stands for its GPU instance's memory. alone: the only one in it."""

    handle: Any
    uuid: str | None
    gi: int
    ci: int
    profile: str | None
    gi_slices: int | None
    ci_slices: int | None
    memory_bytes: int | None
    owner: bool = True
    alone: bool = True

    @property
    def instance(self) -> str:
        return f"gi{self.gi}-ci{self.ci}"


class Slices:
    """The MIG devices of one card. ``look`` finds them; ``read`` measures them."""

    def __init__(self, library: Library, card_id: str, handle: Any) -> None:
        self._library = library
        self._card_id = card_id
        self._handle = handle
        self.found: list[Slice] = []
        self._compute_slices = 7
        self._gpm: dict[int, nvml_gpm.Gpm] = {}
        self._gpm_supported = False

    def look(self, call: Call) -> bool:
        """Enumerate anew. True when the set differs from the last. Raises ReadingError, CardLost."""
        nvml = self._library.nvml
        before = {(s.uuid, s.instance) for s in self.found}
        most = self._ask(call, "nvmlDeviceGetMaxMigDeviceCount", self._handle)
        # 7 on A100 and newer, 4 on A30: the card's compute slices
        self._compute_slices = most or 7
        handles = self._library.ask(
            call, self._card_id, "nvmlDeviceGetMigDeviceHandleByIndex", lambda: self._handles(most)
        )
        self.found = [s for handle in handles if (s := self._slice(call, nvml, handle)) is not None]
        self.found.sort(key=lambda s: (s.gi, s.ci))
        for number, entry in enumerate(self.found):
            same = [s for s in self.found if s.gi == entry.gi]
            entry.owner = same[0] is entry
            entry.alone = len(same) == 1
            self.found[number] = entry
        changed = {(s.uuid, s.instance) for s in self.found} != before
        if changed:
            self.close()
            try:
                self._gpm_supported = nvml_gpm.supported(self._library, call, self._card_id, self._handle)
            except ReadingError:
                self._gpm_supported = False
            for entry in self.found:
                if self._gpm_supported and entry.alone:
                    gpm = nvml_gpm.Gpm(
                        self._library, self._card_id, self._handle, nvml_gpm.SLICE_METRICS, entry.gi
                    )
                    gpm.start(call)
                    self._gpm[entry.gi] = gpm
        return changed

    def facts(self, base: Mapping[str, Value | list[str] | None], card_memory: int | None) -> Iterator[Facts]:
        """base: attributes of the card that hold for its slices (vendor, model, driver ...)."""
        now = time.time()
        for entry in self.found:
            total = entry.memory_bytes
            memory_share: float | None = None
            if not entry.owner:
                memory_share = 0.0
            elif total is not None and card_memory:
                memory_share = total / card_memory
            unsupported = set(catalogue.keys(Family.SLICE))
            if entry.owner:
                unsupported -= set(_MEMORY)
            if entry.alone and self._gpm_supported:
                unsupported -= set(nvml_gpm.SLICE_METRICS.values())
            attributes: dict[str, Value | list[str] | None] = {
                **base,
                "card_id": self._card_id,
                "uuid": entry.uuid,
                "profile": entry.profile,
                "partition_mode": "mig",
                "compute_share": (
                    None if entry.ci_slices is None else min(1.0, entry.ci_slices / self._compute_slices)
                ),
                "memory_share": memory_share,
                "memory_total_bytes": total if entry.owner else None,
                "unsupported": sorted(unsupported),
            }
            yield Facts(
                Family.SLICE,
                slice_id(self._card_id, entry.instance),
                now,
                {name: value for name, value in attributes.items() if value is not None},
            )

    def read(self, call: Call) -> Iterator[Reading]:
        """One reading a slice. Raises CardLost."""
        for entry in self.found:
            values: dict[str, Value] = {}
            failed: dict[str, str] = {}
            if entry.owner:
                self._memory(call, entry, values, failed)
            gpm = self._gpm.get(entry.gi) if entry.alone else None
            if gpm is not None:
                try:
                    found, bad = gpm.read(call)
                except CardLost:
                    raise
                except ReadingError as e:
                    failed.update(dict.fromkeys(nvml_gpm.SLICE_METRICS.values(), e.reason))
                else:
                    values.update(found)
                    failed.update(bad)
            yield Reading(
                family=Family.SLICE,
                subject=slice_id(self._card_id, entry.instance),
                values=values,
                failed=failed,
                counters_epoch=self._library.driver_version,
            )

    def close(self) -> None:
        """Give GPM's samples back. Never raises."""
        for gpm in self._gpm.values():
            gpm.close()
        self._gpm = {}

    def _memory(self, call: Call, entry: Slice, values: dict[str, Value], failed: dict[str, str]) -> None:
        for function, ask in (
            ("nvmlDeviceGetMemoryInfo_v2", memory_v2),
            ("nvmlDeviceGetMemoryInfo", memory_v1),
        ):
            try:
                values.update(
                    self._library.ask(
                        call,
                        self._card_id,
                        function,
                        lambda a=ask: a(self._library.nvml, entry.handle),  # type: ignore[misc]
                    )
                )
                return
            except NotSupported:
                continue
            except CardLost:
                raise
            except ReadingError as e:
                failed.update(dict.fromkeys(_MEMORY, e.reason))
                return

    def _ask(self, call: Call, function: str, handle: Any) -> Any:
        nvml = self._library.nvml
        return self._library.ask(call, self._card_id, function, lambda: getattr(nvml, function)(handle))

    def _handles(self, most: int) -> list[Any]:
        nvml = self._library.nvml
        handles = []
        for index in range(most):
            try:
                handles.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(self._handle, index))
            except nvml.NVMLError as e:
                if int(e.value) != NOT_FOUND:  # a hole in the numbering is normal
                    raise
        return handles

    def _slice(self, call: Call, nvml: Any, handle: Any) -> Slice | None:
        def text(function: str) -> str | None:
            try:
                answer = self._ask(call, function, handle)
            except CardLost:
                raise
            except ReadingError:
                return None
            return answer if isinstance(answer, str) and answer.isprintable() else None

        try:
            gi = int(self._ask(call, "nvmlDeviceGetGpuInstanceId", handle))
            ci = int(self._ask(call, "nvmlDeviceGetComputeInstanceId", handle))
        except CardLost:
            raise
        except ReadingError:
            return None  # destroyed between being listed and being asked
        gi_slices = ci_slices = memory = None
        try:
            attributes = self._ask(call, "nvmlDeviceGetAttributes_v2", handle)
            gi_slices = int(attributes.gpuInstanceSliceCount)
            ci_slices = int(attributes.computeInstanceSliceCount)
            memory = int(attributes.memorySizeMB) << 20
        except CardLost:
            raise
        except ReadingError:
            pass
        name = text("nvmlDeviceGetName") or ""
        # "NVIDIA H200 MIG 1c.3g.71gb": the profile is the name's last word
        profile = name.rpartition(" MIG ")[2] if " MIG " in name else None
        return Slice(handle, text("nvmlDeviceGetUUID"), gi, ci, profile, gi_slices, ci_slices, memory or None)
