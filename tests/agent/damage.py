"""Random damage to a text, as pipes, editors and copying do it, for decoders that must never crash."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from ullage_agent.backend import Decoded
from ullage_contract.errors import BadInput

SPICE = [
    "",
    " ",
    "|",
    "\t",
    "\r\n",
    "N/A",
    "-1",
    "{",
    "}",
    '"',
    "99999999999999999999999",
    "\x00",
    "…",
    ":",
    "%",
    "null",
]


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """The text with up to six places cut out, doubled or overwritten."""
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.sampled_from([0, 1, 2, 5, 30, 200, 10_000])))
        fresh = draw(st.sampled_from([*SPICE, text[start:stop] * 2]))
        text = text[:start] + fresh + text[stop:]
    return text


def survives(decode: Callable[[str], Decoded], text: str) -> None:
    """It decodes or refuses with BadInput and a message; whatever else it raises fails the test."""
    try:
        decoded = decode(text)
    except BadInput as e:
        assert str(e)
        return
    for card in decoded.cards:
        for key, value in card.values.items():
            assert value is not None and value == value, f"{key} is {value!r}"
