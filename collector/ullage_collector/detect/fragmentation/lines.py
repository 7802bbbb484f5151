"""What the commands answer, as lines for people, in cards. Not here: the figures (answer.py, proposal.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ullage_collector import text_table
from ullage_collector.detect.fragmentation.start import CAUSES

MEANINGS: Final[Mapping[str, str]] = {
    "q1_lack_both": "cards and processors are short",
    "q2_lack_gpu": "cards are short, or too full for a task that runs",
    "q3_satisfied": "usable: no fragment",
    "q4_lack_cpu": "processors are short",
    "xl_satisfied": "the task asks for no card, and runs",
    "xr_lack_cpu": "the task asks for no card, and processors are short",
    "no_access": "another card model is asked for",
    "lack_memory": "memory is short",
}
_MOST_CARDS: Final = 16  # our choice: a line's worth


def answer(found: Mapping[str, Any]) -> Iterator[str]:
    """The measure."""
    yield f"{cards(found['free_milli'])} cards are free on {found['nodes']} nodes"
    yield f"fragmented by the published rule: {_part(found)}"
    if found["gpu_tasks"] is not None:
        yield f"fragmented for tasks that ask for cards: {_part(found['gpu_tasks'])}"
    yield from _left_out(found)
    if found["nodes_without_cpu"]:
        yield f"free processors of {found['nodes_without_cpu']} nodes are not known: no task failed for them"
    if found["nodes_without_memory"]:
        yield f"free memory of {found['nodes_without_memory']} nodes is not known: no task failed for it"
    yield ""
    rows = [["class", "cards", "tasks with cards", "meaning"]]
    for name, milli in found["by_class"].items():
        other = "" if found["gpu_tasks"] is None else cards(found["gpu_tasks"]["by_class"][name])
        rows.append([name, cards(milli), other, MEANINGS[name]])
    yield from text_table.lines(rows, right=(1, 2))
    yield ""
    yield from starts(found)
    for title, key in (("cluster", "clusters"), ("pool", "pools")):
        if len(found[key]) > 1:
            yield ""
            yield from _groups(title, found[key])
    worst = [node for node in found["top"] if node["fragmented_milli"] > 0]
    if worst:
        yield ""
        yield from _nodes(worst)


def proposal(found: Mapping[str, Any]) -> Iterator[str]:
    """The moves, and what they give back."""
    before, after = (found[when]["gpu_tasks"] or found[when] for when in ("before", "after"))
    yield f"{cards(before['free_milli'])} cards are free"
    yield f"fragmented for tasks that ask for cards: {_part(before)}"
    yield from _left_out(found)
    yield f"{found['considered']} workloads may be moved"
    for why, count in sorted(found["stays"].items(), key=lambda one: (-one[1], one[0])):
        yield f"{count} stay: {why}"
    yield ""
    if found["says"] is not None:
        yield found["says"]
    else:
        yield from _moves(found)
        yield ""
        each = found["regained_milli"] / len(found["moves"])
        yield (
            f"{len(found['moves'])} moves give back {cards(found['regained_milli'])} cards, {cards(each)} a move; "
            f"then fragmented: {_part(after)}"
        )
        yield f"each is checked for {', '.join(found['checked'])}; a proposal: nothing is moved"
    yield ""
    yield from starts(found)


def starts(found: Mapping[str, Any]) -> Iterator[str]:
    """Jobs that could start, and what keeps the other free cards from them."""
    causes = [name for name in CAUSES if any(one["stranded_cards"][name] for one in found["starts"])]
    then = any(one["jobs_after"] is not None for one in found["starts"])
    rows = [["job of", "could start", *(["after"] if then else []), *(f"lost to {name}" for name in causes)]]
    for one in found["starts"]:
        after = [str(one["jobs_after"])] if then else []
        lost = (str(one["stranded_cards"][name]) for name in causes)
        rows.append([str(one["cards"]), str(one["jobs"]), *after, *lost])
    yield from text_table.lines(rows, right=range(len(rows[0])))
    held = found["partly_held"]
    if held["cards"]:
        yield (
            f"{held['cards']} cards are partly held: {cards(held['free_milli'])} free on them, "
            f"{cards(held['stranded_milli'])} of it where no typical task could run"
        )


def _left_out(found: Mapping[str, Any]) -> Iterator[str]:
    """Of a fleet the store knows: cards that take no work, by why."""
    for why, count in sorted(found.get("left_out", {}).items()):
        yield f"{count} cards take no new work: {why.replace('_', ' ')}"
    if found.get("tasks_without_cpu"):
        yield f"of {found['typical_of_tasks']} tasks {found['tasks_without_cpu']} do not say their processors"


def cards(milli: float) -> str:
    """Thousandths as cards with one digit, two below one card."""
    amount = milli / 1000
    return f"{amount:,.2f}" if 0 < abs(amount) < 1 else f"{amount:,.1f}"


def _part(found: Mapping[str, Any]) -> str:
    ratio = "" if found["ratio"] is None else f" ({100 * found['ratio']:.2f} % of what is free)"
    return f"{cards(found['fragmented_milli'])} cards{ratio}"


def _moves(found: Mapping[str, Any]) -> list[str]:
    regained = {group["group"]: group["regained_milli"] for group in found["groups"]}
    rows = [["group", "regained", "workload", "from", "cards", "to", "cards", "asks for"]]
    for move in found["moves"]:
        group = move["group"]
        memory = "" if move["memory_mib"] is None else f", {move['memory_mib']} MiB"
        share = move["num_gpu"] * move["gpu_milli"] / 1000
        rows.append(
            [
                str(group),
                cards(regained.pop(group)) if group in regained else "",
                move["workload"],
                move["from"],
                "|".join(map(str, move["from_cards"])),
                move["to"],
                "|".join(map(str, move["to_cards"])),
                f"{share:g} cards, {move['cpu_milli'] / 1000:g} processors{memory}",
            ]
        )
    return text_table.lines(rows, right=(0, 1))


def _groups(title: str, groups: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [[title, "nodes", "free", "fragmented", "of it for tasks with cards"]]
    for group in groups:
        name = "/".join(filter(None, (group["cluster"], group.get("pool")))) or "(none)"
        asking = group["gpu_tasks"]
        rows.append(
            [
                name,
                str(group["nodes"]),
                cards(group["free_milli"]),
                cards(group["fragmented_milli"]),
                "" if asking is None else cards(asking["fragmented_milli"]),
            ]
        )
    return text_table.lines(rows, right=(1, 2, 3, 4))


def _nodes(top: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        ["node", "model", "free", "fragmented", "tasks with cards", "free processors", "free on each card"]
    ]
    for node in top:
        asking = node["gpu_tasks"]
        cpu = node["cpu_free_milli"]
        each = [f"{milli / 1000:g}" for milli in node["gpu_free_milli"]]
        rows.append(
            [
                "/".join(filter(None, (node["cluster"], node["sn"]))),
                node["model"],
                cards(node["free_milli"]),
                cards(node["fragmented_milli"]),
                "" if asking is None else cards(asking["fragmented_milli"]),
                "not known" if cpu is None else f"{cpu / 1000:g}",
                " ".join(each[:_MOST_CARDS]) + (" ..." if len(each) > _MOST_CARDS else ""),
            ]
        )
    return text_table.lines(rows, right=(2, 3, 4, 5))
