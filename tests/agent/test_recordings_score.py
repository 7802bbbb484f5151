"""Every field that people found in recorded outputs of makers' tools, our decoders find.

The recordings are not ours and not here: ULLAGE_SHARED names the folder that holds ``recordings`` (by
default ``../shared`` beside the checkout). Without it, the fixtures of our own are what is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("ULLAGE_SHARED") or ROOT.parent / "shared")
RECORDINGS = SHARED / "recordings"


def _makers() -> list[str]:
    if not RECORDINGS.is_dir():
        return []
    return sorted(path.name for path in RECORDINGS.iterdir() if any(path.glob("*.expected.json")))


@pytest.fixture(scope="module")
def score() -> tuple[dict[str, Any], str]:
    """The benchmark's figures and what it printed of differences."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/recordings.py"), str(RECORDINGS), "--verbose"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *differences, last = done.stdout.splitlines()
    return json.loads(last)["figures"], "\n".join(differences)


@pytest.mark.skipif(not _makers(), reason=f"no recordings in {RECORDINGS}: set ULLAGE_SHARED")
@pytest.mark.parametrize("maker", _makers() or ["none"])
def test_every_expected_field_of_every_recording_is_found(
    maker: str, score: tuple[dict[str, Any], str]
) -> None:
    figures, differences = score
    found = figures[maker]
    assert found["recordings"] > 0
    wrong = [line for line in differences.splitlines() if line.startswith((f"{maker}/", "    "))]
    assert (found["right"], found["whole"]) == (found["fields"], found["recordings"]), "\n".join(wrong[:40])


@pytest.mark.skipif(not _makers(), reason=f"no recordings in {RECORDINGS}: set ULLAGE_SHARED")
def test_the_whole_is_the_sum_of_the_makers(score: tuple[dict[str, Any], str]) -> None:
    figures = dict(score[0])
    total = figures.pop("total")
    assert figures.keys() == set(_makers())
    assert total["fields"] == sum(one["fields"] for one in figures.values())
    assert total["ratio"] == 1.0
