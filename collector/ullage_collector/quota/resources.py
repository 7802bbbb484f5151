"""What a resource's name counts: cards of which maker and model, and how much of one (resources.toml is the data).

Not here: which card a workload got; that is the allocation's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, Overflow
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any, Final

from ullage_contract.errors import BadInput

NANO: Final = 1_000_000_000
_MOST: Final = 2**63 - 1
_SUFFIXES: Final = {
    # Kubernetes' quantities: decimal and binary suffixes
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


@dataclass(frozen=True, slots=True)
class Counted:
    """What one unit of a resource is. nano: nano-shares of a card. shares: parts of cards, not whole ones.

    vendor, model (a caseless glob): None: any.
    """

    vendor: str | None
    model: str | None
    nano: int
    shares: bool

    @property
    def resource(self) -> str:
        """The word table ``quota`` has for it."""
        return "card_shares" if self.shares else "cards"


@cache
def _data() -> dict[str, Any]:
    text = resources.files("ullage_collector.quota").joinpath("resources.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def counted(name: str) -> Counted | None:
    """What a resource's name counts; None: no accelerator. Raises BadInput for a name nobody knows."""
    data = _data()
    for entry in data["resource"]:
        if fnmatchcase(name, entry["name"]):
            model = entry.get("model")
            if entry.get("typed"):
                model = _typed(name.rpartition(":")[2])
            return Counted(entry.get("vendor"), model, entry["nano"], bool(entry.get("slice")))
    if any(fnmatchcase(name, glob) for glob in data["ignored"]):
        return None
    raise BadInput(
        f"resource {name[:60]!r} is not known: nothing is counted of it; add it to quota/resources.toml"
    )


def maker(word: str) -> str:
    """A maker's word as quotas compare it: ``Huawei`` is ``ascend``."""
    lower = word.strip().lower()
    found: str = _data()["aliases"].get(lower, lower)
    return found


def makers() -> dict[str, str]:
    """Other words for makers -> the word Ullage has for them, both in lower case."""
    found: dict[str, str] = dict(_data()["aliases"])
    return found


def _typed(word: str) -> str:
    """A glob over models from a scheduler's type word: h20 is no H200, nvidia_h100_80gb is NVIDIA H100 80GB."""
    loose = word.replace("_", "?").replace("-", "?")
    return f"*{loose}|*{loose}[!0-9]*" if word[-1:].isdigit() else f"*{loose}*"


def model_of(labels: dict[str, Any]) -> str | None:
    """A glob over models from a flavor's node labels; None: they name no model."""
    for name in _data()["model_labels"]:
        value = labels.get(name)
        if isinstance(value, str) and value:
            return value.replace("-", "?")  # labels have '-' where the maker's name has a blank
    return None


def quantity(value: Any, what: str) -> Decimal:
    """A Kubernetes quantity (12, "12", "500m", "1k") or a plain number. Raises BadInput naming ``what``."""
    text = str(value).strip()
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if text.endswith(suffix):
            number, factor = text.removesuffix(suffix), _SUFFIXES[suffix]
            break
    else:
        number, factor = text, Decimal(1)
    try:
        found = Decimal(number) * factor
    except (InvalidOperation, Overflow):
        raise BadInput(f"{what}: {text[:40]!r} is no quantity; write 8 or 500m") from None
    if isinstance(value, bool) or not found.is_finite() or found < 0:
        raise BadInput(f"{what}: {text[:40]!r} must be a number of at least 0")
    return found


def nanos(value: Any, unit: Counted, what: str) -> int:
    """A quantity of a resource in nano-shares. Raises BadInput where it is no whole number of them or absurd."""
    cards = quantity(value, what)
    found = cards * unit.nano if cards <= _MOST else Decimal(_MOST + 1)
    whole = int(found) if found <= _MOST else _MOST + 1
    if whole > _MOST:
        raise BadInput(
            f"{what}: {str(value)[:40]!r} is more cards than there are; leave a limit out if there is none"
        )
    if whole != found:
        raise BadInput(f"{what}: {str(value)[:40]!r} is no whole number of nano-shares of a card")
    return whole


def cards_text(nano: int) -> str:
    """Nano-shares as cards, exact and without trailing zeros: ``16``, ``0.25``."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO)
    return f"{sign}{whole}" + (f".{rest:09d}".rstrip("0") if rest else "")


def known_names() -> Sequence[str]:
    """Every name or glob that is counted, for the documentation."""
    return [entry["name"] for entry in _data()["resource"]]
