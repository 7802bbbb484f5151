"""A real ``ullage-collector serve`` process for tests: started, spoken to, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class CollectorProcess:
    """One process on an ephemeral port of 127.0.0.1. Its log is DIR/collector.log."""

    def __init__(self, directory: Path, *, config: str = "") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "collector.toml"
        # Small segments, so that kills also land on rotations and removals.
        self._config.write_text(
            '[listen]\naddress = "127.0.0.1:0"\n[receive]\nsegment_bytes = 262144\nreserve_bytes = 0\n'
            + config
        )
        self.log = directory / "collector.log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, timeout_seconds: float = 60.0) -> None:
        """Start and wait until requests are answered."""
        lock = self.directory / "collector" / "lock"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ullage_collector", "serve"),
                    *("--data", str(self.directory), "--config", str(self._config)),
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                found = json.loads(lock.read_text())
                if found["pid"] == self._process.pid:
                    self.port = found["port"]
                    return
            except (OSError, ValueError, KeyError):
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the collector did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def ensure_ended(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
