"""A site's own service: the news as JSON with a key that tells a message again, and an HMAC that proves who sent it.

``Ullage-Signature: v1=<hex>`` is HMAC-SHA256 over ``<Ullage-Timestamp>.<body>`` with the secret; a receiver refuses old
timestamps and keys it has seen. Both headers and the body stand in docs/notifications.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Final

from ullage_collector.notify.message import Message
from ullage_collector.notify.settings import Target
from ullage_collector.notify.texts import compose
from ullage_contract.http_post import post

SCHEMA_VERSION: Final = 1


def to_service(target: Target, message: Message) -> str | None:
    """POST the news. A receiver that keeps the keys takes each message once."""
    text = compose(
        message.news,
        language=target.language,
        zone=target.zone,
        repeated=message.doubtful,
        console=target.console,
    )
    body = json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "key": message.key,
            "title": text.title,
            "text": text.body,
            "severity": text.worst,
            "may_be_repeated": message.doubtful,
            "news": [item.to_json() for item in message.news],
        },
        ensure_ascii=False,
    ).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": message.key}
    secret = target.secret()
    if secret:
        timestamp = str(int(message.at))
        headers["Ullage-Timestamp"] = timestamp
        headers["Ullage-Signature"] = f"v1={signature(secret, timestamp, body)}"
    post(
        target.address(),
        body,
        headers,
        timeout_seconds=target.timeout_seconds,
        ca_file=target.ca_file,
        proxy=target.proxy,
        secrets=(secret,) if secret else (),
    )
    return None


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Hexadecimal HMAC-SHA256, as a receiver computes it to compare."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
