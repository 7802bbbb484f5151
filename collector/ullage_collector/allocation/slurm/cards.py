"""From Slurm's card index to our card. One rule, in ``NodeCards.at``; who cannot say says nobody knows.

What an index is: the n-th record of the node's gres.conf, whatever number its device file carries. Seen on Slurm
22.05 with ``File=/dev/card[0-2,4-7]``: scontrol's ``IDX:4`` and the prolog's ``SLURM_JOB_GPUS=4`` both mean
card5. With AutoDetect the records are in order of PCI bus addresses (SchedMD/slurm, gres_gpu.c, the sort by
links), which need not be the order of minor numbers. So neither an index nor SLURM_JOB_GPUS is a minor number.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ullage_collector.allocation.slurm import gres, words
from ullage_collector.allocation.slurm.gres import Gres
from ullage_contract.errors import BadInput

log = logging.getLogger(__name__)

_SAME_LIFE_SECONDS = 600.0
"""# our choice: because an agent names all its cards every minute, and once in ten minutes when it is starved."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card as its agent sees it. None: it does not say. seen: seconds since the epoch, UTC."""

    node: str
    card_id: str
    minor: int | None
    pci: str | None
    seen: float | None


@dataclass(frozen=True, slots=True)
class Listed:
    """What gres.conf says of a node's cards: device file numbers in order, or that they are detected."""

    numbers: tuple[int | None, ...]
    detected: bool


@dataclass(frozen=True, slots=True)
class NodeCards:
    """One node's cards. by_index: card_id of each bit; () where nobody knows, and why."""

    node: str
    cards: tuple[Card, ...]
    by_index: tuple[str | None, ...] = ()
    why_not: str | None = None

    def at(self, index: int) -> str | None:
        """The card of a bit of the node's records; None: nobody knows.

        1. gres.conf is given and lists the node's files: the n-th file, found by its number among the minors.
        2. gres.conf is given and has them detected (AutoDetect): the n-th card in order of PCI addresses, when
           the agent sees as many cards as the node is configured with.
        3. gres.conf is not given: only where both orders agree and the minors are 0..n-1 of n configured.
        """
        return self.by_index[index] if 0 <= index < len(self.by_index) else None


@dataclass(slots=True)
class CardIndex:
    """All nodes of a cluster. names: Slurm's NodeName -> our node id, where they differ."""

    nodes: Mapping[str, NodeCards]
    names: Mapping[str, str] = field(default_factory=dict)

    def node_id(self, name: str) -> str:
        """Our name of Slurm's node."""
        return self.names.get(name, name)

    def of(self, name: str) -> NodeCards:
        """A node's cards, by Slurm's name; without cards when no agent is known there."""
        node = self.node_id(name)
        found = self.nodes.get(node)
        return found or NodeCards(node, (), (), "no agent names cards of it")


def card_index(
    cards: Iterable[Card],
    configured: Mapping[str, Sequence[Gres]],
    listed: Mapping[str, Listed] | None,
    names: Sequence[str] = gres.CARDS,
) -> CardIndex:
    """From what the agents see, what Slurm is configured with, and gres.conf where it is given.

    configured: by NodeName; a node that is not in it: not known. listed None: no gres.conf.
    """
    here: dict[str, list[Card]] = {}
    for card in cards:
        here.setdefault(card.node, []).append(card)
    renamed = _names(here, configured)
    slurm_name = {node: name for name, node in renamed.items()}
    return CardIndex(
        {
            node: _node(
                node,
                found,
                configured.get(slurm_name.get(node, node)),
                None if listed is None else listed.get(slurm_name.get(node, node)),
                names,
            )
            for node, found in here.items()
        },
        renamed,
    )


def _names(here: Mapping[str, object], configured: Mapping[str, object]) -> dict[str, str]:
    """A NodeName the agents do not use is the one node whose first label it is: g1 and g1.example.org."""
    short: dict[str, list[str]] = {}
    for node in here:
        short.setdefault(node.partition(".")[0], []).append(node)
    return {
        name: short[name][0]
        for name in configured
        if name not in here and len(short.get(name, ())) == 1 and short[name][0] not in configured
    }


def _present(cards: Sequence[Card], count: int | None) -> tuple[Card, ...]:
    """The cards Slurm can mean: those the agent sees; where one has fallen off, as it was last seen.

    A card that was replaced stays in the table with an older last_seen, and its place belongs to the newer one.
    count: what Slurm is configured with, None: not known.
    """
    newest = max((card.seen for card in cards if card.seen is not None), default=None)
    if newest is None:
        return ()
    here = tuple(card for card in cards if card.seen is not None and newest - card.seen <= _SAME_LIFE_SECONDS)
    if count is None or len(here) >= count:
        return here
    minors = {card.minor for card in here}
    places = {card.pci for card in here if card.pci}
    gone: dict[int | None, Card] = {}
    for card in cards:
        if (
            card not in here
            and card.minor is not None
            and card.minor not in minors
            and card.pci not in places
        ):
            before = gone.get(card.minor)
            if before is None or (card.seen or 0.0) > (before.seen or 0.0):
                gone[card.minor] = card
    return (*here, *gone.values()) if len(here) + len(gone) == count else here


def _node(
    node: str,
    seen: Sequence[Card],
    configured: Sequence[Gres] | None,
    listed: Listed | None,
    names: Sequence[str],
) -> NodeCards:
    count = None if configured is None else gres.cards_of(configured, names)
    cards = _present(seen, count)
    kinds = {item.name for item in configured or () if item.name in names}
    if len(kinds) > 1:
        return NodeCards(
            node, cards, (), f"it has cards under several GRES names ({', '.join(sorted(kinds))})"
        )
    if any(item.mig for item in configured or ()):
        return NodeCards(node, cards, (), "Slurm counts MIG instances on it, not cards")
    if listed is not None and not listed.detected:
        return _by_file(node, cards, listed)
    if count is None:
        return NodeCards(node, cards, (), "what Slurm is configured with there is not known yet")
    if count != len(cards):
        return NodeCards(node, cards, (), f"Slurm has {count} cards there, the agent sees {len(cards)}")
    by_pci = sorted((card for card in cards if card.pci), key=lambda card: card.pci or "")
    if listed is not None:
        if len(by_pci) != len(cards) or len({card.pci for card in cards}) != len(cards):
            return NodeCards(
                node, cards, (), "AutoDetect counts by PCI address, and not every card has its own"
            )
        return NodeCards(node, cards, tuple(card.card_id for card in by_pci))
    minors = {card.minor: card for card in cards}
    if set(minors) != set(range(count)):
        return NodeCards(node, cards, (), "its minor numbers are not 0 to n-1; give gres_conf")
    by_minor = [minors[number] for number in range(count)]
    order = [card.pci for card in by_minor if card.pci]
    if order != sorted(order):
        return NodeCards(
            node, cards, (), "its PCI order is not the order of its minor numbers; give gres_conf"
        )
    return NodeCards(node, cards, tuple(card.card_id for card in by_minor))


def _by_file(node: str, cards: tuple[Card, ...], listed: Listed) -> NodeCards:
    minors: dict[int, list[Card]] = {}
    for card in cards:
        if card.minor is not None:
            minors.setdefault(card.minor, []).append(card)
    found = []
    for number in listed.numbers:
        here = minors.get(number, []) if number is not None else []
        found.append(here[0].card_id if len(here) == 1 else None)
    missing = found.count(None)
    why = f"{missing} files of gres.conf have no card of that minor number" if missing else None
    return NodeCards(node, cards, tuple(found), why)


def read_gres_conf(path: Path, names: Sequence[str] = gres.CARDS) -> dict[str, Listed]:
    """By NodeName what gres.conf(5) lists, in its order; the name "" is for every node without its own line.

    Raises BadInput when it cannot be read or a list in it is none.
    """
    try:
        said = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise BadInput(f"{path}: cannot be read: {e}") from e
    every = ""
    detected: dict[str, bool] = {}
    numbers: dict[str, list[int | None]] = {}
    for line in _lines(said):
        row = {key.lower(): value for key, value in words.fields(line).items()}
        here = words.hosts(row["nodename"]) if "nodename" in row else [every]
        if "autodetect" in row:
            for node in here:
                detected[node] = row["autodetect"].lower() != "off"
        if row.get("name", "").lower() not in names:
            continue
        if "multiplefiles" in row or "file" not in row:
            files: list[int | None] = [None] * (words.amount(row.get("count", "1")) or 1)
        else:
            files = [_number(file) for file in words.hosts(row["file"])]
        for node in here:
            numbers.setdefault(node, []).extend(files)
    found = {}
    for node in {*numbers, *detected}:
        is_detected = detected.get(node, detected.get(every, False))
        found[node] = Listed(tuple(numbers.get(node, numbers.get(every, []))), is_detected)
    return found


def for_nodes(listed: Mapping[str, Listed], nodes: Iterable[str]) -> dict[str, Listed]:
    """The lines for every node said of each node that has none of its own; a node nobody lists is left out."""
    general = listed.get("")
    found = {}
    for node in nodes:
        own = listed.get(node, general)
        if own is not None and (own.numbers or own.detected):
            found[node] = own
    return found


def _lines(said: str) -> list[str]:
    """Without comments, continued lines joined."""
    joined = re.sub(r"\\\r?\n", " ", said)
    return [
        line.strip()
        for line in (re.sub(r"(^|\s)#.*", "", raw) for raw in joined.splitlines())
        if line.strip()
    ]


def _number(file: str) -> int | None:
    """The number a device file ends with: /dev/nvidia3 is minor 3, /dev/dri/renderD129 is minor 129."""
    match = re.search(r"(\d{1,6})$", file)
    return int(match[1]) if match else None
