"""The page on importing is held to the code: each map in it is one, and each word of a map is on it."""

from __future__ import annotations

import re
from pathlib import Path

from ullage_collector import mapping
from ullage_collector.imports import departments, fetch_json, fetch_ldap
from ullage_collector.imports import map as maps

PAGE = (Path(__file__).parents[2] / "docs" / "importing.md").read_text(encoding="utf-8")


FENCES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_every_map_of_departments_on_the_page_is_one() -> None:
    maps_of = [departments.parse(text, "page") for text in FENCES if "[departments]" in text]
    assert len(maps_of) == 3
    for spec in maps_of:
        fetch_json.read_spec(spec.rest["http"])
        if spec.rest["ldap"].content:
            fetch_ldap.read_spec(spec.rest["ldap"], spec)


def test_every_kind_of_pattern_is_on_the_page() -> None:
    table = PAGE.split("### What a rule can match")[1].split("## Departments")[0]
    assert set(re.findall(r"`([a-z0-9]+):", table)) == set(mapping.KINDS)


def test_every_map_on_the_page_is_one() -> None:
    fences = [text for text in FENCES if "[departments]" not in text]
    assert len(fences) == 4
    kinds = [
        kind for number, text in enumerate(fences) for kind in maps.parse(text, f"fence {number}").kinds()
    ]
    assert sorted(kinds) == sorted(maps.KINDS)


def test_every_life_and_place_is_on_the_page() -> None:
    for word in (*maps.LIVES, "named", "first_fit", "span_of_rows", "offset_seconds", "also", "encoding"):
        assert word in PAGE, word
