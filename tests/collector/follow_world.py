"""A fleet whose resets, reboots and replacements are noted instead of run: for the tests of what follows an isolation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.collector.isolation_world import World

from ullage_collector.isolate.follow_call import Ended, FollowCall, Outcome
from ullage_collector.isolate.follow_settings import FollowMode, FollowSettings, Hook
from ullage_collector.isolate.following import FollowMeans
from ullage_collector.isolate.verdict import Follow, Verdict
from ullage_collector.isolate.way_back import ProbeAnswer

RESET = Hook(argv=("/bin/reset", "{node}", "{minor}"), mode=FollowMode.AUTOMATIC)
REBOOT = Hook(argv=("/bin/reboot", "{node}"), mode=FollowMode.AUTOMATIC)
TICKET = Hook(argv=("/bin/ticket", "{serial}", "{bundle}"), mode=FollowMode.AUTOMATIC)
ALL = {Follow.RESET: RESET, Follow.REBOOT: REBOOT, Follow.REPLACE: TICKET}


class Prober:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, ProbeAnswer] = {}

    def probe(self, isolation_id: int, incident_id: int | None, target: Any) -> ProbeAnswer:
        self.asked.append(target.subject)
        return self.answers.get(target.subject, ProbeAnswer.PASSED)

    def forget(self, isolation_id: int) -> None:
        """It remembers nothing."""


class Site(World):
    """A world whose programs are noted instead of run. heard: when its scheduler last answered, None: never."""

    def __init__(self, folder: Path, *, hooks: dict[Follow, Hook] | None = None, **settings: Any) -> None:
        self.ran: list[FollowCall] = []
        self.ends: list[Ended] = []
        self.later: list[Callable[[], None]] = []
        self.side_by_side = False
        self.ending: set[str] = set()
        self.heard: float | None = -1.0
        self.folder = folder
        self.hooks = ALL if hooks is None else hooks
        super().__init__(4, 4, **settings)
        self.prober = Prober()
        self.restart()

    def restart(self) -> None:
        self.follow = FollowMeans(
            settings=FollowSettings(hooks=self.hooks),
            ends_itself=lambda rule: rule in self.ending,
            heard=lambda cluster: self.clock.wall() if self.heard == -1.0 else self.heard,
            bundle=lambda incident: {"incident": incident},
            bundles=self.folder,
            run=self.run_call,
            start=lambda work: self.later.append(work) if self.side_by_side else work(),
        )
        super().restart()

    def run_call(self, call: FollowCall) -> Ended:
        assert not self.freeze.frozen, "run while frozen"
        self.ran.append(call)
        return self.ends.pop(0) if self.ends else Ended(Outcome.DONE, "ok")

    def faulty(self, card: str = "n0-0", follow: Follow = Follow.RESET, **more: Any) -> Verdict:
        """An incident in the store and its verdict."""
        verdict = self.verdict(card, follow=follow, **more)
        self.db.execute(
            "INSERT INTO incident (incident_id, family, subject, cause, severity, onset, opened_at, confirmed, action, "
            "evidence, history, origin, cluster_id, node_id) "
            "VALUES (?, 'card', ?, ?, 'fatal', '2026-11-01', '2026-11-01', true, 'isolate_card', '[]', false, 'real', 'c', ?)",
            [verdict.incident_id, verdict.subject, verdict.rule, verdict.node_id],
        )
        self.policy.consider(verdict)
        return verdict

    def isolated(self, card: str = "n0-0", follow: Follow = Follow.RESET, **more: Any) -> Verdict:
        verdict = self.faulty(card, follow, **more)
        self.step()
        self.step(31)
        return verdict

    def rows(self) -> list[tuple[str, str, str | None]]:
        return [
            (str(a), str(b), c)
            for a, b, c in self.db.execute(
                "SELECT follow, state, result FROM isolation_follow ORDER BY changed_at, follow"
            ).fetchall()
        ]
