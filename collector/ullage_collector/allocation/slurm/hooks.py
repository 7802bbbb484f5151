"""What prolog and epilog told the agents, by job and node: ``job_started`` and ``job_ended`` of table ``event``.

An agent that restarts tells again, a long list comes in parts, an end may come without its start: all of it is
folded into one ``Told`` a job, node and start. What the entries of ``gpus`` mean stands in cards.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ullage_collector.allocation.slurm.job import SlurmJob

SLACK_US: Final = 30_000_000
"""Between the controller's start and the prolog's. # our choice: because the prolog follows within seconds and
clocks of one cluster agree within as much (munge refuses credentials after 300 s)."""
_UNPLACED: Final = "?"


@dataclass(slots=True)
class Told:
    """One job's hook on one node. at_us, ended_us: by the node's clock; ended_us None: not told so far.

    devices: the entries of ``gpus`` in order, each with the card or slice the agent found, None where it found none.
    """

    job_id: int
    node: str
    at_us: int
    ended_us: int | None = None
    devices: dict[str, str | None] = field(default_factory=dict)
    account: str | None = None
    user: str | None = None
    partition: str | None = None
    label: str | None = None

    @property
    def second_us(self) -> int:
        """Its start cut to the second: what a holding opened by it is named by."""
        return self.at_us - self.at_us % 1_000_000


class Hooks:
    """Everything told within the last days. One thread's alone."""

    def __init__(self) -> None:
        self._by_job: dict[int, list[Told]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_job.values()))

    def take(self, rows: Iterable[tuple[int, str, str, str | None]]) -> list[Told]:
        """Fold in (time_us, node_id, kind, attributes as JSON); what it changed. What is no job of Slurm is passed over."""
        changed: dict[int, Told] = {}
        for time_us, node, kind, text in rows:
            said = _attributes(text)
            job = _whole(said.get("job_id"))
            if job is None or said.get("scheduler", "slurm") != "slurm":
                continue
            began = _instant(said.get("started_at"))
            told = self._entry(job, node, time_us, kind, began)
            if told is None:
                continue
            if kind == "job_ended":
                told.ended_us = time_us
            _fill(told, said)
            changed[id(told)] = told
        return list(changed.values())

    def of(self, job: int, node: str, start_us: int, end_us: int | None) -> Told | None:
        """What was told of this run on this node: the hook nearest to its start, within its life."""
        near = [
            told
            for told in self._by_job.get(job, ())
            if told.node == node
            and told.at_us >= start_us - SLACK_US
            and (end_us is None or told.at_us <= end_us + SLACK_US)
        ]
        return min(near, key=lambda told: abs(told.at_us - start_us), default=None)

    def during(self, job: SlurmJob) -> list[Told]:
        """Everything told of this job within this run's life, by time. The run has begun."""
        assert job.start is not None
        since = job.start * 1_000_000 - SLACK_US
        until = job.end * 1_000_000 + SLACK_US if job.over and job.end is not None else None
        return sorted(
            (
                told
                for told in self._by_job.get(job.job_id, ())
                if told.at_us >= since and (until is None or told.at_us <= until)
            ),
            key=lambda told: told.at_us,
        )

    def near(self, told: Told) -> list[Told]:
        """What was told of the same start of the same job, on all its nodes, by time."""
        return sorted(
            (
                other
                for other in self._by_job.get(told.job_id, ())
                if abs(other.at_us - told.at_us) <= SLACK_US
            ),
            key=lambda other: other.at_us,
        )

    def forget_before(self, instant_us: int) -> None:
        """Drop what ended, or began without an end, before an instant."""
        for job, listed in list(self._by_job.items()):
            kept = [told for told in listed if max(told.at_us, told.ended_us or 0) >= instant_us]
            if kept:
                self._by_job[job] = kept
            else:
                del self._by_job[job]

    def _entry(self, job: int, node: str, time_us: int, kind: str, began_us: int | None) -> Told | None:
        """The hook this event belongs to, made where it is new; None for an end nobody can give to a start."""
        listed = self._by_job.get(job, [])
        at = began_us if began_us is not None else time_us
        if kind == "job_ended" and began_us is None:
            open_ = [t for t in listed if t.node == node and t.ended_us is None and t.at_us <= time_us]
            return max(open_, key=lambda t: t.at_us, default=None)
        for told in listed:
            if told.node == node and told.at_us == at:
                return told
        told = Told(job, node, at)
        self._by_job.setdefault(job, []).append(told)
        return told


def _fill(told: Told, said: Mapping[str, Any]) -> None:
    entries, cards = _list(said.get("gpus")), _list(said.get("cards"))
    if len(cards) != len(entries):
        cards = [_UNPLACED] * len(entries)
    for entry, card in zip(entries, cards, strict=True):
        found = None if card == _UNPLACED else card
        told.devices[entry] = found or told.devices.get(entry)
    told.account = _text(said.get("account")) or told.account
    told.user = _text(said.get("user")) or told.user
    told.partition = _text(said.get("partition")) or told.partition
    array, task = _whole(said.get("array_job_id")), _whole(said.get("array_task_id"))
    het, offset = _whole(said.get("het_job_id")), _whole(said.get("het_offset"))
    if array and task is not None:
        told.label = f"{array}_{task}"
    elif het and offset is not None:
        told.label = f"{het}+{offset}"


def _attributes(text: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: object) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()] if isinstance(value, str) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 <= value < 2**53 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        return int(value)
    return None


def _instant(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:
        return None
    return round(value * 1e6)
