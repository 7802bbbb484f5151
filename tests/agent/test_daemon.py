"""The daemon: one a directory, ended and reloaded by signals between ticks, never by anything it reads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ullage_agent.daemon import lock
from ullage_agent.notify import ServiceNotifier
from ullage_contract.errors import ConfigError

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts real agents with a one-second tick; ends them afterwards."""
    running: list[subprocess.Popen[str]] = []
    file = tmp_path / "agent.toml"

    def begin(text: str = "", **environ: str) -> subprocess.Popen[str]:
        file.write_text(
            f'cluster = "c1"\nnode = "n1"\n[sampling]\nfast_seconds = 1\n[metrics]\nlisten = "off"\n{text}'
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "ullage_agent", "run", "--config", str(file), "--data", str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ},
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def _state(tmp_path: Path) -> dict[str, object]:
    try:
        return dict(json.loads((tmp_path / "agent/state.json").read_text()))
    except FileNotFoundError:
        return {}


def test_it_ticks_until_it_is_told_to_end(start: Start, tmp_path: Path) -> None:
    process = start()
    _until(lambda: bool(_state(tmp_path)))
    first = _state(tmp_path)["time"]
    _until(lambda: _state(tmp_path)["time"] != first)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not _state(tmp_path), "no state that looks alive is left"


def test_a_second_agent_on_one_directory_is_refused(start: Start, tmp_path: Path) -> None:
    first = start()
    _until(lambda: bool(_state(tmp_path)))
    second = start()
    assert second.wait(20) == 2
    assert second.stderr is not None
    assert f"in use by the agent with pid {first.pid}" in second.stderr.read()


def test_a_reload_takes_new_settings_and_refuses_wrong_ones(start: Start, tmp_path: Path) -> None:
    process = start()
    _until(lambda: bool(_state(tmp_path)))
    file = tmp_path / "agent.toml"
    before = file.read_text()
    file.write_text(before.replace('node = "n1"', 'node = "n2"'))
    process.send_signal(signal.SIGHUP)
    _until(lambda: _state(tmp_path).get("node") == "n2")
    file.write_text(before.replace('node = "n1"', "node = 3"))
    process.send_signal(signal.SIGHUP)
    stamp = _state(tmp_path)["time"]
    _until(lambda: _state(tmp_path)["time"] != stamp)
    assert _state(tmp_path)["node"] == "n2"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.stderr is not None
    assert "the settings stay as they were" in process.stderr.read()


def test_systemd_is_told_when_it_is_ready_and_alive(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        door.settimeout(20)
        process = start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert door.recv(1000) == b"READY=1"
        assert door.recv(1000).startswith(b"WATCHDOG=1\nSTATUS=0 cards, tick ")
        process.send_signal(signal.SIGTERM)
        while (said := door.recv(1000)) != b"STOPPING=1":
            assert said.startswith(b"WATCHDOG=1")


def test_a_service_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    ServiceNotifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    ServiceNotifier({}).alive("fine")


def test_healthz_and_metrics_are_served(start: Start, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start()
    _until(lambda: bool(_state(tmp_path)))
    file = tmp_path / "agent.toml"
    file.write_text(file.read_text().replace('"off"', f'"127.0.0.1:{port}"'))
    process.send_signal(signal.SIGHUP)

    def answer(path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return str(response.read().decode())
        except OSError:
            return ""

    _until(lambda: answer("/healthz").startswith("ok"))
    _until(lambda: 'ullage_source_success{source="host"} 1' in answer("/metrics"))


def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="give another place with --data"), lock(tmp_path / "file/agent"):
        pass


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with lock(tmp_path / "agent"), pytest.raises(ConfigError, match="in use"), lock(tmp_path / "agent"):
        pass
    with lock(tmp_path / "agent"):
        pass
