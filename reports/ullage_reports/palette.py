"""Colours of the seven states and of the page. One table, for charts, HTML and PDF alike.

The state colours keep a CIE76 distance of at least 31 from each other as seen with normal, protan, deutan and
tritan eyes (our measurement: linear RGB through Machado's matrices at full severity, all 21 pairs; the nearest
pair is 31.0; an orange for fragmented would be 15 from held-but-idle). They never stand alone: every chart
names its parts in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STATE_COLOURS: Final[Mapping[str, str]] = {
    "used": "#56a0e0",
    "allocated_idle": "#ffcf4d",
    "unallocated_idle": "#c6d0da",
    "fragmented": "#fe907e",
    "faulty": "#d7301f",
    "isolated": "#4b1d73",
    "unknown": "#6b737c",
}

INK: Final = "#14202b"
"""Text on white: contrast 16:1."""
MUTED: Final = "#54616e"
"""Second-rank text on white: contrast 6.3:1, above the 4.5:1 of WCAG 2.2 AA."""
RULE: Final = "#d5dce3"
PAPER: Final = "#ffffff"
ACCENT: Final = "#1f5f99"
"""Bars that stand for no state: cost by department, trend."""
ACCENT_PALE: Final = "#dbe8f4"
ALERT: Final = "#b3261e"

HEAT: Final = ("#eef4fa", "#cfe0f0", "#a3c6e4", "#6ca4d2", "#3b7fb8", "#1f5f99", "#123f6b")
"""Seven steps, light to dark, so that a grey print keeps the order."""


def ink_on(colour: str) -> str:
    """Black-blue or white, whichever reads better on ``colour`` (``#rrggbb``): WCAG relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # our choice: 0.18 is where white on the colour and ink on the colour have the same contrast
    return INK if luminance > 0.18 else PAPER
