"""[alerts] of report.toml: what somebody is told without asking, and who.

[alerts]
budget_percents = [80, 100]          # so much of a budget is spent
budget_standings = ["likely_over", "certainly_over"]   # where it is going
anomaly = "5000.00"                  # an anomaly of at least so much, in the report's currency; left out: none is told
mail = ["finops@example.com"]        # through the server of [mail]
webhook = "https://hooks.example.com/ullage"           # or webhook_file, as an address may hold a secret
token_file = "/etc/ullage/alerts.token"                # sent as Authorization: Bearer
ca_file = "/etc/ullage/ca.pem"       # instead of the system's authorities

[alerts.budgets]                     # who is told of one budget besides, by its name
"Language models" = ["llm-lead@example.com"]

Not here: what there is to tell (alerts.py) and telling it (alerting.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from ullage_contract import settings
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table
from ullage_reports.amount import amount as number
from ullage_reports.budget import Standing
from ullage_reports.config import DEFAULT_PATH
from ullage_reports.mail_settings import addresses

STANDINGS: Final = (Standing.AT_RISK, Standing.LIKELY, Standing.CERTAIN)
"""What a forecast can say that somebody wants to know, the worst last."""
PERCENTS: Final = (80, 100)
"""our choice: at 80 something can still be done; at 100 it is spent."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where alerts are posted. token None: without."""

    url: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """[alerts]. anomaly None: no anomaly is told. mail: addresses. budgets: name -> addresses told besides."""

    percents: tuple[int, ...] = PERCENTS
    standings: tuple[Standing, ...] = (Standing.LIKELY, Standing.CERTAIN)
    anomaly: Decimal | None = None
    mail: tuple[str, ...] = ()
    webhook: Webhook | None = None
    budgets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def told_of(self, budget: str | None) -> tuple[str, ...]:
        """Who is told by mail of a budget, or of what is no budget's."""
        more = self.budgets.get(budget, ()) if budget is not None else ()
        return tuple(dict.fromkeys((*self.mail, *more)))

    @property
    def addresses(self) -> tuple[str, ...]:
        """Everybody who may be told by mail."""
        return tuple(dict.fromkeys((*self.mail, *(to for some in self.budgets.values() for to in some))))


def load(path: Path | None = None) -> AlertSettings | None:
    """[alerts] of ``path``; None means DEFAULT_PATH. None where there is no such table. Raises ConfigError."""
    document = settings.read(path, DEFAULT_PATH)
    if document is None or "alerts" not in document:
        return None
    where = str(path or DEFAULT_PATH)
    if not isinstance(document["alerts"], dict):
        raise ConfigError(f"{where}: alerts is no table; write [alerts]")
    table = Table(document["alerts"], where, "alerts")
    words = table.texts("budget_standings", '["likely_over"]')
    known = {standing.value: standing for standing in STANDINGS}
    for word in words:
        if word not in known:
            raise table.wrong("budget_standings", word, f"write some of {', '.join(known)}")
    below = table.table("budgets")
    made = AlertSettings(
        percents=tuple(sorted(set(table.wholes("budget_percents", PERCENTS, 1, 1000)))),
        standings=tuple(known[word] for word in words)
        if "budget_standings" in table.content
        else AlertSettings().standings,
        anomaly=_amount(table),
        mail=addresses(table, "mail"),
        webhook=_webhook(table),
        budgets={name: addresses(below, name) for name in below.content},
    )
    table.finish()
    if not made.addresses and made.webhook is None:
        raise table.wrong("mail", [], 'write who is told, e.g. mail = ["lead@example.com"], or a webhook')
    return made


def _amount(table: Table) -> Decimal | None:
    text = table.text("anomaly")
    if text is None:
        return None
    found = number(text)
    if found is None:
        raise table.wrong("anomaly", text, 'write an amount in quotes, e.g. "5000.00"')
    return found


def _webhook(table: Table) -> Webhook | None:
    url, file = table.url("webhook"), table.path("webhook_file")
    token, ca_file = table.path("token_file"), table.path("ca_file")
    if url is not None and file is not None:
        raise table.wrong("webhook_file", str(file), "write webhook or webhook_file, not both")
    if file is not None:
        held = Table({"webhook_file": _secret(table, "webhook_file", file)}, table.file, "alerts")
        url = held.url("webhook_file")
    if url is None:
        return None
    return Webhook(url, None if token is None else _secret(table, "token_file", token), ca_file)


def _secret(table: Table, key: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        raise table.wrong(key, str(path), "cannot be read; give the report's user read rights") from e
