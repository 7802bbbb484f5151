"""What the nodes of a Kubernetes cluster say of their place by their labels, kept as they change.

Not here: following the API server (allocation/kubernetes/) and what a label means (labels.toml, [topology.labels]).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from ullage_collector.topology.keep import keep
from ullage_collector.topology.labels import labels_of, of_node
from ullage_collector.topology.reading import settings_of
from ullage_collector.topology.relation import Relation
from ullage_contract.errors import BadInput

if TYPE_CHECKING:
    from ullage_collector.store.store import Store

log = logging.getLogger(__name__)

SOURCE: Final = "kubernetes:labels"


class Labelled(Protocol):
    """A node with labels."""

    @property
    def labels(self) -> Mapping[str, str]: ...


class LabelTopology:
    """Told the nodes of clusters whenever one changed; writes only where their place did. One thread a cluster.

    Raises ConfigError at once for a wrong [topology.labels].
    """

    def __init__(self, store: Callable[[], Store], part: Mapping[str, Any]) -> None:
        self._store = store
        self._wanted = labels_of(settings_of(part)[1])
        self._said: dict[str, frozenset[object]] = {}

    def told(self, cluster: str, nodes: Mapping[str, Labelled]) -> None:
        """All nodes of a cluster there are now. A label that can be no name is told once and left out."""
        relations: list[Relation] = []
        for name, node in nodes.items():
            try:
                relations += of_node(name, node.labels, self._wanted, f"node {name}")
            except BadInput as e:
                log.warning("cluster %s: %s; its place is not read from labels", cluster, e)
        said = frozenset(relation.key() for relation in relations)
        if self._said.get(cluster) == said:
            return
        store = self._store()
        now_us = round(store.clock.wall() * 1e6)
        with store.write() as writer:
            keep(writer, SOURCE, cluster, relations, now_us, now_us)
        self._said[cluster] = said
