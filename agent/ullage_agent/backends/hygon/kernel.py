"""Kernel log lines of Hygon's drivers (hycu, hydcu), which descend from amdgpu and keep its texts.

Seen on no machine of ours: the texts are amdgpu's, the driver names are from the makers' packages.
"""

from __future__ import annotations

from typing import Final

from ullage_agent.backends.amd.kernel import patterns

PATTERNS: Final = patterns("hycu|hydcu|hydrm", "hygon")
