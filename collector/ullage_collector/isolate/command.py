"""A site's own program, for bare metal: argument lists with placeholders, never a shell line.

It has to be idempotent: after a crash it may be called again for what it has done already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ullage_collector.isolate.actuator import CommandCall, Plan, Run, Standing, Target, run_program
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
    "incident_id",
    "drain",
)


@dataclass(frozen=True, slots=True)
class Command:
    """Each part of ``isolate``, ``release`` and ``look`` may hold ``{placeholders}`` of PLACEHOLDERS.

    look: the program that says what stands, empty when there is none; it prints one word of Standing.
    """

    isolate: tuple[str, ...]
    release: tuple[str, ...]
    whole_node: bool
    look: tuple[str, ...] = ()
    run: Run = run_program
    name: str = "command"

    @property
    def verifies(self) -> bool:
        """Whether the site gave a program that looks."""
        return bool(self.look)

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

    def standing(self, target: Target) -> Standing:
        """The word ``look`` prints; UNKNOWN without one, when it fails, and for any other word."""
        if not self.look:
            return Standing.UNKNOWN
        try:
            ran = self.run(self._fill(self.look, target).argv)
        except ActuatorError:
            return Standing.UNKNOWN
        word = ran.output.strip()
        return Standing(word) if ran.status == 0 and word in set(Standing) else Standing.UNKNOWN

    def _fill(self, parts: Sequence[str], target: Target) -> CommandCall:
        if not parts:
            raise ActuatorError(
                "[isolation.command]: isolate and release are not set; give the program as a list"
            )
        values = {name: getattr(target, name) for name in PLACEHOLDERS}
        text = {name: "" if value is None else str(value) for name, value in values.items()}
        return CommandCall(tuple(_filled(part, text) for part in parts))


def actuator(settings: Mapping[str, Any]) -> Command:
    """From [isolation.command]: isolate, release, standing = [...], whole_node = bool."""
    if stray := set(settings) - {"isolate", "release", "standing", "whole_node"}:
        raise ConfigError(f"[isolation.command]: unknown key {sorted(stray)[0]}")
    for key in ("isolate", "release", "standing"):
        parts = settings.get(key, [])
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ConfigError(f"[isolation.command] {key}: give a list of texts, not a shell line")
        for part in parts:
            _filled(part, dict.fromkeys(PLACEHOLDERS, ""))
    return Command(
        isolate=tuple(settings.get("isolate", ())),
        release=tuple(settings.get("release", ())),
        whole_node=bool(settings.get("whole_node", False)),
        look=tuple(settings.get("standing", ())),
    )


def _filled(part: str, values: Mapping[str, str]) -> str:
    try:
        return part.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError) as e:
        raise ConfigError(
            f"[isolation.command]: {part!r} has a placeholder outside {', '.join(PLACEHOLDERS)}"
        ) from e
