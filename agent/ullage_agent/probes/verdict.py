"""What a probe found, before it becomes an event. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ullage_contract.asked import ProbeOutcome
from ullage_contract.sample import Value


@dataclass(frozen=True, slots=True)
class Found:
    """outcome, one line of reason, and figures by name with the unit in it (tested_bytes, looked_seconds)."""

    outcome: ProbeOutcome
    reason: str
    figures: Mapping[str, Value] = field(default_factory=dict)


def passed(reason: str, **figures: Value) -> Found:
    """Nothing wrong was found this time."""
    return Found(ProbeOutcome.PASSED, reason, figures)


def failed(reason: str, **figures: Value) -> Found:
    """The card did not do what it should."""
    return Found(ProbeOutcome.FAILED, reason, figures)


def refused(reason: str, **figures: Value) -> Found:
    """It did not run, or says nothing about the card."""
    return Found(ProbeOutcome.REFUSED, reason, figures)
