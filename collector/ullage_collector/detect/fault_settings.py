"""[faults] of collector.toml: a site's rules, and when several nodes are one incident."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ullage_collector.detect.fault_rule import FaultRule
from ullage_collector.detect.faults import rules_of, shipped_rules
from ullage_contract.settings import Table

FLEET_NODES: Final = 3
"""Catalogue, rules over the table: a bad rule or a facility's trouble shows on three nodes at once (NVSentinel issue 1663)."""
FLEET_WITHIN: Final = "5min"
_DURATION: Final = re.compile(r"^(\d+)(s|min|h)$")


@dataclass(frozen=True, slots=True)
class FaultSettings:
    """rules: shipped ones with the site's own. fleet_nodes: so many nodes with one new fault within fleet_within_us are
    one incident that a person is asked about; 0: never."""

    rules: tuple[FaultRule, ...]
    fleet_nodes: int = FLEET_NODES
    fleet_within_us: int = 300_000_000


def settings_of(part: Mapping[str, Any]) -> FaultSettings:
    """From [faults]: file, [[faults.fault]], fleet_nodes, fleet_within. Raises ConfigError naming the key."""
    table = Table({key: value for key, value in part.items() if key != "fault"}, "collector.toml", "faults")
    table.path("file")
    nodes = table.whole("fleet_nodes", FLEET_NODES, 0, 100_000)
    text = table.text("fleet_within", FLEET_WITHIN) or ""
    match = _DURATION.match(text)
    if match is None:
        raise table.wrong("fleet_within", text, 'write a duration, e.g. "5min"')
    table.finish()
    within = int(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]] * 1_000_000
    return FaultSettings(rules_of(part) if part else shipped_rules(), nodes, within)
