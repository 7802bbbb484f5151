"""A maker's own diagnosis, or any command the site names for ``compute`` and ``diagnose``: run, and judged by its exit code.

The program and its arguments are the local file's. Its last lines are kept as the reason, without control
characters. Not here: deadlines (process.py).
"""

from __future__ import annotations

import os
import selectors
import subprocess
from collections.abc import Sequence
from typing import Final

from ullage_agent.probes.verdict import Found, failed, passed, refused

KEPT_BYTES: Final = 4096  # our choice: because a diagnosis says its verdict last
SHOWN_CHARACTERS: Final = 240
LOOK_SECONDS: Final = 0.1


def run(argv: Sequence[str], *, good: Sequence[int], not_run: Sequence[int]) -> Found:
    """Run it to its end. Refused when it cannot be started, or says by its exit code that it could not run."""
    try:
        process = subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
        )
    except OSError as e:
        return refused(f"{argv[0]}: {e.strerror}")
    said = _last_line(_tail(process))
    status = process.wait()
    program = argv[0].rpartition("/")[2]
    if status in not_run:
        return refused(f"{program} could not run (exit code {status}): {said}", exit_code=status)
    if status in good:
        return passed(f"{program} found nothing wrong: {said}", exit_code=status)
    return failed(f"{program} ended with {status}: {said}", exit_code=status)


def _tail(process: subprocess.Popen[bytes]) -> bytes:
    """The last of what it says until it ends; what it leaves running does not hold us."""
    assert process.stdout is not None
    pipe, tail = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            if not selector.select(0.0 if ended else LOOK_SECONDS):
                if ended:
                    return tail
                continue
            piece = os.read(pipe, 8192)
            if not piece:
                return tail
            tail = (tail + piece)[-KEPT_BYTES:]


def _last_line(tail: bytes) -> str:
    lines = [line for line in tail.decode("utf-8", "replace").splitlines() if line.strip(" |+-=\t")]
    text = lines[-1] if lines else "it said nothing"
    return " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())[:SHOWN_CHARACTERS]
