"""Jobs as the scheduler's prolog and epilog tell them: files in a directory, become events at once.

``job_started`` and ``job_ended`` carry what JobFile.attributes says, ``gpus`` as given, ``cards`` in the same order
("?" where nobody can place it) and ``unresolved``, those entries alone. What is there at the start is told again, so
consumers take the same event twice as once. Whoever may write the directory could forge who holds a card: only files
of root and the scheduler's own user count.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ullage_agent.backend import Reading
from ullage_agent.holders.cards import Cards
from ullage_agent.holders.devices import UNPLACED
from ullage_agent.holders.directory_watch import DirectoryWatch
from ullage_agent.holders.job_file import MOST_BYTES, NAME, JobFile, parse
from ullage_agent.holders.telling import parts_of
from ullage_contract.catalogue import Tier
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput, Broken, NotPermitted, NotPresent
from ullage_contract.event import Event, Severity
from ullage_contract.sample import Facts, Family, Value

log = logging.getLogger(__name__)

WAIT_FOR_CARDS_SECONDS: Final = 30.0
"""our choice: because a driver's library takes up to 20 s to load, and a job told without its cards is half told."""
KEEP_ENDED_SECONDS: Final = 60.0
"""our choice: because what was told is on disk in the spool within a second, and a restart in between tells it again."""
MOST_FILES: Final = 10_000  # our choice: because a node runs some hundred jobs an hour at most
_SETTLED_SECONDS: Final = (
    2.0  # a directory that changed later than this may change again within one tick of its clock
)


@dataclass(slots=True)
class _Seen:
    """One file. signature: inode, time and size. job None: refused. told: the cards it was last told with."""

    signature: tuple[int, int, int]
    job: JobFile | None
    written_at: float
    told: tuple[str | None, ...] | None = None
    ended_told_at: float | None = None
    given_up: bool = False


class Jobs:
    """A ``source.Source``. Its thread only says that something changed; all reading is done in ``events``.

    directory: where the snippets write. owners: user names or numbers whose files count; names that this machine
    does not know are left out. cards: what the node has now. wake: called from the watching thread.
    """

    name = "jobs"

    def __init__(
        self,
        directory: Path,
        *,
        node_id: str,
        clock: Clock,
        cards: Callable[[], Cards],
        owners: Iterable[str] = ("root", "slurm"),
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._node_id = node_id
        self._clock = clock
        self._cards = cards
        self._owners = frozenset(_uids(owners))
        self._wake = wake
        self._began = clock.monotonic()
        self._watch: DirectoryWatch | None = None
        self._files: dict[str, _Seen] = {}
        self._starts: dict[tuple[str, float], tuple[str | None, ...]] = {}
        self._placed_with: Cards | None = None
        self._looked_at: tuple[int, int] | None = None
        self._trouble: str | None = None
        self.refused = 0
        """Files that did not count, since the start."""

    # ---- the Source protocol

    def facts(self) -> Iterator[Facts]:
        """None: jobs are events."""
        return iter(())

    def read(self, tier: Tier) -> Iterator[Reading]:
        """No readings. Raises a ReadingError while the directory cannot be believed or is not there."""
        if not self._directory.is_dir():
            raise NotPresent(f"{self._directory} is not there; see deploy/slurm/README.md")
        if self._trouble is not None:
            raise Broken(self._trouble)
        return iter(())

    def events(self) -> Iterator[Event]:
        """What is new in the directory, without waiting."""
        if self._watch is None or not self._watch.alive:
            self._watch_anew()
        cards = self._cards()
        if not cards and self._clock.monotonic() - self._began < WAIT_FOR_CARDS_SECONDS:
            return
        self._look()
        for seen in sorted(self._files.values(), key=lambda seen: seen.written_at):
            if seen.job is not None:
                yield from self._tell(seen, seen.job, cards)
        self._placed_with = cards
        self._remove_ended()

    def cards_changed(self) -> None:
        """The node's cards are others than before: what could not be placed is tried again at once."""
        self._wake()

    def close(self) -> None:
        """End the thread. Never raises."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    # ---- looking

    def _watch_anew(self) -> None:
        self.close()
        if self._directory.is_dir():
            self._watch = DirectoryWatch(self._directory, self._wake)

    def _look(self) -> None:
        """Read what is new. Files that went away are forgotten."""
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            self._trouble = None
            return
        except OSError as e:
            self._trouble = f"{self._directory}: {e.strerror}; let the agent read it (mode 755)"
            return
        try:
            self._look_into(directory)
        finally:
            os.close(directory)

    def _look_into(self, directory: int) -> None:
        about = os.fstat(directory)
        if about.st_uid not in self._owners or about.st_mode & 0o022:
            self._trouble = (
                f"{self._directory} belongs to user {about.st_uid} with mode {stat.S_IMODE(about.st_mode):04o}: others "
                "could forge who holds a card; chown it to root, chmod 755"
            )
            return
        self._trouble = None
        changed = (about.st_ino, about.st_mtime_ns)
        if changed == self._looked_at:
            return
        there: dict[str, _Seen] = {}
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue  # what a snippet is writing just now
                if len(there) >= MOST_FILES:
                    self._trouble = (
                        f"{self._directory} has more than {MOST_FILES} files; the rest is not read"
                    )
                    break
                with contextlib.suppress(FileNotFoundError):
                    there[entry.name] = self._seen(directory, entry)
        self._files = there
        jobs = {seen.job.job_id for seen in there.values() if seen.job is not None}
        self._starts = {start: placed for start, placed in self._starts.items() if start[0] in jobs}
        settled = self._clock.wall() - about.st_mtime_ns / 1e9 > _SETTLED_SECONDS
        self._looked_at = changed if settled else None

    def _seen(self, directory: int, entry: os.DirEntry[str]) -> _Seen:
        about = entry.stat(follow_symlinks=False)
        signature = (about.st_ino, about.st_mtime_ns, about.st_size)
        before = self._files.get(entry.name)
        if before is not None and before.signature == signature:
            return before
        job = None
        try:
            job = self._job(directory, entry.name)
        except BadInput as e:
            self.refused += 1
            log.warning("%s/%s does not count: %s (%d so far)", self._directory, entry.name, e, self.refused)
        return _Seen(signature, job, about.st_mtime_ns / 1e9)

    def _job(self, directory: int, name: str) -> JobFile:
        """Raises BadInput for a file that does not count, FileNotFoundError for one that has just gone."""
        named = NAME.fullmatch(name)
        if named is None:
            raise BadInput("its name is not <job id>.started or <job id>.<seconds>.ended")
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            raise
        except OSError as e:
            raise BadInput(f"it cannot be opened: {e.strerror}") from e
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
                raise BadInput("it is no plain file of its own")
            if about.st_uid not in self._owners or about.st_mode & 0o022:
                raise BadInput(
                    f"it belongs to user {about.st_uid} with mode {stat.S_IMODE(about.st_mode):04o}"
                )
            if about.st_size > MOST_BYTES:
                raise BadInput(f"it has {about.st_size} bytes")
            text = os.read(file, MOST_BYTES + 1)
        finally:
            os.close(file)
        try:
            job = parse(text.decode("utf-8"))
        except UnicodeDecodeError:
            raise BadInput("it is no UTF-8") from None
        if job.job_id != named[1] or (job.ended_at is None) != (named[2] is None):
            raise BadInput("its name and what it says differ")
        return job

    # ---- telling

    def _tell(self, seen: _Seen, job: JobFile, cards: Cards) -> Iterator[Event]:
        if seen.told is not None and (cards is self._placed_with or None not in seen.told):
            return
        devices = job.devices(cards)
        placed = tuple(card for _, card in devices)
        if placed == seen.told:
            return
        seen.told = placed
        began = job.started_at if job.started_at is not None else (None if job.ended_at else seen.written_at)
        if began is not None and self._starts.get((job.job_id, began)) != placed:
            self._starts[job.job_id, began] = placed
            yield from self._events("job_started", began, job, devices)
        if job.ended_at is not None:
            yield from self._events("job_ended", job.ended_at, job, devices)
            seen.ended_told_at = self._clock.monotonic()

    def _events(
        self, kind: str, time: float, job: JobFile, devices: list[tuple[str, str | None]]
    ) -> Iterator[Event]:
        known = job.attributes()
        lists = {
            "gpus": [entry for entry, _ in devices],
            "cards": [card or UNPLACED for _, card in devices],
        }
        word = "started" if kind == "job_started" else "ended"
        for part in parts_of(lists):
            unplaced = [
                entry
                for entry, card in zip(_split(part, "gpus"), _split(part, "cards"), strict=True)
                if card == UNPLACED
            ]
            attributes: dict[str, Value] = {**known, **part}
            if unplaced:
                attributes["unresolved"] = ",".join(unplaced)
            yield Event(
                time=time,
                kind=kind,
                severity=Severity.INFO,
                family=Family.NODE,
                subject=self._node_id,
                source="scheduler",
                message=f"job {job.job_id} of {job.values.get('user', '?')} {word}, {len(devices)} devices",
                attributes=attributes,
            )

    def _remove_ended(self) -> None:
        """Ended files that were told a while ago, where we may; else the epilog removes them after an hour."""
        now = self._clock.monotonic()
        for name, seen in self._files.items():
            if seen.ended_told_at is None or seen.given_up or now - seen.ended_told_at < KEEP_ENDED_SECONDS:
                continue
            seen.given_up = True
            try:
                (self._directory / name).unlink()
            except FileNotFoundError:
                continue
            except OSError as e:
                refused = NotPermitted(f"{self._directory}/{name}: {e.strerror}")
                log.debug("%s; the epilog removes it", refused)


def _split(part: dict[str, Value], name: str) -> list[str]:
    text = part.get(name)
    return text.split(",") if isinstance(text, str) and text else []


def _uids(owners: Iterable[str]) -> Iterator[int]:
    for owner in owners:
        if owner.isascii() and owner.isdigit():
            yield int(owner)
            continue
        with contextlib.suppress(KeyError):
            yield pwd.getpwnam(owner).pw_uid
