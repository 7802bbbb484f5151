"""The unit file is one systemd takes, and it keeps what the README says of it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "agent/ullage-agent.service"


@pytest.fixture
def service() -> configparser.SectionProxy:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(UNIT)
    return parsed["Service"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/ullage/bin/ullage-agent", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "ullage" in line]
    assert not ours, done.stderr


def test_it_may_read_the_kernel_log_and_nothing_else(service: configparser.SectionProxy) -> None:
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_SYSLOG"
    assert service["NoNewPrivileges"] == "yes"
    assert "ProtectKernelLogs" not in service and "PrivateDevices" not in service


def test_a_killed_child_does_not_stop_the_service_and_memory_is_bounded(
    service: configparser.SectionProxy,
) -> None:
    assert service["OOMPolicy"] == "continue"
    assert service["MemoryMax"] == "512M"
    assert service["KillMode"] == "mixed"
