"""[[notify]] of collector.toml: whom to tell what, how, in which language and when not.

Secrets are read from files when a message goes out, so that they can be changed without a restart; a setting that
holds one is never shown. Not here: sending (senders by kind) and matching news (``Target.wants``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, time, tzinfo
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ullage_collector.notify.news import EVENTS, News
from ullage_collector.notify.quiet import DAYS, Quiet
from ullage_contract.errors import ConfigError
from ullage_contract.event import Severity
from ullage_contract.settings import Table
from ullage_contract.smtp import is_address

KINDS: Final = ("alertmanager", "alertmanager-webhook", "webhook", "email", "feishu", "dingtalk", "wecom")
LANGUAGES: Final = ("zh", "en")
WIDE: Final = ("incident", "isolation", "finding", "report", "*")
DEFAULT_EVENTS: Final = (
    "incident",
    "isolation",
    "approval",
    "freeze",
    "breaker",
    "page",
    "maintenance",
    "report",
)
"""our choice: everything but findings, which are for a morning's list and not for a telephone."""

PER_MINUTE: Final[Mapping[str, int]] = {
    # Feishu: 100 a minute and 5 a second for a robot (custom bot guide, open.larkoffice.com, read 2026-11-21).
    "feishu": 60,
    # DingTalk: 20 a minute for a robot, else ten minutes of nothing (custom robot access, open.dingtalk.com).
    "dingtalk": 18,
    # WeCom: 20 a minute for a robot (developer.work.weixin.qq.com/document/path/91770).
    "wecom": 18,
    # our choice for the others: more than a person reads and less than a system minds.
    "email": 20,
    "webhook": 300,
    "alertmanager": 600,
    "alertmanager-webhook": 300,
}
"""Below what the makers allow: a robot shared with others has less."""
GATHER_SECONDS: Final[Mapping[str, float]] = {"alertmanager": 1.0, "webhook": 0.0}
GATHER_PLAIN: Final = 10.0  # our choice: because what one cause breaks comes within seconds


@dataclass(frozen=True, slots=True)
class Mail:
    """What only e-mail needs. tls: starttls, tls (from the first byte) or none. password_file None: no login."""

    host: str
    port: int
    tls: str
    sender: str
    to: tuple[str, ...]
    user: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One [[notify]]. zone: of the times shown.

    url, url_file: where, directly or as the only line of a file (a robot's address is a secret). secret_file: what signs.
    events: words or globs of news; severity: the least; clusters: globs. gather_seconds: how long news of one group are
    gathered; group_by: subject, cluster or all. per_minute: messages at most. again: whether a message that may have gone
    out before a crash is told again. give_up_seconds: after so long a message is a dead letter.
    """

    name: str
    kind: str
    url: str | None = field(default=None, repr=False)
    url_file: Path | None = None
    secret_file: Path | None = None
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    mail: Mail | None = None
    events: tuple[str, ...] = DEFAULT_EVENTS
    severity: Severity = Severity.WARNING
    clusters: tuple[str, ...] = ("*",)
    language: str = "zh"
    quiet: Quiet | None = None
    quiet_passes: Severity = Severity.CRITICAL
    group_by: str = "subject"
    gather_seconds: float = GATHER_PLAIN
    per_minute: int = 18
    again: bool = True
    give_up_seconds: float = 86_400.0
    timeout_seconds: float = 10.0
    repeat_seconds: float = 60.0
    console: str | None = None
    zone: tzinfo = UTC

    def wants(self, news: News) -> bool:
        """Whether it is told of this. What ends something is wanted where its beginning was; a test always."""
        if news.event == "test":
            return True
        if not any(fnmatchcase(word, pattern) for word in news.words for pattern in self.events):
            return False
        if news.cluster is not None and not any(fnmatchcase(news.cluster, glob) for glob in self.clusters):
            return False
        return news.at_least(self.severity)

    def due_at(self, news: News, at: float) -> float:
        """When it may be told, if it is gathered from ``at`` on; seconds since the epoch."""
        due = at + self.gather_seconds
        if self.quiet is None or news.at_least(self.quiet_passes):
            return due
        return self.quiet.until(due) or due

    def group_key(self, news: News) -> str:
        """News with the same key are gathered into one message; what may be told at night never waits for the rest."""
        loud = "loud" if news.at_least(self.quiet_passes) else "quiet"
        if self.group_by == "all":
            return loud
        return f"{loud}/{news.cluster or ''}" + ("" if self.group_by == "cluster" else f"/{news.subject}")

    def address(self) -> str:
        """The URL. Raises ConfigError when its file cannot be read; the text never holds the URL."""
        if self.url is not None:
            return self.url
        text = _secret(self.url_file, self.name, "url_file") if self.url_file else None
        if not text or urlsplit(text).scheme not in ("http", "https"):
            raise ConfigError(f"[[notify]] {self.name}: url_file {self.url_file}: its line is no http(s) URL")
        return text

    def secret(self) -> str | None:
        """What signs or authorises; None: nothing is set. Raises ConfigError when the file cannot be read."""
        return _secret(self.secret_file, self.name, "secret_file") if self.secret_file else None

    def password(self) -> str | None:
        """E-mail's password; None: no login."""
        if self.mail is None or self.mail.password_file is None:
            return None
        return _secret(self.mail.password_file, self.name, "password_file")


def targets_of(part: Mapping[str, Any], file: str = "collector.toml") -> tuple[Target, ...]:
    """The targets of the part ``notify`` ({"targets": [...]}); names are unique. Raises ConfigError."""
    found: dict[str, Target] = {}
    for number, content in enumerate(part.get("targets", ()), 1):
        target = _target(Table(content, file, f"[notify] {number}"))
        if target.name in found:
            raise ConfigError(
                f"{file}: [[notify]] name = {target.name!r} is there twice; give each one its own"
            )
        found[target.name] = target
    return tuple(found.values())


def _target(table: Table) -> Target:
    kind = table.word("kind", "", KINDS)
    name = table.text("name", kind) or kind
    if not name.isprintable() or len(name) > 60:
        raise table.wrong("name", name, "write at most 60 printable characters")
    events = table.texts("events", '["incident", "freeze"]') or DEFAULT_EVENTS
    for word in events:
        head = word.partition(":")[0]
        if not any(fnmatchcase(known, head) for known in (*EVENTS, *WIDE)):
            raise table.wrong(
                "events", word, f"write some of {', '.join((*WIDE[:-1], *EVENTS[:-1]))}, or globs"
            )
    quiet = table.table("quiet")
    target = Target(
        name=name,
        kind=kind,
        url=table.url("url"),
        url_file=table.path("url_file"),
        secret_file=table.path("secret_file"),
        ca_file=table.path("ca_file"),
        proxy=table.url("proxy"),
        mail=_mail(table) if kind == "email" else None,
        events=events,
        severity=Severity(table.word("severity", "warning", tuple(Severity))),
        clusters=table.texts("clusters") or ("*",),
        language=table.word("language", "zh", LANGUAGES),
        quiet=_quiet(quiet) if quiet.content else None,
        quiet_passes=Severity(table.word("quiet_passes", "critical", tuple(Severity))),
        group_by=table.word(
            "group_by", "all" if kind == "alertmanager" else "subject", ("subject", "cluster", "all")
        ),
        gather_seconds=table.number("gather_seconds", GATHER_SECONDS.get(kind, GATHER_PLAIN), 0, 3600),
        per_minute=table.whole("per_minute", PER_MINUTE[kind], 1, 10_000),
        again=table.flag("again", True),
        give_up_seconds=table.number("give_up_hours", 24.0, 0.01, 24 * 30) * 3600,
        timeout_seconds=table.number("timeout_seconds", 10.0, 0.1, 120),
        repeat_seconds=table.number("repeat_seconds", 60.0, 1, 3600),
        console=table.url("console"),
        zone=_zone(table, "zone", "UTC"),
    )
    if kind != "email" and (target.url is None) == (target.url_file is None):
        raise table.wrong("url", "", "give url, or url_file where the address is a secret; one of them")
    table.finish()
    return target


def _mail(table: Table) -> Mail:
    server = table.text("server") or ""
    host, colon, port = server.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise table.wrong("server", server, 'write "host:port", e.g. "smtp.example.com:587"')
    to, sender = table.texts("to", '["ops@example.com"]'), table.text("from") or ""
    for key, addresses in (("to", to), ("from", (sender,))):
        for address in addresses or ("",):
            if not is_address(address):
                raise table.wrong(key, address, 'write an address alone, e.g. "ops@example.com"')
    mail = Mail(
        host=host.strip("[]"),
        port=int(port),
        tls=table.word("tls", "starttls", ("starttls", "tls", "none")),
        sender=sender,
        to=to,
        user=table.text("user"),
        password_file=table.path("password_file"),
    )
    if (mail.user is None) != (mail.password_file is None):
        raise table.wrong("user", mail.user or "", "user and password_file go together")
    if mail.password_file is not None and mail.tls == "none":
        raise table.wrong("tls", "none", "a password is only sent encrypted; write starttls or tls")
    return mail


def _quiet(table: Table) -> Quiet:
    start, end = _clock(table, "from"), _clock(table, "to")
    known = _zone(table, "zone", "")
    days: Sequence[str] = table.texts("days", '["mon", "tue"]') or DAYS
    for day in days:
        if day not in DAYS:
            raise table.wrong("days", day, f"write some of {', '.join(DAYS)}")
    if start == end:
        raise table.wrong("to", str(end), "from and to are the same time; leave quiet out or write two times")
    table.finish()
    return Quiet(start, end, known, frozenset(DAYS.index(day) for day in days))


def _zone(table: Table, key: str, default: str) -> ZoneInfo:
    name = table.text(key, default) or default
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as e:  # ZoneInfoNotFoundError is a KeyError
        raise table.wrong(key, name, 'write an IANA zone, e.g. "Asia/Shanghai"') from e


def _clock(table: Table, key: str) -> time:
    text = table.text(key) or ""
    try:
        found = time.fromisoformat(text)
    except ValueError as e:
        raise table.wrong(key, text, 'write a local time of day, e.g. "22:00"') from e
    if found.tzinfo is not None:
        raise table.wrong(key, text, "write the time alone; the zone has a key of its own")
    return found


def _secret(path: Path, name: str, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is no text"
        raise ConfigError(f"[[notify]] {name}: {key} {path} cannot be read: {why}") from e
