"""The child process of one maker: opens its reader and answers the parent's questions.

``python -m ullage_agent.children.child NAME MARK_FD ANSWER_FD``, started by the supervisor alone. Imports little,
because every maker on the node pays for it. It may hang, crash or be killed at any instant; that is
what it is for. It ends when its parent does: a thread watches stdin and leaves even while a library
call hangs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import import_module
from queue import SimpleQueue
from time import sleep
from traceback import format_exception
from typing import Any, Final, TypeVar

from ullage_agent.backend import Reader
from ullage_agent.children import dialogue
from ullage_agent.children.mark import MarkWriter
from ullage_contract.catalogue import Tier
from ullage_contract.errors import Broken, DeadlineExceeded, ReadingError

T = TypeVar("T")
MOST_TRACEBACK: Final = 8000  # our choice: because its end tells, and a line on the pipe is bounded
ORPHAN_SECONDS: Final = 2.0  # our choice: because closing a library takes less, and a hung one never ends


class WatchedCall:
    """``backend.Call``: marks every call, and refuses those that hung or crashed a child before."""

    def __init__(self, mark: MarkWriter) -> None:
        self._mark = mark
        self._skip: dict[tuple[str, str], str] = {}
        self._watch: set[tuple[str, str]] = set()
        self.recovered: list[tuple[str, str]] = []

    def __call__(self, card: str, name: str, function: Callable[[], T]) -> T:
        if self._skip:
            self._refuse(card, name)
        self._mark.begin(card, name)
        try:
            result = function()
        finally:
            self._mark.end()
            if self._watch:
                self._returned(card, name)
        return result

    def heed(self, skip: Iterable[Iterable[str]], watch: Iterable[Iterable[str]]) -> None:
        """Take over the parent's lists for the coming question."""
        self._skip = {(card, name): reason for card, name, reason in skip}
        self._watch = {(card, name) for card, name in watch}

    def _refuse(self, card: str, name: str) -> None:
        for key in ((card, name), (card, "*"), ("*", name)):
            reason = self._skip.get(key)
            if reason == DeadlineExceeded.reason:
                raise DeadlineExceeded(
                    f"{name} of {card or 'the library'} hung before and is skipped for a while"
                )
            if reason is not None:
                raise Broken(
                    f"{name} of {card or 'the library'} crashed its reader and is skipped for a while"
                )

    def _returned(self, card: str, name: str) -> None:
        for key in ((card, name), (card, "*"), ("*", name)):
            if key in self._watch:
                self._watch.discard(key)
                self.recovered.append(key)


class Child:
    """Answers on ``answer_fd``. One question at a time; each answer leaves as soon as it is there."""

    def __init__(self, answer_fd: int, mark: MarkWriter) -> None:
        self._fd = answer_fd
        self._call = WatchedCall(mark)
        self._reader: Reader | None = None

    def open(self, document: dict[str, Any]) -> bool:
        """Import and open the reader. False when it could not; the parent has been told why."""
        try:
            module, _, name = document["reader"].partition(":")
            self._call.heed(document.get("skip", ()), ())
            self._reader = getattr(import_module(module), name)(dialogue.host_from_json(document["host"]))
        except Exception as e:  # the reader is a maker's world: whatever it raises is its own trouble
            self._fail(0, e)
            return False
        gc.collect()
        gc.freeze()  # what is loaded now stays: the collector need not walk it every time
        self._send({"id": 0, "end": True})
        return True

    def answer(self, document: dict[str, Any]) -> bool:
        """Answer one question. False when the parent asked to close."""
        reader = self._reader
        if reader is None:
            raise RuntimeError("BUG: asked before open")
        number, ask = document["id"], document["ask"]
        if ask == "close":
            with contextlib.suppress(Exception):
                reader.close()
            return False
        self._call.heed(document["skip"], document["watch"])
        try:
            if ask == "facts":
                self._stream(number, reader.facts(self._call))
            elif ask == "events":
                self._stream(number, reader.events(self._call))
            else:
                self._stream(number, reader.read(Tier(document["tier"]), self._call))
        except Exception as e:  # see open
            self._fail(number, e)
        else:
            self._tell_recovered(number)
            self._send({"id": number, "end": True})
        return True

    def _stream(self, number: int, items: Iterable[dialogue.Item]) -> None:
        for item in items:
            document: dict[str, Any] = {}
            try:
                document = dialogue.item_to_json(item)
                text = dialogue.line({"id": number, **document})
            except (TypeError, ValueError, AttributeError) as e:
                subject = getattr(item, "subject", type(item).__name__)
                field = dialogue.culprit(document)
                said = f"{subject}: {field + ': ' if field else ''}{e}"
                text = dialogue.line({"id": number, "unsendable": said[:300]})
            self._write(text)
            if self._call.recovered:
                self._tell_recovered(number)

    def _tell_recovered(self, number: int) -> None:
        for key in self._call.recovered:
            self._send({"id": number, "recovered": list(key)})
        self._call.recovered.clear()

    def _fail(self, number: int, error: Exception) -> None:
        self._tell_recovered(number)
        reason = error.reason if isinstance(error, ReadingError) else Broken.reason
        document: dict[str, Any] = {"id": number, "error": reason}
        if isinstance(error, ReadingError):
            text = str(error)
        else:
            # a slip of the reader's own: where it happened, and the whole way there for --log-level debug
            text = f"{type(error).__name__}: {error}{_place(error)}"
            document["traceback"] = "".join(format_exception(error))[-MOST_TRACEBACK:]
        self._send({**document, "message": " ".join(text.split())[:500]})

    def _send(self, document: dict[str, Any]) -> None:
        self._write(dialogue.line(document))

    def _write(self, text: bytes) -> None:
        view = memoryview(text)
        while view:
            view = view[os.write(self._fd, view) :]


def _place(error: Exception) -> str:
    """`` (reader.py:88 in read)``: the innermost line that was running, or nothing."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return ""
    code = at.tb_frame.f_code
    return f" ({os.path.basename(code.co_filename)}:{at.tb_lineno} in {code.co_name})"  # noqa: PTH119


def _questions(inbox: SimpleQueue[bytes | None]) -> None:
    """Feed stdin's lines to the main thread; when the parent is gone, end the process come what may."""
    for text in sys.stdin.buffer:
        inbox.put(text)
    inbox.put(None)
    sleep(ORPHAN_SECONDS)
    os._exit(0)


def main(arguments: list[str]) -> int:
    """Serve until stdin ends or the parent says close. 1 when the reader could not be opened."""
    _, mark_fd, answer_fd = arguments
    faulthandler.enable()  # a crash leaves its Python stack on stderr, which the parent keeps
    os.dup2(2, 1)  # a library that prints must not write into the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = Child(int(answer_fd), MarkWriter(int(mark_fd)))
    inbox: SimpleQueue[bytes | None] = SimpleQueue()
    threading.Thread(target=_questions, args=(inbox,), daemon=True).start()
    try:
        first = inbox.get()
        if first is None:
            return 0
        if not child.open(json.loads(first)):
            return 1
        while (text := inbox.get()) is not None:
            if not child.answer(json.loads(text)):
                break
    except BrokenPipeError:
        pass  # the parent is gone; nobody is left to tell
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # a library's exit handlers may hang as well as its calls
