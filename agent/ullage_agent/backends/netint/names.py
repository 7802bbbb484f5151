"""Which of NETINT's PCI functions are video processing units, and which generation's tool speaks to them."""

from __future__ import annotations

from typing import Final

VENDOR: Final = "1d82"
STORAGE: Final = frozenset({"0101", "0102"})
"""NETINT's plain SSDs (D400, D408; pci.ids 2026-10): no cards of ours."""
LOGAN: Final = frozenset({"0202"})
"""T408 (Codensity G4, "Logan"), which ni_rsrc_mon_logan lists; everything newer is Quadra's ni_rsrc_mon."""
