"""AMD Instinct and Radeon."""

from __future__ import annotations

from ullage_agent.backend import Backend

backend = Backend(name="amd", title="AMD", decoder="ullage_agent.backends.amd.decode:decode")
