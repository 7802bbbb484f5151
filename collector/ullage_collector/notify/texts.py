"""A message out of news: title and lines in one language, escaped by the receiver's own rule and cut to its size.

Every text stands in texts.toml; a value is cleaned (no hidden or reordering character), escaped and only then put in.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from importlib import resources
from typing import Any, Final

from ullage_collector.console.words import words as console
from ullage_collector.notify.news import News
from ullage_contract.event import Severity
from ullage_contract.plain import plain

FIELDS: Final = (
    "cluster",
    "node",
    "subject",
    "model",
    "incident",
    "code",
    "action",
    "confirmed",
    "reason",
    "actuator",
    "by",
    "result",
    "owner",
    "since",
    "at",
)
"""In the order they are shown."""
VALUE_CHARACTERS: Final = 300  # our choice: because a reason is at most 200, and a message has many values

Escape = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Text:
    """A message as a person reads it. title: one line. lines: the rest; left_out: news that did not fit. worst: of all."""

    title: str
    lines: tuple[str, ...]
    worst: Severity
    left_out: int = 0

    @property
    def body(self) -> str:
        return "\n".join(self.lines)


@cache
def catalogue(language: str) -> Mapping[str, Any]:
    """The texts of a language, zh or en. Findings and what they suggest are called what the console calls them."""
    text = resources.files("ullage_collector.notify").joinpath("texts.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)[language]
    said = console(language)
    found["word"]["kind"] = {kind: texts["name"] for kind, texts in said["findings"].items()}
    found["word"]["action"] = {**said["actions"], **found["word"]["action"]}
    return found


def compose(
    news: Sequence[News],
    *,
    language: str,
    escape: Escape = lambda text: text,
    most_bytes: int | None = None,
    zone: tzinfo = UTC,
    repeated: bool = False,
    console: str | None = None,
) -> Text:
    """The message about ``news``, at least one. most_bytes: of title and body in UTF-8; whole news are left out at the
    end, and their number is said. repeated: it may have been told before. zone: of the times shown.
    """
    words = catalogue(language)
    worst = max(news, key=lambda item: list(Severity).index(item.severity)).severity
    title = _title(news[0], words, escape)
    if len(news) > 1:
        title = words["message"]["many"].format(count=len(news), severity=words["word"]["severity"][worst])
    head = [words["message"]["repeat"]] if repeated else []
    parts = [_piece(item, words, escape, zone, alone=len(news) == 1) for item in news]
    where = console or words["message"]["nowhere"]
    shown = len(parts)
    while True:
        lines = [*head, *(line for part in parts[:shown] for line in part)]
        if shown < len(parts):
            lines.append(words["message"]["more"].format(count=len(parts) - shown, where=where))
        text = Text(title, tuple(lines), worst, len(parts) - shown)
        if most_bytes is None or _size(text) <= most_bytes:
            return text
        if shown <= 1:
            return _cut(text, most_bytes)
        shown = max(1, min(shown - 1, shown * most_bytes // _size(text)))


def _title(news: News, words: Mapping[str, Any], escape: Escape) -> str:
    return str(words["event"][news.event]).format_map(_Values(news, words, escape, UTC)).strip()


def _piece(news: News, words: Mapping[str, Any], escape: Escape, zone: tzinfo, *, alone: bool) -> list[str]:
    values = _Values(news, words, escape, zone)
    labels = words["label"]
    said = [f"{labels[name]}: {value}" for name in FIELDS if (value := values[name])]
    if alone:
        return said
    return [f"{_title(news, words, escape)}", "  " + " · ".join(said)]


class _Values(dict[str, str]):
    """A news' fields as shown; what it has not is empty."""

    def __init__(self, news: News, words: Mapping[str, Any], escape: Escape, zone: tzinfo) -> None:
        raw = {
            **news.details,
            "severity": words["word"]["severity"][news.severity],
            "family": words["word"]["family"].get(news.family, news.family),
            "subject": news.subject,
            "cluster": news.cluster or "",
            "node": news.node or "",
            "since": _written(news.since_us, zone),
            "at": _written(news.at_us, zone),
        }
        for name in ("action", "confirmed", "kind"):
            if name in raw:
                raw[name] = words["word"][name].get(raw[name], raw[name])
        super().__init__({key: escape(plain(value, limit=VALUE_CHARACTERS)) for key, value in raw.items()})

    def __missing__(self, key: str) -> str:
        return ""


def _written(us: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")


def _size(text: Text) -> int:
    return len(text.title.encode()) + len(text.body.encode()) + 2


def _cut(text: Text, most_bytes: int) -> Text:
    """One piece that alone is too long: cut between characters, with an ellipsis."""
    room = max(0, most_bytes - len(text.title.encode()) - 2 - len("…".encode()))
    body = text.body.encode()[:room].decode("utf-8", "ignore") + "…"
    return Text(text.title, tuple(body.split("\n")), text.worst, text.left_out)


def no_markdown(text: str) -> str:
    """A text in which nothing is markup, a link or a mention for DingTalk and WeCom.

    Neither documents an escape, and a backslash would be shown: the signs that mean something become their full-width
    forms, which look the same and mean nothing.
    """
    return text.translate(_FULL_WIDTH)


_FULL_WIDTH: Final = str.maketrans({sign: chr(ord(sign) + 0xFEE0) for sign in "<>[]*`#@|~"})
