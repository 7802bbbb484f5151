"""The short listings: ``nvidia-smi -L``, ``nvidia-smi nvlink -s`` and ``dcgmi nvlink -s``."""

from __future__ import annotations

import re
from typing import Any, Final

from ullage_agent.backend import Decoded, DecodedCard
from ullage_agent.backends.nvidia import printed
from ullage_agent.backends.nvidia.summary_table import lost_cards
from ullage_contract.sample import Value

CARD_LINE: Final = re.compile(r"^GPU\s+(?P<index>\d+):\s*+(?P<name>.*?)\s*\(UUID:\s*(?P<uuid>[^)]+)\)")
_MIG: Final = re.compile(
    r"^\s+MIG\s+(?P<profile>\S+)\s+Device\s+(?P<device>\d+):\s*\(UUID:\s*(?P<uuid>[^)]+)\)"
)
_LINK: Final = re.compile(r"^\s+Link\s+(?P<link>\d+):\s*(?P<state>.+?)\s*$")
_SPEED: Final = re.compile(r"(\d+(?:\.\d+)?)\s*GB/s")


def decode_listing(text: str) -> Decoded:
    """-L and nvlink -s print the same head line a card; what stands below tells them apart.

    A card whose links cannot be asked for (MIG mode) has no link values at all: unknown, not down.
    """
    cards: list[dict[str, Any]] = []
    notes: list[str] = []
    for line in text.splitlines():
        if (match := CARD_LINE.match(line)) is not None:
            cards.append({**match.groupdict(), "slices": [], "links": None})
        elif not cards:
            continue
        elif (match := _MIG.match(line)) is not None:
            cards[-1]["slices"].append(
                {
                    "instance": match["uuid"],
                    "profile": match["profile"],
                    "device": int(match["device"]),
                    "uuid": match["uuid"],
                    "values": {},
                }
            )
        elif (match := _LINK.match(line)) is not None:
            speed = _SPEED.search(match["state"])
            cards[-1]["links"] = [
                *(cards[-1]["links"] or []),
                {
                    "link": int(match["link"]),
                    "active": speed is not None,
                    "gbytes_per_s": float(speed.group(1)) if speed else None,
                },
            ]
        elif "not supported" in line.lower():
            notes.append(f"card {cards[-1]['index']}: {line.strip()}")
    is_links = any(card["links"] for card in cards) or "nvlink" in text.lower()
    lost = lost_cards(text)
    return Decoded(
        maker="nvidia",
        tool="nvidia-smi nvlink -s" if is_links else "nvidia-smi -L",
        format="text",
        cards=tuple(_card(card) for card in cards),
        extra={"lost": lost} if lost else {},
        notes=(*notes, *(f"nvidia-smi could not open a card: {entry}" for entry in lost)),
    )


def _card(card: dict[str, Any]) -> DecodedCard:
    values: dict[str, Value] = {}
    extra: dict[str, Any] = {}
    links = card["links"]
    if links is not None:
        values["links_total"] = len(links)
        values["links_active"] = sum(link["active"] for link in links)
        extra["links"] = links
        speeds = {link["gbytes_per_s"] for link in links if link["active"]}
        if len(speeds) == 1:
            extra["gbytes_per_s_each"] = speeds.pop()
    return DecodedCard(
        index=int(card["index"]),
        model=printed.said(card["name"]),
        uuid=printed.said(card["uuid"]),
        partition_mode="mig" if card["slices"] else None,
        values=values,
        slices=tuple(card["slices"]),
        extra=extra,
    )


_GPU_ID: Final = re.compile(r"^\s*gpuId\s+(\d+):")
_SWITCH_ID: Final = re.compile(r"^\s*(?:physicalId|nvSwitchId|switchId|physId)\s+(\d+):", re.IGNORECASE)
_STATES: Final = re.compile(r"^\s+((?:[UDX_]\s*)+)$")


def decode_dcgmi_links(text: str) -> Decoded:
    """``dcgmi nvlink -s``: U up, D down, X disabled, _ not there. A link not there is not counted."""
    cards: list[dict[str, Any]] = []
    switches: list[dict[str, Any]] = []
    target: dict[str, Any] | None = None
    for line in text.splitlines():
        if line.strip().startswith("Key:"):
            break
        if (match := _GPU_ID.match(line)) is not None:
            target = {"index": int(match.group(1)), "states": ""}
            cards.append(target)
        elif (match := _SWITCH_ID.match(line)) is not None:
            target = {"index": int(match.group(1)), "states": ""}
            switches.append(target)
        elif target is not None and (match := _STATES.match(line)) is not None:
            target["states"] += match.group(1).replace(" ", "")

    def counted(states: str) -> dict[str, Value]:
        return {"links_total": len(states) - states.count("_"), "links_active": states.count("U")}

    return Decoded(
        maker="nvidia",
        tool="dcgmi nvlink -s",
        format="text",
        cards=tuple(
            DecodedCard(
                index=card["index"],
                values=counted(card["states"]),
                extra={
                    "links": [
                        {"link": number, "state": state, "active": state == "U"}
                        for number, state in enumerate(card["states"])
                        if state != "_"
                    ]
                },
            )
            for card in cards
        ),
        extra={
            "nvswitches": [{"index": s["index"], **counted(s["states"])} for s in switches],
        },
    )
