"""The page of open findings: what detectors say, by kind, with what a person can check by hand.

Not here: any detector (detect/), closing a finding: it ends by itself when it is so no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response

from ullage_collector import api
from ullage_collector.receive.identity import Identity

if TYPE_CHECKING:
    from ullage_collector.console.app import Console

ROWS_A_KIND: Final = 200  # our choice: because nobody reads more of one kind; the API has all
MONEY: Final = ("cost_per_day", "saving_per_day", "job_cost_per_day")
"""Keys of evidence that say what a finding costs a day, or would save; the first that is there has the column."""
EVIDENCE_CHARACTERS: Final = 120  # our choice: a line of a table


def page(console: Console, request: Request, identity: Identity) -> Response:
    """All open findings, the kind with the newest first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    counts: dict[str, int] = {}
    said = console.words(request)
    known = {**said["actions"], **said["evidence_words"]}
    for row in api.select(console.views, "console", "open_findings", []):
        counts[row["kind"]] = counts.get(row["kind"], 0) + 1
        if counts[row["kind"]] > ROWS_A_KIND:
            continue
        evidence = json.loads(row["evidence"])
        shown = next((name for name in MONEY if evidence.get(name)), None)
        row["cost"] = "" if shown is None else _short(evidence[shown], known)
        row["evidence"] = [
            (said["evidence_names"].get(name, name), _short(value, known))
            for name, value in evidence.items()
            if name not in ("key", shown)
        ]
        row["named"] = known.get(row["subject"], row["subject"])
        groups.setdefault(row["kind"], []).append(row)
    return console.render(
        request,
        "findings.html",
        here="findings",
        groups=groups,
        counts=counts,
        origins={card.origin for card in console.views.fleet.cards()[1]},
    )


def _short(value: Any, known: Mapping[str, str]) -> str:
    """A value of evidence in one line. known: our own words for values, in the reader's language."""
    if value is None or value in ([], {}, ""):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = ", ".join(value)
    if isinstance(value, str) and value in known:
        return known[value]
    if isinstance(value, dict) and not any(isinstance(one, dict | list) for one in value.values()):
        value = ", ".join(f"{known.get(name, name)} {one}" for name, one in value.items())
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= EVIDENCE_CHARACTERS else f"{text[: EVIDENCE_CHARACTERS - 1]}…"
