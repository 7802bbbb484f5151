"""Idle subjects: quiet spells on held memory that will last, told before they have lasted where that is safe.

For every subject the detector keeps its spell and how often it wakes compared with its pool; the pool keeps its tide. At
a set age of a spell it asks once how probable it is that the spell reaches ``lasts_seconds``: exp(-wakes expected in the
minutes left), tempered by what the subject's own spells of that age came to. Probable enough: a finding at once. Else it waits until the spell is older than ``sure_seconds``, as it
does for a subject that was never seen at work, whose habit and true beginning nobody knows. Looking once is on purpose: asking every minute picks the moments at which the estimate errs.

Pure: samples in, turns out; the past it has seen is all it knows. Where silence is concerned it says nothing.
Not here: thresholds (idle.toml), reading a file (replay.py), the store (idle_watch.py), grades and money (idle_finding.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from ullage_collector.detect.quiet import End, Look, Quiet
from ullage_collector.detect.tide import Faded, Tide

if TYPE_CHECKING:
    from ullage_collector.detect.idle_settings import IdleSettings, Setting


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a subject. at: epoch seconds. held_bytes None: not known. pool: whose tide it shares.

    unseen: seconds since its sample before of which nobody knows, where samples are thinned out; 0: their distance tells.
    """

    subject: str
    at: float
    look: Look
    held_bytes: float | None = None
    pool: str = ""
    unseen: float = 0.0


@dataclass(frozen=True, slots=True)
class Raised:
    """A finding begins. began: of the quiet, to which it is dated back. probability: that it lasts, as seen then."""

    subject: str
    at: float
    began: float
    probability: float


@dataclass(frozen=True, slots=True)
class Cleared:
    """It ends. why UNHEARD: nobody can say any more that it is so."""

    subject: str
    at: float
    began: float
    why: End


Turn = Raised | Cleared


@dataclass(slots=True)
class _Subject:
    pool: str
    quiet: Quiet = field(default_factory=Quiet)
    own: Faded = field(default_factory=Faded)
    record: Faded = field(default_factory=Faded)
    held: float | None = None
    seen: float | None = None
    known: float | None = None
    was_quiet: bool = False
    asked: float | None = None
    worked: bool = False
    lasted: bool = False
    raised: bool = False
    began: float = 0.0


class IdleDetector:
    """A fleet's subjects, one sample at a time. Times ascend over all subjects; a subject's older sample is ignored."""

    def __init__(self, settings: IdleSettings, setting: Setting) -> None:
        self._settings = settings
        self._setting = setting
        self._subjects: dict[str, _Subject] = {}
        self._pools: dict[str, Tide] = {}

    def see(self, sample: Sample) -> list[Turn]:
        """Take one sample; what begins or ends with it."""
        subject = self._subjects.get(sample.subject)
        if subject is None:
            subject = self._subjects[sample.subject] = _Subject(sample.pool)
        if subject.seen is not None and sample.at <= subject.seen:
            return []
        subject.pool = sample.pool
        if sample.held_bytes is not None:
            subject.held = sample.held_bytes
        self._learn(subject, sample)
        ended = subject.quiet.see(sample.at, sample.look, self._settings.bridges, sample.unseen)
        turns: list[Turn] = []
        if ended is not None:
            if subject.asked is not None and not subject.lasted and ended is End.WORKED:
                self._remember(subject, sample.at, lasted=False)
            if subject.raised:
                turns.append(Cleared(sample.subject, sample.at, subject.began, ended))
            subject.raised = subject.lasted = False
            subject.asked = None
        age = subject.quiet.age(sample.at)
        if age is not None and age >= self._settings.lasts_seconds and not subject.lasted:
            subject.lasted = True
            if subject.asked is not None:
                self._remember(subject, sample.at, lasted=True)
        if sample.look is Look.QUIET and age is not None and not subject.raised:
            probability = self._judge(subject, sample, age)
            if probability is not None:
                subject.raised = True
                subject.began = sample.at - age - subject.quiet.unseen
                turns.append(Raised(sample.subject, sample.at, subject.began, probability))
        return turns

    def remember(self, pool: str, at: float, *, wakes: float, minutes: float) -> None:
        """An hour of a day before the first sample, as others have kept it: of a pool's tide. Times ascend."""
        self._tide(pool).remember(at, wakes=wakes, minutes=minutes)

    def forget(self, before: float) -> None:
        """Drop subjects not seen since ``before`` (epoch seconds): ended work. Their findings are the caller's to end."""
        for name in [name for name, row in self._subjects.items() if (row.seen or 0.0) < before]:
            del self._subjects[name]

    def probability(self, name: str, at: float) -> float:
        """That the subject's spell reaches ``lasts_seconds``, as known at ``at``; 0 where it is in none."""
        subject = self._subjects.get(name)
        age = None if subject is None else subject.quiet.age(at)
        if subject is None or age is None:
            return 0.0
        if age >= self._settings.lasts_seconds:
            return 1.0
        told = self._settings.own
        subject.record.fade(at, told.record_half_life_seconds)
        guessed = self._quiet_for(subject, at, self._settings.lasts_seconds - age) * told.record_first
        return (subject.record.came + guessed) / (subject.record.could + told.record_first)

    def goes_on(self, name: str, at: float, seconds: float) -> float:
        """That the subject stays quiet for ``seconds`` from ``at``; 0 where it is in no spell."""
        subject = self._subjects.get(name)
        if subject is None or subject.quiet.began is None:
            return 0.0
        return self._quiet_for(subject, at, seconds)

    def began(self, name: str) -> float | None:
        """When the subject's spell began, epoch seconds; None: it is in none."""
        subject = self._subjects.get(name)
        return None if subject is None else subject.quiet.began

    def unseen(self, name: str) -> float:
        """Seconds of the subject's spell of which nobody knows; 0 where it is in none."""
        subject = self._subjects.get(name)
        return 0.0 if subject is None or subject.quiet.began is None else subject.quiet.unseen

    def seen(self, name: str) -> float | None:
        """When anything was known of the subject last, epoch seconds; None: never."""
        subject = self._subjects.get(name)
        return None if subject is None else subject.known

    def is_raised(self, name: str) -> bool:
        """Whether the subject's spell is a finding."""
        subject = self._subjects.get(name)
        return subject is not None and subject.raised

    def _remember(self, subject: _Subject, at: float, *, lasted: bool) -> None:
        """A spell that was asked about has shown what it was."""
        subject.record.fade(at, self._settings.own.record_half_life_seconds)
        subject.record.came += lasted
        subject.record.could += 1

    def _quiet_for(self, subject: _Subject, at: float, seconds: float) -> float:
        if seconds <= 0:
            return 1.0
        told = self._settings.own
        tide = self._tide(subject.pool)
        subject.own.fade(at, told.half_life_seconds)
        # own.could holds the wakes the pool's tide would have given the subject in its quiet time
        habit = (subject.own.came + told.first_wakes) / (subject.own.could + told.first_wakes)
        rate = tide.coming(at, seconds) * habit * self._weight(subject, at)
        return math.exp(-rate * seconds / 60.0)

    def _judge(self, subject: _Subject, sample: Sample, age: float) -> float | None:
        """The probability with which a finding begins now; None: it does not."""
        setting = self._setting
        if age >= setting.sure_seconds:
            return 1.0
        if age < setting.ask_seconds or subject.asked is not None or not subject.worked:
            return None
        subject.asked = self.probability(sample.subject, sample.at)
        return subject.asked if subject.asked >= setting.probability else None

    def _learn(self, subject: _Subject, sample: Sample) -> None:
        """Count quiet time and wakes for the pool and the subject, before the look changes the spell."""
        before, subject.seen = subject.seen, sample.at
        was_quiet = subject.was_quiet
        if sample.look is Look.UNKNOWN:
            return
        subject.known = sample.at
        subject.was_quiet = sample.look is Look.QUIET
        subject.worked = subject.worked or sample.look is Look.BUSY
        if not was_quiet or before is None or sample.at - before > self._settings.bridges.hole_seconds:
            return
        woke = sample.look in (Look.BUSY, Look.BLIP)
        minutes = (sample.at - before) / 60.0
        tide = self._tide(sample.pool)
        expected = tide.rate(sample.at) * minutes
        tide.add(sample.at, wakes=int(woke), minutes=minutes)
        subject.own.fade(sample.at, self._settings.own.half_life_seconds)
        subject.own.came += woke
        subject.own.could += expected

    def _tide(self, pool: str) -> Tide:
        tide = self._pools.get(pool)
        if tide is None:
            tide = self._pools[pool] = Tide(self._settings.tide)
        return tide

    def _weight(self, subject: _Subject, at: float) -> float:
        """How much more a subject that holds more than its pool's middle is expected to wake."""
        told = self._settings.held
        if subject.held is None or not told.exponent:
            return 1.0
        pool = [
            row.held
            for row in self._subjects.values()
            if row.pool == subject.pool
            and row.held is not None
            and row.seen is not None
            and at - row.seen <= told.seen_seconds
        ]
        middle = median(pool) if pool else 0.0
        if middle <= 0 or subject.held <= 0:
            return 1.0
        weight: float = (subject.held / middle) ** told.exponent
        return min(max(weight, 1 / told.most), told.most)
