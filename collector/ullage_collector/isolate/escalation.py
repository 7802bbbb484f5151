"""What follows when isolating a card did not do: the node in the card's place, the node for its cards, once more.

Not here: deciding (policy.py), when one of these is due (lifecycle.py and its stages).
"""

from __future__ import annotations

from dataclasses import replace

from ullage_collector.isolate.book import Change
from ullage_collector.isolate.case import case_of, mode_of, one_line, order_of
from ullage_collector.isolate.intent import STANDS, Intent, State, follow_asked, level_up
from ullage_collector.isolate.policy import Policy
from ullage_collector.isolate.verdict import Action, Mode


class Escalation:
    """Turns what became of an intent into the next case, and has the policy decide it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._book = policy.book
        self._settings = policy.settings

    def retarget(self, intent: Intent, why: str) -> None:
        """No actuator there can isolate just the card: the node is proposed in its place."""
        self._node_instead(intent, State.REPLACED, why, self._settings.node_instead_of_card)

    def failed(self, intent: Intent, why: str) -> None:
        """Isolating failed for good: one level up, and a page. A node has no level above: it becomes advice."""
        if intent.family == "node":
            self._policy.allowance.cool(intent)
            self._policy.hold(intent, f"failed: {why}")
            return
        self._node_instead(intent, State.FAILED, why, self._settings.node_instead_of_card)

    def _node_instead(self, intent: Intent, end: State, why: str, ceiling: Mode) -> None:
        causes = self._open_causes(intent)
        with self._book.change() as change:
            if intent.isolation_id is not None:
                change.close_isolation(intent, "failed")
            ended = change.end(intent, end, why)
            if end is State.FAILED:
                self._policy.pages.note(
                    change, ended, f"isolating the card failed: {why}; the node is next", "failed"
                )
            node = self._book.about(intent.cluster_id, "node", intent.node_id)
            if node is not None and node.intent_id not in change.intents:
                for incident_id, rule, side in causes:
                    change.add_cause(node, incident_id, rule, side)
            else:
                asked = Mode.APPROVE if intent.approved_by else mode_of(intent)
                self._policy.decide(
                    change,
                    replace(
                        case_of(intent, Action.ISOLATE_NODE, asked),
                        family="node",
                        subject=intent.node_id,
                        causes=causes,
                        ceiling=ceiling,
                        evidence={**intent.evidence, "instead_of": intent.subject, "why": why},
                    ),
                )
        if end is State.FAILED:
            self._policy.allowance.cool(intent)
        self._policy.pages.send()
        self._policy.woken.set()

    def take_node(self, cluster_id: str, node_id: str) -> None:
        """Take the node when enough of its cards are isolated for causes of the node's side, or all are."""
        with self._book.lock:
            live = self._book.on_node(cluster_id, node_id)
            if any(intent.family == "node" for intent in live):
                return
            cards = self._policy.surroundings.fleet().cards.get((cluster_id, node_id), frozenset())
            apart = [i for i in live if i.family == "card" and i.state in STANDS and i.subject in cards]
            side = [
                i for i in apart if any(c.node_side and not c.ended for c in self._book.causes(i.intent_id))
            ]
            enough = max(
                self._settings.escalate_cards, round(len(cards) * self._settings.escalate_ratio + 0.499)
            )
            all_of_them = len(cards) > 1 and len(apart) == len(cards)
            if len(side) < enough and not all_of_them:
                return
            because = apart if all_of_them else side
            causes = {cause[0]: cause for intent in because for cause in self._open_causes(intent)}
            strongest = max(because, key=lambda intent: order_of(mode_of(intent)))
            text = (
                f"{len(because)} of {len(cards)} cards are isolated"
                f"{'' if all_of_them else ' for causes of the node'}"
            )
            with self._book.change() as change:
                self._policy.decide(
                    change,
                    replace(
                        case_of(strongest, Action.ISOLATE_NODE, mode_of(strongest)),
                        family="node",
                        subject=node_id,
                        reason=one_line(f"{text}: {strongest.reason}"),
                        causes=tuple(causes.values()),
                        evidence={
                            "cards": [intent.subject for intent in because],
                            **follow_asked(strongest),
                        },
                    ),
                )
        self._policy.pages.send()
        self._policy.woken.set()

    def repeat(self, change: Change, intent: Intent) -> None:
        """A cause came while the intent was being released: decided as if it had come in probation."""
        causes = self._open_causes(intent)
        case = replace(case_of(intent, intent.action, mode_of(intent)), evidence=follow_asked(intent))
        self._policy.decide(change, replace(case, causes=causes, follow=level_up(intent.follow), cools=False))

    def _open_causes(self, intent: Intent) -> tuple[tuple[int, str, bool], ...]:
        return tuple(
            (c.incident_id, c.rule, c.node_side) for c in self._book.causes(intent.intent_id) if not c.ended
        )
