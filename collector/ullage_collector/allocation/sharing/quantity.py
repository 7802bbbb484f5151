"""Kubernetes quantities, exactly: "4Gi", "100m", "1e3", 0.5. Pure; no float is ever rounded here.

Written after https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, read 2026-11-21.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from ullage_collector.allocation.sharing.share import bad

_WRITTEN: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<digits>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_LONGEST: Final = 64  # characters; # our choice: because the API server writes none that long
_POWERS: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_MOST: Final = 2**63 - 1  # a quantity's own bound


def quantity(value: object, *, system: str = "kubernetes", where: str = "quantity") -> Fraction:
    """The number a quantity stands for, zero or more. value: text, or a number as JSON has it.

    Raises BadInput naming ``system``, ``where`` and the value: not a quantity, negative, or beyond 2^63.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise bad(system, where, value, "not a Kubernetes quantity")
    text = (str(value) if not isinstance(value, int) or abs(value) <= _MOST else "beyond").strip()
    match = _WRITTEN.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise bad(system, where, text, "not a Kubernetes quantity; write for instance 1, 4Gi or 500m")
    number = Fraction(match["digits"])
    if match["suffix"] in _BINARY:
        number *= 1024 ** _BINARY[match["suffix"]]
    elif match["suffix"]:
        number *= Fraction(10) ** _POWERS[match["suffix"]]
    elif match["exponent"]:
        number *= Fraction(10) ** int(match["exponent"])
    if match["sign"] == "-" and number:
        raise bad(system, where, text, "negative")
    if number > _MOST:
        raise bad(system, where, text, "beyond 2^63")
    return number


def has_unit(value: object) -> bool:
    """Whether the quantity is written with a letter: where a bare number means another unit than bytes."""
    return isinstance(value, str) and any(c.isalpha() for c in value)
