"""A report as one HTML file that needs nothing else: no script, no font, no picture, no network.

The page forbids itself everything but its own style sheet (Content-Security-Policy with that sheet's hash), so a
name that got past the escaping could still not run. Needs jinja2 alone; the PDF has the same pages.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from ullage_reports.model import Report
from ullage_reports.pages import pages
from ullage_reports.texts import Texts


def text(report: Report, lang: str) -> str:
    """The whole page. Raises ConfigError for a language there is no catalogue of."""
    style = _file("report.css")
    texts = Texts(lang)
    return template("report.html.j2").render(
        page=pages(report, lang),
        style=style,
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        contents=texts("page.contents"),
    )


def render(report: Report, lang: str, out: Path) -> Path:
    """Write ``<stem>.<lang>.html`` below ``out``."""
    path = out / f"{report.stem}.{lang}.html"
    path.write_text(text(report, lang), encoding="utf-8", newline="\n")
    return path


def template(name: str) -> Template:
    """A page's template; every value put into it is escaped."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Markup that is ours: charts, whose text is escaped as they are drawn, and the style sheet.
    environment.filters["picture"] = Markup
    return environment


def _file(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")
