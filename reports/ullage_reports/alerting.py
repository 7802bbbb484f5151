"""Telling what has to be told: read, compared with what was told before, and handed to each target that has not got it.

``DATA/reports/alerted.json`` says who was told what, and on which published days the last look stood: nothing is read again
until a day is published or something could not be told. A target that fails is tried again at the next run, alone. Several
alerts for one person are one mail. Nothing is written to the store. Not here: what there is to tell (alerts.py).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

from ullage_collector.published import Published
from ullage_contract.clock import Clock, utc
from ullage_contract.command import FAILED, GOOD
from ullage_contract.errors import ConfigError
from ullage_contract.http_post import NotTold, post
from ullage_contract.plain import plain
from ullage_contract.smtp import NotTaken, Server, hand_in
from ullage_reports import alert_settings, anomaly_rules, budget_settings, cost_policy, letter, mail_settings
from ullage_reports import config as settings
from ullage_reports import period as periods
from ullage_reports.alert_settings import AlertSettings
from ullage_reports.alerts import Alert, of_anomalies, of_budgets, said
from ullage_reports.anomalies import anomalies
from ullage_reports.budget_reading import last_whole
from ullage_reports.budgets import budget_rows
from ullage_reports.config import DEFAULT_PATH, Settings
from ullage_reports.cost_policy import DEFAULT, CostPolicy
from ullage_reports.currencies import priced_in, unpriced
from ullage_reports.format import Format
from ullage_reports.json_form import to_json
from ullage_reports.kept import Kept, holding
from ullage_reports.period import PeriodKind, zone_info
from ullage_reports.texts import Texts

STATE: Final = "alerted.json"
SCHEMA_VERSION: Final = 1
"""Of what is posted, and of the JSON form."""
DAYS: Final = 7
"""our choice: an anomaly that began longer ago is in the reports; nobody is told at once of what is a week old."""
LOOKED: Final = 70
"""Days whose revisions make a look another one: the look-back of anomalies and budgets."""
FORGOTTEN: Final = timedelta(days=400)
"""our choice: because a quarter's budget is told of in its quarter."""
WEBHOOK: Final = "webhook"

Posts = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to tell. currency: of anomalies; None: nothing is priced."""

    alerts: tuple[Alert, ...]
    currency: str | None


def look(
    published: Published,
    chosen: Settings,
    watched: settings.Watch,
    asked: AlertSettings,
    *,
    policies: Sequence[CostPolicy] = DEFAULT,
    verify: bool = True,
) -> Found:
    """What there is to tell as of the last published day. policies: by which a budget's cost is shared out, as in a statement.

    Raises ConfigError, StoreError.
    """
    last = last_whole(published, chosen.zone)
    if last is None:
        return Found((), None)
    period = periods.containing(PeriodKind.DAILY, last, chosen.zone, chosen.fiscal_start_month)
    budgets = budget_settings.read(watched.budgets) if watched.budgets else ()
    rows = budget_rows(published, budgets, period, verify=verify, policies=policies) if budgets else ()
    alerts = list(of_budgets(rows, asked))
    with published.open(period.start, period.end, verify=verify) as facts:
        there = priced_in(facts)
    currency = chosen.currency or (there[0] if len(there) == 1 else None)
    if asked.anomaly is not None and currency is None:
        _tell(
            "alerts: anomalies are not looked for: there is no price, or several currencies; write [report] currency"
        )
    elif asked.anomaly is not None and currency is not None and (why := unpriced(currency, there)):
        _tell(f"alerts: {last}: {why}; anomalies are told by an amount of money, so none of that day is")
    if asked.anomaly is not None and currency is not None:
        first = last - timedelta(days=DAYS - 1)
        rules = anomaly_rules.read(watched.anomalies)
        found = anomalies(published, first, last, chosen.zone, currency, rules, verify=verify)
        alerts += of_anomalies(found.rows, asked)
    return Found(tuple(alerts), currency)


def once(
    published: Published,
    config: Path | None,
    chosen: Settings,
    data: Path,
    clock: Clock,
    *,
    anew: bool = False,
    verify: bool = True,
    posts: Posts = post,
) -> int:
    """Look, and tell what was not told; GOOD, or FAILED where somebody could not be told. anew: look although no day is new.

    Raises ConfigError where there is no [alerts], or people are to be mailed and there is no [mail].
    """
    asked = alert_settings.load(config)
    if asked is None:
        raise ConfigError(f"{config or DEFAULT_PATH}: there is no [alerts]; docs/alerts.md shows one")
    mail = mail_settings.load(config) if asked.addresses else None
    if asked.addresses and mail is None:
        raise ConfigError(
            f"{config or DEFAULT_PATH}: [alerts] names people and there is no [mail] to send by"
        )
    watched = settings.watch(config)
    mark = _mark(published, config, watched)
    with holding(data / "reports" / STATE, wait=True) as kept:
        if kept.content.get("looked") == mark and not anew:
            return GOOD
        policies = cost_policy.load(config, chosen.zone)
        found = look(published, chosen, watched, asked, policies=policies, verify=verify)
        told: dict[str, str] = kept.content.setdefault("told", {})
        now = utc(clock.wall())
        texts, form = Texts(chosen.lang), Format(chosen.lang, zone_info(chosen.zone), found.currency or "XXX")
        good = True
        if mail is not None:
            server = mail.server()
            for to in asked.addresses:
                news = [a for a in _news(found.alerts, to, told) if to in asked.told_of(_budget_of(a))]
                good = _mailed(server, mail.sender, to, news, texts, form, found, kept, now) and good
        if asked.webhook is not None:
            news = _news(found.alerts, WEBHOOK, told)
            good = _posted(asked, news, texts, form, found, kept, now, posts) and good
        kept.content["looked"] = mark if good else None
        for old in [key for key, at in told.items() if now - datetime.fromisoformat(at) > FORGOTTEN]:
            del told[old]
        kept.save()
    return GOOD if good else FAILED


def show(
    published: Published, config: Path | None, chosen: Settings, *, as_json: bool, verify: bool = True
) -> None:
    """What there is to tell, on stdout; nobody is told, and nothing is kept."""
    asked, watched = alert_settings.load(config), settings.watch(config)
    where = config or DEFAULT_PATH
    if asked is None:
        _tell(
            f"alerts: {where}: there is no [alerts]: nobody would be told, budgets are held against the usual thresholds and no anomaly is "
            "looked for; docs/alerts.md shows one"
        )
        asked = AlertSettings()
    if watched.budgets is None:
        _tell(f"alerts: {where}: there is no [watch] budgets: no budget is looked at")
    policies = cost_policy.load(config, chosen.zone)
    found = look(published, chosen, watched, asked, policies=policies, verify=verify)
    if not published.days():
        _tell(f"alerts: {published.root}: no day is published, so nothing is known")
    elif not found.alerts:
        _tell("alerts: there is nothing to tell")
    texts, form = Texts(chosen.lang), Format(chosen.lang, zone_info(chosen.zone), found.currency or "XXX")
    if as_json:
        told = {
            "schema_version": SCHEMA_VERSION,
            "alerts": [_json(a, texts, form, found) for a in found.alerts],
        }
        sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
        return
    for alert in found.alerts:
        sys.stdout.write(said(alert, texts, form, found.currency or "") + "\n")


# ------------------------------------------------------------------------------------------ targets
def _news(alerts: Iterable[Alert], to: str, told: Mapping[str, str]) -> list[Alert]:
    return [alert for alert in alerts if f"{alert.key}|{to}" not in told]


def _mailed(
    server: Server,
    sender: str,
    to: str,
    news: Sequence[Alert],
    texts: Texts,
    form: Format,
    found: Found,
    kept: Kept,
    now: datetime,
) -> bool:
    if not news:
        return True
    lines = [said(alert, texts, form, found.currency or "") for alert in news]
    message = EmailMessage()
    key = "alert_one" if len(news) == 1 else "alert_many"
    message["Subject"] = plain(
        texts(f"mail.{key}", first=lines[0], count=str(len(news))), limit=letter.SUBJECT_CHARACTERS
    )
    message.set_content("\n\n".join([*lines, texts("mail.alert_why")]) + "\n")
    name = "alerts/" + "/".join(alert.key for alert in news)
    try:
        hand_in(server, letter.addressed(message, sender=sender, to=to, key=name + to, at=now), sender, [to])
    except NotTaken as e:
        _tell(f"alerts: {to}: NOT sent: {e}")
        return False
    _tell(f"alerts: {to}: {len(news)} sent")
    _keep(kept, to, news, now)
    return True


def _posted(
    asked: AlertSettings,
    news: Sequence[Alert],
    texts: Texts,
    form: Format,
    found: Found,
    kept: Kept,
    now: datetime,
    posts: Posts,
) -> bool:
    hook = asked.webhook
    if not news or hook is None:
        return True
    body = {
        "schema_version": SCHEMA_VERSION,
        "at": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "alerts": [_json(alert, texts, form, found) for alert in news],
    }
    headers = {"Content-Type": "application/json"}
    if hook.token is not None:
        headers["Authorization"] = f"Bearer {hook.token}"
    try:
        posts(
            hook.url,
            json.dumps(body, ensure_ascii=False).encode(),
            headers,
            timeout_seconds=30.0,
            ca_file=hook.ca_file,
            secrets=(hook.token,) if hook.token else (),
        )
    except NotTold as e:
        _tell(f"alerts: webhook: NOT sent: {e}")
        return False
    _tell(f"alerts: webhook: {len(news)} sent")
    _keep(kept, WEBHOOK, news, now)
    return True


def _keep(kept: Kept, to: str, news: Sequence[Alert], now: datetime) -> None:
    """Before anybody else is told: a crash in between tells nobody twice."""
    for alert in news:
        for key in (alert.key, *alert.also):
            kept.content["told"][f"{key}|{to}"] = now.isoformat(timespec="seconds")
    kept.save()


def _json(alert: Alert, texts: Texts, form: Format, found: Found) -> dict[str, Any]:
    return {
        "key": alert.key,
        "kind": alert.kind,
        "text": said(alert, texts, form, found.currency or ""),
        "currency": alert.budget.currency if alert.budget else found.currency,
        "budget": to_json(alert.budget),
        "anomaly": to_json(alert.anomaly),
    }


def _budget_of(alert: Alert) -> str | None:
    return None if alert.budget is None else alert.budget.name


# ------------------------------------------------------------------------------------------ the look
def _mark(published: Published, config: Path | None, watched: settings.Watch) -> str:
    """The revisions of the last published days and what the settings say, as a digest: the same again has no news."""
    total = hashlib.sha256()
    for day in published.days()[-LOOKED:]:
        manifest = published.facts(day)
        total.update(f"{day} {manifest.revision if manifest else 0}\n".encode())
    for path in (config or DEFAULT_PATH, watched.budgets, watched.anomalies):
        try:
            total.update(path.read_bytes() if path is not None else b"")
        except OSError:
            total.update(b"-")
    return total.hexdigest()


def _tell(text: str) -> None:
    sys.stderr.write(f"ullage-report: {text}\n")
