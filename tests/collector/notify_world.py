"""Real receivers for notifications: an HTTP server whose answers a test gives, with or without TLS, and certificates."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ullage_collector.notify.news import News
from ullage_collector.notify.settings import Target, targets_of
from ullage_contract.event import Severity

AT = 1_792_584_000.0
"""2026-10-21T12:00:00Z."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: threading.Event | None = None


class Receiver:
    """Use as a context manager. requests: what came, in order. answers: given one after another; the last one stays."""

    def __init__(self, *answers: Answer, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.answers = list(answers) or [Answer()]
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {key.lower(): value for key, value in self.headers.items()}
                receiver.requests.append(Request("POST", self.path, headers, body))
                answer = receiver.answers[0]
                if len(receiver.answers) > 1:
                    receiver.answers.pop(0)
                if answer.hang is not None:
                    answer.hang.wait(30)
                self.send_response(answer.status)
                for key, value in answer.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.server.server_address[1]}"

    def __enter__(self) -> Receiver:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for answer in self.answers:
            if answer.hang is not None:
                answer.hang.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def certificates(folder: Path) -> dict[str, Path]:
    """ca, server (for localhost) and its key; made by openssl."""

    def openssl(*arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    try:
        subprocess.run(["openssl", "version"], capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("openssl is not here")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
            "server.pem", "-days", "2", "-extfile", "san")  # fmt: skip
    return {"ca": folder / "ca.pem", "server": folder / "server.pem", "key": folder / "server.key"}


def server_context(made: Mapping[str, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made["server"], made["key"])
    return context


def target(kind: str, **more: Any) -> Target:
    """One [[notify]] as a settings file would give it."""
    (found,) = targets_of({"targets": [{"kind": kind, "language": "en", **more}]})
    return found


def news(number: int = 1, **more: Any) -> News:
    """An incident that opened."""
    plain: dict[str, Any] = {
        "key": f"incident/{number}/opened",
        "event": "incident_opened",
        "about": f"incident/{number}",
        "severity": Severity.CRITICAL,
        "family": "card",
        "subject": f"GPU-{number}",
        "at_us": round(AT * 1e6),
        "since_us": round((AT - 5) * 1e6),
        "cluster": "dc1",
        "node": "n1",
        "stands": True,
        "kind": "xid-79",
        "details": {"cause": "xid-79", "incident": str(number), "action": "isolate_card"},
    }
    return News(**{**plain, **more})
