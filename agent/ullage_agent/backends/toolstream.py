"""A maker's tool that prints for ever (``neuron-monitor``, ``hl-smi -l 3``): started once, read line by line.

Never a process spawn per sample. It runs inside the maker's child, so its hang is that maker's alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Final

from ullage_contract.errors import Broken, NotPermitted, NotPresent, ReadingError

MAX_LINE_BYTES: Final = 4 * 1024 * 1024  # our choice: because neuron-monitor prints a whole report on a line
RESTART_SECONDS: Final = 30.0  # our choice: because a tool that just died will mostly die again


def find_tool(name: str, folders: Sequence[str] = (), setting: object = None) -> str:
    """Where a maker's tool is: the setting's path, else in ``folders``, else on PATH, else the bare name.

    Not shutil.which: it imports archive modules that a child would pay for.
    """
    if isinstance(setting, str) and setting:
        return setting
    for folder in (*folders, *os.environ.get("PATH", "").split(":")):
        path = f"{folder}/{name}"
        if folder and os.access(path, os.X_OK):
            return path
    return name


class ToolStream:
    """The newest output of a tool that goes on printing.

    argv: program and arguments. block_end: a line that ends a block; None: each line is a block.
    fresh_seconds: a block older than this is not given any more.
    """

    def __init__(
        self, argv: Sequence[str], *, block_end: str | None = None, fresh_seconds: float = 30.0
    ) -> None:
        self._argv = list(argv)
        self._block_end = block_end
        self._fresh_seconds = fresh_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._block: str | None = None
        self._block_at = 0.0
        self._started_at = float("-inf")
        self._refused: ReadingError | None = None

    def latest(self, wait_seconds: float = 0.0) -> str:
        """The newest complete block. Starts the tool when it does not run.

        Raises NotPresent when the tool is not installed, NotPermitted, Broken when it printed nothing lately.
        """
        self._ensure()
        until = time.monotonic() + wait_seconds
        while True:
            with self._lock:
                if self._block is not None and time.monotonic() - self._block_at <= self._fresh_seconds:
                    return self._block
            if time.monotonic() >= until:
                raise Broken(f"{self._argv[0]} printed nothing for {self._fresh_seconds:g} s")
            time.sleep(0.05)

    @property
    def ended(self) -> bool:
        """Whether the tool was started and is over: it refused its arguments, or died."""
        return self._process is not None and self._process.poll() is not None

    def close(self) -> None:
        """End the tool. Never raises."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            with contextlib.suppress(OSError):
                process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)

    def _ensure(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        if time.monotonic() - self._started_at < RESTART_SECONDS:
            if self._refused is not None:
                raise type(self._refused)(str(self._refused))
            if self._block is None:
                raise Broken(f"{self._argv[0]} ended; it is started again in {RESTART_SECONDS:g} s")
            return
        self._started_at = time.monotonic()
        self._refused = None
        try:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError as e:
            self._refused = NotPresent(f"{self._argv[0]} is not installed")
            raise self._refused from e
        except PermissionError as e:
            self._refused = NotPermitted(f"{self._argv[0]} may not be run by this user")
            raise self._refused from e
        threading.Thread(target=self._follow, args=(self._process,), daemon=True).start()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        lines: list[str] = []
        held = 0
        for raw in iter(lambda: process.stdout.readline(MAX_LINE_BYTES), b""):  # type: ignore[union-attr]
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if self._block_end is None:
                self._publish(line)
                continue
            lines.append(line)
            held += len(line)
            if line.strip() == self._block_end:
                self._publish("\n".join(lines))
                lines, held = [], 0
            elif held > MAX_LINE_BYTES:
                lines, held = [], 0

    def _publish(self, block: str) -> None:
        with self._lock:
            self._block = block
            self._block_at = time.monotonic()
