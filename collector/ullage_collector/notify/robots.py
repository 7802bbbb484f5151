"""Robots in the office tools Feishu (Lark), DingTalk and WeCom: one POST to a group's own address.

All three answer 200 with a code of their own; 0 is good. None of them knows a message again: what may have been sent
before a crash says so in its first line. Values never reach a markup parser: Feishu's text elements are plain, in the other
two the signs of markup are replaced (texts.no_markdown).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus

from ullage_collector.notify.message import Message
from ullage_collector.notify.settings import Target
from ullage_collector.notify.texts import Text, catalogue, compose, no_markdown
from ullage_contract.event import Severity
from ullage_contract.http_post import NotTold, hidden, post
from ullage_contract.plain import plain

FEISHU_BYTES: Final = 18_000
"""A request is at most 20 KB (custom bot guide, open.larkoffice.com, read 2026-11-21); the rest is the card's frame. JSON is
written without escaping Chinese, which would triple it."""
DINGTALK_BYTES: Final = 15_000
"""our choice: DingTalk's page of group messages says 15,000 bytes for a message of an application's robot
(help.dingtalk.io, read 2026-11-21); for custom robots we found no figure."""
WECOM_BYTES: Final = 4_096
"""Markdown is at most 4,096 bytes of UTF-8 (developer.work.weixin.qq.com/document/path/91770)."""

FEISHU_BUSY: Final = frozenset({11232, 9499})
"""11232: too many at once, mostly at full hours (custom bot guide); 9499: too many requests."""
DINGTALK_BUSY: Final = frozenset({130101, 90030})
"""130101: more than twenty a minute, ten minutes of nothing; 90030: webhook over limit."""
DINGTALK_PAUSE_SECONDS: Final = 600.0
WECOM_BUSY: Final = frozenset({45009, -1})
"""45009: called too often; -1: the system is busy (developer.work.weixin.qq.com, global return codes)."""
_COLOUR: Final = {
    Severity.INFO: "blue",
    Severity.WARNING: "orange",
    Severity.CRITICAL: "red",
    Severity.FATAL: "carmine",
}


def feishu(target: Target, message: Message) -> str | None:
    """A card with a coloured head and plain text."""
    text = _text(target, message, FEISHU_BYTES)
    elements: list[dict[str, Any]] = [
        {"tag": "div", "text": {"tag": "plain_text", "content": text.body or text.title}}
    ]
    if target.console:
        label = catalogue(target.language)["message"]["console"]
        elements.append(
            {
                "tag": "action",
                "actions": [
                    {
                        "tag": "button",
                        "type": "default",
                        "url": target.console,
                        "text": {"tag": "plain_text", "content": label},
                    }
                ],
            }
        )
    over = all(item.ends for item in message.news)
    document: dict[str, Any] = {
        "msg_type": "interactive",
        "card": {
            "header": {
                "template": "green" if over else _COLOUR[text.worst],
                "title": {"tag": "plain_text", "content": text.title},
            },
            "elements": elements,
        },
    }
    secret = target.secret()
    if secret:
        # The key is "timestamp\nsecret" and the text is empty; seconds (custom bot guide, signature check).
        timestamp = str(int(message.at))
        digest = hmac.new(f"{timestamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
        document = {"timestamp": timestamp, "sign": base64.b64encode(digest).decode(), **document}
    found = _post(target, target.address(), document, secret)
    _judge(found, "code", "msg", FEISHU_BUSY, secret, target)
    return _note(text)


def dingtalk(target: Target, message: Message) -> str | None:
    """Markdown; signed by timestamp and sign in the query where a secret is set."""
    text = _text(target, message, DINGTALK_BYTES, no_markdown)
    link = (
        f"\n\n[{catalogue(target.language)['message']['console']}]({target.console})"
        if target.console
        else ""
    )
    document = {
        "msgtype": "markdown",
        "markdown": {
            "title": text.title,
            "text": f"#### {text.title}\n\n" + "  \n".join(text.lines) + link,
        },
    }
    url, secret = target.address(), target.secret()
    if secret:
        # Text "timestamp\nsecret", key the secret; milliseconds, at most an hour off (custom robot access).
        timestamp = str(round(message.at * 1000))
        digest = hmac.new(secret.encode(), f"{timestamp}\n{secret}".encode(), hashlib.sha256).digest()
        mark = "&" if "?" in url else "?"
        url += f"{mark}timestamp={timestamp}&sign={quote_plus(base64.b64encode(digest))}"
    found = _post(target, url, document, secret)
    _judge(found, "errcode", "errmsg", DINGTALK_BUSY, secret, target, DINGTALK_PAUSE_SECONDS)
    return _note(text)


def wecom(target: Target, message: Message) -> str | None:
    """Markdown; the address itself is the secret."""
    colour = "info" if all(item.ends for item in message.news) else "warning"
    frame = len(f'<font color="{colour}">****</font>\n> \n[]()'.encode()) + 200
    frame += len(target.console or "")
    text = _text(target, message, WECOM_BYTES - frame, no_markdown)
    lines = [f'**<font color="{colour}">{text.title}</font>**', *(f"> {line}" for line in text.lines)]
    if target.console:
        lines.append(f"[{catalogue(target.language)['message']['console']}]({target.console})")
    content = "\n".join(lines)
    if len(content.encode()) > WECOM_BYTES:  # many short lines: their marks were more than was kept for them
        content = content.encode()[: WECOM_BYTES - 3].decode("utf-8", "ignore") + "…"
    found = _post(target, target.address(), {"msgtype": "markdown", "markdown": {"content": content}}, None)
    _judge(found, "errcode", "errmsg", WECOM_BUSY, None, target)
    return _note(text)


def _text(target: Target, message: Message, most_bytes: int, escape: Any = lambda text: text) -> Text:
    return compose(
        message.news,
        language=target.language,
        escape=escape,
        most_bytes=most_bytes,
        zone=target.zone,
        repeated=message.doubtful,
        console=target.console,
    )


def _post(target: Target, url: str, document: Mapping[str, Any], secret: str | None) -> Mapping[str, Any]:
    answer = post(
        url,
        json.dumps(document, ensure_ascii=False).encode(),
        {"Content-Type": "application/json; charset=utf-8"},
        timeout_seconds=target.timeout_seconds,
        ca_file=target.ca_file,
        proxy=target.proxy,
        secrets=(secret,) if secret else (),
    )
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotTold(f"{target.kind}: the answer is no JSON object: is this a robot's address?")
    return found


def _judge(
    found: Mapping[str, Any],
    code_name: str,
    text_name: str,
    busy: frozenset[int],
    secret: str | None,
    target: Target,
    pause_seconds: float = 60.0,
) -> None:
    code = found.get(code_name, found.get("StatusCode"))  # Feishu's older answer
    if code == 0:
        return
    said = plain(found.get(text_name) or found.get("StatusMessage") or "", limit=200)
    said = hidden(said, target.address(), *((secret,) if secret else ()))
    if code in busy:
        raise NotTold(f"{target.kind}: {code} {said}", pause_seconds=pause_seconds)
    raise NotTold(f"{target.kind}: {code} {said}", final=True)


def _note(text: Text) -> str | None:
    return f"{text.left_out} news were left out: the message is full" if text.left_out else None
