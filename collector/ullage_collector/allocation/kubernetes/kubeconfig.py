"""Where the access comes from: a kubeconfig file, or the service account of the pod we run in.

Files that rotate (token files, certificates) are read again when they change. A command that makes credentials
(``exec``) runs only where the settings allow it, as an argument list and with a deadline.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ullage_collector.allocation.kubernetes.access import Access, Credential, checked_server
from ullage_collector.yaml_text import read_yaml
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput, ConfigError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet projects it — Kubernetes documentation, "Accessing the Kubernetes API from a Pod"."""
_EXEC_SECONDS: Final = 30.0  # our choice: because a login helper asks one server
_EXEC_KEEP_SECONDS: Final = 300.0  # our choice: a credential that names no end is asked for again
_BIGGEST: Final = 4 * 1024 * 1024  # our choice: because a kubeconfig is a few kilobytes


def in_cluster(environment: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> Access:
    """The service account's access. Raises ConfigError outside a pod."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (folder / "token").exists():
        raise ConfigError(
            f"no service account at {folder}: the collector runs in no pod; name a kubeconfig in [[allocation.kubernetes]]"
        )
    address = f"[{host}]" if ":" in host else host
    token = _File(folder / "token")
    return Access(
        server=f"https://{address}:{port}",
        credential=lambda: Credential(token=token.text()),
        authority=(folder / "ca.crt").read_bytes,
        where=f"service account {folder}",
    )


def from_file(path: Path, context: str | None, clock: Clock, *, allow_exec: bool = False) -> Access:
    """The access of one context of a kubeconfig, None: its current one.

    Raises ConfigError: no such file or name, or something in it that we refuse (unverified TLS, a proxy,
    passwords, an exec command without ``allow_exec``).
    """
    where = str(path)
    document = _document(path)
    wanted = context or document.get("current-context")
    if not isinstance(wanted, str) or not wanted:
        raise ConfigError(f"{where}: no current-context; name one: context = ...")
    chosen = _entry(document, "contexts", "context", wanted, where)
    where = f"{path} context {wanted}"
    cluster = _entry(document, "clusters", "cluster", str(chosen.get("cluster")), where)
    user = _entry(document, "users", "user", str(chosen["user"]), where) if chosen.get("user") else {}
    if cluster.get("insecure-skip-tls-verify"):
        raise ConfigError(
            f"{where}: insecure-skip-tls-verify: TLS is always verified; give certificate-authority"
        )
    if cluster.get("proxy-url"):
        raise ConfigError(f"{where}: proxy-url is not followed; give the collector a direct way")
    return Access(
        server=checked_server(str(cluster.get("server", "")), where),
        credential=_credential(user, path, where, clock, allow_exec),
        authority=_bytes(cluster, "certificate-authority", path, where),
        server_name=cluster.get("tls-server-name") or None,
        where=where,
    )


def _document(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _BIGGEST:
            raise ConfigError(f"{path}: larger than {_BIGGEST} bytes: no kubeconfig")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else read_yaml(text, path.name)
    except (ValueError, BadInput) as e:
        raise ConfigError(
            f"{path}: not read as a kubeconfig: {e}; kubectl config view --raw -o json writes it as JSON"
        ) from e
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: no kubeconfig: it has no clusters, users and contexts")
    return document


def _entry(document: Mapping[str, Any], many: str, one: str, name: str, where: str) -> Mapping[str, Any]:
    known = []
    for item in document.get(many) or []:
        if isinstance(item, dict):
            if item.get("name") == name and isinstance(item.get(one) or {}, dict):
                return item.get(one) or {}
            known.append(str(item.get("name")))
    raise ConfigError(f"{where}: no {one} {name!r}; there are {', '.join(sorted(known)) or 'none'}")


def _bytes(table: Mapping[str, Any], key: str, path: Path, where: str) -> Callable[[], bytes] | None:
    """Of ``key``-data (base64) or of the file ``key`` names, relative to the kubeconfig; data wins, as in kubectl."""
    if table.get(f"{key}-data"):
        try:
            content = base64.b64decode(str(table[f"{key}-data"]), validate=True)
        except (binascii.Error, ValueError) as e:
            raise ConfigError(f"{where}: {key}-data is no base64") from e
        return lambda: content
    if table.get(key):
        return (path.parent / str(table[key])).read_bytes
    return None


def _credential(
    user: Mapping[str, Any], path: Path, where: str, clock: Clock, allow_exec: bool
) -> Callable[[], Credential]:
    if user.get("username") or user.get("auth-provider"):
        raise ConfigError(
            f"{where}: passwords and auth-provider left Kubernetes; give a token or a certificate"
        )
    if user.get("exec"):
        command = user["exec"]
        if not allow_exec:
            raise ConfigError(
                f"{where}: its user runs a command ({str(command.get('command'))[:60]!r}) for credentials; "
                "allow it by exec = true in [[allocation.kubernetes]], or give a token file"
            )
        return _Exec(command, path, where, clock)
    certificate, key = (
        _bytes(user, "client-certificate", path, where),
        _bytes(user, "client-key", path, where),
    )
    if (certificate is None) != (key is None):
        raise ConfigError(f"{where}: client-certificate and client-key go together")
    token_file = _File(path.parent / str(user["tokenFile"])) if user.get("tokenFile") else None
    token = str(user["token"]) if user.get("token") else None

    def shown() -> Credential:
        return Credential(
            token=token_file.text() if token_file is not None else token,
            certificate=certificate() if certificate is not None else None,
            key=key() if key is not None else None,
        )

    return shown


class _File:
    """A small text file, read again when it changed; what was read last stays while it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._text: str | None = None
        self._lock = threading.Lock()

    def text(self) -> str:
        """Raises ConfigError when it was never readable."""
        with self._lock:
            try:
                status = self._path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp != self._stamp:
                    self._text = self._path.read_text(encoding="ascii").strip()
                    self._stamp = stamp
            except (OSError, UnicodeDecodeError) as e:
                if self._text is None:
                    raise ConfigError(f"{self._path}: the token cannot be read: {e}") from e
            return self._text or ""


class _Exec:
    """A credential plugin: runs when nothing is kept or what is kept ends within a minute.

    Its protocol is client.authentication.k8s.io — Kubernetes documentation, "client-go credential plugins".
    """

    def __init__(self, command: Mapping[str, Any], path: Path, where: str, clock: Clock) -> None:
        self._where = where
        self._clock = clock
        self._version = str(command.get("apiVersion") or "client.authentication.k8s.io/v1")
        name = str(command.get("command") or "")
        # A path with a slash is meant relative to the kubeconfig, a bare name is looked up.
        self._arguments = [
            str(path.parent / name) if "/" in name else name,
            *map(str, command.get("args") or []),
        ]
        self._environment = {str(e["name"]): str(e["value"]) for e in command.get("env") or []}
        self._lock = threading.Lock()
        self._kept: Credential | None = None
        self._until = 0.0

    def __call__(self) -> Credential:
        with self._lock:
            if self._kept is None or self._clock.wall() > self._until - 60:
                self._kept, self._until = self._run()
            return self._kept

    def _run(self) -> tuple[Credential, float]:
        info = {"apiVersion": self._version, "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {**os.environ, **self._environment, "KUBERNETES_EXEC_INFO": json.dumps(info)}
        try:
            done = subprocess.run(
                self._arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                timeout=_EXEC_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as e:
            raise ConfigError(f"{self._where}: {self._arguments[0]}: {type(e).__name__}") from e
        try:
            status = json.loads(done.stdout)["status"]
            until = status.get("expirationTimestamp")
            ends = (
                datetime.fromisoformat(until).timestamp()
                if until
                else self._clock.wall() + _EXEC_KEEP_SECONDS
            )
            certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
            shown = Credential(
                status.get("token"),
                certificate.encode() if certificate else None,
                key.encode() if key else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            # What it printed may be a secret: only that it was none of ours is told.
            raise ConfigError(
                f"{self._where}: {self._arguments[0]} ended with {done.returncode} and gave no ExecCredential"
            ) from e
        return shown, ends
