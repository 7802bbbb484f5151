"""What is owned against what is seen. Silence counts only where somebody listened."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ullage_collector.detect.findings import Found
from ullage_collector.detect.inventory import Heard, Owned, Reconciled, Stranger, alike, reconcile
from ullage_collector.inventory.life import default_rules

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOW = round(datetime(2026, 11, 20, tzinfo=UTC).timestamp() * 1e6)
LISTENING = Heard(NOW - 30 * DAY, NOW)

GOOD = Owned(
    card_id="G1",
    asset_id="G1",
    replaces=None,
    cluster="c1",
    node="n1",
    vendor="nvidia",
    model="H800",
    serial="0123",
    pool=None,
    life="in_service",
    valid_from_us=NOW - 100 * DAY,
    source="import:cards.csv",
    purchase=None,
    last_seen_us=NOW - HOUR // 60,
    seen_cluster="c1",
    seen_node="n1",
    seen_vendor="nvidia",
    seen_model="NVIDIA H800 80GB HBM3",
    seen_serial="123",
    node_seen_us=NOW - HOUR // 60,
)
STRANGER = Stranger("G9", "c1", "n1", "NVIDIA H800 80GB HBM3", "999", NOW - DAY, NOW)


def judged(*owned: Owned, strangers: tuple[Stranger, ...] = (), heard: Heard = LISTENING) -> Reconciled:
    return reconcile(owned, strangers, default_rules(), heard, NOW)


def one(*owned: Owned, strangers: tuple[Stranger, ...] = ()) -> Found:
    (found,) = judged(*owned, strangers=strangers).found
    return found


def test_a_card_where_and_what_it_should_be_is_nothing_to_tell() -> None:
    assert judged(GOOD) == Reconciled((), ())


def test_a_missing_card_on_a_node_that_speaks_is_told_apart_from_a_silent_node() -> None:
    silent = replace(GOOD, last_seen_us=NOW - 2 * HOUR)
    found = one(silent)
    assert (found.kind, found.family, found.subject) == ("owned_not_seen", "card", "G1")
    assert (found.evidence["reason"], found.action) == ("card_missing", "look_for_card")
    assert found.since_us == NOW - 2 * HOUR
    dark = replace(silent, node_seen_us=NOW - 2 * HOUR)
    node = one(dark, replace(dark, card_id="G2"))
    assert (node.kind, node.family, node.subject, node.key) == ("owned_not_seen", "node", "n1", "c1")
    assert node.evidence["reason"] == "node_silent"
    assert (node.evidence["cards"], node.evidence["card_ids"]) == (2, ["G1", "G2"])


def test_a_card_last_seen_elsewhere_is_not_explained_by_its_listed_nodes_silence() -> None:
    gone = replace(GOOD, last_seen_us=NOW - 200 * DAY, seen_node="n7", node_seen_us=NOW - 2 * HOUR)
    found = [f for f in judged(gone).found if f.kind == "owned_not_seen"]
    assert [(f.family, f.evidence["reason"]) for f in found] == [("card", "card_missing")]


def test_a_card_never_seen_has_a_day_and_a_node_without_an_agent_is_one_finding() -> None:
    never = replace(
        GOOD, last_seen_us=None, seen_node=None, seen_cluster=None, seen_model=None, seen_serial=None
    )
    assert judged(replace(never, valid_from_us=NOW - DAY + HOUR)).found == ()
    assert one(replace(never, valid_from_us=NOW - DAY)).evidence["reason"] == "card_missing"
    dark = one(replace(never, node_seen_us=None))
    assert (dark.family, dark.evidence["reason"], dark.action) == ("node", "node_never_seen", "install_agent")
    for life in ("stock", "rma", "maintenance", "ordered", "lent", "commissioning", "retired"):
        assert judged(replace(never, life=life)).found == ()
    assert one(replace(never, life="rented")).kind == "owned_not_seen"


def test_a_collector_that_was_down_saw_nobody_and_says_so() -> None:
    silent = replace(GOOD, last_seen_us=NOW - 5 * HOUR)
    back = Heard(NOW - HOUR // 2, NOW)
    found = judged(silent, heard=back)
    assert found.found == ()
    assert set(found.unjudged) == {"G1", "n1"}
    assert judged(silent, heard=Heard(NOW - 2 * HOUR, NOW)).found[0].kind == "owned_not_seen"
    # nobody serves: the newest that was heard is the end of listening
    offline = Heard(0, NOW - 5 * HOUR)
    assert judged(silent, replace(GOOD, card_id="G2", last_seen_us=NOW - 5 * HOUR), heard=offline).found == ()


def test_an_unlisted_card_on_the_node_may_be_the_one_that_came_for_it() -> None:
    silent = replace(GOOD, last_seen_us=NOW - 2 * HOUR)
    found = one(silent, strangers=(STRANGER, replace(STRANGER, card_id="G8", node="n2")))
    assert (found.evidence["unlisted_on_the_node"], found.action) == (["G9"], "list_replacement")
    other = one(silent, strangers=(replace(STRANGER, model="NVIDIA A100"),))
    assert other.action == "look_for_card"
    same = one(silent, strangers=(replace(STRANGER, serial="00123"),))
    assert (same.evidence["seen_as"], same.action) == ("G9", "correct_card_id")


def test_a_card_on_another_node_than_listed_has_moved_once_the_paperwork_had_a_day() -> None:
    moved = replace(GOOD, seen_node="n7")
    found = one(moved)
    assert (found.kind, found.subject, found.evidence["seen_node"]) == ("moved_card", "G1", "n7")
    assert judged(replace(moved, valid_from_us=NOW - 2 * HOUR)).found == ()  # listed there two hours ago
    assert one(replace(GOOD, seen_cluster="c2")).kind == "moved_card"


def test_another_serial_or_model_is_a_likely_swap() -> None:
    found = judged(replace(GOOD, seen_serial="777", seen_model="NVIDIA A100-SXM4-80GB")).found
    assert [(f.kind, f.key, f.confidence) for f in found] == [
        ("identity_mismatch", "serial", 0.9),
        ("identity_mismatch", "model", 0.6),
    ]
    assert found[0].evidence["listed_serial"] == "0123"
    assert (
        judged(replace(GOOD, serial=None, seen_serial=None, seen_model=None)).found == ()
    )  # not said is not unlike


@pytest.mark.parametrize(
    ("vendor", "listed", "seen", "same"),
    [
        ("nvidia", "H800", "NVIDIA H800 80GB HBM3", True),
        ("nvidia", "A100", "NVIDIA A100-SXM4-80GB", True),
        ("ascend", "Ascend 910B", "910B3", True),
        ("nvidia", "NVIDIA H20-141G", "NVIDIA H20", True),
        ("nvidia", "H20", "NVIDIA H200", False),
        ("nvidia", "H800", "NVIDIA A800-SXM4-80GB", False),
        ("nvidia", "H20-141G", "NVIDIA H20 96GB", False),
        ("amd", "MI300X", "AMD Instinct MI300X", True),
    ],
)
def test_people_write_models_shortly(vendor: str, listed: str, seen: str, same: bool) -> None:
    assert alike(vendor, listed, seen) is same
    assert alike(vendor, seen, listed) is same


@pytest.mark.parametrize("life", ["stock", "rma", "retired", "ordered"])
def test_a_card_that_should_be_away_and_works_is_told(life: str) -> None:
    found = one(replace(GOOD, life=life, valid_from_us=NOW - 3 * DAY))
    assert (found.kind, found.evidence["life"], found.since_us) == ("life_mismatch", life, NOW - 2 * DAY)
    assert judged(replace(GOOD, life=life, valid_from_us=NOW - HOUR)).found == ()
    assert (
        judged(replace(GOOD, life=life, valid_from_us=NOW - 3 * DAY, last_seen_us=NOW - 2 * HOUR)).found == ()
    )


def test_a_warranty_that_ends_soon_is_one_finding_an_order() -> None:
    def bought(card: str, until: str, order: str = "PO-7") -> Owned:
        return replace(GOOD, card_id=card, purchase=json.dumps({"order": order, "warranty_until": until}))

    found = judged(
        bought("G1", "2026-12-31"),
        bought("G2", "2026-12-31"),
        bought("G3", "2026-11-20", "PO-8"),
        bought("G4", "2026-11-19"),  # over
        bought("G5", "2027-01-20"),  # far
        replace(bought("G6", "2026-12-31"), life="retired", last_seen_us=None),
    ).found
    assert [(f.kind, f.subject, f.evidence["days_left"], f.evidence["card_ids"]) for f in found] == [
        ("warranty_ending", "PO-7", 41, ["G1", "G2"]),
        ("warranty_ending", "PO-8", 0, ["G3"]),
    ]


def test_a_replacement_of_nothing_is_told() -> None:
    found = one(replace(GOOD, replaces="S-old", asset_id=None))
    assert (found.kind, found.evidence["replaces"]) == ("replaces_unknown", "S-old")
    assert judged(replace(GOOD, replaces="S-old", asset_id="A1")).found == ()
