"""One run of a site's own program or service that resets, reboots or asks for a replacement.

What it is told is data: a list of arguments without a shell, or a JSON body. A value that is not known, or that a program
could take for an option, is never filled in. Not here: whether it may be run (following.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from ullage_collector.isolate.follow_settings import Hook
from ullage_contract.errors import ActuatorError

MOST_SAID: Final = 1000  # our choice: because the last lines say why, and it stands in the audit
MAX_ANSWER_BYTES: Final = 64 * 1024


class Outcome(StrEnum):
    """How a run ended.

    DONE: it says so. ACCEPTED: somebody will do it. FAILED: it says that it could not. NOT_BEGUN: nothing was run or
    reached. UNKNOWN: it did not end in time, or was cut off: what it did by then nobody knows.
    """

    DONE = "done"
    ACCEPTED = "accepted"
    FAILED = "failed"
    NOT_BEGUN = "not_begun"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ended:
    """An outcome and what was said, on at most MOST_SAID characters."""

    outcome: Outcome
    said: str


@dataclass(frozen=True, slots=True)
class FollowCall:
    """A hook with its target filled in. argv or url; body: what a service is told; values: placeholders by name."""

    argv: tuple[str, ...]
    url: str | None
    body: Mapping[str, Any]
    timeout_seconds: float
    token: str | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """What is shown and audited: no secret."""
        if self.url is not None:
            return {"method": "POST", "url": self.url, "body": dict(self.body)}
        return {"command": list(self.argv)}


def call_of(hook: Hook, values: Mapping[str, Any]) -> FollowCall:
    """The hook for a target. values: by placeholder, None: not known. Raises ActuatorError where one is needed."""
    argv = []
    for part in hook.argv:
        if not part.startswith("{"):
            argv.append(part)
            continue
        name = part[1:-1]
        value = values.get(name)
        if value is None or value == "":
            raise ActuatorError(f"{part} is not known here: a person decides")
        text = str(value)
        if text.startswith("-") or any(not ch.isprintable() for ch in text):
            raise ActuatorError(f"{part} = {text[:80]!r} could be read as something else than a name")
        argv.append(text)
    body = {"schema_version": 1, "action": "follow", **{name: value for name, value in values.items()}}
    return FollowCall(tuple(argv), hook.url, body, hook.timeout_seconds, hook.token)


def run_call(call: FollowCall) -> Ended:
    """Run it, and wait for its end; everything that can go wrong is an outcome."""
    return _posted(call) if call.url is not None else _run(call)


def _run(call: FollowCall) -> Ended:
    with tempfile.TemporaryFile() as said:  # a pipe would stay open as long as any child of the program lives
        try:
            process = subprocess.Popen(
                call.argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as e:
            return Ended(Outcome.NOT_BEGUN, f"{call.argv[0]}: {e.strerror or e}")
        try:
            status = process.wait(call.timeout_seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Ended(Outcome.UNKNOWN, f"{call.argv[0]} did not end within {call.timeout_seconds:g} s")
        said.seek(max(0, said.seek(0, os.SEEK_END) - 4 * MOST_SAID))
        text = _plain(said.read().decode("utf-8", "replace"))
    if status < 0:
        return Ended(Outcome.UNKNOWN, f"{call.argv[0]} was ended by signal {-status}: {text}")
    if status:
        return Ended(Outcome.FAILED, f"{call.argv[0]} ended with {status}: {text}")
    return Ended(Outcome.DONE, text or f"{call.argv[0]} ended with 0")


def _posted(call: FollowCall) -> Ended:
    headers = {"Content-Type": "application/json"}
    if call.token:
        headers["Authorization"] = f"Bearer {call.token}"
    body = json.dumps(call.body, ensure_ascii=False, default=str).encode("utf-8")
    request = urllib.request.Request(call.url or "", data=body, method="POST", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=call.timeout_seconds) as answer:
            return _answered(answer.status, answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as e:
        said = f"{call.url} answered {e.code}"
        return Ended(Outcome.NOT_BEGUN if e.code < 500 else Outcome.UNKNOWN, said)
    except urllib.error.URLError as e:
        refused = isinstance(e.reason, ConnectionRefusedError)
        return Ended(Outcome.NOT_BEGUN if refused else Outcome.UNKNOWN, f"{call.url}: {e.reason}")
    except (OSError, ValueError) as e:
        return Ended(Outcome.UNKNOWN, f"{call.url}: {e}")


def _answered(status: int, body: bytes) -> Ended:
    """2xx is done, 202 accepted; a JSON object with ``outcome`` says it better."""
    outcome, said = (Outcome.ACCEPTED if status == 202 else Outcome.DONE), f"answered {status}"
    try:
        document = json.loads(body or b"null")
    except ValueError:
        document = None
    if isinstance(document, dict):
        word = document.get("outcome", outcome.value)
        if word not in (Outcome.DONE.value, Outcome.ACCEPTED.value, Outcome.FAILED.value):
            return Ended(Outcome.UNKNOWN, _plain(f"{said} with outcome {word!r}"))
        outcome = Outcome(word)
        said = _plain(str(document.get("message") or said))
    return Ended(outcome, said)


def _plain(text: str) -> str:
    """Printable, on one line, its end."""
    return " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())[-MOST_SAID:]
