"""When all of a cluster's schedulers have said what they run: one that is silent is not answered for by another."""

from __future__ import annotations

import tomllib

from ullage_collector.allocation.heard import Heard
from ullage_collector.allocation.schedulers import kinds_by_cluster

BOTH = '[[slurm]]\ncluster = "a"\n[[slurm]]\ncluster = "b"\n[[kubernetes]]\ncluster = "a"\nkubeconfig = "/etc/k"\n'


def test_a_scheduler_that_has_not_answered_is_not_answered_for_by_the_other() -> None:
    asked = kinds_by_cluster(tomllib.loads(BOTH), "collector.toml")
    heard = Heard()
    heard.note("slurm_job", "a", 50_000_000)
    heard.note("slurm_job", "b", 50_000_000)
    assert heard.all_of("b", asked["b"]) == 50.0
    assert heard.all_of("a", asked["a"]) is None
    heard.note("kubernetes_pod", "a", 30_000_000)
    assert heard.all_of("a", asked["a"]) == 30.0


def test_of_a_cluster_that_nobody_is_asked_of_nothing_is_heard() -> None:
    assert kinds_by_cluster({}, "collector.toml") == {}
    assert Heard().all_of("c", ()) is None
