"""One Slurm cluster, asked again and again: the controller, accounting, and what prologs told the agents.

A question without an answer is logged once and asked again, slower; what it would have said is learned later.
Not here: the questions (asking.py) and what is made of the answers (belief.py).
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from ullage_collector.allocation.book import AllocationBook, Believed
from ullage_collector.allocation.heard import Heard
from ullage_collector.allocation.room import keep_rooms
from ullage_collector.allocation.slurm import cards, data_parser, waiting
from ullage_collector.allocation.slurm.aside import Fence
from ullage_collector.allocation.slurm.asking import WAITING_SHARE_OF_TIME, Asking, Clocked, Pace, Turns
from ullage_collector.allocation.slurm.belief import Belief, Book
from ullage_collector.allocation.slurm.cards import Card, Listed
from ullage_collector.allocation.slurm.hooks import Told
from ullage_collector.allocation.slurm.job import SlurmJob
from ullage_collector.allocation.slurm.runs import Known, Slice, name_of
from ullage_collector.allocation.slurm.settings import SlurmSettings, slurm_settings
from ullage_collector.config import Config
from ullage_collector.quota.waiting import keep_waiting
from ullage_collector.sql import statements
from ullage_collector.store import incoming
from ullage_collector.store.store import Store
from ullage_contract.errors import BadInput, ReadingError

log = logging.getLogger(__name__)

T = TypeVar("T")

SOURCE: Final = "slurm"

HOOKS_SECONDS: Final = 2.0
"""# our choice: because agents push events within a second and looking takes a millisecond."""
RESERVATIONS_SECONDS: Final = 60.0
NODES_SECONDS: Final = 600.0
"""# our choice: because what nodes are configured with changes some times a year."""
NODES_AGAIN_SECONDS: Final = 120.0  # our choice: because two RPCs each minute would leave others no turn
WAITING_SECONDS: Final = 120.0  # our choice: because who waits does so for hours; a card is given in seconds
WAITING_SLOWEST_SECONDS: Final = 3600.0
CATCHING_UP_SECONDS: Final = 10.0
OVERLAP_SECONDS: Final = 900.0
"""# our choice: because slurmctld tells accounting within seconds, its backlog after an outage within minutes."""
SLICE_SECONDS: Final = 7200.0  # our choice: because 1,300 jobs an hour are then 10 MB of JSON a question
LATE_SECONDS: Final = 3600.0
BY_NAME_SECONDS: Final = 300.0
MOST_BY_NAME: Final = 500
MOST_HOOKS: Final = 50_000


class SlurmSource:
    """One cluster; ``step`` from one thread alone. asking: its programs. heard: noted when its controller answered."""

    def __init__(
        self,
        asking: Asking,
        store: Store,
        book: Book,
        *,
        heard: Heard | None = None,
        chance: random.Random | None = None,
    ) -> None:
        settings = self._settings = asking.settings
        self._asking = asking
        self._store = store
        self._heard = heard
        self._sql = statements("slurm")
        self._clocked = Clocked(store.clock)
        self._known = Known(settings.cluster, names=settings.gres, fence_account=settings.fence_account)
        self._belief = Belief(self._known, store, book, accounting=settings.accounting)
        chance = chance or random.Random()
        self._pace = Pace(settings.poll_seconds, settings.slowest_seconds, chance)
        self._waiting_pace = Pace(
            WAITING_SECONDS, WAITING_SLOWEST_SECONDS, chance, share=WAITING_SHARE_OF_TIME
        )
        self._turns = Turns(store.clock, settings.poll_seconds)
        self._rooms_due = False
        self._listed: dict[str, Listed] | None = None
        self._listed_at: float | None = None
        self._event = -1
        self._late: deque[tuple[float, float]] = deque()
        self._read_through: float | None = None
        self._settling_until = 0.0
        self._troubles: dict[str, tuple[str, int]] = {}

    @property
    def fences(self) -> tuple[Fence, ...]:
        """What fence jobs keep now, by the controller's last answer."""
        return self._belief.fences

    def run(self, stop: threading.Event) -> None:
        """Step until told to stop. Raises what the store raises; nothing is lost by beginning anew."""
        while not stop.is_set():
            stop.wait(self.step(self._store.clock.wall()))

    def step(self, now: float) -> float:
        """Do what is due. now: seconds since the epoch, UTC. Returns the seconds until something is due again.

        Raises StoreError when the store cannot be written: what was learned is then learned anew.
        """
        if self._clocked.due("hooks"):
            self._take_hooks(now)
            self._clocked.put_off("hooks", HOOKS_SECONDS)
        if self._clocked.due("controller"):
            self._ask_controller(now)
        if self._settings.accounting and self._clocked.due("accounting"):
            self._ask_accounting(now)
        waiting = (
            ("hooks", "controller", "accounting") if self._settings.accounting else ("hooks", "controller")
        )
        return self._clocked.wait(*waiting)

    # ------------------------------------------------------------------------------- history
    def prepare(self, now: float) -> None:
        """What prologs told and what is known of the cluster, before past runs are believed; nothing is opened."""
        self._take_hooks(now)
        self._look_around()

    def ask_past(self, since: float, until: float, now: float) -> tuple[int, Believed]:
        """The runs of [since, until) from accounting: how many, and what they changed. Raises ReadingError, BadInput."""
        records = self._asking.runs(since, until)
        return len(records), self._belief.believe_past(records, now)

    def read_past(self, said: bytes, now: float) -> tuple[int, Believed]:
        """The runs of a saved answer of ``sacct --duplicates --json``. Raises BadInput."""
        records = data_parser.read_sacct(said)
        return len(records), self._belief.believe_past(records, now)

    # ------------------------------------------------------------------------------- the controller
    def _ask_controller(self, now: float) -> None:
        self._look_around()
        jobs = self._asked("squeue", self._asking.queue)
        if jobs is None:
            self._clocked.put_off("controller", self._pace.after_failure())
            return
        self._clocked.put_off("controller", self._pace.after(self._asking.seconds))
        self._belief.believe_live(jobs, now)
        if self._heard is not None:
            self._heard.note("slurm_job", self._settings.cluster, round(now * 1e6))
        if self._clocked.due("reservations") and self._turns.take(1):
            found = self._asked("scontrol show reservation", self._asking.reservations)
            self._clocked.put_off("reservations", RESERVATIONS_SECONDS)
            if found is not None:
                self._belief.believe_reservations(found, now)
        if self._clocked.due("waiting") and self._turns.take(1):
            self._ask_waiting(now)

    def _ask_waiting(self, now: float) -> None:
        """Who waits for cards, told in full; without an answer nobody has begun or ended to wait."""
        pending = self._asked("squeue --states=PENDING", self._asking.pending)
        if pending is None:
            self._clocked.put_off("waiting", self._waiting_pace.after_failure())
            return
        self._clocked.put_off("waiting", self._waiting_pace.after(self._asking.pending_seconds))
        found = waiting.waiting(self._known, pending, now)
        for job, why in found.doubts[:1]:
            self._tell("who waits", f"job {job} and the like are left out: {why}")
        with self._store.write() as cursor:
            keep_waiting(cursor, SOURCE, self._settings.cluster, found.requests, round(now * 1e6))

    def _look_around(self) -> None:
        """The configuration, the account tree, the agents' cards; where nobody answers the last is kept."""
        known = self._known
        if self._clocked.due("nodes") and self._turns.take(2):
            nodes = self._asked("scontrol show node", self._asking.nodes)
            self._clocked.put_off("nodes", NODES_SECONDS if nodes is not None else NODES_AGAIN_SECONDS)
            known.configured = nodes if nodes is not None else known.configured
            self._rooms_due = nodes is not None
        if self._settings.accounting and self._clocked.due("accounts"):
            paths = self._asked("sacctmgr", self._asking.accounts)
            self._clocked.put_off("accounts", NODES_SECONDS if paths is not None else RESERVATIONS_SECONDS)
            known.paths = paths if paths is not None else known.paths
        self._read_gres_conf()
        cursor = self._store.cursor()
        try:
            seen = [Card(*row) for row in cursor.execute(self._sql["cards"], [known.cluster]).fetchall()]
            slices = cursor.execute(self._sql["slices"], [known.cluster]).fetchall()
        finally:
            cursor.close()
        listed = None if self._listed is None else cards.for_nodes(self._listed, known.configured)
        known.index = cards.card_index(seen, known.configured, listed, known.names)
        known.slices = {row[0]: Slice(*row) for row in slices}
        self._tell_rooms()
        for node in known.index.nodes.values():
            if node.why_not and node.cards and known.configured:
                self._tell(f"node {node.node}", f"Slurm's index does not say which card: {node.why_not}")

    def _tell_rooms(self) -> None:
        """What nodes have free beside their cards, under our names of them; once for each answer."""
        if not self._rooms_due:
            return
        rooms = [replace(room, node=self._known.index.node_id(room.node)) for room in self._asking.rooms]
        with self._store.write() as cursor:
            keep_rooms(cursor, SOURCE, self._settings.cluster, rooms, round(self._store.clock.wall() * 1e6))
        self._rooms_due = False

    def _read_gres_conf(self) -> None:
        path = self._settings.gres_conf
        if path is None:
            return
        try:
            changed = path.stat().st_mtime
            if changed != self._listed_at:
                self._listed = cards.read_gres_conf(path, self._settings.gres)
                self._listed_at = changed
        except (OSError, BadInput) as e:
            self._tell("gres_conf", str(e))

    # ------------------------------------------------------------------------------- accounting
    def _ask_accounting(self, now: float) -> None:
        """The last minutes; by turns a piece of the last day, as records come late; who is missed, by name."""
        oldest = now - self._settings.late_hours * 3600
        if self._clocked.due("late"):
            self._late = pieces(oldest, now)
            self._clocked.put_off("late", LATE_SECONDS)
        since = max(oldest, (now if self._read_through is None else self._read_through) - OVERLAP_SECONDS)
        records = self._asked("sacct", lambda: self._asking.runs(since, now + 60))
        if records is None:
            self._settling_until = 0.0
            self._clocked.put_off("accounting", self._settings.accounting_seconds)
            return
        self._has_read(now)
        if self._late:
            begin, end = self._late[0]
            more = self._asked("sacct", lambda: self._asking.runs(begin, end))
            if more is not None:
                self._late.popleft()
                records += more
        records += self._missed(records, now)
        self._belief.believe_past(records, now)
        self._belief.forget_before(round((oldest - SLICE_SECONDS) * 1e6))
        usual = self._settings.accounting_seconds
        self._clocked.put_off("accounting", min(CATCHING_UP_SECONDS, usual) if self._late else usual)

    def _has_read(self, now: float) -> None:
        """Up to when accounting is read. After an outage its records trickle in: the old mark stays a while."""
        through = self._read_through
        if through is not None and now - through > 3 * self._settings.accounting_seconds:
            if self._settling_until == 0.0:
                self._settling_until = now + OVERLAP_SECONDS
            if now < self._settling_until:
                return
        self._read_through = now
        self._settling_until = 0.0

    def _missed(self, told: list[SlurmJob], now: float) -> list[SlurmJob]:
        """Accounting on the runs whose end nobody told yet: one question for all of them."""
        if not self._clocked.due("missed"):
            return []
        ended = {name_of(self._known, job) for job in told if job.began and job.end is not None}
        rows = [row for row in self._belief.end_unknown() if (row.workload_id, row.from_us) not in ended]
        jobs = sorted({job for row in rows if isinstance(job := row.attributes.get("job_id"), int)})
        if not jobs:
            return []
        self._clocked.put_off("missed", BY_NAME_SECONDS)
        since = min(row.from_us for row in rows) / 1e6 - 60
        return self._asked("sacct", lambda: self._asking.runs(since, now + 60, jobs[:MOST_BY_NAME])) or []

    # ------------------------------------------------------------------------------- prologs
    def _take_hooks(self, now: float) -> None:
        """New events of prologs and epilogs; at the first time all of the last day, which open nothing."""
        first = self._event < 0
        oldest = round((now - self._settings.late_hours * 3600 - SLICE_SECONDS) * 1e6)
        changed: list[Told] = []
        cursor = self._store.cursor()
        try:
            newest = incoming.one(cursor, self._sql["newest_event"])
            last = int(newest[0]) if newest else 0
            while True:
                rows = cursor.execute(
                    self._sql["hooks"], [self._event, self._settings.cluster, oldest, MOST_HOOKS]
                ).fetchall()
                changed += self._known.hooks.take((row[1], row[2], row[3], row[4]) for row in rows)
                last = max(last, rows[-1][0]) if rows else last
                if len(rows) < MOST_HOOKS:
                    break
                self._event = rows[-1][0]
        finally:
            cursor.close()
        if changed and not first:
            self._belief.believe_told(changed, now)
        self._event = max(self._event, last)

    # ------------------------------------------------------------------------------- trouble
    def _asked(self, what: str, ask: Callable[[], T]) -> T | None:
        """The answer, or None with the reason told once."""
        try:
            answer = ask()
        except (ReadingError, BadInput) as e:
            self._tell(what, str(e))
            return None
        if what in self._troubles:
            log.info(
                "cluster %s: %s answers again after %d times",
                self._settings.cluster,
                what,
                self._troubles.pop(what)[1],
            )
        return answer

    def _tell(self, what: str, why: str) -> None:
        """Once, then counted."""
        told, times = self._troubles.get(what, ("", 0))
        if told != why:
            log.warning("cluster %s: %s: %s", self._settings.cluster, what, why)
        self._troubles[what] = (why, times + 1)


def pieces(since: float, until: float) -> deque[tuple[float, float]]:
    """[since, until) cut into questions, the newest first."""
    found: deque[tuple[float, float]] = deque()
    end = until
    while end > since:
        found.append((max(since, end - SLICE_SECONDS), end))
        end -= SLICE_SECONDS
    return found


def source(settings: SlurmSettings, store: Store, heard: Heard | None = None) -> SlurmSource:
    """The real one: Slurm's own programs, the store's book."""
    return SlurmSource(
        Asking(settings, settings.programs()), store, AllocationBook(store, SOURCE), heard=heard
    )


def parts(
    config: Config, store: Callable[[], Store], heard: Heard | None = None
) -> list[tuple[str, Callable[[threading.Event], None]]]:
    """A part of ``serve`` for each cluster of [allocation.slurm]; none where it is not set. Each begins on the store
    open then.

    Raises ConfigError for a wrong setting.
    """
    file = str(config.path or "collector.toml")

    def part(settings: SlurmSettings) -> Callable[[threading.Event], None]:
        return lambda stop: source(settings, store(), heard).run(stop)

    return [
        (f"slurm-{settings.cluster}", part(settings))
        for settings in slurm_settings(config.part("allocation"), file)
    ]
