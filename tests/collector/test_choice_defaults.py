"""Which actuator a cluster has where nobody names one: its own scheduler's, and the card before the node."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from ullage_collector import config as settings
from ullage_collector.isolate.choice import Choice
from ullage_collector.isolate.isolation import from_config
from ullage_contract.clock import ManualClock

TWO = '[[allocation.slurm]]\ncluster = "s"\n[[allocation.kubernetes]]\ncluster = "k"\nkubeconfig = "/etc/k"\n'


def choice(folder: Path, text: str) -> Choice:
    file = folder / "collector.toml"
    file.write_text(text)
    config = settings.load(file, data=folder)
    return from_config(config, duckdb.connect().cursor, ManualClock(wall=0.0)).choice


def names(found: Choice, cluster: str, family: str = "card") -> list[str]:
    return [actuator.name for actuator in found.of(cluster, family)]


def test_each_cluster_has_its_own_schedulers_and_the_card_comes_first(tmp_path: Path) -> None:
    found = choice(tmp_path, TWO)
    assert names(found, "s") == ["slurm-card", "slurm-node"]
    assert names(found, "k") == ["kubernetes-card", "kubernetes-node"]
    assert names(found, "nobody-reads-it") == ["slurm-card", "slurm-node"]
    assert not found.only_nodes("s") and not found.only_nodes("k")


def test_a_node_is_taken_by_what_takes_nodes(tmp_path: Path) -> None:
    found = choice(tmp_path, TWO)
    assert (found.of("s", "node")[0].name, found.of("k", "node")[0].name) == ("slurm-node", "kubernetes-node")
    assert (found.of("s", "card")[0].name, found.of("k", "card")[0].name) == ("slurm-card", "kubernetes-card")


@pytest.mark.parametrize(
    ("text", "cluster", "expected"),
    [
        ('[isolation]\nactuator = "slurm-node"\n', "k", ["slurm-node"]),
        ('[isolation]\nactuator = "slurm-node"\n', "s", ["slurm-node"]),
        ('[isolation.clusters]\nk = "webhook"\n', "k", ["webhook"]),
        ('[isolation.clusters]\nk = "webhook"\n', "s", ["slurm-card", "slurm-node"]),
    ],
)
def test_what_a_site_names_holds(text: str, cluster: str, expected: list[str], tmp_path: Path) -> None:
    assert names(choice(tmp_path, TWO + text), cluster) == expected
