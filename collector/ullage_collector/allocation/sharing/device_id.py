"""A device's id as plugins and schedulers write it, taken apart: card, slice, replica, index. Pure.

Every function takes any text; what it does not know stays a NAME.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ullage_collector.allocation.sharing.share import IdKind

_HEX: Final = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_UUID: Final = re.compile(rf"(?P<card>(?:[A-Za-z]{{2,5}}-)?{_HEX})(?:-(?P<replica>[0-9]{{1,9}}))?")
_BUS: Final = re.compile(r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]")
_MIG_OLD: Final = re.compile(rf"MIG-(?P<card>GPU-{_HEX})/(?P<gi>[0-9]+)/(?P<ci>[0-9]+)")
_HAMI_MIG: Final = re.compile(r"(?P<card>[^\[\]]+)\[[0-9]+-[0-9]+\]")
_ASCEND: Final = re.compile(r"Ascend[0-9A-Za-z]+-(?P<index>[0-9]{1,9})")
_VNPU: Final = re.compile(
    r"(?P<chip>Ascend[0-9A-Za-z]+)-(?P<profile>[0-9]+c[.a-z0-9]*)-(?P<slice>[0-9]{1,9})-(?P<index>[0-9]{1,9})(?:_.*)?"
)
_NUMBERED: Final = re.compile(
    r".+-(?:cambricon-mlu|mthreads|enflame|Enflame|GCU|kunlun|KUNLUN|metax|Metax|dcu|aws|AWSNeuron|neuron)-(?P<index>[0-9]{1,9})"
)
_SHORT: Final = re.compile(r"(?:XPU|DCU|xpu|dcu|npu|gpu|GPU|neuron|neurondevice)-?(?P<index>[0-9]{1,4})")
_INTEL: Final = re.compile(r"(?P<card>card(?P<index>[0-9]{1,4}))(?:-(?P<replica>[0-9]{1,4}))?")


@dataclass(frozen=True, slots=True)
class DeviceId:
    """One device id. device: the card's id, or the slice's own where it does not say whose (kind SLICE).

    replica: which of a card's equal shares, as text; slice_id, profile: of a slice.
    """

    device: str
    kind: IdKind
    index: int | None = None
    slice_id: str | None = None
    replica: str | None = None
    profile: str | None = None


def device_of(device_id: str) -> DeviceId:
    """What an id says: the kubelet's (``GPU-...::2``, ``MIG-...``, ``card0-1``, ``Ascend310P-2c-100-1``) or a scheduler's."""
    text = device_id.strip()
    base, mark, replica = text.partition("::")
    if mark:  # NVIDIA's device plugin annotates replicas so
        found = device_of(base)
        return DeviceId(found.device, found.kind, found.index, found.slice_id, replica, found.profile)
    if old := _MIG_OLD.fullmatch(text):
        return DeviceId(old["card"], IdKind.UUID, slice_id=text)
    if text.startswith(("MIG-", "amdgpu_xcp_")):
        return DeviceId(text, IdKind.SLICE, slice_id=text)
    if mig := _HAMI_MIG.fullmatch(text):
        return DeviceId(mig["card"], _kind(mig["card"]), slice_id=text)
    if uuid := _UUID.fullmatch(text):
        return DeviceId(uuid["card"], IdKind.UUID, replica=uuid["replica"])
    if vnpu := _VNPU.fullmatch(text):
        number = int(vnpu["index"])
        return DeviceId(text, IdKind.INDEX, number, vnpu["slice"], profile=vnpu["profile"])
    for pattern in (_ASCEND, _NUMBERED, _SHORT):
        if match := pattern.fullmatch(text):
            return DeviceId(text, IdKind.INDEX, int(match["index"]))
    if intel := _INTEL.fullmatch(text):
        return DeviceId(intel["card"], IdKind.NAME, int(intel["index"]), replica=intel["replica"])
    if re.fullmatch(r"[0-9]{1,9}", text):
        return DeviceId(text, IdKind.INDEX, int(text))
    return DeviceId(text, _kind(text))


def _kind(text: str) -> IdKind:
    if _UUID.fullmatch(text) or text.startswith(("GPU-", "MLU-", "HCU-")):
        return IdKind.UUID
    return IdKind.BUS_ID if _BUS.fullmatch(text) else IdKind.NAME
