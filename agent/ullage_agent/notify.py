"""Telling systemd how we do: READY, WATCHDOG, STATUS (sd_notify(3)). Nothing happens without systemd."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class ServiceNotifier:
    """environ: the process's, or a test's. A socket that is gone is not our trouble."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        env = os.environ if environ is None else environ
        address = env.get("NOTIFY_SOCKET", "")
        if address.startswith("@"):
            address = "\0" + address[1:]
        self._address = address

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self, status: str) -> None:
        """Once a tick: the watchdog's food, and the line ``systemctl status`` shows."""
        self._send(f"WATCHDOG=1\nSTATUS={' '.join(status.split())[:200]}")

    def reloading(self, monotonic_seconds: float) -> None:
        """Followed by ``ready`` when done (Type=notify-reload wants the time)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_seconds * 1e6)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
                door.sendto(text.encode("utf-8"), self._address)
        except OSError:
            pass
