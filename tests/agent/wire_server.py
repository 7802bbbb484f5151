"""A small real HTTP server that speaks the push protocol, and misbehaves when told."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ullage_contract.errors import WireError
from ullage_contract.wire import CONTENT_TYPE, PUSH_PATH, SENT_AT_HEADER, ColumnarBatch, decode


@dataclass(frozen=True)
class Status:
    """Answer with this status and error word instead of taking the batch."""

    status: int
    word: str = "refused"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """Answer 200 with this body instead of taking the batch."""

    body: bytes


HANG = "hang"  # read the batch and say nothing for as long as the server lives
CUT = "cut"  # take the batch, answer half and close
LOSE = "lose"  # take the batch, close without a word
CLOSE = "close"  # answer well and close the connection without saying so


class WireServer:
    """``taken`` is what a collector would hold; ``order`` how it came; ``conflicts`` must stay empty.

    plan: what to do with the next requests, one each; after that, everything is taken.
    durable_lag: the answer's durable_through stays so many behind; None keeps it at 0.
    """

    def __init__(self) -> None:
        self.plan: deque[Any] = deque()
        self.lock = threading.Lock()
        self.taken: dict[tuple[str, int], bytes] = {}
        self.batches: list[ColumnarBatch] = []
        self.order: list[tuple[str, int]] = []
        self.requests: list[tuple[str, int]] = []
        self.headers: list[dict[str, str]] = []
        self.duplicates = 0
        self.conflicts: list[tuple[str, int]] = []
        self.connections = 0
        self.durable_lag: int | None = 0
        self.ending = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with outer.lock:
                    outer.connections += 1

            def do_POST(self) -> None:
                outer.handle(self)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # tests cut connections on purpose

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}{PUSH_PATH}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> WireServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request: Any) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        assert request.path == PUSH_PATH, request.path
        assert request.headers["Content-Type"] == CONTENT_TYPE
        assert request.headers["Content-Encoding"] == "gzip"
        assert float(request.headers[SENT_AT_HEADER]) > 0
        with self.lock:
            self.headers.append({k.lower(): v for k, v in request.headers.items()})
            action = self.plan.popleft() if self.plan else None
            try:
                batch = decode(body)
            except WireError as e:
                self._answer(request, 400, {"error": e.code, "message": str(e)})
                return
            place = (batch.stream, batch.sequence)
            self.requests.append(place)
        if action == HANG:
            self.ending.wait(30)
            request.close_connection = True
            return
        if isinstance(action, Status):
            document = {"schema_version": 1, "error": action.word, "message": "as planned"}
            self._answer(request, action.status, document, action.headers)
            return
        if isinstance(action, Raw):
            self._send(request, 200, action.body, {})
            return
        with self.lock:
            answer = self._take(place, body, batch)
        if answer is None:
            self._answer(request, 409, {"error": "sequence_conflict", "message": "another body"})
        elif action == LOSE:
            request.close_connection = True
        elif action == CUT:
            self._send(request, 200, json.dumps(answer).encode(), {}, cut=True)
            request.close_connection = True
        else:
            self._answer(request, 200, answer)
            if action == CLOSE:
                request.close_connection = True
                request.connection.shutdown(2)

    def _take(self, place: tuple[str, int], body: bytes, batch: ColumnarBatch) -> dict[str, Any] | None:
        known = self.taken.get(place)
        if known is not None and known != body:
            self.conflicts.append(place)
            return None
        if known is None:
            self.taken[place] = body
            self.batches.append(batch)
            self.order.append(place)
        else:
            self.duplicates += 1
        accepted = max(n for s, n in self.taken if s == batch.stream)
        durable = 0 if self.durable_lag is None else max(0, accepted - self.durable_lag)
        return {
            "schema_version": 1,
            "stream": batch.stream,
            "accepted_through": accepted,
            "durable_through": durable,
            "duplicate": known is not None,
            "clock_skew_seconds": 0.0,
        }

    def _answer(
        self, request: Any, status: int, document: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        self._send(request, status, json.dumps(document).encode(), headers or {})

    def _send(
        self, request: Any, status: int, body: bytes, headers: dict[str, str], *, cut: bool = False
    ) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[: len(body) // 2] if cut else body)
        request.wfile.flush()

    def wait_for(self, condition: Any, seconds: float = 10.0) -> None:
        """Until ``condition(self)`` holds; fails the test when it does not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.lock:
                if condition(self):
                    return
            time.sleep(0.005)
        raise AssertionError(f"not within {seconds} s: {len(self.taken)} batches, {self.requests[-5:]}")
