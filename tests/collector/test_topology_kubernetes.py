"""What Kubernetes nodes say of their place by labels is a dated fact, written only where it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from ullage_collector.allocation.kubernetes.nodes import read
from ullage_collector.store.store import Store
from ullage_collector.topology.kubernetes import SOURCE, LabelTopology
from ullage_contract.errors import ConfigError


@dataclass(frozen=True)
class Node:
    labels: Mapping[str, str]


def said(store: Store) -> list[tuple[str, str, str]]:
    return (
        store.cursor()
        .execute(
            "SELECT subject, relation, target FROM topology WHERE source = ? AND known_to IS NULL AND valid_to IS NULL "
            "ORDER BY ALL",
            [SOURCE],
        )
        .fetchall()
    )


def test_a_node_that_moves_to_another_rack_has_a_dated_place(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.duckdb")
    try:
        labels = LabelTopology(lambda: store, {"labels": {"site.example/row": "room"}})
        here = {"topology.kubernetes.io/rack": "r1", "site.example/row": "b", "other": "x"}
        labels.told("c1", {"n1": Node(here), "n2": Node({})})
        assert said(store) == [("n1", "rack", "r1"), ("n1", "room", "b")]
        before = store.cursor().execute("SELECT count(*) FROM topology").fetchone()
        labels.told("c1", {"n1": Node(dict(here)), "n2": Node({"pods": "9"})})
        assert store.cursor().execute("SELECT count(*) FROM topology").fetchone() == before
        labels.told("c1", {"n1": Node({**here, "topology.kubernetes.io/rack": "r2"}), "n2": Node({})})
        assert said(store) == [("n1", "rack", "r2"), ("n1", "room", "b")]
        history = store.cursor().execute("SELECT count(*) FROM topology WHERE target = 'r1'").fetchall()
        assert history[0][0] >= 1
    finally:
        store.close()


def test_a_label_that_can_be_no_name_costs_that_node_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.duckdb")
    try:
        labels = LabelTopology(lambda: store, {})
        labels.told(
            "c1",
            {
                "n1": Node({"topology.kubernetes.io/rack": "r\x00"}),
                "n2": Node({"topology.kubernetes.io/rack": "r2"}),
            },
        )
        assert said(store) == [("n2", "rack", "r2")]
    finally:
        store.close()


def test_a_wrong_setting_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"topology\.labels"):
        LabelTopology(lambda: pytest.fail("opened"), {"labels": {"x": "planet"}})


def test_the_labels_that_place_a_node_survive_its_reading() -> None:
    labels = {
        "oci.oraclecloud.com/rdma.local_block_id": "b7",
        "site.example/rack-number": "12",
        "pod-template": "x",
    }
    node = read({"metadata": {"name": "n1", "labels": labels}, "status": {}})
    assert set(node.labels) == {"oci.oraclecloud.com/rdma.local_block_id", "site.example/rack-number"}
