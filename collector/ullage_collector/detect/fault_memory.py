"""What the fault evaluator remembers: tracks by rule and subject, when nodes were heard and booted, what must be written.

Not here: what any of it means (fault_evaluator.py, fault_turns.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ullage_collector.detect.fault_observation import EventSeen
from ullage_collector.detect.fault_rule import Condition, FaultRule, Signal
from ullage_collector.detect.fault_track import Track
from ullage_contract.sample import Family

Key = tuple[str, str, str, str]
"""rule, family, cluster of a node, subject."""
Node = tuple[str, str]
"""cluster, node."""
DRIFT_US: Final = 60_000_000
"""our choice: clocks drift and are set by seconds; a node does not boot twice within a minute."""


class Memory:
    """Tracks and clocks. One thread's alone.

    rules: by whose names tracks are kept; a track of a rule that is gone is dropped. tracks: from before a restart.
    """

    def __init__(self, rules: Sequence[FaultRule], tracks: Iterable[Track] = ()) -> None:
        self.rules = {rule.name: rule for rule in rules}
        self._tracks: dict[Key, Track] = {}
        self._of_node: dict[Node, dict[Key, Track]] = {}
        self._timed: dict[Key, Track] = {}  # those that time alone may turn
        self._work: dict[tuple[str, str], set[str]] = {}
        self._heard: dict[Node, int] = {}
        self._booted: dict[Node, int] = {}
        self._uptime: dict[Node, float] = {}
        self._dirty: set[Key] = set()
        for track in tracks:
            if track.rule in self.rules:
                self._put(key_of(track.rule, track.family, track.cluster, track.subject), track)
                self._note_work(track)

    @property
    def tracks(self) -> list[Track]:
        """All that is remembered."""
        return list(self._tracks.values())

    def heard(self, cluster: str, node: str, at_us: int) -> None:
        """A node was heard, by the collector's clock: what waits for time to pass may go on."""
        if at_us > self._heard.get((cluster, node), 0):
            self._heard[cluster, node] = at_us

    def booted(self, cluster: str, node: str, at_us: int, uptime_seconds: float | None = None) -> None:
        """A node booted at that instant, as far as is known.

        uptime_seconds: what it was reckoned from, None: it was told. A node that is up for longer than when it was last
        asked has not booted since: its clock was set.
        """
        where = (cluster, node)
        known, longest = self._booted.get(where), self._uptime.get(where, 0.0)
        if uptime_seconds is not None:
            self._uptime[where] = max(uptime_seconds, longest)
        if known is not None and (
            at_us <= known + DRIFT_US or (uptime_seconds is not None and uptime_seconds >= longest)
        ):
            return
        self._booted[where] = at_us
        self._uptime[where] = uptime_seconds or 0.0

    def adopt(self, other: Memory) -> None:
        """Take over when nodes were heard and booted, which no table keeps."""
        self._heard, self._booted, self._uptime = other._heard, other._booted, other._uptime

    def waiting(self, now_us: int) -> set[Node]:
        """Nodes of which something is due by now if they were heard: the engine asks when they last were."""
        found = set()
        for track in self._timed.values():
            due = self._due(self.rules[track.rule], track)
            if due is not None and due <= now_us:
                found.add((track.cluster, track.node))
        return found

    def standing(self) -> list[Track]:
        """Tracks with an open incident."""
        return [track for track in self._tracks.values() if track.standing is not None]

    def changed(self) -> tuple[list[Track], list[Key]]:
        """Tracks to be written, and keys of those to be deleted, since the last call."""
        written, gone = [], []
        for key in sorted(self._dirty):
            track = self._tracks.get(key)
            if track is None or (track.idle and not track.closed_us):
                gone.append(key)
            else:
                written.append(track)
        self._dirty.clear()
        return written, gone

    def _due(self, rule: FaultRule, track: Track) -> int | None:
        """When time alone makes the next turn of a track; None: never."""
        if track.standing is not None:
            if rule.signal is not Signal.EVENT or rule.exit_after_us is None:
                return None
            return track.standing.last_us + rule.exit_after_us
        if rule.condition is not Condition.STANDS or track.down_us is None:
            return None
        due = track.down_us + rule.lasting_us
        booted = self._booted.get((track.cluster, track.node))
        if rule.grace_us and booted is not None and booted <= due:
            due = max(due, booted + rule.grace_us)
        return due

    def _in_grace(self, rule: FaultRule, track: Track, at_us: int) -> bool:
        booted = self._booted.get((track.cluster, track.node))
        return bool(rule.grace_us) and booted is not None and booted <= at_us < booted + rule.grace_us

    def _track(self, rule: FaultRule, seen: EventSeen, family: str, subject: str) -> Track:
        key = key_of(rule.name, family, seen.cluster, subject)
        track = self._tracks.get(key)
        if track is None:
            track = Track(rule.name, family, subject, seen.cluster, seen.node, seen.event.vendor)
            self._put(key, track)
        elif (track.cluster, track.node) != (seen.cluster, seen.node):
            self._of_node.get((track.cluster, track.node), {}).pop(key, None)  # the card was moved
            track.cluster, track.node = seen.cluster, seen.node
            self._put(key, track)
        return track

    def _put(self, key: Key, track: Track) -> None:
        self._tracks[key] = track
        self._of_node.setdefault((track.cluster, track.node), {})[key] = track
        rule = self.rules[track.rule]
        if rule.signal is Signal.EVENT and (
            rule.condition is Condition.STANDS or rule.exit_after_us is not None
        ):
            self._timed[key] = track

    def _touch(self, track: Track) -> None:
        self._dirty.add(key_of(track.rule, track.family, track.cluster, track.subject))

    def _forget_idle(self, key: Key, track: Track) -> None:
        if key in self._tracks and track.idle and not track.closed_us:
            del self._tracks[key]
            self._timed.pop(key, None)
            self._of_node.get((track.cluster, track.node), {}).pop(key, None)
            self._dirty.add(key)

    def _note_work(self, track: Track) -> None:
        """Which cards a workload's failures were seen on, for rules that want them on one card alone."""
        if self.rules[track.rule].condition is Condition.DISTINCT:
            for seen in track.seen:
                if seen.who:
                    self._work.setdefault((track.rule, seen.who), set()).add(track.subject)


def key_of(rule: str, family: str, cluster: str, subject: str) -> Key:
    """A node's id is its cluster's alone; every other subject is unique in the world."""
    return rule, family, cluster if family == Family.NODE else "", subject
