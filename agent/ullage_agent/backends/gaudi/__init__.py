"""Intel Gaudi."""

from __future__ import annotations

from ullage_agent.backend import Backend

backend = Backend(name="gaudi", title="Intel Gaudi", decoder="ullage_agent.backends.gaudi.decode:decode")
