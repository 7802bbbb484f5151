"""docs/makers.md is the code's own word: each mark has a test, each test exists, each metric a maker names is marked."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.agent import proof

from ullage_contract import catalogue
from ullage_contract.sample import Family

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_makers", ROOT / "docs/generate_makers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "docs"))
    return module


@pytest.fixture(scope="module")
def proofs(generator: ModuleType) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]] = json.loads(generator.PROOFS.read_text(encoding="utf-8"))
    return found


def test_the_page_is_fresh(generator: ModuleType, proofs: dict[str, dict[str, dict[str, str]]]) -> None:
    assert generator.PAGE.read_text(encoding="utf-8") == generator.page(proofs), "run: make docs"


def test_every_test_that_proves_something_is_there(proofs: dict[str, dict[str, dict[str, str]]]) -> None:
    tests = {test for routes in proofs.values() for cells in routes.values() for test in cells.values()}
    gone = []
    for test in sorted(tests):
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).exists() else ""
        if not re.search(rf"^def {re.escape(name.partition('[')[0])}\(", text, re.M):
            gone.append(test)
    assert gone == [], "run: python docs/generate_makers.py --prove"


def test_every_metric_a_maker_names_is_read_in_a_test_and_no_other(
    generator: ModuleType, proofs: dict[str, dict[str, dict[str, str]]]
) -> None:
    """``sources`` is what docs/metrics.md prints; a source that begins with "slice only" is of slices alone."""
    card = set(catalogue.keys(Family.CARD))
    wrong = {}
    for backend in generator.backends():
        named = {key: source for key, source in backend.sources.items() if key in card}
        of_slices = {key for key, source in named.items() if source.startswith("slice only")}
        proven = proofs.get(backend.name, {})
        seen, seen_of_slices = set(proven.get(proof.READ, {})), set(proven.get(proof.OF_SLICES, {}))
        wrong[backend.name] = {
            "named and never read": sorted(named.keys() - of_slices - seen | of_slices - seen_of_slices),
            "read and not named": sorted(seen - named.keys() | seen_of_slices - of_slices),
        }
    assert {name: found for name, found in wrong.items() if any(found.values())} == {}


def test_every_metric_has_a_table_of_its_kind(generator: ModuleType) -> None:
    keys = [m.key for m in catalogue.METRICS if Family.CARD in m.families]
    tables = dict(generator.groups(keys))
    assert sorted(key for found in tables.values() for key in found) == sorted(keys)
    assert tables["Health"] == ["health", "health_detail", "recovery_action", "reset_required", "heartbeat"]
    assert "memory_temperature_celsius" not in tables["Memory"]
