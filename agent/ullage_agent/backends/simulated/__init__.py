"""Simulated cards of five makers, for demonstrations and for tests of everything behind the agent.

Never detected, only configured, and every row says origin ``simulated``; card ids begin with ``SIM-``.

    [backends.simulated]
    enabled = true
    cards = 8
    model = "mixed"            # or one of models.MODELS, e.g. "NVIDIA H800"
    seed = 1
    ports = 8                  # RDMA ports; 0 for none
    faults = "xid card=0 code=79 after=60; lost card=3 after=120 for=300"
    control_file = "/run/ullage/faults"   # the same words, one a line, read while running

Faults: faults.py. How values move: dynamics.py. Which cards: models.py.
"""

from __future__ import annotations

from ullage_agent.backend import Backend
from ullage_agent.backends.simulated.sources import SOURCES

backend = Backend(
    name="simulated",
    title="Simulated cards",
    reader="ullage_agent.backends.simulated.reader:open_reader",
    sources=SOURCES,
    simulated=True,
)
