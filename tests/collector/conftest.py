"""Fixtures of several files of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.collector.serving_world import NOON, ServingStore

from ullage_collector.config import Store as StoreSettings
from ullage_collector.store.store import Store
from ullage_contract.clock import ManualClock


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with nothing in it, to be copied."""
    made = tmp_path_factory.mktemp("empty") / "store.duckdb"
    Store.open(made, StoreSettings(threads=1), ManualClock(wall=NOON)).close()
    return made


@pytest.fixture
def served(tmp_path: Path, empty_store: Path) -> Iterator[ServingStore]:
    """Pods that hold cards, and a watch on a made Prometheus."""
    made = ServingStore(tmp_path, empty_store)
    yield made
    made.store.close()
