"""Whether what the makers' descriptions name as texts is there: each ``module:name`` is imported in a child process.

For ``ullage-agent backends``: a misspelt reader would else show only where its hardware is. Nothing is called and no
library is opened, and what an import loads, prints or breaks stays in the child. Not here: what a backend must keep
to beyond that (ullage_agent.conformance).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from ullage_agent import registry
from ullage_agent.backend import Backend

IMPORT_SECONDS: Final = 30.0  # our choice: because all of ours take one second together on a slow machine

Wanted = tuple[str, str, str]
"""(maker, reader | decoder | kernel_log | detector, its ``module:name``)."""


def problems(backends: Sequence[Backend]) -> dict[str, list[str]]:
    """Maker -> what it names and is not there, one line each; makers without trouble are left out.

    An import that ends its process or does not return is told of the one that did, and the others are tried.
    """
    wanted: list[Wanted] = [
        (backend.name, what, text)
        for backend in backends
        for what in ("reader", "decoder", "kernel_log", "detector")
        if (text := getattr(backend, what)) is not None
    ]
    found: dict[str, list[str]] = {}
    while wanted:
        answers, end = _tried(wanted)
        if len(answers) < len(wanted):
            answers.append(end)
        for (maker, what, text), problem in zip(wanted, answers, strict=False):
            if problem is not None:
                found.setdefault(maker, []).append(f"{what} {text}: {problem}")
        wanted = wanted[len(answers) :]
    return found


def _tried(wanted: Sequence[Wanted]) -> tuple[list[str | None], str]:
    """A problem or None for each that was tried, in order, and why it stopped there."""
    command = [sys.executable, "-P", "-m", "ullage_agent.commands.imports"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(wanted).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=IMPORT_SECONDS,
            check=False,
        )
        said, code = done.stdout, done.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
        end = f"importing it ended the process ({how})"
    except subprocess.TimeoutExpired as e:
        said, end = e.stdout or b"", f"importing it did not end within {IMPORT_SECONDS:.0f} s"
    except OSError as e:
        return [], f"no process could be started to try it: {e}"
    answers: list[str | None] = [json.loads(line) for line in said.split(b"\n")[:-1]]
    return answers[: len(wanted)], end


def _problem(what: str, text: str) -> str | None:
    """Why ``text`` is no reader, decoder, detector or list of patterns, or None."""
    try:
        found: Any = registry.resolve(text)
    except Exception as e:  # a stranger's module may raise anything
        return " ".join(f"{type(e).__name__}: {e}".split())[:300]
    except SystemExit as e:
        return f"its module called exit({e.code})"
    if what != "kernel_log":
        return None if callable(found) else f"it is a {type(found).__name__}, which cannot be called"
    try:
        for pattern in found:
            re.compile(pattern.regex)
    except Exception as e:  # likewise
        return " ".join(f"{type(e).__name__}: {e}".split())[:300]
    return None


def main() -> int:
    """The child: a line of JSON for each of what stands on stdin, as soon as it is known."""
    answers = os.dup(1)
    os.dup2(2, 1)  # a module that prints must not write into the answers
    for _, what, text in json.load(sys.stdin):
        os.write(answers, json.dumps(_problem(what, text)).encode() + b"\n")
    return 0


if __name__ == "__main__":
    os._exit(main())  # what was imported may hang at exit
