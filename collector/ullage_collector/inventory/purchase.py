"""What was paid for a card, to whom, and until when its maker answers for it: one shape, checked.

Keys: order, price, currency, date, warranty_until, supplier, asset_tag. Any other key is kept as it was said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date as Day
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from ullage_collector.ledger import minor_units
from ullage_contract.errors import BadInput, LedgerError

KEYS: Final = ("order", "price", "currency", "date", "warranty_until", "supplier", "asset_tag")
MOST_PRICE: Final = Decimal(10) ** 12
"""our choice: because no card costs a million millions in any currency, and a wrong column often holds more."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """Purchase data of one card. None: not said.

    price: of this card alone, in ``currency`` (ISO 4217). date, warranty_until: days, the latter included.
    other: keys that are none of KEYS.
    """

    order: str | None = None
    price: Decimal | None = None
    currency: str | None = None
    date: Day | None = None
    warranty_until: Day | None = None
    supplier: str | None = None
    asset_tag: str | None = None
    other: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str | None:
        """As the store keeps it: one sorted object of texts, or None where nothing was said."""
        said: dict[str, str] = dict(self.other)
        for key in KEYS:
            value = getattr(self, key)
            if value is not None:
                said[key] = str(value)
        return json.dumps(said, ensure_ascii=False, sort_keys=True) if said else None


def checked(said: Mapping[str, Any]) -> Purchase:
    """Purchase data as a file says it. Raises BadInput naming the key and the value."""
    texts = {key: str(value).strip() for key, value in said.items() if value is not None}
    texts = {key: text for key, text in texts.items() if text}
    price, currency = _price(texts.get("price")), texts.get("currency")
    if currency is not None:
        try:
            minor_units(currency)
        except LedgerError as e:
            raise BadInput(f"purchase: {e}") from e
    if price is not None and currency is None:
        raise BadInput(f"purchase price {texts['price'][:40]!r} has no currency; add one, e.g. CNY")
    bought, until = _day("date", texts.get("date")), _day("warranty_until", texts.get("warranty_until"))
    if bought is not None and until is not None and until < bought:
        raise BadInput(f"purchase warranty_until {until} is before its date {bought}")
    return Purchase(
        order=texts.get("order"),
        price=price,
        currency=currency,
        date=bought,
        warranty_until=until,
        supplier=texts.get("supplier"),
        asset_tag=texts.get("asset_tag"),
        other={key: text for key, text in texts.items() if key not in KEYS},
    )


def read(text: str | None) -> Purchase:
    """Purchase data as the store keeps it; what an older version kept unchecked and is wrong stands in ``other``."""
    try:
        said = json.loads(text) if text else {}
    except ValueError:
        return Purchase()
    if not isinstance(said, dict):
        return Purchase()
    try:
        return checked(said)
    except BadInput:
        return Purchase(other={str(key): str(value) for key, value in said.items()})


def _price(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or not 0 <= found <= MOST_PRICE:
        raise BadInput(f"purchase price {text[:40]!r} is no amount; write e.g. 250000.00")
    return found


def _day(key: str, text: str | None) -> Day | None:
    """A day; a time of day behind it is left out, as typed columns and spreadsheets bring one."""
    if text is None:
        return None
    day, _, _ = text.replace("T", " ").partition(" ")
    try:
        return Day.fromisoformat(day)
    except ValueError as e:
        raise BadInput(f"purchase {key} {text[:40]!r} is no day; write e.g. 2026-03-31") from e
