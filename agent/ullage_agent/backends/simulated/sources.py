"""Where simulated values come from: nowhere but the equations."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from ullage_agent.backends.simulated.models import MODELS

SOURCES: Final = MappingProxyType(
    {key: "simulation" for key in sorted({key for model in MODELS.values() for key in model.keys})}
)
