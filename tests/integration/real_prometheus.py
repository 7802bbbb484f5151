"""A real Prometheus on a free port of this machine: scraping what it is told, or standing on a history that is given."""

from __future__ import annotations

import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from whole_stack import free_port, wait_for

MISSING = shutil.which("prometheus") is None or shutil.which("promtool") is None


class RealPrometheus:
    """One process; ``close`` ends it. targets: (address, metrics path, labels), scraped four times a second."""

    def __init__(
        self,
        folder: Path,
        *,
        targets: Sequence[tuple[str, str, Mapping[str, str]]] = (),
        history: str | None = None,
    ) -> None:
        """history: OpenMetrics text with times, as ``promtool tsdb create-blocks-from openmetrics`` reads it."""
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / "data"
        if history is not None:
            text = folder / "history.om"
            text.write_text(history + "# EOF\n", encoding="utf-8")
            command = [
                "promtool",
                "tsdb",
                "create-blocks-from",
                "openmetrics",
                "--quiet",
                str(text),
                str(data),
            ]
            made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert made.returncode == 0, made.stderr
        jobs = "".join(
            f"- job_name: job{number}\n  metrics_path: {path}\n  static_configs:\n  - targets: ['{address}']\n"
            f"    labels: {{{', '.join(f'{k}: {v!r}' for k, v in labels.items())}}}\n"
            for number, (address, path, labels) in enumerate(targets)
        )
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 250ms, scrape_timeout: 250ms}\n"
            + (f"scrape_configs:\n{jobs}" if jobs else ""),
            encoding="utf-8",
        )
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}"),
                *(f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.retention.time=100y"),
            ],
            stdout=self._log,
            stderr=self._log,
        )
        wait_for("Prometheus", self._ready)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def close(self) -> None:
        """End it, as a site's own stop would."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
        self._log.close()
