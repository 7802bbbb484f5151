"""[mail] of report.toml: the server, and who gets which report.

[mail]
host = "smtp.example.com"
port = 587
tls = "starttls"                     # or "tls" from the first byte, or "plain", which never logs in
user = "ullage"
password_file = "/etc/ullage/mail.password"
sender = "ullage@example.com"
operators = ["sre@example.com"]      # told the rows when a sum check fails
attach = ["pdf"]                     # and, or instead, "html"
link = "https://reports.example.com" # where the HTML of `out` can be read; left out: no link
department_reports = ["weekly", "monthly"]

[mail.recipients]                    # the whole report, by its kind
weekly = ["cio@example.com"]

[mail.departments]                   # a department's own copy, by its id
"rd/cv" = ["cv-lead@example.com"]

Not here: what a mail says (letter.py) and sending it (mailing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ullage_contract import settings
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table
from ullage_contract.smtp import Server, is_address
from ullage_reports.config import DEFAULT_PATH
from ullage_reports.period import PeriodKind

ATTACHED: Final = ("pdf", "html")
TLS: Final = {"starttls": "starttls", "tls": "tls", "plain": "none"}
PORTS: Final = {"starttls": 587, "tls": 465, "plain": 25}
"""RFC 8314 and RFC 6409: submission, submission over TLS; 25 between servers (RFC 5321)."""


@dataclass(frozen=True, slots=True)
class MailSettings:
    """[mail]. tls: as ullage_contract.smtp has it. recipients: kind of report -> addresses. departments: id -> addresses.

    link None: mails carry no link to the HTML page.
    """

    host: str
    port: int
    tls: str
    sender: str
    user: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    timeout_seconds: float = 30.0
    operators: tuple[str, ...] = ()
    recipients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    departments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    department_reports: tuple[str, ...] = ("weekly", "monthly")
    attach: tuple[str, ...] = ("pdf",)
    link: str | None = None

    def server(self) -> Server:
        """Where to hand in. Raises ConfigError when the password's file cannot be read."""
        return Server(
            self.host, self.port, self.tls, self.user, self._password(), self.ca_file, self.timeout_seconds
        )

    def whole_for(self, kind: PeriodKind) -> tuple[str, ...]:
        """Who gets the whole report of a kind."""
        return self.recipients.get(kind.value, ())

    def copies_for(self, kind: PeriodKind) -> Mapping[str, tuple[str, ...]]:
        """Which departments get a copy of a report of this kind, and who there."""
        return self.departments if kind.value in self.department_reports else {}

    def _password(self) -> str | None:
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as e:
            why = e.strerror if isinstance(e, OSError) else "it is no text"
            raise ConfigError(f"[mail] password_file {self.password_file} cannot be read: {why}") from e


def load(path: Path | None = None) -> MailSettings | None:
    """[mail] of ``path``; None means DEFAULT_PATH. None where there is no such table. Raises ConfigError."""
    document = settings.read(path, DEFAULT_PATH)
    if document is None or "mail" not in document:
        return None
    where = str(path or DEFAULT_PATH)
    if not isinstance(document["mail"], dict):
        raise ConfigError(f"{where}: mail is no table; write [mail]")
    return _of(Table(document["mail"], where, "mail"))


def _of(table: Table) -> MailSettings:
    host = table.text("host") or ""
    if not host or any(c in host for c in " /:@"):
        raise table.wrong("host", host, 'write a host name alone, e.g. "smtp.example.com"')
    tls = table.word("tls", "starttls", tuple(TLS))
    sender = table.text("sender") or ""
    if not is_address(sender):
        raise table.wrong("sender", sender, 'write an address alone, e.g. "ullage@example.com"')
    kinds = tuple(kind.value for kind in PeriodKind)
    made = MailSettings(
        host=host,
        port=table.whole("port", PORTS[tls], 1, 65_535),
        tls=TLS[tls],
        sender=sender,
        user=table.text("user"),
        password_file=table.path("password_file"),
        ca_file=table.path("ca_file"),
        timeout_seconds=table.number("timeout_seconds", 30.0, 0.1, 600),
        operators=addresses(table, "operators"),
        recipients=_lists(table, "recipients", kinds),
        departments=_lists(table, "departments", None),
        department_reports=_words(table, "department_reports", ("weekly", "monthly"), kinds),
        attach=_words(table, "attach", ("pdf",), ATTACHED),
        link=table.url("link"),
    )
    if (made.user is None) != (made.password_file is None):
        raise table.wrong("user", made.user or "", "user and password_file go together")
    if made.password_file is not None and made.tls == "none":
        raise table.wrong("tls", tls, "a password is only sent encrypted; write starttls or tls")
    table.finish()
    return made


def addresses(table: Table, key: str) -> tuple[str, ...]:
    """The addresses of a key, each once, in the order given. Raises ConfigError for what is none."""
    found = table.texts(key, '["lead@example.com"]')
    for address in found:
        if not is_address(address):
            raise table.wrong(key, address, 'write an address alone, e.g. "lead@example.com"')
    return tuple(dict.fromkeys(found))


def _lists(table: Table, key: str, known: tuple[str, ...] | None) -> dict[str, tuple[str, ...]]:
    content: Mapping[str, Any] = table.table(key).content
    below = Table(content, table.file, f"mail.{key}")
    for name in content:
        if known is not None and name not in known:
            raise below.wrong(name, content[name], f"write one of {', '.join(known)}")
    return {name: addresses(below, name) for name in content}


def _words(table: Table, key: str, default: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    found = table.texts(key, f'["{default[0]}"]') if key in table.content else default
    for word in found:
        if word not in known:
            raise table.wrong(key, word, f"write some of {', '.join(known)}")
    return found
