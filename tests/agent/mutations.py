"""Random damage to a tool's output, as hypothesis draws it: what a decoder must survive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ullage_agent.backend import Decoded
from ullage_contract.errors import BadInput

_PIECES = ("", "|", ",", ":", "{", "}", "[", "]", "\n", "\r\n", "\t", "N/A", "-1", "99999999999999999999", "\x00", "，", '"', "+--+", "e9", "%")  # fmt: skip


def survives(decode: Callable[[str], Decoded], texts: list[str], examples: int = 150) -> None:
    """``decode`` of damaged texts raises nothing but BadInput, and what it gives is whole."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        text=st.sampled_from(texts),
        cuts=st.lists(
            st.tuples(
                st.integers(0, 4000), st.integers(0, 60), st.sampled_from(_PIECES) | st.text(max_size=6)
            ),
            max_size=8,
        ),
    )
    def check(text: str, cuts: list[tuple[int, int, str]]) -> None:
        for at, length, piece in cuts:
            at %= max(1, len(text))
            text = text[:at] + piece + text[at + length :]
        try:
            decoded: Any = decode(text)
        except BadInput:
            return
        assert isinstance(decoded, Decoded)
        for card in decoded.cards:
            assert all(value is not None for value in card.values.values())

    check()
