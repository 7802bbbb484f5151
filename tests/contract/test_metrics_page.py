"""docs/metrics.md is the code's own word: never edited, never behind."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from ullage_contract import catalogue
from ullage_contract.sample import Family

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_metrics", DOCS / "generate_metrics.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_fresh(generator: ModuleType) -> None:
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == generator.page(), "run: make docs"


def test_every_metric_is_on_it(generator: ModuleType) -> None:
    text = generator.page()
    for metric in catalogue.METRICS:
        assert f"| `{metric.key}` |" in text


def test_backends_claim_only_metrics_that_exist(generator: ModuleType) -> None:
    known = {key for family in Family for key in catalogue.keys(family)}
    for backend in generator.backends():
        assert set(backend.sources) <= known, f"{backend.name}: {sorted(set(backend.sources) - known)}"
        assert all(text.strip() for text in backend.sources.values())
