"""A counter's growth between two readings, in SQL: the same rule as ``ullage_contract.counters.increase``.

tests/collector/test_rollup_increase.py holds the two together.
"""

from __future__ import annotations

from ullage_contract.catalogue import Metric, Type
from ullage_contract.counters import WRAP_ZONE_RATIO, maximum


def increase_sql(metric: Metric, new: str, old: str, same_epoch: str) -> str:
    """An expression of type DOUBLE; NULL where the growth cannot be known, never 0 and never a guess.

    new, old: expressions of the later and the earlier reading; NULL: no reading. same_epoch: an expression
    that is false when the counter is known to have begun anew between them.
    """
    if metric.type is Type.FLOAT:
        new, old = (f"(CASE WHEN {x} >= 0 AND NOT isnan({x}) THEN {x} END)" for x in (new, old))
    top = maximum(metric)
    narrow = "" if top is None else f"{new} <= {top} AND ({old} IS NULL OR {old} <= {top})"
    rules = []
    if narrow and metric.saturates:
        rules.append(f"WHEN {new} = {top} AND {narrow} THEN NULL")
    rules += [
        f"WHEN {new} IS NULL OR {old} IS NULL THEN NULL",
        f"WHEN NOT ({same_epoch}) THEN {_double(new)}",
        f"WHEN {new} >= {old} THEN {_double(f'{new} - {old}')}",
    ]
    if top is not None and not metric.saturates:
        zone = top * (1 - WRAP_ZONE_RATIO)
        rules.append(f"WHEN {narrow} AND {old} > {zone!r} THEN {_double(f'{new} + {top + 1} - {old}')}")
    return f"CASE {' '.join(rules)} ELSE {_double(new)} END"


def _double(expression: str) -> str:
    return f"CAST({expression} AS DOUBLE)"
