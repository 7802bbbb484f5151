"""``brsmi``: ``brsmi gpu --query-gpu=... --format=csv``, and its table and ``-q`` as far as they follow nvidia-smi's.

No public recording of this tool's table was found, so whatever is read from one says so in a note.
"""

from __future__ import annotations

import re

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends import smi_csv, smi_query
from ullage_agent.backends.printed import address, said
from ullage_agent.backends.smi_table import (
    Block,
    blocks,
    bus,
    cut_note,
    index_and_name,
    lines_of,
    memory,
    per_cent,
    performance_state,
    power,
    processes_by_card,
    temperature,
)
from ullage_contract.errors import BadInput
from ullage_contract.sample import Value

_DRIVER = re.compile(r"(?:Driver|KMD) Version\s*:\s*([\w./-]+)", re.IGNORECASE)
UNSEEN = "this form of brsmi was never seen in a recording: read by its heads alone"


def decode(text: str) -> Decoded:
    """The cards. Raises BadInput for a text that is not this tool's."""
    lines = lines_of(text)
    driver = _DRIVER.search(text)
    version = said(driver[1]) if driver else None
    found = blocks(lines, "GPU", "Name", "Bus", "Memory-Usage")
    if found:
        processes = processes_by_card(lines)
        cards = []
        for block in found:
            card = _card(block)
            if card is not None:
                listed = None if processes is None else processes.get(card.index or 0, [])
                cards.append(_with(card, listed))
        return Decoded("biren", "brsmi", "table", version, cards, notes=[UNSEEN, *cut_note(found)])
    columns = smi_csv.cards(text.splitlines())
    if columns is not None:
        return Decoded("biren", "brsmi gpu --query-gpu", "csv", columns[1], columns[0])
    queried = list(smi_query.cards(lines))
    if any(card.values for card in queried):
        return Decoded("biren", "brsmi gpu query", "text", version, queried, notes=[UNSEEN])
    raise BadInput(
        "no output of brsmi in this text; a CSV needs its head line (--format=csv without noheader), "
        "for nothing else says what the columns are"
    )


def _card(block: Block) -> DecodedCard | None:
    index, name = index_and_name(block.find("name"))
    if index is None:
        return None
    climate = block.find("temp")
    draw, cap = power(block.find("pwr") or block.find("power") or climate)
    used, total = memory(block.find("memory-usage"))
    values: dict[str, Value | None] = {
        "utilization_ratio": per_cent(block.find("util")),
        "memory_used_bytes": used,
        "memory_total_bytes": total,
        "power_watts": draw,
        "power_limit_watts": cap,
        "temperature_celsius": temperature(climate),
        "performance_state": performance_state(climate),
        "health_detail": said(block.find("health")),
    }
    return DecodedCard(
        index=index,
        model=said(name),
        pci_address=address(bus(block.find("bus"))),
        values={key: value for key, value in values.items() if value is not None},
    )


def _with(card: DecodedCard, processes: list[dict[str, object]] | None) -> DecodedCard:
    return DecodedCard(
        index=card.index,
        model=card.model,
        pci_address=card.pci_address,
        values=card.values,
        processes=processes,
    )
