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
"""maker -> route (read, decoded) -> catalogue key -> test."""

GROUPS: Sequence[tuple[str, tuple[str, ...]]] = (
    (
        "Work",
        (
            "utilization",
            "sm_",
            "tensor",
            "vector",
            "control",
            "memory_bandwidth",
            "encoder",
            "decoder",
            "jpeg",
            "fp",
            "processes",
            "requests",
            "media",
            "busy",
        ),
    ),
    ("Memory", ("memory_", "host_memory", "bar")),
    (
        "Power, heat and clocks",
        ("power", "energy", "temperature", "fan", "clock", "throttle", "voltage", "thermal"),
    ),
    ("Links", ("pcie", "interconnect", "nvlink", "link")),
    ("Errors and health", ("",)),
)
"""Title and the beginnings of the keys in it; a metric is in the first group that fits."""


def groups(keys: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The metrics by group, in the catalogue's order."""
    found: dict[str, list[str]] = {title: [] for title, _ in GROUPS}
    for key in keys:
        warm = key.endswith("temperature_celsius") or key.startswith("clock")
        title = next(
            t
            for t, starts in GROUPS
            if (t == "Power, heat and clocks" if warm else key.startswith(starts) or starts == ("",))
        )
        found[title].append(key)
    return [(title, keys) for title, keys in found.items() if keys]


def section(proofs: Proofs) -> str:
    """The generated part of the page."""
    known = [m.key for m in catalogue.METRICS if Family.CARD in m.families]
    given = {key for routes in proofs.values() for cells in routes.values() for key in cells}
    lines = [
        BEGIN,
        "",
        "●: read from the maker's library, driver or tool while the agent runs. ○: only decoded from a recorded output of",
        "the maker's tool. Empty: not given. Each mark is a value that a test saw, with an emulator, a tree or a recording of",
        "ours: which test stands in `tests/agent/proofs.json`, and the test fails when it no longer sees it.",
        "",
    ]
    for title, keys in groups([key for key in known if key in given]):
        lines += [f"### {title}", ""]
        lines.append("| maker | " + " | ".join(f"`{key}`" for key in keys) + " |")
        lines.append("|---|" + ":-:|" * len(keys))
        for backend in backends():
            if backend.simulated:
                continue
            mine = proofs.get(backend.name, {})
            marks = [
                "●" if key in mine.get("read", {}) else "○" if key in mine.get("decoded", {}) else ""
                for key in keys
            ]
            lines.append(f"| {backend.title} | " + " | ".join(marks) + " |")
        lines.append("")
    return "\n".join([*lines, END])


def page(proofs: Proofs) -> str:
    """The whole page: the hand's words and the tables."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + section(proofs) + rest.partition(END)[2]


def prove() -> Proofs:
    """What the makers' tests see, one test a cell: the first by name. Raises SystemExit when a test fails."""
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
    known = {key for key in catalogue.keys(Family.CARD)}
    found: dict[str, dict[str, dict[str, str]]] = {}
    for test, cells in sorted(rows):
        for maker, route, key in cells:
            if key in known and maker.replace("-", "_") in names:
                found.setdefault(maker, {}).setdefault(route, {}).setdefault(key, test)
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
