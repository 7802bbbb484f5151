"""JSON as tools print it: with log lines around it, and torn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_agent.backends.json_text import TORN, find_json, find_torn_json
from ullage_agent.backends.rebellions.decode import decode as rebellions
from ullage_agent.backends.tenstorrent.decode import decode as tenstorrent
from ullage_contract.errors import BadInput

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_what_stands_whole_in_a_torn_document_is_kept() -> None:
    text = '[info] starting\n{"a": [{"n": 1, "t": "x, {y"}, {"n": 2, "t": "cut he'
    assert find_torn_json(text, "tool") == ({"a": [{"n": 1, "t": "x, {y"}, {"n": 2}]}, True)
    assert find_torn_json('log [x]\n{"a": 1}\nprompt$ [', "tool") == ({"a": 1}, False)


def test_brackets_that_are_no_json_are_refused() -> None:
    for text in ("", "[x] no", "{", "{{{{", '{"a": ]'):
        with pytest.raises(BadInput, match="tool"):
            find_torn_json(text, "tool")
    with pytest.raises(BadInput):
        find_json("nothing", "tool")


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.integers() | st.text(max_size=5), lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=3), v, max_size=4)), st.integers(0, 300))  # fmt: skip
def test_a_cut_document_is_mended_or_refused(value: object, cut: int) -> None:
    text = json.dumps([value])
    try:
        found, torn = find_torn_json(text[: max(0, len(text) - cut)], "tool")
    except BadInput:
        return
    assert torn or found == [value]


def test_torn_snapshots_give_the_cards_they_hold() -> None:
    text = (FIXTURES / "tenstorrent/tt_smi_board_of_two.json").read_text(encoding="utf-8")
    decoded = tenstorrent(text[: text.index('"asic_temperature": "44.0"')])
    assert [c.values.get("voltage_volts") for c in decoded.cards] == [0.73, 0.72]
    assert TORN in decoded.notes
    text = (FIXTURES / "rebellions/rbln_smi.json").read_text(encoding="utf-8")
    decoded = rebellions(text[: text.index('"contexts"')])
    assert len(decoded.cards) == 2 and decoded.cards[0].processes is None and decoded.notes == [TORN]
