"""Names other people chose, made safe to print."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_contract.plain import MAX_LENGTH, names_alike, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("研发/语言", "研发/语言"),
        ("财务\u202egpj.exe", "财务gpj.exe"),
        ("\u2066a\u2069b\u200ec\u200f", "abc"),
        ("zero\u200bwidth\ufeff\u2060", "zerowidth"),
        ("two\r\nlines\tand\u2028more", "two lines and more"),
        ("bell\x07 and \x9bcsi", "bell and csi"),
        ("  much   room ", "much room"),
        ("e\u0301", "é"),
        ("z" + "\u0335" * 40, "z" + "\u0335" * 3),
        ("\U000e0041tag", "tag"),
        ("\ud800", "\ufffd"),
        (None, ""),
        (7, "7"),
    ],
)
def test_what_hides_or_reorders_is_gone(text: object, shown: str) -> None:
    assert plain(text) == shown


def test_what_is_long_ends_in_an_ellipsis() -> None:
    assert plain("x" * 5000) == "x" * (MAX_LENGTH - 1) + "…"
    assert len(plain("名" * 10, limit=5)) == 5


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\u202e\u2066\u200b\x00\x1b\r\n\t\u0301")))
def test_nothing_that_hides_is_left_and_it_changes_nothing_twice(text: str) -> None:
    shown = plain(text)
    assert plain(shown) == shown
    assert len(shown) <= MAX_LENGTH
    assert "\n" not in shown
    assert not [
        c
        for c in shown
        if unicodedata.category(c) == "Cc" or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"
    ]


def test_names_that_print_alike_are_told_apart_by_somebody() -> None:
    assert names_alike(["财务", "财务\u200b", "研发", "ＡＢ", "ab"]) == ["财务", "财务\u200b", "ＡＢ", "ab"]
