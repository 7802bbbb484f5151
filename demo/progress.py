"""A progress bar on stderr: one line that moves on a terminal, one line a step elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

WIDTH = 28


class Steps:
    """The demonstration's steps. total: how many ``step`` calls there will be."""

    def __init__(self, total: int, out: TextIO = sys.stderr) -> None:
        self._total = total
        self._done = 0
        self._out = out
        self._moving = out.isatty()
        self._began = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One step; its line says how long it took."""
        self._draw(title)
        began = time.monotonic()
        yield
        self._done += 1
        took = time.monotonic() - began
        if self._moving:
            self._draw(title)
            self._out.write("\n")
        self._say(f"  {title}: {took:.1f} s") if not self._moving else None

    def close(self) -> None:
        """The last line."""
        self._say(f"  done in {time.monotonic() - self._began:.0f} s")

    def _say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def _draw(self, title: str) -> None:
        if not self._moving:
            return
        filled = round(WIDTH * self._done / self._total)
        line = f"\r  [{'#' * filled}{'.' * (WIDTH - filled)}] {title}"
        columns = shutil.get_terminal_size().columns
        self._out.write(line[: columns - 1].ljust(columns - 1))
        self._out.flush()
