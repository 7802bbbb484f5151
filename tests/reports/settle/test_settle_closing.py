"""Closed periods stay as they were printed; what became known later is a line of its own in the first open one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reports.settle.settle_file import hold, inputs, price, told

from ullage_contract.errors import ConfigError

OCTOBER = ["2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"]
HELD = [{"department": "nlp", "card": "G1", "start": "2026-10-01T00:00:00Z", "end": "2026-10-11T00:00:00Z"}]


def october(**keys: Any) -> dict[str, Any]:
    """744 hours; nlp holds 240. At 10.00: 2,400 and 5,040 free. From the 10th on at 11.00, known on 5 November."""
    return inputs(
        window=OCTOBER,
        allocations=HELD,
        price_models=[
            price("10.00", known_at="2025-12-01T00:00:00Z"),
            price("11.00", since="2026-10-10T00:00:00Z", known_at="2026-11-05T00:00:00Z"),
        ],
        **keys,
    )


def rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(x["period"], x["department"], x["cost_class"], x["cost"]) for x in found["lines"]]


PRINTED = [
    ("2026-10", "nlp", "used", "2400.00"),
    ("2026-10", "platform", "unallocated_idle", "5040.00"),
]
# nlp holds the 10th: 24 h x 1; the platform the other 21 days: 504 h x 1
CORRECTED = [
    ("2026-11", "nlp", "correction", "24.00"),
    ("2026-11", "platform", "correction", "504.00"),
]


def test_a_price_known_late_corrects_a_closed_month_in_the_next() -> None:
    found = told(october(closed_periods=["2026-10"], as_of=["2026-11-20T00:00:00Z"]))
    assert rows(found) == PRINTED + CORRECTED
    assert found["totals"] == {"2026-10": "7440.00", "2026-11": "528.00"}
    assert {line.get("corrects") for line in found["lines"] if line["cost_class"] == "correction"} == {
        "2026-10"
    }


def test_a_statement_can_be_asked_for_again_as_it_was() -> None:
    keys = october(closed_periods=["2026-10"], as_of=["2026-11-02T00:00:00Z", "2026-11-20T00:00:00Z"])
    first, second = told(keys)["statements"]
    assert rows(first) == PRINTED and rows(second) == PRINTED + CORRECTED
    assert (first["as_of"], second["as_of"]) == ("2026-11-02T00:00:00Z", "2026-11-20T00:00:00Z")


def test_an_open_month_is_simply_priced_as_known() -> None:
    found = told(october(as_of=["2026-11-20T00:00:00Z"]))
    assert rows(found) == [
        ("2026-10", "nlp", "used", "2424.00"),
        ("2026-10", "platform", "unallocated_idle", "5544.00"),
    ]
    assert told(october(as_of="2026-11-04T00:00:00Z"))["totals"] == {"2026-10": "7440.00"}


def test_a_month_closed_after_the_news_needs_no_correction() -> None:
    closed = [{"period": "2026-10", "closed_at": "2026-11-06T00:00:00Z"}]
    found = told(october(closed_periods=closed, as_of=["2026-11-20T00:00:00Z"]))
    assert found["totals"] == {"2026-10": "7968.00"}
    early = told(october(closed_periods=closed, as_of=["2026-11-03T00:00:00Z"]))
    assert early["totals"] == {"2026-10": "7440.00"}, "not closed yet on the 3rd, and the price not known"


def test_a_fault_known_late_moves_money_and_not_the_total() -> None:
    # a fault of ten hours on the 2nd, under nlp's job, known in November
    keys = inputs(
        window=OCTOBER,
        allocations=HELD,
        health=[
            {
                "card": "G1",
                "state": "faulty",
                "start": "2026-10-02T00:00:00Z",
                "end": "2026-10-02T10:00:00Z",
                "known_at": "2026-11-03T00:00:00Z",
            }
        ],
        closed_periods=["2026-10"],
    )
    found = told(keys)
    assert rows(found)[2:] == [
        ("2026-11", "nlp", "correction", "-100.00"),
        ("2026-11", "platform", "correction", "100.00"),
    ]
    assert found["totals"] == {"2026-10": "7440.00", "2026-11": "0.00"}


def test_each_piece_of_news_is_posted_once_in_the_month_that_was_open() -> None:
    # November is closed too, on 10 December, and carries October's first correction; a second price comes after it
    keys = october(
        closed_periods={"2026-10": "2026-11-02T00:00:00Z", "2026-11": "2026-12-10T00:00:00Z"},
        as_of=["2026-12-31T00:00:00Z"],
    )
    keys["price_models"].append(price("12.00", since="2026-10-10T00:00:00Z", known_at="2026-12-20T00:00:00Z"))
    found = told(keys)
    assert rows(found) == [
        *PRINTED,
        *CORRECTED,
        ("2026-12", "nlp", "correction", "24.00"),
        ("2026-12", "platform", "correction", "504.00"),
    ]


def test_a_correction_joins_the_open_months_own_lines() -> None:
    keys = october(closed_periods=["2026-10"])
    keys["window"] = ["2026-10-01T00:00:00Z", "2026-11-02T00:00:00Z"]
    found = told(keys)
    assert found["totals"] == {"2026-10": "7440.00", "2026-11": "792.00"}  # 528 and 24 h x 11


def test_a_mapping_known_late_is_a_correction_between_departments() -> None:
    held = {"namespace": "nlp-a", "card": "G1", "start": OCTOBER[0], "end": OCTOBER[1]}
    keys = inputs(
        window=OCTOBER,
        allocations=[held],
        mapping=[
            {"match": "k8s:nlp-*", "department": "nlp", "effective_from": "2026-01-01T00:00:00Z"},
            {
                "match": "k8s:nlp-*",
                "department": "llm",
                "effective_from": "2026-10-31T00:00:00Z",
                "known_at": "2026-11-09T00:00:00Z",
            },
        ],
        closed_periods=["2026-10"],
    )
    assert rows(told(keys)) == [
        ("2026-10", "nlp", "used", "7440.00"),
        ("2026-11", "llm", "correction", "240.00"),
        ("2026-11", "nlp", "correction", "-240.00"),
    ]


def test_closed_days_make_a_statement_of_days() -> None:
    keys = inputs(
        window=["2026-10-05T00:00:00Z", "2026-10-07T00:00:00Z"],
        allocations=[hold("a", card="G1", known_at="2026-10-06T12:00:00Z")],
        closed_periods=["2026-10-05"],
    )
    assert rows(told(keys)) == [
        ("2026-10-05", "platform", "unallocated_idle", "240.00"),
        ("2026-10-06", "a", "correction", "240.00"),
        ("2026-10-06", "platform", "unallocated_idle", "240.00"),
        ("2026-10-06", "platform", "correction", "-240.00"),
    ]


@pytest.mark.parametrize(
    ("closed", "message"),
    [
        (["October"], "is no period"),
        (["2026-10", "2026-10"], "closed twice"),
        (["2026-10", "2026-11-05"], "by the"),
    ],
)
def test_what_cannot_be_closed_is_refused(closed: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        told(october(closed_periods=closed))
