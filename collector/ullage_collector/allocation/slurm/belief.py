"""What one Slurm cluster says, brought together and believed through the book.

The controller says what runs and, for a while, what ended. Accounting has the last word on start and end; prologs
say which cards. A run that went out of sight stays open, marked ``end_unknown``, until somebody says when it ended.
Not here: asking Slurm, and when (source.py); what a run holds (runs.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import pyarrow as pa

from ullage_collector.allocation.book import Believed, Standing
from ullage_collector.allocation.holding import Holding, Rank, Workload
from ullage_collector.allocation.slurm import aside, gres, runs
from ullage_collector.allocation.slurm.aside import Fence
from ullage_collector.allocation.slurm.hooks import Told
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_collector.allocation.slurm.reports import Reservation
from ullage_collector.allocation.slurm.runs import SECOND, Known, name_of
from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

Run = tuple[str, int]
"""A run's name: workload id and start in microseconds since the epoch."""

ORPHAN_SECONDS: Final = 600.0
"""# our choice: because by then controller and accounting both know a job, or never will."""
MOST_TOLD: Final = 10_000
_RUN: Final = {"workload_id": pa.string(), "valid_from": incoming.TIMESTAMP}


class Book(Protocol):
    """book.AllocationBook, as far as it is needed here."""

    def believe(self, holdings: Iterable[Holding]) -> Believed:
        """Bring the belief to what is said of these runs."""
        ...

    def standing(self, cluster: str) -> list[Standing]:
        """The runs believed open."""
        ...


class Belief:
    """One cluster. One thread's alone. Every method raises what the book and the store raise.

    known: what runs are read with; its owner keeps it up to date. fences: what fence jobs keep now.
    answered: when controller and accounting last did, seconds since the epoch.
    """

    def __init__(self, known: Known, store: Store, book: Book, *, accounting: bool = True) -> None:
        self.known = known
        self.fences: tuple[Fence, ...] = ()
        self.answered: dict[str, float] = {}
        self._store = store
        self._book = book
        self._accounting = accounting
        self._sql = statements("slurm")
        self._live: dict[Run, SlurmJob] = {}
        self._seen: dict[Run, int] = {}
        self._past: dict[int, dict[Run, SlurmJob]] = {}
        self._said: dict[Run, Holding] = {}
        self._fence_runs: set[Run] = set()
        self._told: set[tuple[str, str]] = set()

    # ------------------------------------------------------------------------------- the controller
    def believe_live(self, jobs: Sequence[SlurmJob], now: float) -> Believed:
        """The controller's whole answer. now: when it was asked for, seconds since the epoch."""
        self.answered["controller"] = now
        now_us = _second(now)
        standing = self._book.standing(self.known.cluster)
        opened = {_name(row) for row in standing if not row.attributes.get("prolog_only")}
        fences: list[Fence] = []
        said: dict[Run, Holding] = {}
        alive: dict[str, SlurmJob] = {}
        cleaning: list[SlurmJob] = []
        for job in jobs:
            self._doubt(job)
            if not job.began or job.is_forecast(now):
                continue
            name = name_of(self.known, job)
            if self.known.is_fence(job):
                fences += aside.fences(self.known, job)
                said |= self._fenced(job, name)
                continue
            if not self._holds_cards(job):
                continue
            if job.over:
                before = self._live.get(name)
                job = replace(job, gres=job.gres or (before.gres if before else {}))
                self._past.setdefault(job.job_id, {})[name] = job
                if job.completing:
                    cleaning.append(job)
            else:
                alive[name[0]] = job
                self._seen[name] = now_us
            self._live[name] = job
            believed = job.over and not job.gres and (name in opened or name in self._said)
            said[name] = runs.holding(self.known, job, over=job.over, believed=believed)
            said |= self._told_otherwise(job, name)
        self.fences = tuple(fence for fence in fences if fence.to_us is None)
        said |= self._cleaning(cleaning, said, standing, now_us)
        said |= self._out_of_sight(standing, alive, said)
        done = self._believe(said, standing)
        kept = said.keys() | {_name(row) for row in standing}
        self._live = {name: job for name, job in self._live.items() if name in kept}
        return done

    def _doubt(self, job: SlurmJob) -> None:
        """Told once a job."""
        if job.doubt is not None and self._is_new((job.label, job.doubt)):
            log.warning("cluster %s: job %s: %s", self.known.cluster, job.label, job.doubt)

    def _cleaning(
        self,
        jobs: Sequence[SlurmJob],
        said: Mapping[Run, Holding],
        standing: Sequence[Standing],
        now_us: int,
    ) -> dict[Run, Holding]:
        """What still cleans up after a job, and what no longer does: that ended since the last answer."""
        found: dict[Run, Holding] = {}
        for job in jobs:
            name = name_of(self.known, job)
            places = said[name].places
            if places is None:
                before = self._said.get(name)
                places = before.places if before is not None else None
            for holding in aside.completing(self.known, job, places or ()):
                found[holding.workload.workload_id, holding.from_us] = holding
        for row in standing:
            if row.rank is Rank.COMPLETING and _name(row) not in found:
                found[_name(row)] = self._ended(row, now_us)
        return found

    def _out_of_sight(
        self, standing: Sequence[Standing], alive: Mapping[str, SlurmJob], said: Mapping[Run, Holding]
    ) -> dict[Run, Holding]:
        """Runs believed open that the controller no longer shows."""
        found: dict[Run, Holding] = {}
        for row in standing:
            name = _name(row)
            if row.kind != "slurm_job" or row.rank is not Rank.WORK or name in said:
                continue
            if name in self._fence_runs or self._is_renamed(row, alive.get(row.workload_id)):
                found[name] = self._retracted(row)
            elif row.attributes.get("prolog_only"):
                if self._is_orphan(row):
                    log.warning("%s: a prolog told of it, nobody else knows it; dropped", row.workload_id)
                    found[name] = self._retracted(row)
            elif not self._accounting:
                ended = self._ended(row, self._seen.get(name, row.from_us))
                found[name] = replace(ended, attributes={**row.attributes, "end_estimated": True})
            elif not row.attributes.get("end_unknown"):
                marked = {**row.attributes, "end_unknown": True}
                found[name] = Holding(self._only_id(row), row.from_us, None, None, row.rank, marked)
        return found

    @staticmethod
    def _is_renamed(row: Standing, other: SlurmJob | None) -> bool:
        """The same run under another start: Slurm sets it anew when the nodes had to boot first."""
        restarts = row.attributes.get("restarts")
        return other is not None and restarts is not None and restarts == other.restarts

    def _is_orphan(self, row: Standing) -> bool:
        """Long enough ago, and everybody who could know was asked since."""
        after = row.from_us / 1e6 + ORPHAN_SECONDS
        asked = ("controller", "accounting") if self._accounting else ("controller",)
        return all(self.answered.get(who, 0.0) > after for who in asked)

    def believe_reservations(self, found: Sequence[Reservation], now: float) -> Believed:
        """Every reservation there is. One that is gone ended when it was last known to, at the latest now."""
        now_us = _second(now)
        standing = self._book.standing(self.known.cluster)
        said: dict[Run, Holding] = {}
        for reservation in found:
            holding = aside.reserved(self.known, reservation, now_us)
            if holding is not None:
                said[holding.workload.workload_id, holding.from_us] = holding
        for row in standing:
            if row.rank is Rank.RESERVED and _name(row) not in said:
                planned = row.attributes.get("planned_end")
                said[_name(row)] = self._ended(
                    row, min(planned * SECOND, now_us) if isinstance(planned, int) else now_us
                )
        return self._believe(said, standing)

    # ------------------------------------------------------------------------------- accounting
    def believe_past(self, records: Sequence[SlurmJob], now: float) -> Believed:
        """What accounting says of runs that are over. The same twice changes nothing; what changed is corrected."""
        self.answered["accounting"] = now
        for job in records:
            self._doubt(job)
        began = [job for job in records if job.began]
        over = [job for job in began if job.end is not None and job.states[:1] not in _STILL]
        names = {name_of(self.known, job) for job in over}
        believed = self._believed_runs(names)
        standing = self._book.standing(self.known.cluster)
        said: dict[Run, Holding] = {}
        for job in over:
            name = name_of(self.known, job)
            if self.known.is_fence(job) or name in self._fence_runs:
                said |= self._fenced(job, name)
                continue
            if not self._holds_cards(job):
                continue
            job = self._fuller(job, name)
            self._past.setdefault(job.job_id, {})[name] = job
            said[name] = runs.holding(self.known, job, over=True, believed=name in believed)
            said |= {n: h for n, h in self._told_otherwise(job, name).items() if n not in names}
        records_of: dict[str, list[SlurmJob]] = {}
        for job in began:
            records_of.setdefault(name_of(self.known, job)[0], []).append(job)
        for row in standing:
            if _name(row) not in said and self._is_misnamed(row, records_of.get(row.workload_id, ())):
                said[_name(row)] = self._retracted(row)
        return self._believe(said, standing)

    def end_unknown(self) -> list[Standing]:
        """The runs whose end nobody has told yet."""
        return [row for row in self._book.standing(self.known.cluster) if row.attributes.get("end_unknown")]

    def _fuller(self, job: SlurmJob, name: Run) -> SlurmJob:
        """An accounting record with what only the controller said."""
        live = self._live.get(name) or self._past.get(job.job_id, {}).get(name)
        if live is None:
            return job
        return replace(
            job,
            gres=live.gres,
            reservation=job.reservation or live.reservation,
            restarts=job.restarts if job.restarts is not None else live.restarts,
        )

    def _is_misnamed(self, row: Standing, records: Sequence[SlurmJob]) -> bool:
        """A run seen under a start that accounting has otherwise: a record of its job is of the instant we saw it."""
        seen = self._seen.get(_name(row))
        if seen is None or row.rank is not Rank.WORK or row.attributes.get("prolog_only"):
            return False
        starts = [(job.start or 0) * SECOND for job in records]
        return row.from_us not in starts and any(
            start <= seen and (job.end is None or job.end * SECOND >= seen)
            for start, job in zip(starts, records, strict=True)
        )

    # ------------------------------------------------------------------------------- prologs
    def believe_told(self, changed: Sequence[Told], now: float) -> Believed:
        """What prologs and epilogs told since the last time; opens a run nobody else has told of yet."""
        said: dict[Run, Holding] = {}
        for told in changed:
            job = self._run_of(told)
            if job is not None:
                name = name_of(self.known, job)
                over = job.over or name in self._past.get(job.job_id, {})
                said[name] = runs.holding(self.known, job, over=over, believed=over)
            elif not self._is_fence(told) and now - told.at_us / 1e6 <= ORPHAN_SECONDS:
                holding = runs.provisional(self.known, self.known.hooks.near(told))
                said[holding.workload.workload_id, holding.from_us] = holding
        return self._believe(said, self._book.standing(self.known.cluster)) if said else Believed(0, 0, 0)

    def _is_fence(self, told: Told) -> bool:
        return told.account == self.known.fence_account or any(
            fence.job_id == told.job_id for fence in self.fences
        )

    def _run_of(self, told: Told) -> SlurmJob | None:
        """The run this hook is of, when the controller or accounting has told of it."""
        known = dict(self._past.get(told.job_id, {}))
        known |= {name: job for name, job in self._live.items() if job.job_id == told.job_id}
        near = [job for job in known.values() if told in self.known.hooks.during(job)]
        return min(near, key=lambda job: abs((job.start or 0) * SECOND - told.at_us), default=None)

    def _told_otherwise(self, job: SlurmJob, name: Run) -> dict[Run, Holding]:
        """What prologs had opened for this run under another start or name: it is told better now."""
        found: dict[Run, Holding] = {}
        for told in self.known.hooks.during(job):
            for label in {told.label or str(job.job_id), str(job.job_id)}:
                other = (runs.workload_id(self.known.cluster, label), told.second_us)
                if other != name:
                    found[other] = self._nothing(other)
        return found

    def _fenced(self, job: SlurmJob, name: Run) -> dict[Run, Holding]:
        """A fence is no holding, whatever was believed before it was known as one."""
        self._fence_runs.add(name)
        return {**self._told_otherwise(job, name), name: self._nothing(name)}

    # ------------------------------------------------------------------------------- belief
    def _believe(self, said: Mapping[Run, Holding], standing: Sequence[Standing]) -> Believed:
        """Through the book what differs from what was last said there."""
        open_ = {_name(row) for row in standing}
        news = {
            name: holding for name, holding in said.items() if self._is_news(name, holding, name in open_)
        }
        if not news:
            return Believed(0, 0, 0)
        done = self._book.believe(news.values())
        self._said |= news
        for workload, why in done.refused:
            if self._is_new((workload, why)):
                log.error("%s is not kept: %s", workload, why)
        return done

    def _is_new(self, trouble: tuple[str, str]) -> bool:
        """Whether it was not told yet; of very many the first are forgotten and told again."""
        if trouble in self._told:
            return False
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        self._told.add(trouble)
        return True

    def _is_news(self, name: Run, holding: Holding, is_open: bool) -> bool:
        before = self._said.get(name)
        if holding.places == ():
            return is_open or (before is not None and before.places != ())
        return before != holding or (holding.to_us is None and not is_open)

    def _holds_cards(self, job: SlurmJob) -> bool:
        detailed = any(
            item.name in self.known.names or item.name in gres.SHARES
            for found in job.gres.values()
            for item in found
        )
        return detailed or bool(gres.from_tres(dict(job.tres), self.known.names))

    def _believed_runs(self, names: Iterable[Run]) -> set[Run]:
        cursor = self._store.cursor()
        try:
            found = incoming.fetch(cursor, self._sql["believed_runs"], incoming.table(_RUN, names))
        finally:
            cursor.close()
        return {(row[0], row[1]) for row in found}

    def forget_before(self, instant_us: int) -> None:
        """What nobody will correct any more."""
        self._said = {n: h for n, h in self._said.items() if h.to_us is None or h.to_us >= instant_us}
        self._seen = {n: at for n, at in self._seen.items() if at >= instant_us}
        self._fence_runs = {n for n in self._fence_runs if n[1] >= instant_us or n in self._said}
        past = {
            job: {n: j for n, j in found.items() if (j.end or 0) * SECOND >= instant_us}
            for job, found in self._past.items()
        }
        self._past = {job: found for job, found in past.items() if found}
        self.known.hooks.forget_before(instant_us)

    def _only_id(self, row: Standing) -> Workload:
        return Workload(row.workload_id, row.kind, self.known.cluster)

    def _nothing(self, name: Run) -> Holding:
        return Holding(Workload(name[0], "slurm_job", self.known.cluster), name[1], None, ())

    def _retracted(self, row: Standing) -> Holding:
        return Holding(self._only_id(row), row.from_us, None, (), row.rank)

    def _ended(self, row: Standing, to_us: int) -> Holding:
        return Holding(
            self._only_id(row), row.from_us, max(to_us, row.from_us), None, row.rank, row.attributes
        )


_STILL: Final = (("RUNNING",), ("SUSPENDED",), ("PENDING",))


def _name(row: Standing) -> Run:
    return (row.workload_id, row.from_us)


def _second(now: float) -> int:
    return int(now) * SECOND
