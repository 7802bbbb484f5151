"""How a page writes values: shares, figures, times, departments, facts. What is not known is said, never shown as 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup

from ullage_collector.isolate.answers import exit_of
from ullage_collector.ledger import UNMAPPED
from ullage_contract.plain import plain


def percent(ratio: float | None, unknown: str) -> str:
    """A ratio of 0..1 in per cent."""
    return unknown if ratio is None else f"{ratio * 100:.0f} %"


def number(value: float | None, unit: str, unknown: str) -> str:
    """A whole number with separators and its unit."""
    return unknown if value is None else f"{value:,.0f} {unit}"


def bar(ratio: float | None, unknown: str) -> Markup:
    """A ratio of 0..1 as a meter and in per cent."""
    if ratio is None:
        return Markup('<span class="soft">{}</span>').format(unknown)
    return Markup('<meter min="0" max="1" value="{}"></meter> {} %').format(
        f"{ratio:.3f}", round(ratio * 100)
    )


def instant(value: datetime | None) -> str:
    """A time to the second; value: naive, UTC."""
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def age(seconds: float, spans: Mapping[str, str]) -> str:
    """A length of time in the reader's words; days from the second day on. spans: minute, hour and day."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.0f} {spans['day']}"
    hours, minutes = divmod(int(seconds // 60), 60)
    if not hours:
        return f"{minutes} {spans['minute']}"
    return f"{hours} {spans['hour']} {minutes:02d} {spans['minute']}"


def department(department_id: str | None, names: Mapping[str, str], unmapped: str) -> str:
    """A department by its name; None: nobody's, and empty."""
    if department_id is None:
        return ""
    return unmapped if department_id == UNMAPPED else plain(names.get(department_id, department_id))


def fact(value: Any, name: str) -> str:
    """A fact of a card as its name's ending says: bytes in GiB, watts with the unit, lists on one line."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if name.endswith("_bytes"):
            return f"{value / 2**30:,.0f} GiB"
        if name.endswith("_watts"):
            return f"{value:,.0f} W"
    return plain(", ".join(map(str, value)) if isinstance(value, list) else value)


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "plain": plain,
    "percent": percent,
    "number": number,
    "bar": bar,
    "instant": instant,
    "age": age,
    "department": department,
    "fact": fact,
    "way_out": exit_of,
}
"""By the names templates call them."""
