"""What a collector may ask in an answer: golden files, both generations on either side, and what is not believed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_contract.asked import MAX_ASKED, AskedProbe, asked_from_json, check_probe_name
from ullage_contract.errors import BadInput, WireError
from ullage_contract.wire import Answer

FIXTURES = Path(__file__).parents[1] / "fixtures" / "wire"
ANSWERS = sorted(FIXTURES.glob("v*/answers/*.json"))
ENTRY: dict[str, Any] = {
    "id": "0" * 32,
    "probe": "memory",
    "cluster": "c1",
    "node": "n1",
    "card": "GPU-1",
    "incident": 3,
    "expires": 1.8e9,
}


def golden(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (FIXTURES / "v1/answers" / f"{name}.json").read_text(encoding="utf-8")
    )
    return document


def test_what_this_tree_answers_is_the_golden_answer() -> None:
    sys.path.insert(0, str(FIXTURES))
    try:
        import generate
    finally:
        sys.path.remove(str(FIXTURES))
    made = generate.answers()
    assert {f.stem for f in ANSWERS} == made.keys()
    for name, answer in made.items():
        assert answer.to_json() == golden(name)


def test_an_answer_that_asks_nothing_is_byte_for_byte_what_it_was_before_probes() -> None:
    assert golden("plain").keys() == {
        "schema_version",
        "stream",
        "accepted_through",
        "durable_through",
        "duplicate",
        "clock_skew_seconds",
    }
    assert asked_from_json(golden("plain").get("asked")) == ()


def test_an_agent_that_does_not_know_the_field_finds_everything_it_knew() -> None:
    asked = golden("asked")
    del asked["asked"]
    assert asked == golden("plain")


def test_what_is_asked_comes_back_whole() -> None:
    (one,) = asked_from_json(golden("asked")["asked"])
    assert one == AskedProbe(
        probe_id="4f1c0ad1b7e94c2f9a3d5e6071829304",
        probe="memory",
        cluster="c1",
        node="gpu-a017",
        card="GPU-5fd4f087-86f3-7a43-b711-4771313afc50",
        incident=17,
        expires=1_795_263_300.0,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "0" * 31),
        ("id", "G" * 32),
        ("id", None),
        ("probe", "rm -rf /"),
        ("probe", "../x"),
        ("probe", ""),
        ("cluster", ""),
        ("node", "a\nb"),
        ("card", "x" * 201),
        ("incident", -1),
        ("incident", True),
        ("incident", "3"),
        ("expires", float("nan")),
        ("expires", float("inf")),
        ("expires", -1),
        ("expires", "soon"),
        ("expires", 10**400),
    ],
)
def test_an_entry_that_is_not_one_is_left_out_and_its_neighbours_stay(name: str, value: Any) -> None:
    wrong = {**ENTRY, name: value}
    found = asked_from_json([wrong, ENTRY, 7, None])
    assert [one.to_json() for one in found] == [ENTRY]


def test_a_flood_of_asked_probes_is_cut() -> None:
    many = [{**ENTRY, "id": f"{n:032x}"} for n in range(MAX_ASKED + 5)]
    assert len(asked_from_json(many)) == MAX_ASKED
    with pytest.raises(WireError, match="BUG"):
        Answer(
            "s" * 16, 1, 1, asked=tuple(AskedProbe(f"{n:032x}", "a", "c", "n", "k", 0, 1.0) for n in range(9))
        ).to_json()


def test_a_free_command_is_no_probe() -> None:
    for text in ("dcgmi diag", "/bin/sh", "memory;id", "Memory", "x" * 33):
        with pytest.raises(BadInput):
            check_probe_name(text)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ENTRY, "x"]), inner, max_size=8)
    ),
    max_leaves=20,
)


@given(anything)
def test_no_answer_can_break_the_reader(value: Any) -> None:
    assert all(isinstance(one, AskedProbe) for one in asked_from_json(value))
