"""What incidents cost, as the console's page of incidents says it: one short text each, of those that cost something."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ullage_collector.api import Views
from ullage_collector.incident_cost import Amount, costs
from ullage_contract.errors import UllageError

log = logging.getLogger(__name__)


def texts(views: Views, words: Mapping[str, Any]) -> dict[int, str]:
    """Incident number -> its cost in the reader's words. Empty where it cannot be worked out: the page goes on without."""
    cursor = views.connect()
    try:
        found = costs(cursor, None, round(views.clock.wall() * 1e6))
    except UllageError as e:
        log.error("the costs of incidents: %s", e)
        return {}
    finally:
        cursor.close()
    shown = {}
    for item in found.incidents:
        parts = (
            ("lost", item.lost),
            ("wasted", item.wasted),
            ("maybe_wasted", item.maybe_wasted),
            ("idled", item.idle),
        )
        said = [f"{words['cost'][name]} {_text(amount, words)}" for name, amount in parts if amount.quantity]
        if said:
            shown[item.incident_id] = " · ".join(said)
    return shown


def _text(amount: Amount, words: Mapping[str, Any]) -> str:
    plain = amount.to_json()
    money = "".join(f", {Decimal(value):,} {currency}" for currency, value in plain["cost"].items())
    return f"{float(plain['card_hours']):,.2f} {words['cost']['hours']}{money}"
