"""Who pays for what nobody or somebody else held: the words that can be chosen, and report.toml's dated versions of them.

[[policy]]
id = "2027"                        # a name for people; default: its number
valid_from = 2027-01-01            # the report's local midnight, or an instant with offset
unallocated_idle = "fixed"         # words: docs/cost-model.md
fixed = { "rd/cv" = "0.5", "rd/nlp" = "0.25" }
faulty = "platform_pays_from_fault_onset"
allocated_idle = "department_pays"
borrowing = "pay_for_use"
quota_tree = "company"             # whose guarantees count; default: the only tree that states any

A version holds until the next one begins; before the first, and without any, the defaults hold. Not here: what the
words do (cost_sharing.py, shared_costs.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from ullage_contract import settings
from ullage_contract.errors import ConfigError
from ullage_contract.instants import in_utc
from ullage_reports import config
from ullage_reports.period import zone_info

WORDS: Final[dict[str, tuple[str, ...]]] = {
    "unallocated_idle": ("none", "proportional", "even", "fixed", "unused_guarantee"),
    "faulty": (
        "platform_pays_from_fault_onset",
        "department_pays",
        "tenant_pays_until_release",
        "loss_shared_by_all",
    ),
    "allocated_idle": ("department_pays", "platform_pays", "platform_pays_idle"),
    "borrowing": (
        "pay_for_use",
        "reserved_with_full_credit",
        "reserved_with_half_credit",
        "reserved_without_credit",
    ),
}
"""Policy -> what it may be, the default first."""
SAME: Final = {"tenant_pays_until_release": "department_pays", "platform_pays_idle": "platform_pays"}
"""Words that say the same as another."""
DEFAULT_ID: Final = "default"
DIGEST_DIGITS: Final = 12  # our choice: because 48 bits tell any two versions of a company's policy apart
MAX_VERSIONS: Final = 200  # our choice: because nobody changes who pays more often than that
MAX_FIXED: Final = 10_000


@dataclass(frozen=True, slots=True)
class CostPolicy:
    """One version. valid_from: aware UTC; None: from ever. fixed: department -> share, together at most 1."""

    policy_id: str = DEFAULT_ID
    valid_from: datetime | None = None
    unallocated_idle: str = WORDS["unallocated_idle"][0]
    faulty: str = WORDS["faulty"][0]
    allocated_idle: str = WORDS["allocated_idle"][0]
    borrowing: str = WORDS["borrowing"][0]
    quota_tree: str | None = None
    fixed: Mapping[str, Fraction] = field(default_factory=dict, hash=False)

    @property
    def words(self) -> dict[str, str]:
        """What it says, policy by policy."""
        found = {name: str(getattr(self, name)) for name in WORDS}
        if self.unallocated_idle == "fixed":
            found["fixed"] = ", ".join(f"{name} {share}" for name, share in sorted(self.fixed.items()))
        if self.quota_tree is not None:
            found["quota_tree"] = self.quota_tree
        return found

    @property
    def digest(self) -> str:
        """The first digits of SHA-256 over what it says: one id with two digests is two versions."""
        text = json.dumps(self.words, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]

    @property
    def moves(self) -> bool:
        """Whether it moves any money: the defaults move none."""
        return any(getattr(self, name) != words[0] for name, words in WORDS.items())


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a period under one version. start, end: aware UTC, [start, end)."""

    policy: CostPolicy
    start: datetime
    end: datetime


DEFAULT: Final = (CostPolicy(),)


def stretches(policies: Sequence[CostPolicy], start: datetime, end: datetime) -> tuple[Stretch, ...]:
    """The versions that hold within [start, end), in order. policies: as ``load`` gives them, the first from ever."""
    found = []
    for number, policy in enumerate(policies):
        begins = start if policy.valid_from is None else max(start, policy.valid_from)
        after = policies[number + 1].valid_from if number + 1 < len(policies) else None
        ends = end if after is None else min(end, after)
        if begins < ends:
            found.append(Stretch(policy, begins, ends))
    return tuple(found)


def load(path: Path | None, zone: str) -> tuple[CostPolicy, ...]:
    """[[policy]] of report.toml, the defaults first. zone: whose midnights dates are.

    Raises ConfigError for a word there is none of, two versions from one instant, shares of more than 1.
    """
    data = settings.read(path, config.DEFAULT_PATH) or {}
    where = path or config.DEFAULT_PATH
    listed = data.get("policy", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ConfigError(f"{where}: policy is no list of tables; write [[policy]]")
    if len(listed) > MAX_VERSIONS:
        raise ConfigError(f"{where}: more than {MAX_VERSIONS} versions of [[policy]]")
    found = [_version(one, f"{where}: policy[{n}]", n, zone) for n, one in enumerate(listed)]
    found.sort(key=lambda one: one.valid_from or datetime.min.replace(tzinfo=UTC))
    for first, second in pairwise(found):
        if first.valid_from == second.valid_from:
            raise ConfigError(
                f"{where}: policies {first.policy_id} and {second.policy_id} begin at one instant; give one another valid_from"
            )
    if found and found[0].valid_from is None:
        return tuple(found)
    return (*DEFAULT, *found)


def _version(given: Mapping[str, Any], where: str, number: int, zone: str) -> CostPolicy:
    known = ["id", *(f.name for f in fields(CostPolicy) if f.name != "policy_id")]
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}.{str(key)[:40]} is not known; choose from {', '.join(known)}")
    said: dict[str, str] = {}
    for name, words in WORDS.items():
        word = given.get(name, words[0])
        if word not in words:
            raise ConfigError(f"{where}.{name} = {str(word)[:40]!r}; choose from {', '.join(words)}")
        said[name] = SAME.get(word, word)
    for name in ("id", "quota_tree"):
        value = given.get(name)
        if value is not None and (not isinstance(value, str) or not value.strip() or len(value) > 200):
            raise ConfigError(f"{where}.{name} = {str(value)[:40]!r}; write a name")
    fixed = _fixed(given.get("fixed"), where)
    if (said["unallocated_idle"] == "fixed") != bool(fixed):
        raise ConfigError(
            f'{where}.fixed: unallocated_idle = "fixed" and the shares go together: write both or none, e.g. '
            'fixed = { "rd/cv" = "0.5" }'
        )
    return CostPolicy(
        policy_id=given.get("id", str(number + 1)),
        valid_from=_instant(given.get("valid_from"), where, zone),
        quota_tree=given.get("quota_tree"),
        fixed=fixed,
        **said,
    )


def _instant(value: object, where: str, zone: str) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ConfigError(f"{where}.valid_from = {value} has no offset; write one, or a date alone")
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), zone_info(zone))
    try:
        if isinstance(value, datetime):
            return in_utc(value)
    except ValueError as e:
        raise ConfigError(f"{where}.valid_from = {value}: {e}; write a date, e.g. 2027-01-01") from e
    raise ConfigError(
        f"{where}.valid_from = {str(value)[:40]!r}; write a date, e.g. 2027-01-01, without quotes"
    )


def _fixed(value: object, where: str) -> dict[str, Fraction]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_FIXED:
        raise ConfigError(f'{where}.fixed: write department = "share", e.g. {{ "rd/cv" = "0.5" }}')
    found: dict[str, Fraction] = {}
    for name, text in value.items():
        try:
            if not isinstance(text, str) or len(text) > 40:
                raise ValueError
            share = Fraction(text)
        except (ValueError, ZeroDivisionError):
            raise ConfigError(
                f'{where}.fixed.{name} = {str(text)[:40]!r}; write a share in quotes, e.g. "0.5" or "1/3"'
            ) from None
        if not 0 <= share <= 1:
            raise ConfigError(f"{where}.fixed.{name} = {text}: is no share of 0 to 1")
        found[str(name)] = share
    if sum(found.values()) > 1:
        raise ConfigError(f"{where}.fixed: the shares are more than 1 together")
    return found
