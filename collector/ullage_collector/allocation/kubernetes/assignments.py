"""What nodes say the kubelet handed to containers, and to which pod each word belongs.

The kubelet names a pod by namespace and name, not by uid, and a name may live several lives on one node: a word
belongs to the life it falls into. A node tells differences, and everything again once an hour. Words may come late,
twice and in any order; what counts is when they were true.
Not here: reading them from the store (store_eyes.py) and what they mean for a holding (places.py).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ullage_contract.errors import BadInput

SETTLED_US: Final = 120_000_000
"""Our choice: two minutes after a pod came its node has told if its devices differ from its namesake's before it."""
_SLACK_US: Final = 10_000_000
"""Our choice: what is left between a node's clock and the API server's after the known skew was taken off."""
_TOGETHER_US: Final = 60_000_000
"""Our choice: devices of a pod that ends are seen released within a minute of each other."""
_MOST_WORDS: Final = 16  # our choice: of one device of one name; older ones are of lives that ended long ago
_UNPLACED: Final = "?"

Name = tuple[str, str, str]
"""Node, namespace, pod."""


@dataclass(frozen=True, slots=True)
class Handed:
    """Devices of one container and resource, as the kubelet spells them; cards beside them, None: not placed.

    cards: card_id or slice_id (it has the card before its last slash).
    """

    container: str
    resource: str
    devices: tuple[str, ...]
    cards: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, order=True)
class _Word:
    """One word about one device. card: where it was placed, None: not, or released."""

    at_us: int
    event_id: int
    held: bool
    card: str | None


_Device = tuple[str, str, str]
"""Container, resource, device."""


class Assignments:
    """The words of one cluster's nodes. ``hear`` takes them, ``held`` answers for one life of a name.

    claimed: ``driver/pool/device`` of dynamic resources to the card or slice a node placed it on.
    """

    def __init__(self) -> None:
        self.claimed: dict[str, str] = {}
        self._words: dict[Name, dict[_Device, list[_Word]]] = {}
        self._replicas: dict[tuple[str, str], set[str]] = {}

    def hear(self, event_id: int, node: str, at_us: int, kind: str, attributes: Mapping[str, Any]) -> Name:
        """Take one event; whom it is about. Raises BadInput when it names no pod."""
        namespace, pod = attributes.get("namespace"), attributes.get("pod")
        if not isinstance(namespace, str) or not isinstance(pod, str) or not pod:
            raise BadInput(f"event {event_id}: a {kind} without namespace and pod")
        name, held = (node, namespace, pod), kind == "devices_assigned"
        cards = _split(attributes.get("cards"))
        for device, card in zip(_split(attributes.get("claims")), cards, strict=False):
            if held and card != _UNPLACED:
                self.claimed[device] = card
        container, resource = str(attributes.get("container") or ""), str(attributes.get("resource") or "")
        if not resource:
            return name
        devices = _split(attributes.get("devices"))
        for device, card in zip(devices, [*cards, *[_UNPLACED] * len(devices)], strict=False):
            if device == _UNPLACED:
                continue
            base, mark, _ = device.rpartition("::")
            if mark and held:
                self._replicas.setdefault((node, base), set()).add(device)
            words = self._words.setdefault(name, {}).setdefault((container, resource, device), [])
            if all(word.event_id != event_id for word in words):
                place = card if held and card != _UNPLACED else None
                insort(words, _Word(at_us, event_id, held, place), key=lambda w: (w.at_us, w.event_id))
                del words[:-_MOST_WORDS]
        return name

    def held(self, name: Name, from_us: int, to_us: int | None, now_us: int) -> list[Handed]:
        """What a pod that held over [from_us, to_us) had.

        A word from before it came is its namesake's, unless nothing else was said for two minutes.
        """
        until = (to_us if to_us is not None else now_us) + _SLACK_US
        own: dict[_Device, str | None] = {}
        released: dict[_Device, int] = {}
        left_over: dict[_Device, str | None] = {}
        for device, words in self._words.get(name, {}).items():
            mine = [w for w in words if from_us - _SLACK_US <= w.at_us]
            given = [w for w in mine if w.held and w.at_us <= until]
            if given:
                own[device] = next((w.card for w in reversed(given) if w.card is not None), None)
                if not mine[-1].held:
                    released[device] = mine[-1].at_us
            elif words[0].at_us < from_us - _SLACK_US and not mine and words[-1].held:
                left_over[device] = words[-1].card
        # While some are held, one that was given back is no longer the pod's; at its end all are.
        if len(released) < len(own):
            own = {d: card for d, card in own.items() if d not in released}
        elif released:
            last = max(released.values())
            own = {d: card for d, card in own.items() if released[d] >= last - _TOGETHER_US}
        if not own and min(until, now_us) >= from_us + SETTLED_US:
            own = left_over
        return _by_container(own)

    def unsettled_until(self, name: Name, from_us: int) -> int | None:
        """When ``held`` is worth asking again, as a namesake's words wait for their two minutes; None: not at all."""
        known = self._words.get(name, {})
        if any(w.at_us >= from_us - _SLACK_US and w.held for words in known.values() for w in words):
            return None
        return from_us + SETTLED_US if any(words[-1].held for words in known.values()) else None

    def released_us(self, name: Name, from_us: int) -> int | None:
        """When the node saw the last of a pod's devices released, None: it did not, or some are held still."""
        newest: list[int] = []
        for words in self._words.get(name, {}).values():
            mine = [w for w in words if w.at_us >= from_us - _SLACK_US]
            if mine and mine[-1].held:
                return None
            newest += [w.at_us for w in mine[-1:]]
        return max(newest, default=None)

    def told_us(self, name: Name, from_us: int) -> int | None:
        """When the node last told that a pod held a device, None: it never did."""
        words = (w for by in self._words.get(name, {}).values() for w in by if w.held and w.at_us >= from_us)
        return max((w.at_us for w in words), default=None)

    def replicas(self, node: str, device: str) -> int:
        """Of how many replicas of the card of ``uuid::n`` this node has been heard; at least 1."""
        return max(1, len(self._replicas.get((node, device.rpartition("::")[0]), ())))

    def forget(self, before_us: int) -> None:
        """Drop names whose last word on every device was a release before then."""
        for name, by_device in list(self._words.items()):
            if all(not words[-1].held and words[-1].at_us < before_us for words in by_device.values()):
                del self._words[name]


def _by_container(devices: Mapping[_Device, str | None]) -> list[Handed]:
    grouped: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
    for (container, resource, device), card in sorted(devices.items()):
        grouped.setdefault((container, resource), []).append((device, card))
    return [
        Handed(c, r, tuple(d for d, _ in rows), tuple(k for _, k in rows)) for (c, r), rows in grouped.items()
    ]


def _split(text: Any) -> tuple[str, ...]:
    return tuple(text.split(",")) if isinstance(text, str) and text else ()
