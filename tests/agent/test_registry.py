"""Makers come through entry points; one that cannot be loaded is reported and the others go on."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from ullage_agent import registry
from ullage_contract.errors import ConfigError


def _entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=registry.GROUP)


def test_a_broken_third_party_is_reported_and_never_fatal() -> None:
    found = registry.load(
        [
            _entry("fake", "fake_maker:backend"),
            _entry("gone", "no_such_package:backend"),
            _entry("nothing", "fake_maker:no_such_name"),
            _entry("wrong", "fake_maker:CARDS"),
            _entry("misnamed", "fake_maker:backend"),
            _entry("fake", "fake_maker:babbling"),
        ]
    )
    assert [b.name for b in found.backends] == ["fake"]
    told = {(b.name, b.entry): b.message for b in found.broken}
    assert "no_such_package" in told["gone", "no_such_package:backend"]
    assert "no_such_name" in told["nothing", "fake_maker:no_such_name"]
    assert "it is a tuple" in told["wrong", "fake_maker:CARDS"]
    assert "must have one name" in told["misnamed", "fake_maker:backend"]
    assert len(found.broken) == 5


def test_an_unknown_maker_lists_the_known() -> None:
    found = registry.load([_entry("fake", "fake_maker:backend"), _entry("gone", "no_such_package:backend")])
    assert found.named("fake").title == "Fake"
    with pytest.raises(ConfigError, match="known: fake"):
        found.named("other")
    with pytest.raises(ConfigError, match="no_such_package"):
        found.named("gone")


def test_a_text_that_is_no_place_says_so() -> None:
    with pytest.raises(ConfigError, match="module:name"):
        registry.resolve("fake_maker")
    with pytest.raises(ConfigError, match="has no nothing"):
        registry.resolve("fake_maker:nothing")
    assert registry.resolve("fake_maker:FakeReader.facts")


def test_ours_are_installed() -> None:
    assert "nvidia" in {b.name for b in registry.load().backends}
