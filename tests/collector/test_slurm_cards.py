"""From Slurm's index to the card: never by order unless order is proven, and never by an index taken for a minor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from slurm_world import AT, card_of, cards_of

from ullage_collector.allocation.slurm import gres
from ullage_collector.allocation.slurm.cards import Card, Listed, card_index, for_nodes, read_gres_conf
from ullage_contract.errors import BadInput

GAP = (0, 1, 2, 4, 5, 6, 7)


def _configured(count: int, node: str = "g1", text: str = "gpu:h200") -> dict[str, tuple[gres.Gres, ...]]:
    return {node: gres.read(f"{text}:{count}")}


def test_an_index_is_the_nth_file_of_gres_conf_whatever_its_number() -> None:
    index = card_index(cards_of({"g1": GAP}), _configured(7), {"g1": Listed(GAP, False)})
    assert [index.of("g1").at(bit) for bit in range(8)] == [*(card_of("g1", n) for n in GAP), None]


def test_gres_conf_may_list_files_in_any_order() -> None:
    index = card_index(cards_of({"g1": (0, 1)}), _configured(2), {"g1": Listed((1, 0), False)})
    assert index.of("g1").at(0) == card_of("g1", 1)


def test_a_file_without_a_card_is_unknown_and_the_others_are_not() -> None:
    index = card_index(cards_of({"g1": (0, 2)}), _configured(3), {"g1": Listed((0, 1, 2), False)})
    assert [index.of("g1").at(bit) for bit in range(3)] == [card_of("g1", 0), None, card_of("g1", 2)]
    assert "1 files" in (index.of("g1").why_not or "")


def test_without_gres_conf_minors_from_zero_in_pci_order_are_the_index() -> None:
    index = card_index(cards_of({"g1": range(8)}), _configured(8), None)
    assert index.of("g1").at(3) == card_of("g1", 3)


def test_without_gres_conf_a_gap_leaves_every_card_unknown() -> None:
    node = card_index(cards_of({"g1": GAP}), _configured(7), None).of("g1")
    assert node.at(0) is None
    assert "gres_conf" in (node.why_not or "")


def test_a_card_that_fell_off_keeps_its_index_and_the_others_theirs() -> None:
    seen = cards_of({"g1": range(8)})
    lost = [*seen[:3], replace(seen[3], seen=AT - 86_400.0), *seen[4:]]
    node = card_index(lost, _configured(8), None).of("g1")
    assert [node.at(bit) for bit in range(8)] == [card_of("g1", n) for n in range(8)]
    new = Card("g1", "GPU-new", 3, seen[3].pci, float(AT))
    assert card_index([*lost, new], _configured(8), None).of("g1").at(3) == "GPU-new"


def test_without_gres_conf_a_card_no_agent_ever_saw_leaves_every_card_unknown() -> None:
    node = card_index(cards_of({"g1": range(7)}), _configured(8), None).of("g1")
    assert node.at(0) is None
    assert "8 cards there, the agent sees 7" in (node.why_not or "")


def _crossed() -> list[Card]:
    """Minors 0 and 1 sit in the slots the other way round, as on boards whose driver counts otherwise."""
    first, second = cards_of({"g1": (0, 1)})
    return [replace(first, pci="0000:9b:00.0"), replace(second, pci="0000:1b:00.0")]


def test_where_pci_order_is_not_minor_order_only_gres_conf_can_tell() -> None:
    node = card_index(_crossed(), _configured(2), None).of("g1")
    assert node.at(0) is None
    assert "PCI order" in (node.why_not or "")
    detected = card_index(_crossed(), _configured(2), {"g1": Listed((), True)}).of("g1")
    assert [detected.at(0), detected.at(1)] == [card_of("g1", 1), card_of("g1", 0)]
    listed = card_index(_crossed(), _configured(2), {"g1": Listed((0, 1), False)}).of("g1")
    assert [listed.at(0), listed.at(1)] == [card_of("g1", 0), card_of("g1", 1)]


def test_a_card_taken_out_long_ago_is_not_counted() -> None:
    old = Card("g1", "GPU-old", 1, "0000:11:00.0", AT - 86_400.0)
    index = card_index([*cards_of({"g1": (0, 1)}), old], _configured(2), None)
    assert index.of("g1").at(1) == card_of("g1", 1)


def test_mig_and_unconfigured_nodes_have_no_index() -> None:
    mig = card_index(cards_of({"g1": (0,)}), _configured(7, text="gpu:1g.10gb"), None).of("g1")
    assert (mig.at(0), "MIG" in (mig.why_not or "")) == (None, True)
    unknown = card_index(cards_of({"g1": (0,)}), {}, None).of("g1")
    assert unknown.at(0) is None
    assert card_index([], {}, None).of("nowhere").at(0) is None


def test_a_short_node_name_finds_the_one_node_it_can_mean() -> None:
    seen = [replace(card, node="g1.example.org") for card in cards_of({"g1": (0, 1)})]
    index = card_index(seen, _configured(2), None)
    assert index.node_id("g1") == "g1.example.org"
    assert index.of("g1").at(1) == card_of("g1", 1)
    twice = [*seen, *(replace(card, node="g1.other.org") for card in seen)]
    assert card_index(twice, _configured(2), None).of("g1").at(1) is None


def test_gres_conf_is_read_with_gaps_generic_lines_and_autodetect(tmp_path: Path) -> None:
    path = tmp_path / "gres.conf"
    path.write_text(
        "# cards\nAutoDetect=off\n"
        "NodeName=m[1-2] Name=gpu Type=mi300x File=/dev/dri/renderD[128-129,131]  # a gap\n"
        "NodeName=g1 Name=gpu Type=h200 \\\n  File=/dev/nvidia[0-2,4-7] Cores=0-3\n"
        "NodeName=g1 Name=nic File=/dev/nic0\n"
        "NodeName=a1 AutoDetect=nvml Name=gpu\n"
        "Name=gpu File=/dev/nvidia[0-1]\nName=gpu File=/dev/nvidia2\n"
    )
    found = for_nodes(read_gres_conf(path), ["m1", "g1", "a1", "x"])
    assert found["m1"].numbers == (128, 129, 131)
    assert found["g1"] == Listed(GAP, False)
    assert found["a1"].detected
    assert found["x"].numbers == (0, 1, 2)


def test_gres_conf_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"gres\.conf"):
        read_gres_conf(tmp_path / "gres.conf")
    bad = tmp_path / "bad"
    bad.write_text("Name=gpu File=/dev/nvidia[0-\n")
    with pytest.raises(BadInput):
        read_gres_conf(bad)
