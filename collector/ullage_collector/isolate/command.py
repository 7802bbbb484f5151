"""A site's own program, for bare metal: argument lists with placeholders, never a shell line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ullage_collector.isolate.actuator import CommandCall, Plan, Target
from ullage_contract.errors import ActuatorError, ConfigError

PLACEHOLDERS = (
    "family",
    "subject",
    "cluster_id",
    "node_id",
    "vendor",
    "minor",
    "pci_address",
    "reason",
    "marker",
)


@dataclass(frozen=True, slots=True)
class Command:
    """Each part of ``isolate`` and ``release`` may hold ``{placeholders}`` of PLACEHOLDERS."""

    isolate: tuple[str, ...]
    release: tuple[str, ...]
    whole_node: bool
    name: str = "command"

    def plan_isolate(self, target: Target) -> Plan:
        """The configured program with the target filled in."""
        return Plan(
            actuator=self.name,
            calls=(self._fill(self.isolate, target),),
            undo=(self._fill(self.release, target),),
            whole_node=self.whole_node,
        )

    def plan_release(self, target: Target) -> Plan:
        """The configured program with the target filled in."""
        return Plan(
            actuator=self.name, calls=(self._fill(self.release, target),), undo=(), whole_node=self.whole_node
        )

    def _fill(self, parts: Sequence[str], target: Target) -> CommandCall:
        if not parts:
            raise ActuatorError(
                "[isolation.command]: isolate and release are not set; give the program as a list"
            )
        values = {name: getattr(target, name) for name in PLACEHOLDERS}
        text = {name: "" if value is None else str(value) for name, value in values.items()}
        return CommandCall(tuple(_filled(part, text) for part in parts))


def actuator(settings: Mapping[str, Any]) -> Command:
    """From [isolation.command]: isolate = [...], release = [...], whole_node = bool."""
    if stray := set(settings) - {"isolate", "release", "whole_node"}:
        raise ConfigError(f"[isolation.command]: unknown key {sorted(stray)[0]}")
    for key in ("isolate", "release"):
        parts = settings.get(key, [])
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ConfigError(f"[isolation.command] {key}: give a list of texts, not a shell line")
        for part in parts:
            _filled(part, dict.fromkeys(PLACEHOLDERS, ""))
    return Command(
        isolate=tuple(settings.get("isolate", ())),
        release=tuple(settings.get("release", ())),
        whole_node=bool(settings.get("whole_node", False)),
    )


def _filled(part: str, values: Mapping[str, str]) -> str:
    try:
        return part.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError) as e:
        raise ConfigError(
            f"[isolation.command]: {part!r} has a placeholder outside {', '.join(PLACEHOLDERS)}"
        ) from e
