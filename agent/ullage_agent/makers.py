"""Which makers this node uses: what the configuration says, else what the detection finds.

Not here: asking them (worker, supervisor). A maker found once stays: hardware that vanishes is a
fault to be told, not a maker to be forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from ullage_agent import detection
from ullage_agent.backend import Backend, Detection, Host
from ullage_agent.config import Config
from ullage_agent.registry import BrokenBackend, Registry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Maker:
    """One maker with the verdict. host carries its own settings."""

    backend: Backend
    host: Host
    detection: Detection

    @property
    def used(self) -> bool:
        return self.detection.present and self.backend.reader is not None


@dataclass(frozen=True, slots=True)
class Makers:
    """every: all known ones, by name. broken: entry points that gave no backend."""

    every: tuple[Maker, ...]
    broken: tuple[BrokenBackend, ...]

    def used(self) -> list[Maker]:
        return [maker for maker in self.every if maker.used]

    def cards_expected(self) -> int | None:
        """Accelerators the PCI bus shows, or None when a present maker's bus cannot tell."""
        counts = [m.detection.cards_expected for m in self.every if m.used and not m.backend.simulated]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


def find(registry: Registry, config: Config, host: Host) -> Makers:
    """Every maker with its detection; the configuration's word is above the detection's."""
    devices = detection.pci_devices(host.sysfs)
    every = []
    for backend in registry.backends:
        own = replace(host, settings=config.settings(backend.name))
        found = _verdict(config, backend, partial(detection.detect, own, backend, devices))
        every.append(Maker(backend, own, found))
    for name in sorted(set(config.enabled) - {b.name for b in registry.backends}):
        if config.enabled[name]:
            log.error("[backends.%s] is enabled, but no such backend is installed", name)
    return Makers(tuple(every), registry.broken)


def _verdict(config: Config, backend: Backend, detect: Callable[[], Detection]) -> Detection:
    choice = config.enabled.get(backend.name)
    if choice is False:
        return Detection(
            present=False,
            found=(),
            tried=(),
            why_not=f"switched off by [backends.{backend.name}] enabled = false",
        )
    found = detect()
    if choice is True and not found.present:
        # the bus shows none of its cards and yet it is used: how many there should be is unknown
        return replace(found, present=True, why_not=None, cards_expected=None)
    if found.present and backend.reader is None:
        return replace(
            found, why_not="its hardware is here, but this version only decodes its tools' outputs"
        )
    return found
