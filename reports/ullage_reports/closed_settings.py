"""What a closed period's statement is made with besides its facts: the policies, who bills in FOCUS, budgets, peaks and what is unusual, as they were
when it was first made after the closing.

They stand in report.toml, where they change; a statement of a closed period does not. ``DATA/reports/closed.json`` keeps them,
one entry a closing. Not here: what the words mean (cost_policy.py), and closing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from ullage_collector.published import PeriodClosing
from ullage_contract.errors import ConfigError, StoreError
from ullage_reports.config import Issuer
from ullage_reports.cost_policy import WORDS, CostPolicy
from ullage_reports.kept import holding
from ullage_reports.peaks import Peak
from ullage_reports.reading import instant

log = logging.getLogger(__name__)

STATE: Final = "closed.json"


@dataclass(frozen=True, slots=True)
class Settled:
    """policies: as cost_policy.load gives them. issuer: as config.issuer does. anomalies, budgets: the texts of those files; budgets "": there are none. peaks: as peaks.load
    gives them."""

    policies: tuple[CostPolicy, ...]
    issuer: Issuer
    anomalies: str
    budgets: str
    peaks: tuple[Peak, ...]


def settled(closing: PeriodClosing | None, data: Path, now: Settled) -> Settled:
    """What a period is made with: what was kept for its closing, or kept now where nothing is yet. closing None: it is open, ``now`` it is.

    data: the collector's data; where DATA/reports cannot be written it is told, and ``now`` taken.
    Raises StoreError for a file that is not ours.
    """
    if closing is None:
        return now
    key = _key(closing)
    try:
        with holding(data / "reports" / STATE, wait=True) as kept:
            entries: dict[str, Any] = kept.content.setdefault("closed", {})
            if key not in entries:
                entries[key] = _to_json(now)
                kept.save()
            found = _of_json(entries[key])
    except (ConfigError, OSError) as e:
        log.warning(
            "what closed periods are made with cannot be kept (%s): report.toml as it is now is taken", e
        )
        return now
    if found != now:
        log.info("%s: made with the policies and names of its closing, not those of report.toml now", key)
    return found


def policies_of(closing: PeriodClosing | None, data: Path, now: Sequence[CostPolicy]) -> Sequence[CostPolicy]:
    """The policies a period's statement is made with: those kept for its closing, else ``now``. Keeps nothing.

    Raises StoreError for a file that is not ours.
    """
    if closing is None:
        return now
    try:
        with holding(data / "reports" / STATE, wait=True) as kept:
            entry = kept.content.get("closed", {}).get(_key(closing))
    except (ConfigError, OSError):
        return now
    return now if entry is None else _of_json(entry).policies


def _key(closing: PeriodClosing) -> str:
    return f"{closing.zone}/{_written(instant(closing.starts_us))}/{_written(closing.closed_at)}"


def _to_json(settled: Settled) -> dict[str, Any]:
    return {
        "policies": [
            {
                "id": policy.policy_id,
                "valid_from": None if policy.valid_from is None else _written(policy.valid_from),
                "quota_tree": policy.quota_tree,
                "fixed": {name: str(share) for name, share in policy.fixed.items()},
                **{name: getattr(policy, name) for name in WORDS},
            }
            for policy in settled.policies
        ],
        "issuer": dataclasses.asdict(settled.issuer),
        "anomalies": settled.anomalies,
        "budgets": settled.budgets,
        "peaks": [dataclasses.asdict(peak) for peak in settled.peaks],
    }


def _of_json(entry: Mapping[str, Any]) -> Settled:
    try:
        return Settled(
            policies=tuple(_policy(one) for one in entry["policies"]),
            issuer=Issuer(**entry["issuer"]),
            anomalies=str(entry["anomalies"]),
            budgets=str(entry["budgets"]),
            peaks=tuple(Peak(**one) for one in entry["peaks"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as e:
        raise StoreError(
            f"{STATE}: is not what ullage-report wrote ({e!r}); bring DATA/reports/{STATE} back from a backup"
        ) from e


def _policy(one: Mapping[str, Any]) -> CostPolicy:
    return CostPolicy(
        policy_id=one["id"],
        valid_from=None if one["valid_from"] is None else datetime.fromisoformat(one["valid_from"]),
        quota_tree=one["quota_tree"],
        fixed={name: Fraction(share) for name, share in one["fixed"].items()},
        **{name: one[name] for name in WORDS},
    )


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
