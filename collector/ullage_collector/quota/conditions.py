"""Conditions as people and readers write them: ``KIND:GLOB`` or ``KIND=TEXT``, joined by `` & ``, all of which must hold.

Pool rules ask them of cards, quotas of workloads. Case counts, but for vendor and model, which every maker and
scheduler writes in its own case. Pure; not here: what the kinds' values are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from typing import Final

from ullage_contract.errors import BadInput

AND: Final = " & "
_CASELESS: Final = frozenset({"vendor", "model"})
_WRITTEN: Final = re.compile(r"([a-z0-9_]+)([:=])(.+)", re.DOTALL)

Values = Mapping[str, Collection[str]]
"""A kind's values of one card or workload; of a label ``key=value``."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. exact: the value is a text, else a glob (* ? [] as a shell knows them)."""

    kind: str
    value: str
    exact: bool

    def holds(self, values: Values) -> bool:
        """Whether any of the kind's values is meant; no value: it does not hold."""
        found = values.get(self.kind, ())
        if self.kind in _CASELESS:
            wanted = self.value.casefold()
            if self.exact:
                return any(text.casefold() == wanted for text in found)
            return any(_pattern(wanted).match(text.casefold()) for text in found)
        if self.exact:
            return self.value in found
        return any(_pattern(self.value).match(text) for text in found)

    def __str__(self) -> str:
        return f"{self.kind}{'=' if self.exact else ':'}{self.value}"


@cache
def parse(text: str, kinds: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions in ``text``; kinds: a tuple of those that may stand there.

    Raises BadInput for one that could never hold, naming it.
    """
    found = []
    for part in text.split(AND):
        match = _WRITTEN.fullmatch(part.strip())
        if match is None or match[1] not in kinds:
            raise BadInput(
                f"condition {part.strip()[:60]!r}: write KIND:GLOB or KIND=TEXT, KIND one of {', '.join(kinds)}"
            )
        found.append(Condition(match[1], match[3].strip(), match[2] == "="))
    return tuple(found)


def holds(conditions: Sequence[Condition], values: Values) -> bool:
    """Whether every condition holds."""
    return all(condition.holds(values) for condition in conditions)


def glob_holds(glob: str | None, text: str | None) -> bool:
    """Whether a caseless glob (None: anything) takes a text (None: nothing known, so no glob does).

    ``|`` stands between globs of which any may take it.
    """
    if glob is None:
        return True
    if text is None:
        return False
    return any(_pattern(part).match(text.casefold()) for part in glob.casefold().split("|"))


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob))
