"""Who speaks and what they may: tokens, client certificates, browser sessions, the machine's own socket.

tokens.toml holds SHA-256 hashes of tokens made here from 256 random bits, so a plain hash is enough; the
file is read again when it changes, and a broken one leaves the old in force. Not here: what a route
needs (each route says it) and the login page.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ullage_collector.config import Listen
from ullage_contract.clock import Clock
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.identity import check_id

log = logging.getLogger(__name__)

COOKIE: Final = "ullage_session"
SESSION_SECONDS: Final = 12 * 3600  # our choice: because a working day fits and a stolen laptop does not last
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Role(StrEnum):
    """What a name may do; each of viewer, operator and admin includes the one before."""

    NODE = "node"
    DEPARTMENT = "department"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANK: Final = {Role.NODE: 0, Role.DEPARTMENT: 1, Role.VIEWER: 2, Role.OPERATOR: 3, Role.ADMIN: 4}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who made a request.

    name: what audit shows. node, cluster: whom a node speaks for; None: any (cluster), nobody (node).
    departments: the paths a department may see. how: token, certificate, session, socket or local.
    """

    name: str
    role: Role
    node: str | None = None
    cluster: str | None = None
    departments: tuple[str, ...] = ()
    how: str = "token"

    def allows(self, role: Role) -> bool:
        """Whether this role includes ``role``. A node reads nothing; only nodes and admins push."""
        if role is Role.NODE:
            return self.role in (Role.NODE, Role.ADMIN)
        return self.role is not Role.NODE and _RANK[self.role] >= _RANK[role]

    def speaks_for(self, cluster: str, node: str) -> bool:
        """Whether a batch of this node is theirs to send."""
        if self.role is Role.ADMIN:
            return True
        return self.role is Role.NODE and self.node == node and self.cluster in (None, cluster)

    def sees_department(self, department_id: str) -> bool:
        """Whether figures of this department may be shown: its own and what lies below."""
        if self.allows(Role.VIEWER):
            return True
        return self.role is Role.DEPARTMENT and any(
            department_id == own or department_id.startswith(own + "/") for own in self.departments
        )


LOCAL: Final = Identity("local", Role.ADMIN, how="local")
"""Everybody on this machine, while nobody made a token and the listener is bound to loopback."""
SOCKET: Final = Identity("socket", Role.OPERATOR, how="socket")
"""Whoever may open DIR/collector.sock (mode 0600)."""


@dataclass(frozen=True, slots=True)
class _Token:
    identity: Identity
    sha256: str
    expires: datetime | None


def hash_token(token: str) -> str:
    """The hash that tokens.toml holds."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """tokens.toml. ``reload`` is called now and then; everything else reads what it left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_hash: dict[str, _Token] = {}
        self._stamp: tuple[int, int, int] | None = None
        self.generation = 0
        self.expiring = False

    @property
    def empty(self) -> bool:
        return not self._by_hash

    def load(self) -> None:
        """Read the file; absent means none. Raises ConfigError."""
        try:
            status = self._path.stat()
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            self._stamp, found = None, {}
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(f"{self._path}: cannot be read: {e}") from e
        else:
            found = _parse(text, self._path)
            self._stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        self._by_hash = found
        self.expiring = any(token.expires is not None for token in found.values())
        self.generation += 1

    def reload(self) -> None:
        """Read the file again if it changed; a broken or vanished one is told and changes nothing.

        A vanished file leaves the tokens in force, because removing it must not open the door to everybody.
        """
        try:
            status = self._path.stat()
        except FileNotFoundError:
            if self._stamp is not None:
                log.error("%s is gone: the tokens read before stay in force until a restart", self._path)
                self._stamp = None
            return
        except OSError:
            return
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == self._stamp:
            return
        try:
            self.load()
        except ConfigError as e:
            log.error("%s; the tokens read before stay in force", e)
            self._stamp = stamp
        else:
            log.info("%s: %d tokens", self._path, len(self._by_hash))

    def find(self, token: str, now: float) -> Identity | None:
        """Whose token this is; None for nobody's or an expired one."""
        digest = hash_token(token)
        entry = self._by_hash.get(digest)
        if entry is None or not hmac.compare_digest(entry.sha256, digest):
            return None
        if entry.expires is not None and now >= entry.expires.timestamp():
            return None
        return entry.identity

    def find_hash(self, prefix: str, now: float) -> tuple[Identity, str] | None:
        """The token whose hash begins so (a session names it by 32 digits), and the whole hash."""
        for digest, entry in self._by_hash.items():
            if hmac.compare_digest(digest[: len(prefix)], prefix):
                live = entry.expires is None or now < entry.expires.timestamp()
                return (entry.identity, digest) if live else None
        return None


def _parse(text: str, path: Path) -> dict[str, _Token]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path}: not TOML: {e}") from e
    entries = document.get("token", [])
    if not isinstance(entries, list) or document.keys() - {"token"}:
        raise ConfigError(f"{path}: write [[token]] tables only; `ullage-collector token` writes them")
    found: dict[str, _Token] = {}
    for number, entry in enumerate(entries, start=1):
        token = _entry(entry, f"{path}: [[token]] number {number}")
        found[token.sha256] = token
    return found


def _entry(entry: Any, place: str) -> _Token:
    if not isinstance(entry, dict):
        raise ConfigError(f"{place}: is no table")
    known = {"name", "role", "node", "cluster", "departments", "sha256", "created", "expires"}
    if stray := entry.keys() - known:
        raise ConfigError(f"{place}: no such key: {', '.join(sorted(stray))}")
    sha256 = entry.get("sha256")
    if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ConfigError(f"{place}: sha256 is not 64 hexadecimal digits; make a token again")
    try:
        role = Role(entry.get("role", ""))
    except ValueError:
        raise ConfigError(f"{place}: role {entry.get('role')!r} is none of {', '.join(Role)}") from None
    try:
        name = check_id("name", str(entry.get("name", "")))
        node = check_id("node", entry["node"]) if "node" in entry else None
        cluster = check_id("cluster", entry["cluster"]) if "cluster" in entry else None
    except (BadInput, TypeError) as e:
        raise ConfigError(f"{place}: {e}") from e
    if role is Role.NODE and node is None:
        raise ConfigError(f"{place}: a node's token needs node = the name it speaks for")
    departments = entry.get("departments", [])
    if not isinstance(departments, list) or not all(isinstance(d, str) and d for d in departments):
        raise ConfigError(f"{place}: departments is not a list of department ids")
    if role is Role.DEPARTMENT and not departments:
        raise ConfigError(f"{place}: role department needs departments = [...]")
    expires = entry.get("expires")
    if expires is not None and (not isinstance(expires, datetime) or expires.tzinfo is None):
        raise ConfigError(f"{place}: expires is not a time with a zone, e.g. 2027-01-31T00:00:00Z")
    return _Token(Identity(name, role, node, cluster, tuple(departments)), sha256, expires)


def add_token(
    path: Path,
    *,
    name: str,
    role: Role,
    node: str | None = None,
    cluster: str | None = None,
    departments: tuple[str, ...] = (),
    expires: datetime | None = None,
    now: float,
) -> str:
    """Make a token, append its hash to ``path`` and return the token: it is nowhere else.

    Raises ConfigError when the file is broken, BadInput when the name cannot be one.
    """
    old = ""
    if path.exists():
        old = path.read_text(encoding="utf-8")
        _parse(old, path)
    token = f"ullage_{role.value}_{secrets.token_urlsafe(32)}"
    lines = ["[[token]]", f"name = {_toml(check_id('name', name))}", f"role = {_toml(role.value)}"]
    if node is not None:
        lines.append(f"node = {_toml(check_id('node', node))}")
    if cluster is not None:
        lines.append(f"cluster = {_toml(check_id('cluster', cluster))}")
    if departments:
        lines.append(f"departments = [{', '.join(map(_toml, departments))}]")
    lines.append(f"sha256 = {_toml(hash_token(token))}")
    lines.append(f"created = {datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}")
    if expires is not None:
        lines.append(f"expires = {expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    text = (old.rstrip("\n") + "\n\n" if old.strip() else "") + "\n".join(lines) + "\n"
    _parse(text, path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    if path.exists():
        # Keep whose file it is: root making a token must not lock the service out.
        status = path.stat()
        try:
            os.chown(temporary, status.st_uid, status.st_gid)
        except PermissionError:
            log.warning("%s: owner could not be kept", path)
    temporary.rename(path)
    return token


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Refusal(Exception):
    """A request that nobody may make so: status, word and message of the answer."""

    def __init__(self, status: int, word: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.word = word
        self.message = message


class Doorkeeper:
    """Turns what a request carries into an Identity, or refuses.

    secret: signs browser sessions; kept in DIR/collector/session.key.
    """

    def __init__(self, tokens: Tokens, listen: Listen, clock: Clock, secret: bytes) -> None:
        self._tokens = tokens
        self._listen = listen
        self._clock = clock
        self._secret = secret

    def check_bind(self) -> None:
        """Raise ConfigError when the listener would be open to a network with nobody asked who they are."""
        if self._listen.loopback or not self._tokens.empty or self._listen.client_ca is not None:
            return
        raise ConfigError(
            f"[listen] address = {self._listen.host}:{self._listen.port} is reached from other machines, and "
            "there are neither tokens nor client certificates: make one with `ullage-collector token ADMIN "
            "--role admin`, or set client_ca, or bind 127.0.0.1"
        )

    @property
    def generation(self) -> int:
        """Changes with every change of the tokens: what was identified before is asked again."""
        return self._tokens.generation

    @property
    def expiring(self) -> bool:
        """Some token expires some day: nothing identified may be kept."""
        return self._tokens.expiring

    def reload(self) -> None:
        """Look whether the tokens changed."""
        self._tokens.reload()

    @property
    def open(self) -> bool:
        """Nobody is asked: no tokens, no client certificates, loopback only."""
        return self._tokens.empty and self._listen.client_ca is None and self._listen.loopback

    def identify(
        self,
        *,
        method: str,
        headers: Mapping[bytes, bytes],
        peer_name: str | None,
        unix: bool,
    ) -> Identity | None:
        """Who this is; None for nobody (a public route may still answer).

        headers: lower-case names. peer_name: the verified client certificate's common name.
        Raises Refusal for a browser request that another site sent, or a wrong token.
        """
        if unix:
            return SOCKET
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, token = authorization.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise Refusal(401, "unauthenticated", "Authorization is not of the form: Bearer TOKEN")
            found = self._tokens.find(token.strip(), self._clock.wall())
            if found is None:
                raise Refusal(401, "unauthenticated", "this token is not known here, or has expired")
            return found
        if peer_name is not None:
            return Identity(peer_name, Role.NODE, node=peer_name, how="certificate")
        cookie = _cookie(headers.get(b"cookie", b""))
        if cookie is not None and (session := self._session(cookie)) is not None:
            self._same_site(method, headers)
            return session
        if self.open:
            # A page of any other site could reach 127.0.0.1 through a browser on this machine.
            host = _host_name(headers.get(b"host", b""))
            if host not in _LOCAL_NAMES and host not in self._listen.hosts:
                raise Refusal(
                    403, "forbidden", f"Host {host!r} is not this machine's loopback; see [listen] hosts"
                )
            self._same_site(method, headers)
            return LOCAL
        return None

    def _same_site(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        """Refuse what another site made a browser send. Not asked of clients that are no browser."""
        if method in _SAFE_METHODS:
            return
        origin = headers.get(b"origin")
        site = headers.get(b"sec-fetch-site")
        if site is not None and site not in (b"same-origin", b"none"):
            raise Refusal(403, "forbidden", "the request was sent by a page of another site")
        if origin is not None:
            _, _, authority = origin.partition(b"://")
            if authority.lower() != headers.get(b"host", b"").lower():
                raise Refusal(403, "forbidden", "the request was sent by a page of another site")

    def open_session(self, token: str) -> tuple[str, Identity] | None:
        """The cookie's value for a browser that showed a token; None when it is nobody's, or a node's."""
        identity = self._tokens.find(token, self._clock.wall())
        if identity is None or identity.role is Role.NODE:
            return None
        name = hash_token(token)[:32]
        until = int(self._clock.wall()) + SESSION_SECONDS
        return f"{name}.{until}.{self._sign(name, until, hash_token(token))}", identity

    def _session(self, value: str) -> Identity | None:
        name, _, rest = value.partition(".")
        until, _, signature = rest.partition(".")
        if not value.isascii() or len(name) != 32 or not until.isdigit() or len(until) > 12:
            return None
        now = self._clock.wall()
        found = self._tokens.find_hash(name, now)
        if found is None or now >= int(until):
            return None
        identity, digest = found
        if not hmac.compare_digest(signature, self._sign(name, int(until), digest)):
            return None
        return Identity(
            identity.name, identity.role, identity.node, identity.cluster, identity.departments, "session"
        )

    def _sign(self, name: str, until: int, digest: str) -> str:
        return hmac.new(self._secret, f"{name}.{until}.{digest}".encode(), hashlib.sha256).hexdigest()


def session_secret(path: Path) -> bytes:
    """The key that signs sessions, made at first use. Raises ConfigError when it cannot be kept."""
    try:
        secret = path.read_bytes()
        if len(secret) >= 32:
            return secret
    except FileNotFoundError:
        pass
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e}") from e
    secret = secrets.token_bytes(32)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, secret)
        finally:
            os.close(fd)
    except OSError as e:
        raise ConfigError(f"{path}: cannot be written: {e}") from e
    return secret


def _cookie(header: bytes) -> str | None:
    for part in header.split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == COOKIE.encode():
            return value.decode("latin-1")
    return None


def _host_name(header: bytes) -> str:
    text = header.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text
