"""Writes docs/sharing-systems.md from the collector's table of facts: ``python docs/generate_sharing_systems.py``.

The page is never edited by hand; ``tests/collector/test_sharing_facts.py`` holds it to systems.toml.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from ullage_collector.allocation.sharing.facts import Annotation, Fact, annotation_facts, facts, wholes

PAGE = Path(__file__).parent / "sharing-systems.md"

HEAD = """# Card sharing systems

*Made from `collector/ullage_collector/allocation/sharing/systems.toml`; not edited by hand.*

What Ullage reads of cards and shares of cards in Kubernetes: resources that containers ask for, annotations and labels
that schedulers and device plugins write, and how many parts a whole card has. A share has two sides, **compute** and
**memory**; both are kept. What is paid is compute where it is stated, else memory, else the whole card: a sharing
system that limits no compute hands out memory. Four quarters are one card; shares that add up to more than a card are
over-subscription and shown as such. What does not divide is rounded down (seven MIG slices of 1/7 are not more than a
card).

| unit | one of it is |
|---|---|
| card | a whole card, or what the node's labels say one is: a MIG instance, a partition, a replica |
| share | a share of a card of its own; how big, the system's other resources say |
| replica, part, core | a card divided by the node's number of replicas, parts, cores; unknown without the node |
| 1/N card, 1/N memory | that share of one card's compute or memory |
| profile | a piece with a maker's name; see [Whole cards](#whole-cards) |

*all*: the figure is for all the cards asked for together; without it for each. *else whole*: not written means all of
the card. **not found**: no public document confirms it; shown here and never used. A site whose plugin counts another
unit (gpushare in MiB, Volcano with a memory factor) says so where the collector reads pods.
"""

WHERE = {
    "pod annotation": "On pods, annotations",
    "pod label": "On pods, labels",
    "container environment": "In containers, variables",
    "node annotation": "On nodes, annotations",
    "node label": "On nodes, labels",
}


def page() -> str:
    """The whole page, ending in one newline."""
    return "\n".join([HEAD, *_resources(), *_annotations(), *_wholes(), ""])


def _resources() -> Iterator[str]:
    yield "## Resources\n"
    for system in dict.fromkeys(fact.system for fact in facts()):
        yield f"### {system}\n"
        yield "| resource | maker | counts | one is | note | read in |"
        yield "|---|---|---|---|---|---|"
        for fact in facts():
            if fact.system == system:
                yield _row(
                    f"`{fact.resource}`",
                    fact.vendor or "any",
                    fact.meaning,
                    _unit(fact),
                    _note(fact),
                    f"{fact.source}, {fact.checked}",
                )
        yield ""


def _unit(fact: Fact) -> str:
    words = [fact.unit, *(["all"] if fact.per == "all" else []), *(["else whole"] if fact.absent else [])]
    return ", ".join(words)


def _note(fact: Fact) -> str:
    return "; ".join(text for text in (f"**{fact.seen}**" if fact.seen else None, fact.note) if text)


def _annotations() -> Iterator[str]:
    for where, title in WHERE.items():
        yield f"## {title}\n"
        yield "| key | system | maker | says | read in |"
        yield "|---|---|---|---|---|"
        for row in annotation_facts():
            if row.where == where:
                yield _row(f"`{row.key}`", row.system, row.vendor or "any", _says(row), _read(row))
        yield ""


def _says(row: Annotation) -> str:
    cores = f"; a core is {row.cores}" if row.cores and row.cores.startswith("1/") else ""
    return (f"**{row.seen}** " if row.seen else "") + row.says + cores


def _read(row: Annotation) -> str:
    return f"{row.source}, {row.checked}"


def _wholes() -> Iterator[str]:
    yield "## Whole cards\n"
    yield "| profiles | of | parts of a whole card | models | read in |"
    yield "|---|---|---|---|---|"
    for whole in wholes():
        profiles = ", ".join("any other" if name == "*" else f"`{name}`" for name in whole.profiles)
        if whole.ambiguous:
            profiles += f" (the model must be known for {', '.join(f'`{name}`' for name in whole.ambiguous)})"
        models = ", ".join(whole.models) or "any other"
        yield _row(profiles, whole.kind, str(whole.parts), models, f"{whole.source}, {whole.checked}")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(0)
