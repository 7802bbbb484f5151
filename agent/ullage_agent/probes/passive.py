"""The two probes that only read: ``enumerate`` and ``settled``. They judge what the maker's own reader gives anyway.

Not here: waiting for the readings (desk.py). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ullage_agent.probes.verdict import Found, failed, passed, refused
from ullage_agent.probes.watch import Seen
from ullage_contract.errors import NotPermitted
from ullage_contract.sample import Value

GROW: Final = (
    "pcie_aer_nonfatal",
    "pcie_aer_fatal",
    "link_crc_errors",
    "link_replay_errors",
    "link_recovery_errors",
    "ecc_corrected",
    "ecc_uncorrected",
    "ecc_uncorrected_lifetime",
    "sram_ecc_uncorrected",
    "retired_pages",
    "retired_pages_uncorrected",
    "remap_pending",
    "remap_failure",
)
"""Counters that stand still on an idle card that is well. PCIe replays and correctable AER are left out: links retry
by design (PCIe base specification, data link layer), and rules with rates judge them."""
ZERO: Final = ("remap_pending", "remap_failure", "reset_required")
IDENTITY: Final = ("uuid", "serial", "pci_address")
PORT_GROW: Final = ("link_downed", "link_error_recoveries", "symbol_errors", "local_link_integrity_errors")


def enumerated(card_id: str, seen: Seen | None, *, since_tick: int) -> Found:
    """The maker's reader sees the card with its identity, and no call on it failed. since_tick: as in Watch."""
    if seen is None or seen.slow_tick < since_tick:
        return failed("the maker's reader does not see the card")
    if seen.slow_values.get("health") == "lost":
        return failed("the card does not answer")
    if bad := _failing(seen.slow_failed):
        calls = ", ".join(f"{key} ({reason})" for key, reason in sorted(bad.items())[:5])
        return failed(f"calls on the card fail: {calls}", failed_calls=len(bad))
    identity = [name for name in IDENTITY if seen.facts.get(name)]
    if not identity:
        return refused("the card answers, but its maker's library gives no identity to know it by")
    uuid = seen.facts.get("uuid")
    if isinstance(uuid, str) and not card_id.startswith(uuid):
        return failed(f"another card is in its place: {uuid[:80]}")
    return passed(
        f"seen with its {' and '.join(identity)}, {len(seen.slow_values)} values read",
        values=len(seen.slow_values),
    )


@dataclass(slots=True)
class Settling:
    """``settled`` while it looks: give it the card after every tick; ``trouble`` is set by the first thing wrong.

    begin_tick: events from this tick on count. ports: of the card's nearest ports, looked at where they are known.
    """

    begin_tick: int
    first: dict[str, float] = field(default_factory=dict)
    ports_first: dict[tuple[str, str], float] = field(default_factory=dict)
    readings: int = 0
    slow_readings: int = 0
    trouble: str | None = None
    _last_tick: int = -1

    def look(self, seen: Seen | None, ports: Mapping[str, Mapping[str, Value]]) -> None:
        """One more look."""
        if self.trouble is not None:
            return
        if seen is None:
            self.trouble = "the card is not seen any more"
            return
        if seen.tick == self._last_tick:
            return
        self._last_tick = seen.tick
        self.readings += 1
        self.slow_readings += seen.slow_tick == seen.tick
        self.trouble = self._events(seen) or self._state(seen) or self._grown(seen) or self._links(ports)

    def found(self, seconds: float) -> Found:
        """The verdict after ``seconds``."""
        figures = {
            "looked_seconds": round(seconds, 1),
            "readings": self.readings,
            "counters": len(self.first),
        }
        if self.trouble is not None:
            return failed(self.trouble, **figures)
        if self.slow_readings < 2:
            return refused(
                f"the error counters were read {self.slow_readings} times in {seconds:.0f} s: nothing is known",
                **figures,
            )
        return passed(f"health ok and {len(self.first)} counters still for {seconds:.0f} s", **figures)

    def _events(self, seen: Seen) -> str | None:
        for tick, event in seen.events:
            if tick >= self.begin_tick:
                return f"{event.kind} {event.code or ''} while it looked: {event.message[:120]}"
        return None

    def _state(self, seen: Seen) -> str | None:
        health = seen.values.get("health")
        if health is not None and health != "ok":
            return f"health is {health}"
        if bad := _failing(seen.failed):
            return f"calls on the card fail: {', '.join(sorted(bad)[:5])}"
        if seen.slow_tick != seen.tick:
            return None
        for key in ZERO:
            value = seen.slow_values.get(key)
            if isinstance(value, int | float) and value > 0:
                return f"{key} is {value:g}"
        action = seen.slow_values.get("recovery_action")
        if action not in (None, "none"):
            return f"the card asks for {action}"
        active, total = seen.slow_values.get("links_active"), seen.slow_values.get("links_total")
        if isinstance(active, int | float) and isinstance(total, int | float) and active < total:
            return f"{active:g} of {total:g} links are up"
        return None

    def _grown(self, seen: Seen) -> str | None:
        for key in GROW:
            value = seen.slow_values.get(key) if seen.slow_tick == seen.tick else None
            if not isinstance(value, int | float):
                continue
            before = self.first.setdefault(key, value)
            if value != before:
                return f"{key} went from {before:g} to {value:g}"
        return None

    def _links(self, ports: Mapping[str, Mapping[str, Value]]) -> str | None:
        for port, values in ports.items():
            if values.get("state") not in (None, "active"):
                return f"port {port} is {values['state']}"
            for key in PORT_GROW:
                value = values.get(key)
                if isinstance(value, int | float) and value != self.ports_first.setdefault(
                    (port, key), value
                ):
                    return f"{key} of port {port} grew to {value:g}"
        return None


def _failing(failed_calls: Mapping[str, str]) -> dict[str, str]:
    """Those that speak of the card: what we may not read is ours, not its."""
    return {key: reason for key, reason in failed_calls.items() if reason != NotPermitted.reason}
