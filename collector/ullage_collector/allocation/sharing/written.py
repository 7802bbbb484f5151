"""Reading what others wrote into an annotation: JSON, whole numbers, lists of indices. Pure; raises BadInput alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_collector.allocation.sharing.share import bad

_WHOLE: Final = re.compile(r"[0-9]{1,18}")
LONGEST: Final = 262_144  # bytes of all annotations of an object (Kubernetes, annotations)


def json_of(system: str, where: str, text: str) -> Any:
    """The JSON value of an annotation. Raises BadInput: not JSON, too long, nested too deep, NaN or Infinity."""
    if len(text) > LONGEST:
        raise bad(system, where, text, "longer than annotations can be")
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as e:
        raise bad(system, where, text, "not JSON") from e


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def whole(system: str, where: str, value: object) -> int:
    """A whole number, zero or more, from text or JSON. Raises BadInput."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        return value
    text = value.strip() if isinstance(value, str) else ""
    if not _WHOLE.fullmatch(text):
        raise bad(system, where, value, "not a whole number of zero or more")
    return int(text)


def indices(system: str, where: str, text: str) -> tuple[int, ...]:
    """Card indices "0,2"; -1 and nothing mean none. Raises BadInput."""
    words = [word.strip() for word in text.split(",")]
    return tuple(whole(system, where, word) for word in words if word not in ("", "-1"))


def table(system: str, where: str, value: object) -> Mapping[str, Any]:
    """The value, which must be a JSON object. Raises BadInput."""
    if not isinstance(value, Mapping):
        raise bad(system, where, value, "not a JSON object")
    return value


def rows(system: str, where: str, value: object) -> Sequence[Any]:
    """The value, which must be a JSON list. Raises BadInput."""
    if not isinstance(value, list):
        raise bad(system, where, value, "not a JSON list")
    return value


def word(system: str, where: str, value: object) -> str:
    """A text that is not empty, stripped. Raises BadInput."""
    if not isinstance(value, str) or not value.strip():
        raise bad(system, where, value, "not a name")
    return value.strip()
