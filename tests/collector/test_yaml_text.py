"""YAML of others: read as YAML says, refused by line where it is odd, and never a way to fill the memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_collector.yaml_text import read_yaml
from ullage_contract.errors import BadInput


def test_scalars_are_yaml_s_or_plain_text_as_asked() -> None:
    text = "a: true\nb: 012\nc: [on, ~]\nd: |\n  x\n  y\n"
    assert read_yaml(text, "f") == {"a": True, "b": 10, "c": [True, None], "d": "x\ny\n"}
    assert read_yaml(text, "f", plain=True) == {"a": "true", "b": "012", "c": ["on", "~"], "d": "x\ny\n"}
    assert read_yaml("", "f") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x b\n", "f: line 1: anchors"),
        ("a: 1\nb: *x\n", "f: line 2: "),
        ("a: !!str b\n", "f: line 1: tags"),
        ("a: !ruby/object:X {}\n", "f: line 1: tags"),
        ("\ta: b\n", "f: line 1: "),
        ("a: b\n---\nc: d\n", "f: line 2: one document"),
        ("a: b\n   c: d\n", "f: line 2: "),
        ("a: b\na: c\n", "f: line 2: 'a' is there twice"),
        ("a: 'b\n", "f: line 2: "),
        ("[" * 40, "f: line 1: nested deeper"),
        ("? [a]\n: b\n", "f: line 1: a list or mapping as a key"),
        ("a: \x00\n", "f: not YAML"),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_what_is_odd_is_refused_by_its_line(text: str, said: str, plain: bool) -> None:
    with pytest.raises(BadInput) as caught:
        read_yaml(text, "f", plain=plain)
    assert str(caught.value).startswith(said)


def test_laughs_by_the_billion_are_refused_before_they_are_told() -> None:
    text = "a: &a [x]\n" + "".join(
        f"{n}: &{n} [*{m}, *{m}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(BadInput, match="anchors"):
        read_yaml(text, "f")


@given(st.text(max_size=200))
def test_any_text_is_read_or_bad_input(text: str) -> None:
    try:
        read_yaml(text, "f")
    except BadInput:
        pass
