"""Hygon DCU."""

from __future__ import annotations

from ullage_agent.backend import Backend

backend = Backend(name="hygon", title="Hygon DCU", decoder="ullage_agent.backends.hygon.decode:decode")
