"""From the card to the proposal: a real agent with simulated cards, a real collector, a fault on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from whole_stack import WholeStack, wait_for


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[WholeStack]:
    made = WholeStack(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_lost_card_opens_an_incident_and_proposes_the_exact_call(stack: WholeStack) -> None:
    cards = wait_for(
        "four cards in the store", lambda: stack.api("cards") if stack.api("cards")["total"] == 4 else None
    )
    assert {card["origin"] for card in cards["cards"]} == {"simulated"}
    assert stack.api("incidents")["incidents"] == []
    stack.faults.write_text("lost card=2 after=0 for=20\n", encoding="utf-8")

    incident = wait_for("an incident", lambda: stack.api("incidents")["incidents"])[0]
    assert (incident["cause"], incident["severity"], incident["confirmed"]) == ("card_lost", "fatal", True)
    assert incident["history"] is False
    lost = next(card["card_id"] for card in cards["cards"] if card["index"] == 2)
    assert incident["subject"] == lost
    proposal = wait_for("a proposal", lambda: stack.api("incidents")["incidents"][0]["proposal"])
    assert proposal["calls"] == [
        f"scontrol update nodename=sim-1 state=drain 'reason=ullage:{lost} card_lost'"
    ]
    assert len(proposal["also_takes"]["cards"]) == 3
    assert proposal["executed"] is False

    assert wait_for("the map to say faulty", lambda: _state(stack, lost) == "faulty")
    dry = stack.command("isolate", lost, "--reason", "lost from the bus")
    assert "Dry run" in dry
    assert "scontrol update nodename=sim-1 state=drain" in dry
    assert stack.api("isolations")["isolations"] == []
    audit = [row["action"] for row in stack.api("audit")["audit"]]
    assert "open_incident" in audit
    assert "isolate" in audit

    closed = wait_for(
        "the incident to close when the card is back",
        lambda: [row for row in stack.api("incidents")["incidents"] if row["closed_at"]],
    )
    assert closed[0]["closed_by"] == "event card_back"


def test_a_collector_killed_and_back_has_every_incident_once(stack: WholeStack) -> None:
    wait_for("four cards in the store", lambda: stack.api("cards")["total"] == 4)
    stack.faults.write_text("lost card=1 after=0 for=600\n", encoding="utf-8")
    wait_for("an incident", lambda: stack.api("incidents")["incidents"])
    stack.collector.kill()
    # The port is another one now: the agent is told by its configuration, as it would be by a name.
    stack.stop_agent()
    stack.collector.start()
    stack.start_agent()
    found = wait_for("the incident again", lambda: stack.api("incidents")["incidents"])
    assert [row["cause"] for row in found] == ["card_lost"]


def _state(stack: WholeStack, card_id: str) -> str:
    return str(next(card["state"] for card in stack.api("cards")["cards"] if card["card_id"] == card_id))
