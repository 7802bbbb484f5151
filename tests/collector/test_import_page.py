"""The page on importing is held to the code: each map in it is one, and each word of a map is on it."""

from __future__ import annotations

import re
from pathlib import Path

from ullage_collector.imports import map as maps

PAGE = (Path(__file__).parents[2] / "docs" / "importing.md").read_text(encoding="utf-8")


def test_every_map_on_the_page_is_one() -> None:
    fences = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(fences) == 4
    kinds = [
        kind for number, text in enumerate(fences) for kind in maps.parse(text, f"fence {number}").kinds()
    ]
    assert sorted(kinds) == sorted(maps.KINDS)


def test_every_life_and_place_is_on_the_page() -> None:
    for word in (*maps.LIVES, "named", "first_fit", "span_of_rows", "offset_seconds", "also", "encoding"):
        assert word in PAGE, word
