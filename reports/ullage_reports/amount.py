"""An amount of money or hours that a person wrote: a number with bounds, so that no text is an arithmetic of its own.

Not here: how many decimals a currency has (ledger.minor_units), and what an amount is for.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

DIGITS: Final = 28
"""Those that ``decimal`` keeps in every operation, so that nothing that was written is rounded."""


def amount(text: str) -> Decimal | None:
    """The number of at least 0 in ``text``; None where it is none, or has more than DIGITS digits or an exponent beyond them.

    ``1e999999999`` overflows whoever counts with it, and ``1e-999999999`` becomes 0.
    """
    try:
        found = Decimal(text)
    except InvalidOperation:
        return None
    _, digits, exponent = found.as_tuple()
    if not isinstance(exponent, int) or len(digits) > DIGITS or abs(exponent) > DIGITS:
        return None
    return found if found >= 0 else None
