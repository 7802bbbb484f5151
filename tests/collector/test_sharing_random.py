"""Whatever people write into pods and nodes: BadInput or an answer, and every share is a whole number of zero or more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sharing_pods import node, pod

from ullage_collector.allocation.sharing import (
    annotation_facts,
    asked,
    assigned,
    device_of,
    facts,
    group_card,
    on_node,
    paid_share,
    quantity,
)
from ullage_contract.errors import BadInput

PLACES = {
    where: sorted({row.key for row in annotation_facts() if row.where == where})
    for where in ("pod annotation", "pod label", "node annotation", "node label")
}
RESOURCES = sorted(
    {
        f.resource.replace("{digits}", "370").replace("{model}", "BI-V150").replace("{profile}", "2c")
        for f in facts()
    }
    | {"nvidia.com/mig-1g.10gb", "amd.com/cpx_nps4", "hygon.com/dcu-share-36c-16g", "huawei.com/Ascend910-8c"}
)
FIELDS = st.sampled_from(
    ["GPU-1", "NVIDIA", "0", "1", "3000", "-1", "100", "1e9", "", "x", "0-vir02", "9" * 30]
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(FIELDS, max_size=9).map(",".join),
    st.lists(st.lists(FIELDS, max_size=5).map(",".join), max_size=3).map(":;".join),
    st.lists(FIELDS, max_size=4).map("_".join),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | FIELDS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["0", "gpu", "minor", "resources", "uuid", "id", "devmem", "profile", "x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ).map(json.dumps),
    st.just("[" * 5000),
)
AMOUNTS = st.one_of(
    st.sampled_from(["1", "25", "4Gi", "100m", "1e3", "-1", "", "1" * 40, "0", "200", "9E", None, True]),
    st.integers(min_value=-5, max_value=10**20),
    st.floats(),
    st.text(max_size=6),
)


def notes(where: str) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(PLACES[where]), TEXTS, max_size=4)


def check(rows: list[Any]) -> None:
    for row in rows:
        for share in (row.compute_nano, row.memory_nano, row.memory_bytes):
            assert share is None or (type(share) is int and 0 <= share < 2**63)
        assert paid_share(row.compute_nano, row.memory_nano) >= 0


def answer(read: Any, *arguments: Any, **named: Any) -> list[Any]:
    try:
        rows: list[Any] = read(*arguments, **named)
    except BadInput as e:
        assert len(str(e)) < 1000
        return []
    return rows


@settings(max_examples=400, deadline=None)
@given(
    notes("pod annotation"),
    notes("pod label"),
    st.dictionaries(st.sampled_from(RESOURCES), AMOUNTS, max_size=4),
    notes("node annotation"),
    notes("node label"),
    st.none() | st.integers(min_value=0, max_value=2**45),
)
def test_no_text_raises_anything_but_bad_input(
    pod_notes: dict[str, str],
    labels: dict[str, str],
    amounts: Mapping[str, object],
    node_notes: dict[str, str],
    node_labels: dict[str, str],
    total: int | None,
) -> None:
    work = pod(amounts, pod_notes, labels)
    place = node(node_labels, node_notes, amounts)
    check(answer(asked, work))
    check(answer(asked, work, node=place, card_memory_bytes=total))
    check(answer(assigned, work))
    check(answer(assigned, work, node=place, card_memory_bytes=total))
    for device in answer(on_node, place):
        assert device.memory_bytes is None or device.memory_bytes > 0
        assert device.replicas is None or device.replicas > 0
    group_card(work)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_device_id_is_a_device_id(text: str) -> None:
    found = device_of(text)
    assert found.index is None or found.index >= 0


@settings(max_examples=300, deadline=None)
@given(AMOUNTS)
def test_any_quantity_is_a_number_or_refused(value: object) -> None:
    try:
        number = quantity(value)
    except BadInput:
        return
    assert 0 <= number < 2**63


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.text(max_size=5) | st.integers(),
        lambda i: (
            st.lists(i, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "metadata",
                        "spec",
                        "containers",
                        "labels",
                        "annotations",
                        "name",
                        "resources",
                        "limits",
                        "env",
                        "status",
                        "capacity",
                    ]
                ),
                i,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_a_pod_or_node_of_any_shape_is_read_or_refused(value: object) -> None:
    if isinstance(value, dict):
        check(answer(asked, value))
        check(answer(assigned, value))
        answer(on_node, value)


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=1, max_value=100), st.integers(min_value=1, max_value=20))
def test_equal_parts_never_add_up_to_more_than_was_asked(share: int, pods: int) -> None:
    (row,) = asked(pod({"nvidia.com/gpu": 1, "nvidia.com/gpucores": share}))
    total = pods * (row.compute_nano or 0)
    assert total == pods * share * 10_000_000  # exact: nothing clamped, nothing lost
