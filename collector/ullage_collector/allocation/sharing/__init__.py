"""What Kubernetes pods and nodes say of shares of cards, for every card-sharing system: pure functions, one table.

``asked`` reads what a pod's containers ask for, ``assigned`` what its scheduler wrote onto it, ``on_node`` what a
node says of its cards; ``device_of`` takes a kubelet's device id apart. Pods and nodes are mappings exactly as the
API server's JSON gives them. What is malformed raises BadInput naming system, annotation and value: catch it per pod.

Not here: asking the API server or the kubelet (kubernetes/), and which of our cards a device id is.
"""

from ullage_collector.allocation.sharing.ask import asked
from ullage_collector.allocation.sharing.assign import assigned, group_card
from ullage_collector.allocation.sharing.device_id import DeviceId, device_of
from ullage_collector.allocation.sharing.facts import (
    Annotation,
    Fact,
    Match,
    Meaning,
    annotation_facts,
    facts,
    facts_of,
)
from ullage_collector.allocation.sharing.node import on_node
from ullage_collector.allocation.sharing.quantity import quantity
from ullage_collector.allocation.sharing.share import (
    Asked,
    Assigned,
    IdKind,
    NodeDevice,
    memory_share,
    paid_share,
)

__all__ = [
    "Annotation",
    "Asked",
    "Assigned",
    "DeviceId",
    "Fact",
    "IdKind",
    "Match",
    "Meaning",
    "NodeDevice",
    "annotation_facts",
    "asked",
    "assigned",
    "device_of",
    "facts",
    "facts_of",
    "group_card",
    "memory_share",
    "on_node",
    "paid_share",
    "quantity",
]
