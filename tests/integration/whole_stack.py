"""A collector and an agent as processes on this machine, for tests that follow one sample the whole way."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from collector_process import CollectorProcess

T = TypeVar("T")


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ask: Callable[[], T | None], seconds: float = 60.0) -> T:
    """The first answer of ``ask`` that is neither None nor empty; fails naming ``what`` after ``seconds``."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = ask()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class WholeStack:
    """Started by ``start``; everything is below ``folder``. faults: the simulated cards' control file.

    agent_config: more tables of agent.toml.
    """

    def __init__(
        self, folder: Path, *, cards: int = 4, collector_config: str = "", agent_config: str = ""
    ) -> None:
        self.folder = folder
        self.collector = CollectorProcess(folder / "collector", config=collector_config)
        self.metrics_port = free_port()
        self.faults = folder / "faults"
        self.faults.touch()
        self._cards = cards
        self._agent_config = agent_config
        self._agent: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Both processes; returns when both answer."""
        self.collector.start()
        self.start_agent()

    def start_agent(self) -> None:
        """The agent alone, again after ``stop_agent``."""
        config = self.folder / "agent.toml"
        config.write_text(
            'cluster = "lab"\nnode = "sim-1"\n'
            "[sampling]\nfast_seconds = 1\nslow_seconds = 2\ntick_budget_seconds = 1\ncall_deadline_seconds = 0.5\n"
            "[sources]\nkernel_log = false\n"
            f'[metrics]\nlisten = "127.0.0.1:{self.metrics_port}"\n'
            f'[push]\nurl = "http://127.0.0.1:{self.collector.port}"\nbatch_seconds = 1\n'
            "[backends.nvidia]\nenabled = false\n"
            f'[backends.simulated]\nenabled = true\ncards = {self._cards}\nmodel = "NVIDIA H800"\nports = 2\n'
            f'control_file = "{self.faults}"\n' + self._agent_config,
            encoding="utf-8",
        )
        with (self.folder / "agent.log").open("ab") as log:
            self._agent = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "ullage_agent",
                    "--config",
                    str(config),
                    "--data",
                    str(self.folder / "a"),
                    "run",
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        wait_for("the agent's /metrics", self._agent_answers)

    def _agent_answers(self) -> str | None:
        assert self._agent is not None
        if self._agent.poll() is not None:
            raise AssertionError(f"the agent ended:\n{(self.folder / 'agent.log').read_text()[-2000:]}")
        return self.exposition(self.metrics_port)

    def stop_agent(self) -> None:
        if self._agent is not None and self._agent.poll() is None:
            self._agent.send_signal(signal.SIGTERM)
            self._agent.wait(30)

    def close(self) -> None:
        """End both."""
        self.stop_agent()
        self.collector.ensure_ended()

    def exposition(self, port: int) -> str | None:
        """The text of /metrics, None when nobody answers."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode()
            return text if answer.status == 200 else None
        except OSError:
            return None

    def api(self, path: str, *, post: Any = None) -> Any:
        """The JSON of an API route; a refusal is given as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.collector.port, timeout=30)
        body = None if post is None else json.dumps(post)
        headers = {} if post is None else {"Content-Type": "application/json"}
        connection.request("GET" if post is None else "POST", f"/api/v1/{path}", body, headers)
        return json.loads(connection.getresponse().read())

    def command(self, *arguments: str) -> str:
        """An ``ullage-collector`` command against this collector's data; its stdout."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ullage_collector", *arguments[:1]),
                *("--data", str(self.collector.directory), *arguments[1:]),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
