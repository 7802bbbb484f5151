"""The agent's own small HTTP server: GET /metrics and GET /healthz, on loopback unless told otherwise.

A thread a request, at most MAX_REQUESTS of them; one more is answered 503 at once. No state is changed
through it and nothing secret is behind it.
"""

from __future__ import annotations

import gzip
import http.server
import logging
import socket
import socketserver
import threading
from collections.abc import Callable
from typing import Any, Final

from ullage_agent.outputs.prometheus import Exposition, negotiate
from ullage_contract import __version__
from ullage_contract.errors import ConfigError

log = logging.getLogger(__name__)

MAX_REQUESTS: Final = 8  # our choice: because two Prometheus servers and a person are four
REQUEST_SECONDS: Final = 10.0  # our choice: because a scrape takes milliseconds

Health = Callable[[], tuple[bool, str]]
"""Whether the agent is well, and one line about it."""


class HttpDoor:
    """Serves one Exposition. ``port`` is the real one when 0 was asked for."""

    def __init__(
        self, exposition: Exposition, *, listen: tuple[str, int], health: Health | None = None
    ) -> None:
        """Raises ConfigError when the address cannot be listened on."""
        try:
            self._server = _Server(listen, exposition, health or (lambda: (True, "ok")))
        except OSError as e:
            raise ConfigError(
                f"[metrics] listen: {listen[0]}:{listen[1]} cannot be listened on: {e}; "
                "choose another port or stop who has it"
            ) from e
        self.port: int = self._server.server_address[1]
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Serve in a daemon thread."""
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving. Never raises."""
        self._closing = True
        if self._thread is not None:
            _poke(self._server.server_address)
            self._thread.join(2.0)
        self._server.server_close()

    def _serve(self) -> None:
        # Not serve_forever: it wakes twice a second to see whether it should end.
        while not self._closing:
            try:
                self._server.handle_request()
            except OSError:
                if not self._closing:
                    log.exception("the metrics server lost its socket")
                return


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, listen: tuple[str, int], exposition: Exposition, health: Health) -> None:
        self.exposition = exposition
        self.health = health
        self._free = threading.BoundedSemaphore(MAX_REQUESTS)
        if ":" in listen[0]:
            self.address_family = socket.AF_INET6
        super().__init__(listen, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            try:
                request.settimeout(1.0)
                request.sendall(b"HTTP/1.1 503 busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                pass
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a request from %s ended early", client_address[0], exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS
    protocol_version = "HTTP/1.1"
    server_version = f"ullage-agent/{__version__}"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            kind = negotiate(self.headers.get("Accept"))
            self._answer(200, kind, self.server.exposition.render(kind), may_pack=True)
        elif path == "/healthz":
            well, text = self.server.health()
            self._answer(200 if well else 503, "text/plain; charset=utf-8", f"{text}\n".encode())
        else:
            self._answer(404, "text/plain; charset=utf-8", b"GET /metrics or /healthz\n")

    do_HEAD = do_GET

    def _answer(self, status: int, kind: str, body: bytes, *, may_pack: bool = False) -> None:
        # Packing a scrape costs more than the scrape; over loopback it saves nothing.
        pack = may_pack and not self.client_address[0].startswith(("127.", "::1"))
        pack = pack and "gzip" in self.headers.get("Accept-Encoding", "")
        if pack:
            body = gzip.compress(body, compresslevel=1)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if pack:
            self.send_header("Content-Encoding", "gzip")
        # A connection a scrape: an idle one would hold one of the few threads.
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _poke(address: Any) -> None:
    """Wake the accept loop, so that it notices it should end."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    try:
        socket.create_connection((host, address[1]), timeout=1.0).close()
    except OSError:
        pass
