"""One file of the jobs directory: what the prolog and epilog snippets (deploy/slurm) write of one job.

    ullage_job=1            the form's version, first line
    scheduler=slurm  cluster=  job_id=  array_job_id=  array_task_id=  het_job_id=  het_offset=
    account=  user=  partition=  restarts=
    gpus=  cuda=  rocr=  ascend=    as Slurm's variables say
    started_at=  ended_at=          seconds since the epoch
    complete=1              last line: without it the file is torn

A line a key, nothing quoted, what is not known left out. Not here: who may have written it (jobs.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ullage_agent.holders.cards import Cards
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

VERSION: Final = "1"
MOST_BYTES: Final = 64 * 1024  # our choice: because the longest list of devices is a few KiB

NAME: Final = re.compile(r"(\d{1,18})\.(?:started|(\d{1,12})\.ended)")
"""<job id>.started, and <job id>.<seconds>.ended."""

PASSED_ON: Final = (
    "scheduler", "cluster", "job_id", "array_job_id", "array_task_id", "het_job_id", "het_offset",
    "account", "user", "partition", "restarts",
)  # fmt: skip
"""Keys that become attributes of the event under the same name."""

LISTS: Final = ("gpus", "cuda", "rocr", "ascend")
"""Keys that hold comma-separated devices."""

_RANGE: Final = re.compile(r"(\d{1,4})-(\d{1,4})")
_MOST_LISTED: Final = 1024  # our choice: because no server has more cards or slices


@dataclass(frozen=True, slots=True)
class JobFile:
    """values: key -> text as it stands, without the empty ones. lists: the lists of devices among them, taken apart.
    ended_at None: the job still runs."""

    values: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]
    started_at: float | None
    ended_at: float | None

    @property
    def job_id(self) -> str:
        return self.values["job_id"]

    def attributes(self) -> dict[str, Value]:
        """What is passed on of it; ``restarts`` as a number where it is one."""
        found: dict[str, Value] = {}
        for key in PASSED_ON:
            value = self.values.get(key)
            if value is not None:
                found[key] = int(value) if key == "restarts" and _is_number(value) else value[:200]
        if self.started_at is not None:
            found["started_at"] = self.started_at
        return found

    def devices(self, cards: Cards) -> list[tuple[str, str | None]]:
        """(entry as given, card_id or slice_id or None) of every device the job was given.

        A list of UUIDs (MIG, or a site that uses them) says most. A number in SLURM_JOB_GPUS is an index into the
        records of the node's gres.conf (seen on 22.05: with File=card[0-2,4-7] number 4 is card5), which the node
        does not know: it is told as it stands and placed by the collector. CUDA_VISIBLE_DEVICES and
        ROCR_VISIBLE_DEVICES count from 0 again inside a cgroup, so their numbers are never used.
        ASCEND_VISIBLE_DEVICES counts /dev/davinciN.
        """
        for key in ("cuda", "rocr"):
            listed = self.lists[key]
            if listed and not any(_is_number(entry) for entry in listed):
                return [(entry, cards.named(entry) or cards.at(entry)) for entry in listed]
        listed = self.lists["gpus"]
        if listed:
            return [
                (entry, None if _is_number(entry) else cards.named(entry) or cards.at(entry))
                for entry in listed
            ]
        return [
            (entry, cards.by_node(int(entry), "ascend") if _is_number(entry) else cards.named(entry))
            for entry in self.lists["ascend"]
        ]


def parse(text: str) -> JobFile:
    """Raises BadInput for a file that is torn, of another version, says one thing twice or lists devices without end."""
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    if not lines or lines[0] != f"ullage_job={VERSION}":
        raise BadInput(
            f"its first line is not ullage_job={VERSION}: install the snippets of this agent's version"
        )
    if lines[-1] != "complete=1":
        raise BadInput("it is torn: its last line is not complete=1")
    values: dict[str, str] = {}
    for line in lines[1:-1]:
        key, equals, value = line.partition("=")
        if not equals or not key.isidentifier() or any(not c.isprintable() for c in value):
            raise BadInput(f"line {line[:60]!r} is not key=value")
        if key in values:
            raise BadInput(f"it says {key} twice")
        values[key] = value
    if not _is_number(values.get("job_id", "")):
        raise BadInput(f"job_id {values.get('job_id', '')[:40]!r} is no number")
    return JobFile(
        values={key: value for key, value in values.items() if value},
        lists={key: _listed(values.get(key)) for key in LISTS},
        started_at=_seconds(values, "started_at"),
        ended_at=_seconds(values, "ended_at"),
    )


def _seconds(values: Mapping[str, str], key: str) -> float | None:
    value = values.get(key)
    if not value:
        return None
    try:
        found = float(value)
    except ValueError:
        raise BadInput(f"{key} {value[:40]!r} is no number of seconds") from None
    if not 0 < found < 1e11:
        raise BadInput(f"{key} {value[:40]!r} is no time")
    return found


def _listed(text: str | None) -> Sequence[str]:
    """The entries of a comma-separated list, ranges of numbers written out."""
    found: list[str] = []
    for entry in (text or "").split(","):
        entry = entry.strip()
        match = _RANGE.fullmatch(entry)
        if match and int(match[1]) <= int(match[2]):
            found += [str(number) for number in range(int(match[1]), int(match[2]) + 1)]
        elif entry:
            found.append(entry)
        if len(found) > _MOST_LISTED:
            raise BadInput(f"a list of more than {_MOST_LISTED} devices")
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
