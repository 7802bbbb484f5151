"""Writes the tables of docs/makers.md: a row a maker, a column a metric, and the test that proves each cell.

    python docs/generate_makers.py             the page from tests/agent/proofs.json and the backends
    python docs/generate_makers.py --prove     run the makers' tests first and write proofs.json anew (minutes)

The text around the tables is written by hand. ``tests/agent/test_makers_page.py`` holds the page to the code, and
``tests/agent/conftest.py`` each named test to what it proves.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generate_metrics import ROOT, backends

from ullage_contract import catalogue
from ullage_contract.sample import Family

PAGE = ROOT / "docs/makers.md"
PROOFS = ROOT / "tests/agent/proofs.json"
BEGIN = "<!-- made by docs/generate_makers.py: from here -->"
END = "<!-- made by docs/generate_makers.py: to here -->"

Proofs = Mapping[str, Mapping[str, Mapping[str, str]]]
"""maker -> route (read, of slices, decoded) -> catalogue key -> test."""

GROUPS: Sequence[tuple[str, str]] = (
    ("Work", "utilization|memory_bandwidth|encoder|decoder|control_cpu|processes"),
    ("Units of a core", "sm_|tensor|vector|fp[0-9]"),
    ("Power", "power|energy|voltage|current_amperes|.*_power_watts"),
    ("Temperatures and fans", ".*temperature|fan"),
    ("Memory", "memory_"),
    ("Clocks and throttling", "clock|throttle|performance_state"),
    ("PCIe: link and errors", "pcie_(generation|width|replays|aer)"),
    ("PCIe: traffic", "pcie_"),
    ("Links between cards", "link|fabric"),
    ("Memory errors", ".*ecc_"),
    ("Retired memory", "retired|remap"),
    ("Health", ""),
)
"""Title and how the keys in it begin; a metric is in the first group that fits."""
READ, OF_SLICES, DECODED = "read", "of slices", "decoded"
MARKS: Mapping[str, str] = {READ: "●", OF_SLICES: "◐", DECODED: "○"}
"""Route -> mark, the best first."""


def groups(keys: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The metrics by group, in the catalogue's order."""
    found: dict[str, list[str]] = {title: [] for title, _ in GROUPS}
    for key in keys:
        found[next(title for title, begins in GROUPS if re.match(begins, key))].append(key)
    return [(title, keys) for title, keys in found.items() if keys]


def mark(mine: Mapping[str, Mapping[str, str]], key: str) -> str:
    """How a maker gives a metric; nothing where it does not."""
    return next((sign for route, sign in MARKS.items() if key in mine.get(route, {})), "")


def section(proofs: Proofs) -> str:
    """The generated part of the page."""
    known = [m.key for m in catalogue.METRICS if Family.CARD in m.families]
    given = {key for routes in proofs.values() for cells in routes.values() for key in cells}
    lines = [
        BEGIN,
        "",
        "●: read from the maker's library, driver or tool while the agent runs. ◐: read of its slices alone. ○: only decoded",
        "from a recorded output of the maker's tool. Empty: not given. Each mark is a value that a test saw, with an emulator,",
        "a tree or a recording of ours: which test stands in `tests/agent/proofs.json`, and it fails when it no longer sees it.",
        "A card that does not answer any more is `health = lost` whoever made it; that alone is no mark.",
        "What a metric means and which call or file it comes from: [metrics.md](metrics.md).",
        "",
    ]
    for title, keys in groups([key for key in known if key in given]):
        lines += [f"### {title}", "", "| maker | " + " | ".join(f"`{key}`" for key in keys) + " |"]
        lines.append("|---|" + ":-:|" * len(keys))
        without = []
        for backend in backends():
            marks = [mark(proofs.get(backend.name, {}), key) for key in keys]
            if any(marks):
                lines.append(f"| {backend.title} | " + " | ".join(marks) + " |")
            else:
                without.append(backend.title)
        if without:
            few = len(without) < len(backends()) / 2
            lines += ["", f"None of these: {', '.join(without) if few else 'all other makers'}."]
        lines.append("")
    return "\n".join([*lines, END])


def page(proofs: Proofs) -> str:
    """The whole page: the hand's words and the tables."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + section(proofs) + rest.partition(END)[2]


def prove() -> Proofs:
    """What the makers' tests see, one test a cell: the first by name of those that name the metric.

    Raises SystemExit when a test fails.
    """
    names = {b.name.replace("-", "_") for b in backends()}
    files = [
        path
        for path in sorted((ROOT / "tests/agent").glob("test_*.py"))
        if path.stem.removeprefix("test_").removesuffix("_reader").removesuffix("_decode") in names
        or path.stem in ("test_cn_decode", "test_smi_tables")
    ]
    with tempfile.TemporaryDirectory() as place:
        seen = Path(place) / "seen"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *map(str, files)],
            cwd=ROOT,
            env={**os.environ, "ULLAGE_PROOFS": str(seen), "ULLAGE_SHARED": str(Path(place) / "none")},
            check=False,
        )
        if done.returncode:
            raise SystemExit("the makers' tests do not pass: nothing was written")
        rows = [json.loads(line) for line in seen.read_text(encoding="utf-8").splitlines()]
    known = set(catalogue.keys(Family.CARD))
    found: dict[str, dict[str, dict[str, str]]] = {}
    for test, cells, named in sorted(rows):
        for maker, route, key in cells:
            if key in known and key in named and maker.replace("-", "_") in names:
                found.setdefault(maker, {}).setdefault(route, {}).setdefault(key, test)
    for routes in found.values():  # what the card itself says need not be shown of its slices
        slices = routes.pop(OF_SLICES, {})
        if alone := {key: test for key, test in slices.items() if key not in routes.get(READ, {})}:
            routes[OF_SLICES] = alone
    ordered = [m.key for m in catalogue.METRICS]
    return {
        maker: {
            route: dict(sorted(found[maker][route].items(), key=lambda cell: ordered.index(cell[0])))
            for route in sorted(found[maker])
        }
        for maker in sorted(found)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="tables of docs/makers.md")
    parser.add_argument(
        "--prove", action="store_true", help="run the makers' tests and write proofs.json anew"
    )
    if parser.parse_args().prove:
        PROOFS.write_text(json.dumps(prove(), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(PROOFS.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
