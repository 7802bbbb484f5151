"""The fast reader is never laxer than the contract's own, and says the same."""

from __future__ import annotations

import copy
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage_collector.batch import _fast, read_batch, read_json
from ullage_contract import catalogue, wire
from ullage_contract.catalogue import Type
from ullage_contract.errors import REASONS, WireError
from ullage_contract.event import KINDS
from ullage_contract.sample import Family

_CARD = catalogue.keys(Family.CARD)
_TEXT = next(k for k, m in _CARD.items() if m.type is Type.TEXT)
_WHOLE = next(k for k, m in _CARD.items() if m.type is Type.INTEGER)
_FLOAT = next(k for k, m in _CARD.items() if m.type is Type.FLOAT)


def good(rows: int = 2) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "stream": "0123456789abcdef",
        "sequence": 7,
        "lane": "samples",
        "agent": "1",
        "cluster": "c",
        "node": "n",
        "machine_id": None,
        "boot_id": "b",
        "origin": "real",
        "families": {
            "card": {
                "subject": [f"g{i}" for i in range(rows)],
                "time": [1.5] * rows,
                "monotonic": [1] * rows,
                "interval_seconds": [10.0] * rows,
                "counters_epoch": [None] * rows,
                "columns": {_FLOAT: [0.5] * rows, _WHOLE: [2**63 - 5] * rows, _TEXT: ["ok"] * rows},
                "failed": [[0, _FLOAT, sorted(REASONS)[0]]],
            }
        },
        "facts": [
            {
                "family": "card",
                "subject": "g0",
                "time": 1.0,
                "attributes": {"vendor": "x", "index": 1, "odd": None},
            }
        ],
        "events": [],
        "served": [["k8s/c/ns/pod", "10.0.0.1:8000", "vllm", "s1", "requests", 2.5, 17.0]],
    }


def verdict(text: bytes) -> Any:
    """The contract's own: a batch, or the word of the error."""
    try:
        return wire.batch_from_json(json.loads(text, parse_constant=_no_constant))
    except WireError as e:
        return e.code
    except (ValueError, RecursionError):
        return "malformed"


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def ours(text: bytes) -> Any:
    try:
        return read_json(text)
    except WireError as e:
        return e.code


def test_a_whole_batch_is_read_fast_and_the_same() -> None:
    text = json.dumps(good()).encode()
    assert _fast(text) == verdict(text)
    assert read_batch(gzip.compress(text)) == verdict(text)


def test_the_largest_counter_of_64_bits_is_read_by_the_contracts_own_reader() -> None:
    document = good()
    document["families"]["card"]["columns"][_WHOLE] = [2**64 - 1, -(2**63)]
    found = read_json(json.dumps(document).encode())
    assert found.families[Family.CARD].columns[_WHOLE] == [2**64 - 1, -(2**63)]


def test_an_event_is_read_fast_and_the_same() -> None:
    event = {
        "time": 1.0,
        "kind": sorted(KINDS)[0],
        "severity": "fatal",
        "family": "card",
        "subject": "g0",
        "source": "kernel_log",
        "code": None,
        "vendor": None,
        "message": "x" * 900,
        "attributes": {"pid": 5, "link": "a", "share": 0.5},
    }
    text = json.dumps({**good(), "lane": "events", "families": {}, "events": [event]}).encode()
    assert _fast(text) == verdict(text)
    for change in (
        {"kind": "other"},
        {"time": "1"},
        {"attributes": {"a": True}},
        {"attributes": {"a": "x" * 501}},
        {"subject": "a\x00"},
    ):
        text = json.dumps({**good(), "lane": "events", "events": [{**event, **change}]}).encode()
        assert ours(text) == verdict(text) == "malformed"


def test_metrics_of_a_newer_agent_are_kept_apart_not_refused() -> None:
    document = good()
    document["families"]["card"]["columns"]["metric_of_tomorrow"] = [1, 2]
    document["families"]["card"]["failed"].append([1, "another_one", "deadline"])
    document["field_of_tomorrow"] = {"a": 1}
    found = read_json(json.dumps(document).encode())
    assert found.unknown_metrics == ["card.another_one", "card.metric_of_tomorrow"]
    assert found.families[Family.CARD].columns.keys() == {_FLOAT, _WHOLE, _TEXT}


_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.just("x" * 201),
    st.just("\u202e"),
    st.just([]),
    st.just({}),
    st.just([None, None]),
    st.just([1, 2, 3]),
    st.sampled_from(["card", "port", "events", "samples", "real", "fatal", "deadline", _FLOAT, _WHOLE]),
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += _paths(item, (*path, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            found += _paths(item, (*path, i))
    return found


_PATHS = _paths(good())


@given(
    st.lists(
        st.tuples(st.sampled_from(_PATHS), _LEAVES, st.sampled_from(["set", "delete"])),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=1500, deadline=None)
def test_whatever_is_changed_both_readers_say_the_same(
    changes: list[tuple[tuple[Any, ...], Any, str]],
) -> None:
    document = good()
    for path, value, how in changes:
        place: Any = document
        try:
            for step in path[:-1]:
                place = place[step]
            if how == "delete":
                del place[path[-1]]
            else:
                place[path[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue
    text = json.dumps(document).encode()
    expected = verdict(text)
    found = ours(text)
    if isinstance(expected, str) and not isinstance(found, str):
        # The one difference allowed: a whole number beyond 64 bits in a column of fractions.
        assert any(isinstance(v, int) and abs(v) >= 2**63 for _, v, _ in changes)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "NaN", "Infinity", "18446744073709551616", "true", '"1"', "1.5"]
)
def test_a_number_that_no_column_holds_is_refused(number: str) -> None:
    document = json.dumps(good()).replace(str(2**63 - 5), number)
    assert ours(document.encode()) == "malformed"
