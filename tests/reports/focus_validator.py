"""The FinOps Foundation's validator, where one is named: the command in ULLAGE_FOCUS_CHECK with {} for the file. Not a test."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest

COMMAND: Final = os.environ.get("ULLAGE_FOCUS_CHECK")
where_named: Final = pytest.mark.skipif(
    COMMAND is None,
    reason="ULLAGE_FOCUS_CHECK names no validator: a command with {} for the file, exit 0 where it is valid FOCUS 1.2",
)


def check(file: Path) -> None:
    """Fails with what the validator says of a file that it does not pass."""
    assert COMMAND is not None
    done = subprocess.run(
        [part.replace("{}", str(file)) for part in shlex.split(COMMAND)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
