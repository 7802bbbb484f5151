"""Versions as dated facts: which is older, who ran what when, and how many run what now.

Two versions can be incomparable (``5.15.0-91-generic`` and ``-lowlatency``): then neither is older. A subject that does not
say its version is in no count. Not here: judging (detect/versions.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

NAMES: Final[Mapping[tuple[str, str], str]] = {
    ("card", "driver_version"): "driver",
    ("card", "firmware_version"): "firmware",
    ("card", "runtime_version"): "runtime",
    ("node", "kernel_version"): "kernel",
    ("node", "os_version"): "os",
    ("node", "agent_version"): "agent",
    ("port", "firmware_version"): "nic_firmware",
}
"""Family and fact -> what people call it."""

_EARLY: Final[Mapping[str, int]] = {
    "dev": 0, "snapshot": 0, "a": 1, "alpha": 1, "b": 2, "beta": 2, "t": 2, "c": 3, "pre": 3, "preview": 3, "rc": 3,
}  # fmt: skip
"""Words for what comes before a release, as PEP 440 and makers use them (CANN 24.1.rc3, 8.0.RC2.alpha001; HDK 24.1.t1)."""
_LATE: Final = frozenset({"post", "patch", "p", "sp", "hotfix", "u", "update"})
_TOKEN: Final = re.compile(r"\d{1,100}|[a-z]+")
_HEX: Final = re.compile(r"^(?:[0-9a-f]{2}\.){3,}[0-9a-f]{2}$")
_NEUTRAL, _EARLIER, _END, _NUMBER, _LATER = -1, 0, 1, 2, 3


def compare(a: str, b: str) -> int | None:
    """-1: ``a`` is older, 1: newer, 0: the same, None: nobody can tell.

    Numbers count as numbers (535.104.05 < 550.54.15); a word for a candidate comes before its release (24.1.rc3 < 24.1.0);
    other words must be equal. A VBIOS in pairs of hexadecimal digits is compared as such.
    """
    one, two = a.strip().casefold(), b.strip().casefold()
    if one == two:
        return 0
    if not any(letter.isdigit() for letter in one) or not any(letter.isdigit() for letter in two):
        return None
    if _HEX.match(one) and _HEX.match(two) and re.search(r"[a-f]", one + two):
        left, right = ([int(part, 16) for part in text.split(".")] for text in (one, two))
        return (left > right) - (left < right)
    return _compared(_tokens(one), _tokens(two))


def _tokens(text: str) -> list[str]:
    tokens = _TOKEN.findall(text)
    if tokens and tokens[0] in ("v", "ver", "version", "release") and len(tokens) > 1:
        tokens = tokens[1:]
    return tokens


def _compared(left: Sequence[str], right: Sequence[str]) -> int | None:
    for place in range(max(len(left), len(right))):
        a, b = (tokens[place] if place < len(tokens) else None for tokens in (left, right))
        if a == b:
            continue
        one, two = _kind(a), _kind(b)
        if _NEUTRAL in (one, two):
            return None
        if one == two == _NUMBER and a is not None and b is not None:
            if int(a) != int(b):
                return 1 if int(a) > int(b) else -1
            continue  # 05 and 5
        if one == two == _EARLIER:
            if _EARLY[str(a)] != _EARLY[str(b)]:
                return 1 if _EARLY[str(a)] > _EARLY[str(b)] else -1
            continue  # rc and pre
        if one == two:
            return None
        # 24.1 and 24.1.0 are one release: zeros at the end say nothing
        if {one, two} == {_END, _NUMBER}:
            longer, sign = (left, 1) if one == _NUMBER else (right, -1)
            rest = longer[place:]
            if all(token.isdigit() and int(token) == 0 for token in rest):
                return 0
            first = next(token for token in rest if not (token.isdigit() and int(token) == 0))
            kind = _kind(first)
            return None if kind == _NEUTRAL else -sign if kind == _EARLIER else sign
        return 1 if one > two else -1
    return 0


def _kind(token: str | None) -> int:
    if token is None:
        return _END
    if token.isdigit():
        return _NUMBER
    return _EARLIER if token in _EARLY else _LATER if token in _LATE else _NEUTRAL


# --------------------------------------------------------------------------------- who ran what when
@dataclass(frozen=True, slots=True)
class Ran:
    """One subject ran one version over [from_us, to_us); to_us None: still. version None: it stopped saying it."""

    family: str
    subject: str
    name: str
    version: str | None
    from_us: int
    to_us: int | None


def spans(facts: Iterable[tuple[str, str, str, str | None, int]]) -> list[Ran]:
    """Dated facts (family, subject, fact, value as JSON, from_us) as spans. A value said again is one span.

    A fact that is no version (NAMES) is left out.
    """
    by_subject: dict[tuple[str, str, str], list[tuple[int, str | None]]] = {}
    for family, subject, fact, value, from_us in facts:
        name = NAMES.get((family, fact))
        if name is not None:
            by_subject.setdefault((family, subject, name), []).append((from_us, text_of(value)))
    found: list[Ran] = []
    for (family, subject, name), said in by_subject.items():
        said.sort(key=lambda item: item[0])
        changes = [said[0]]
        for from_us, version in said[1:]:
            if from_us == changes[-1][0]:
                changes[-1] = (from_us, version)
            elif version != changes[-1][1]:
                changes.append((from_us, version))
        ends: list[int | None] = [from_us for from_us, _ in changes[1:]]
        for (from_us, version), to_us in zip(changes, [*ends, None], strict=True):
            found.append(Ran(family, subject, name, version, from_us, to_us))
    return found


def text_of(value: Any) -> str | None:
    """A fact's JSON value as a version; None for what is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value.strip() or None
    if value is None or isinstance(value, bool | list | dict):
        return None
    return str(value).strip() or None


# --------------------------------------------------------------------------------- how many run what now
@dataclass(frozen=True, slots=True)
class Running:
    """One subject's version now. group: pool, else cluster and model; kind: model of the card, adapter type of the port,
    empty for a node. since_us: from when, if it is known.
    """

    family: str
    subject: str
    cluster: str
    node: str
    name: str
    version: str
    group: str
    kind: str
    vendor: str = ""
    since_us: int | None = None


def table(running: Iterable[Running]) -> list[dict[str, Any]]:
    """One row a name and kind: versions with how many run each, most first. Nodes stand under the empty kind."""
    counts: dict[tuple[str, str, str], dict[str, int]] = {}
    for item in running:
        versions = counts.setdefault((item.name, item.vendor, item.kind), {})
        versions[item.version] = versions.get(item.version, 0) + 1
    return [
        {
            "name": name,
            "vendor": vendor or None,
            "kind": kind or None,
            "total": sum(versions.values()),
            "versions": [
                {"version": version, "count": count}
                for version, count in sorted(versions.items(), key=lambda item: (-item[1], item[0]))
            ],
        }
        for (name, vendor, kind), versions in sorted(counts.items())
    ]
