"""Which actuator a cluster has, for a card and for a node.

``[isolation] actuator`` and ``[isolation.clusters]`` name one, or several in the order they are tried: the
first that can isolate just the card, then the one that takes the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ullage_collector.isolate.actuator import Actuator
from ullage_contract.errors import BadInput, ConfigError

NODE_OF: Final[Mapping[str, str]] = {"slurm-card": "slurm-node", "kubernetes-card": "kubernetes-node"}
"""Who takes the node where only the card's actuator is named."""


class Choice:
    """actuators: by name. default: names for clusters that by_cluster has not."""

    def __init__(
        self,
        actuators: Mapping[str, Actuator],
        default: Sequence[str] = ("slurm-node",),
        by_cluster: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.actuators = dict(actuators)
        self._default = tuple(default)
        self._by_cluster = {cluster: tuple(names) for cluster, names in (by_cluster or {}).items()}

    def named(self, name: str) -> Actuator:
        """The actuator of that name. Raises BadInput when it is not installed."""
        found = self.actuators.get(name)
        if found is None:
            known = ", ".join(sorted(self.actuators)) or "none"
            raise BadInput(f"actuator {name!r} is not installed; there are {known}")
        return found

    def of(self, cluster_id: str, family: str) -> list[Actuator]:
        """Those to try, in order; for a node only such as take nodes. Raises BadInput as ``named``."""
        names = self._by_cluster.get(cluster_id, self._default)
        found = [self.named(name) for name in names]
        for name in names:
            partner = self.actuators.get(NODE_OF.get(name, ""))
            if partner is not None and partner not in found:
                found.append(partner)
        if family == "card":
            return sorted(found, key=lambda actuator: actuator.whole_node)
        return [actuator for actuator in found if actuator.whole_node] or found

    def only_nodes(self, cluster_id: str) -> bool:
        """No actuator there can isolate just a card."""
        return all(actuator.whole_node for actuator in self.of(cluster_id, "card"))

    def looks(self, cluster_id: str) -> list[Actuator]:
        """Every actuator of a cluster, for surveys."""
        return self.of(cluster_id, "card")


def names(value: Any, place: str) -> tuple[str, ...]:
    """One name or a list of names from a setting. Raises ConfigError."""
    if isinstance(value, str) and value:
        return (value,)
    if isinstance(value, list) and value and all(isinstance(name, str) and name for name in value):
        return tuple(value)
    raise ConfigError(f'{place} = {value!r}: name an actuator, or several: ["slurm-card", "slurm-node"]')
