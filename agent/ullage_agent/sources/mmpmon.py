"""Bytes read and written over GPFS (IBM Storage Scale, and CPFS which is built on it).

GPFS shows no counters in /proc or /sys; its own ``mmpmon`` prints them and must be run by root. One
run a minute asks once for all file systems ("fs_io_s", parseable output "-p": keywords in underscores,
as IBM's documentation of mmpmon gives them).
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

COMMAND: Final = Path("/usr/lpp/mmfs/bin/mmpmon")
DEADLINE_SECONDS: Final = (
    3.0  # our choice: it asks a local daemon and answers in milliseconds; a sick daemon may not
)
MAX_FAILURES: Final = (
    3  # our choice: a node without rights or a daemon would otherwise pay for a process a minute
)


class Mmpmon:
    """Runs ``command`` while it works; after three failures in a row it is left alone until ``reset``."""

    def __init__(
        self, command: Path = COMMAND, *, is_root: Callable[[], bool] = lambda: os.geteuid() == 0
    ) -> None:
        self._command = command
        self._is_root = is_root
        self._failures = 0

    def reset(self) -> None:
        """Try again."""
        self._failures = 0

    def read(self) -> dict[str, tuple[int, int]]:
        """(read, written) bytes since mount by file system; empty where there is no GPFS or it does not answer."""
        if self._failures >= MAX_FAILURES or not self._is_root() or not self._command.exists():
            return {}
        try:
            done = subprocess.run(
                [str(self._command), "-p"],
                input="fs_io_s\n",
                capture_output=True,
                text=True,
                errors="replace",
                timeout=DEADLINE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            self._failures += 1
            log.warning(
                "mmpmon did not answer (%d of %d): %s", self._failures, MAX_FAILURES, type(e).__name__
            )
            return {}
        found = parse(done.stdout)
        self._failures = 0 if found else self._failures + 1
        return found


def parse(text: str) -> dict[str, tuple[int, int]]:
    """``_fs_io_s_ _n_ IP ... _cl_ CLUSTER _fs_ NAME _d_ 2 _br_ READ _bw_ WRITTEN ...``, one line a file system."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] != "_fs_io_s_":
            continue
        pairs = dict(zip(words[1::2], words[2::2], strict=False))
        read, written = pairs.get("_br_", ""), pairs.get("_bw_", "")
        if pairs.get("_rc_", "0") == "0" and "_fs_" in pairs and read.isdecimal() and written.isdecimal():
            found[f"{pairs.get('_cl_', '')}/{pairs['_fs_']}"] = (int(read), int(written))
    return found
