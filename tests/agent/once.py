"""``ullage-agent once --json`` as an operator runs it: the real command, the real children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.agent import proof


def once(place: Path, config: str, **environment: str) -> str:
    """What it prints under this configuration, as one line of JSON; fails the test with its errors.

    place: a directory for the configuration and the data. environment: added to ours, as the emulators ask.
    """
    file = place / "agent.toml"
    file.write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "ullage_agent", "once", "--json", "--config", str(file)]
    done = subprocess.run(
        [*command, "--data", str(place / "data")],
        capture_output=True,
        text=True,
        timeout=120,  # our choice: because a maker's start may wait its whole deadline on a busy machine
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    for card in document["cards"]:
        proof.WATCH.values(card["values"])
    return json.dumps(document)
