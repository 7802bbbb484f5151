"""What readers and sources say, checked against the contract before it goes anywhere.

A backend is anybody's code: a key the catalogue does not hold, a number that is none or a word
outside its list must not poison a whole batch. A wrong value becomes *failed: broken*, a wrong key
is left out; each is told once. Nothing is repaired by guessing.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

from ullage_agent.backend import Reading
from ullage_agent.children.dialogue import Item
from ullage_contract import catalogue
from ullage_contract.catalogue import Metric, Type
from ullage_contract.errors import REASONS, BadInput, Broken
from ullage_contract.event import KINDS, Event
from ullage_contract.identity import check_id
from ullage_contract.sample import FACT_NAMES, Facts, Value

log = logging.getLogger(__name__)
MOST_TOLD: Final = 1000  # our choice: because a babbling backend must not fill memory with what was told
MOST: Final = 2.0**64  # what the wire carries; NaN and infinity are beyond it, as is an int no float holds
MOST_RATIO: Final = 2.0
"""our choice: twice, because fans and engines are told a little above 1, and a maker's sentinel (65535 per
cent, all bits) lies far above."""


class Intake:
    """Checks items of all sources. ``told`` counts the distinct complaints."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str]] = set()

    @property
    def told(self) -> int:
        return len(self._told)

    def admit(self, source: str, item: Item) -> Item | None:
        """``item`` as the contract allows it, or None when nothing of it can be kept."""
        try:
            check_id(str(item.family), item.subject)
        except BadInput as e:
            self._tell(source, "subject", str(e))
            return None
        if isinstance(item, Reading):
            return self._reading(source, item)
        if isinstance(item, Facts):
            return self._facts(source, item)
        return self._event(source, item)

    def _reading(self, source: str, reading: Reading) -> Reading:
        known = catalogue.keys(reading.family)
        values: dict[str, Value] = {}
        failed: dict[str, str] = {}
        for key, reason in reading.failed.items():
            if key not in known:
                self._tell(source, key, f"no metric of a {reading.family}")
            else:
                failed[key] = reason if reason in REASONS else Broken.reason
        for key, value in reading.values.items():
            metric = known.get(key)
            if metric is None:
                self._tell(source, key, f"no metric of a {reading.family}")
                continue
            checked = _value(metric, value)
            if checked is None:
                self._tell(source, key, f"{value!r:.60} is no {metric.type} in {metric.unit}")
                failed[key] = Broken.reason
            else:
                values[key] = checked
                failed.pop(key, None)
        epoch = reading.counters_epoch[:200] if reading.counters_epoch else None
        return replace(reading, values=values, failed=failed, counters_epoch=epoch)

    def _facts(self, source: str, facts: Facts) -> Facts:
        attributes: dict[str, Value | list[str] | None] = {}
        for name, value in facts.attributes.items():
            if name not in FACT_NAMES:
                self._tell(source, name, "no fact name")
            elif (checked := _attribute(value)) is not None:
                attributes[name] = checked
            elif value is not None:
                self._tell(source, name, f"{value!r:.60} is neither text, number nor list of text")
        return replace(facts, attributes=attributes)

    def _event(self, source: str, event: Event) -> Event | None:
        if event.kind not in KINDS:
            self._tell(source, event.kind, "no event kind")
            return None
        attributes = {
            str(k)[:100]: v[:500] if isinstance(v, str) else v
            for k, v in event.attributes.items()
            if isinstance(v, str) or (not isinstance(v, bool) and isinstance(v, int | float) and _fits(v))
        }
        message = "".join(c if c.isprintable() else " " for c in event.message)[:500]
        return replace(
            event,
            message=message,
            attributes=attributes,
            source=event.source[:200] or source,
            code=event.code[:200] if event.code else None,
            vendor=event.vendor[:200] if event.vendor else None,
        )

    def _tell(self, source: str, what: str, problem: str) -> None:
        told = (source, what[:100], problem[:100])
        if told not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(told)
            log.warning("%s: %s is left out: %s (told once)", source, what, problem)


def _value(metric: Metric, value: Any) -> Value | None:
    """``value`` in the metric's type, or None when it is not of it."""
    if metric.type is Type.TEXT:
        if not isinstance(value, str) or (metric.words and value not in metric.words):
            return None
        return value[:200]
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MOST <= value <= MOST:
        return None
    if metric.key.endswith("_ratio") and not 0 <= value <= MOST_RATIO:
        return None
    if metric.type is Type.FLOAT:
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        return None
    whole = int(value)
    return whole if -(2**63) <= whole < 2**64 else None


def _fits(value: int | float) -> bool:
    """Whether a number travels: finite and within 64 bits."""
    return -(2.0**63) <= value < MOST


def _attribute(value: Any) -> Value | list[str] | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return value[:2000]
    if isinstance(value, int | float):
        return value if _fits(value) else None
    if isinstance(value, list | tuple) and len(value) <= 1000 and all(isinstance(v, str) for v in value):
        return list(value)
    return None
