"""The two forms of Alertmanager: alerts for its API (POST /api/v2/alerts), and the webhook it calls others with.

Alertmanager knows an alert by its labels and forgets what it does not hear again: what stands is told again every
``repeat_seconds`` (service.py), with an end a few repeats ahead, as Prometheus does it.
Source: prometheus/alertmanager api/v2/openapi.yaml and docs of webhook_config, version "4"; tested against 0.25.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ullage_collector.notify.message import Message
from ullage_collector.notify.news import News
from ullage_collector.notify.settings import Target
from ullage_collector.notify.texts import compose
from ullage_contract.event import Severity
from ullage_contract.http_post import post

REPEATS_AHEAD: Final = 4  # Prometheus: four times the resend delay, so that three may be missed
ONCE_SECONDS: Final = 3600.0
"""our choice: what happens and is not a state (an approval asked, a breaker) is shown for an hour."""
NEVER: Final = "0001-01-01T00:00:00Z"
NAMES: Final[Mapping[str, str]] = {
    "incident": "UllageIncident",
    "isolation": "UllageIsolation",
    "freeze": "UllageFrozen",
    "finding": "UllageFinding",
    "report": "UllageReportLate",
}
"""alertname by the first word of what the news are about; the others by their event."""


def to_api(target: Target, message: Message) -> str | None:
    """The news as alerts to an Alertmanager. Sending them twice changes nothing."""
    tell(target, alerts_of(target, message.news, message.at))
    return None


def tell(target: Target, alerts: Sequence[Mapping[str, Any]]) -> None:
    """POST alerts. Raises NotTold."""
    secret = target.secret()
    post(
        target.address().rstrip("/") + "/api/v2/alerts",
        json.dumps(alerts, ensure_ascii=False).encode(),
        {"Content-Type": "application/json", **({"Authorization": f"Bearer {secret}"} if secret else {})},
        timeout_seconds=target.timeout_seconds,
        ca_file=target.ca_file,
        proxy=target.proxy,
        secrets=(secret,) if secret else (),
    )


def alerts_of(target: Target, news: Sequence[News], at: float) -> list[dict[str, Any]]:
    """The newest word about each thing; what got worse also ends the alert that was less bad."""
    newest = {item.about: item for item in news}
    found = []
    for item in newest.values():
        if item.severity_before is not None and item.severity_before != item.severity:
            found.append(_alert(target, item, at, bad=item.severity_before, ended=True))
        found.append(_alert(target, item, at, bad=item.severity, ended=item.ends))
    return found


def to_webhook(target: Target, message: Message) -> str | None:
    """The news as Alertmanager would POST them to a receiver; the key goes along as Idempotency-Key."""
    alerts = []
    for alert in alerts_of(target, message.news, message.at):
        ended = _past(alert, message.at)
        alerts.append(
            {
                "status": "resolved" if ended else "firing",
                **alert,
                "endsAt": alert["endsAt"] if ended else NEVER,
                "fingerprint": fingerprint(alert["labels"]),
            }
        )
    labels = _common([alert["labels"] for alert in alerts])
    group = {key: labels[key] for key in ("cluster", "subject") if key in labels}
    document = {
        "version": "4",
        "groupKey": f"{{}}:{json.dumps(group, ensure_ascii=False, sort_keys=True)}",
        "truncatedAlerts": 0,
        "status": "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved",
        "receiver": target.name,
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
        "externalURL": target.console or "",
        "alerts": alerts,
    }
    secret = target.secret()
    post(
        target.address(),
        json.dumps(document, ensure_ascii=False).encode(),
        {
            "Content-Type": "application/json",
            "Idempotency-Key": message.key,
            **({"Authorization": f"Bearer {secret}"} if secret else {}),
        },
        timeout_seconds=target.timeout_seconds,
        ca_file=target.ca_file,
        proxy=target.proxy,
        secrets=(secret,) if secret else (),
    )
    return None


def fingerprint(labels: Mapping[str, str]) -> str:
    """Sixteen hexadecimal digits that are the same for the same labels. Not Alertmanager's own hash: nobody compares them."""
    text = json.dumps(labels, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _alert(target: Target, news: News, at: float, *, bad: Severity, ended: bool) -> dict[str, Any]:
    text = compose([news], language=target.language, zone=target.zone)
    head = news.about.partition("/")[0]
    labels = {
        "alertname": NAMES.get(head, "Ullage" + news.event.title().replace("_", "")),
        "severity": str(bad),
        "family": news.family,
        "subject": news.subject,
        "cluster": news.cluster or "",
        "node": news.node or "",
        "cause": news.kind,
        "about": news.about,
        "source": "ullage",
    }
    if ended:
        end = min(news.at_us / 1e6, at)
    elif news.stands:
        end = at + REPEATS_AHEAD * target.repeat_seconds
    else:
        end = max(news.at_us / 1e6 + ONCE_SECONDS, at)
    alert = {
        "labels": {key: value for key, value in labels.items() if value},
        "annotations": {"summary": text.title, "description": text.body},
        "startsAt": _instant(min(news.since_us / 1e6, end)),
        "endsAt": _instant(end),
    }
    return {**alert, "generatorURL": target.console} if target.console else alert


def _past(alert: Mapping[str, Any], at: float) -> bool:
    return datetime.fromisoformat(alert["endsAt"]).timestamp() <= at


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _common(tables: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first = tables[0] if tables else {}
    return {key: value for key, value in first.items() if all(t.get(key) == value for t in tables)}
