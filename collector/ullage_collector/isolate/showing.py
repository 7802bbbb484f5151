"""Advised or asked, and not called: the exact calls are planned and shown, and an approval expires."""

from __future__ import annotations

from ullage_collector.isolate.intent import Intent, State
from ullage_collector.isolate.stage import Stage


class Showing(Stage):
    """Shadow, advised, asked."""

    def shadow(self, intent: Intent) -> None:
        """A rule in shadow is only counted, until its incident ends."""
        self._withdraw_if_over(intent)

    def show(self, intent: Intent) -> None:
        """Advised or asked: the exact calls are planned and shown; an approval expires."""
        if self._withdraw_if_over(intent):
            return
        if intent.state is State.ASKED and (intent.expires_at or 0.0) <= self._clock.wall():
            with self._book.change() as change:
                change.move(
                    intent, State.EXPIRED, "nobody approved in time", held_back="the approval expired"
                )
            self._policy.pages.tell(
                intent, "nobody approved its isolation in time", f"expired {intent.intent_id}"
            )
            return
        if intent.calls is not None or (intent.held_back or "").startswith("history:"):
            return
        found = self._planned(intent)
        if found is not None:
            _, plan, _ = found
            with self._book.change() as change:
                self._keep_plan(change, intent, plan)
