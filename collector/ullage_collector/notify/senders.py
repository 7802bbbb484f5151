"""Kind of a target -> who sends to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ullage_collector.notify.alerts import to_api, to_webhook
from ullage_collector.notify.mail import by_mail
from ullage_collector.notify.message import Sender
from ullage_collector.notify.robots import dingtalk, feishu, wecom
from ullage_collector.notify.webhook import to_service

SENDERS: Final[Mapping[str, Sender]] = {
    "alertmanager": to_api,
    "alertmanager-webhook": to_webhook,
    "webhook": to_service,
    "email": by_mail,
    "feishu": feishu,
    "dingtalk": dingtalk,
    "wecom": wecom,
}
