"""One child process as its parent holds it: start, ask, listen under deadlines, end.

Waiting is on real pipes, so deadlines here run on real seconds (``stopwatch``), never on the injected
clock. Not here: when to start another, what to skip, whom to tell; that is the supervisor's.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from ullage_agent.backend import Host
from ullage_agent.children import dialogue, mark
from ullage_contract.errors import BadInput

log = logging.getLogger(__name__)
Kill = Callable[[int], None]
KILL_SECONDS: Final = 1.0  # our choice: because a process not in D state is gone within milliseconds
LOOK_SECONDS: Final = 0.2  # our choice: how often the mark is looked at while a child is silent
STDERR_KEPT: Final = 4096  # bytes; enough for a Python stack


class Overrun(Exception):
    """The child did not answer in time. mark: the call it is in, or None when it marked none."""

    def __init__(self, mark: mark.Mark | None, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:.1f} s")
        self.mark = mark


class Died(Exception):
    """The child ended by itself. mark: the call it died in, or None; the text says how it ended."""

    def __init__(self, text: str, mark: mark.Mark | None) -> None:
        super().__init__(text)
        self.mark = mark


@dataclass(frozen=True, slots=True)
class Failed:
    """The reader raised: the child lives and can be asked again. reason: a word of errors.REASONS.

    traceback: of an exception that is no ReadingError, else None.
    """

    reason: str
    message: str
    traceback: str | None = None


def kill_group(pid: int) -> None:
    """SIGKILL to the child and whatever it started (it leads a session of its own)."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


class ChildProcess:
    """A started child. Used from one thread, except ``alive`` and ``pid``."""

    def __init__(
        self,
        name: str,
        reader: str,
        host: Host,
        skip: list[list[str]],
        *,
        kill: Kill = kill_group,
        environment: Mapping[str, str] | None = None,
        stopwatch: Callable[[], float] = monotonic,
    ) -> None:
        """Start it; the reader is opened while ``listen(0, ...)`` waits. Raises OSError when it cannot be started."""
        self._kill = kill
        self._stopwatch = stopwatch
        self._name = name
        self._number = 0
        self._told = b""
        self._buffer = bytearray()
        self.stderr = b""
        mark_fd = mark.create()
        answers, answer_fd = os.pipe()
        try:
            self._mark = mark.MarkReader(mark_fd)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "ullage_agent.children.child",
                    name,
                    str(mark_fd),
                    str(answer_fd),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(mark_fd, answer_fd),
                start_new_session=True,
                env=None if environment is None else dict(environment),
                bufsize=0,
            )
        except BaseException:
            os.close(answers)
            raise
        finally:
            os.close(mark_fd)
            os.close(answer_fd)
        if self._process.stdin is None or self._process.stderr is None:
            raise RuntimeError("BUG: pipes asked for and not given")
        self._questions = self._process.stdin
        self._errors = self._process.stderr
        self._answers = answers
        self._answers_open = self._errors_open = True
        os.set_blocking(answers, False)
        os.set_blocking(self._errors.fileno(), False)
        self.pid = self._process.pid
        self._poll = select.poll()
        self._poll.register(answers, select.POLLIN)
        self._poll.register(self._errors.fileno(), select.POLLIN)
        self._say({"reader": reader, "host": dialogue.host_to_json(host), "skip": skip})

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, ask: str, tier: str, skip: list[list[str]], watch: list[list[str]]) -> int:
        """Put one question; its number goes to ``listen``."""
        self._number += 1
        self._say({"id": self._number, "ask": ask, "tier": tier, "skip": skip, "watch": watch})
        return self._number

    def listen(self, number: int, call_seconds: float) -> Iterator[dict[str, Any] | Failed]:
        """The answers to question ``number`` until its end, as they come.

        A marked call may take ``call_seconds``; silence without any call twice that. Yields message
        objects, and at most one Failed as the last. Raises Overrun, Died, or BadInput for garbage.
        """
        received = 0
        progress = self._mark.sequence()
        heard = self._stopwatch()
        while True:
            at = self._buffer.find(b"\n")
            while at >= 0:
                text = bytes(self._buffer[:at])
                del self._buffer[: at + 1]
                document = dialogue.message(text)
                if document["id"] == number:  # answers to an abandoned question are passed over
                    if document.get("end") is True:
                        return
                    if "error" in document:
                        reason, said = str(document["error"]), str(document.get("message", ""))
                        way = document.get("traceback")
                        yield Failed(reason, said, way if isinstance(way, str) else None)
                        return
                    yield document
                heard = self._stopwatch()
                at = self._buffer.find(b"\n")
            if len(self._buffer) > dialogue.MAX_LINE_BYTES:
                raise BadInput(f"a line of more than {dialogue.MAX_LINE_BYTES} bytes on the pipe")
            got = self._take(self._wait_seconds(call_seconds))
            received += got
            if received > dialogue.MAX_ANSWER_BYTES:
                raise BadInput(f"an answer of more than {dialogue.MAX_ANSWER_BYTES} bytes")
            if got:
                continue
            if not self._answers_open:
                raise self._died()
            now = self._stopwatch()
            current = self._mark.read()
            if current is not None and now - current.since > call_seconds:
                raise Overrun(current, call_seconds)
            if (sequence := self._mark.sequence()) != progress:
                progress, heard = sequence, now
            if current is None and now - heard > 2 * call_seconds:
                raise Overrun(None, 2 * call_seconds)

    def end(self, *, gently: bool = False) -> bool:
        """End it: False when it cannot be killed (D state) and is still there after a second.

        gently: ask it to close its library first and give it a second.
        """
        if gently and self.alive:
            with suppress(BrokenPipeError):
                self._say({"id": 0, "ask": "close", "tier": "fast", "skip": [], "watch": []})
            self._reap(KILL_SECONDS)
        if self.alive:
            self._kill(self.pid)
            self._reap(KILL_SECONDS)
        self._drain_errors()
        self._close_pipes()
        return not self.alive

    def resident_bytes(self) -> int | None:
        """Its resident memory, or None when it is gone."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:  # noqa: PTH123 - a tick's hot path
                return int(file.read().split()[1]) * mark.SIZE
        except (OSError, IndexError, ValueError):
            return None

    def _say(self, document: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # then ``listen`` finds it dead and says how it ended
            self._questions.write(dialogue.line(document))

    def _wait_seconds(self, call_seconds: float) -> float:
        current = self._mark.read()
        if current is None:
            return min(LOOK_SECONDS, call_seconds)
        left = current.since + call_seconds - self._stopwatch()
        return min(LOOK_SECONDS, max(0.001, left))

    def _take(self, seconds: float) -> int:
        """Read what is there, waiting at most ``seconds``; the number of answer bytes."""
        got = 0
        for fd, _ in self._poll.poll(seconds * 1000):
            if fd == self._answers:
                try:
                    chunk = os.read(fd, 65536)
                except BlockingIOError:
                    continue
                if not chunk:
                    self._poll.unregister(fd)
                    self._answers_open = False
                self._buffer += chunk
                got += len(chunk)
            else:
                self._drain_errors()
        return got

    def _drain_errors(self) -> None:
        if not self._errors_open:
            return
        try:
            chunk = os.read(self._errors.fileno(), 65536)
        except BlockingIOError:
            return
        if not chunk:
            self._poll.unregister(self._errors.fileno())
            self._errors_open = False
        self.stderr = (self.stderr + chunk)[-STDERR_KEPT:]
        if log.isEnabledFor(logging.DEBUG):
            *lines, self._told = (self._told + chunk).split(b"\n")
            self._told = self._told[-STDERR_KEPT:]
            for line in lines if chunk else [self._told]:
                if line.strip():
                    log.debug("%s: its child: %s", self._name, line.decode("utf-8", "replace")[:500])

    def _died(self) -> Died:
        current = self._mark.read()
        self._reap(KILL_SECONDS)
        self._drain_errors()
        code = self._process.poll()
        if code is None:
            return Died("closed its answers and stayed", current)
        if code < 0:
            try:
                how = f"ended by {signal.Signals(-code).name}"
            except ValueError:
                how = f"ended by signal {-code}"
        else:
            how = f"ended with code {code}"
        if current is not None:
            how += f" in {current.call} of {current.card or 'the library'}"
        return Died(how, current)

    def _reap(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def _close_pipes(self) -> None:
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1
            self._mark.close()
        self._answers_open = self._errors_open = False
        with suppress(BrokenPipeError, OSError):
            self._questions.close()
        self._errors.close()
