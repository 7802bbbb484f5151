"""Curves of thresholds as one page that stands alone: no script, no file beside it, readable in the dark and in print.

Each threshold has precision and recall by its value, minutes to a finding below, and the same figures as a table. Values stand
at equal distances, as they are far from evenly spaced; the set one is marked. Not here: reckoning them (idle_curves.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ullage_collector.detect.hindsight import Score
    from ullage_collector.detect.idle_curves import Curve

WIDTH, LEFT, RIGHT = 640.0, 44.0, 84.0
SHARES, MINUTES = (16.0, 150.0), (178.0, 240.0)
"""Top and bottom of the two panels."""
HEIGHT: Final = 276.0
STYLE: Final = """
:root{--ink:#14202b;--mut:#54616e;--rul:#d5dce3;--pap:#fff;--a:#1f5f99;--b:#b3531e;--c:#54616e}
@media (prefers-color-scheme:dark){:root{--ink:#e8edf2;--mut:#a5b1bd;--rul:#3a4651;--pap:#141a20;--a:#7ab6ea;--b:#f0a06c;--c:#a5b1bd}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--pap);max-width:720px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:2.5rem 0 .25rem;font-family:ui-monospace,monospace}
p{color:var(--mut);margin:.25rem 0}svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:var(--mut)}
svg .set{fill:var(--ink);font-weight:600}.table{overflow-x:auto}table{border-collapse:collapse;font-size:13px;margin:.5rem 0}
th,td{padding:2px 12px 2px 0;text-align:right;font-variant-numeric:tabular-nums}th{color:var(--mut);font-weight:400}
tr.set td{font-weight:600}section{break-inside:avoid}
"""


def page(title: str, said: Sequence[str], curves: Sequence[Curve]) -> str:
    """The whole page. said: sentences below the title, e.g. what the series was."""
    words = "".join(f"<p>{escape(sentence)}</p>" for sentence in said)
    parts = "".join(_section(curve) for curve in curves)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{words}{parts}</body></html>\n"
    )


def shown(value: float) -> str:
    """A value as a person reads it: at most five digits, thousands and bytes in full."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.5g}"


def _section(curve: Curve) -> str:
    unit = f" ({curve.unit})" if curve.unit else ""
    rows = "".join(
        f"<tr{' class=set' if value == curve.value else ''}><td>{shown(value)}</td><td>{score.precision:.3f}</td>"
        f"<td>{score.recall:.3f}</td><td>{_minutes(score)}</td><td>{score.findings}</td></tr>"
        for value, score in curve.points
    )
    return (
        f"<section><h2>{escape(curve.name)}</h2><p>set to {shown(curve.value)}{escape(unit)}</p>{_picture(curve)}"
        '<div class="table"><table><thead><tr><th>value</th><th>precision</th><th>recall</th><th>median min</th><th>findings</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _minutes(score: Score) -> str:
    return "-" if score.minutes is None else f"{score.minutes:.0f}"


def _picture(curve: Curve) -> str:
    count = len(curve.points)
    step = (WIDTH - LEFT - RIGHT) / max(1, count - 1)
    xs = [LEFT + step * place for place in range(count)]
    lowest = min(min(score.precision, score.recall) for _, score in curve.points)
    floor = max(0.0, int(lowest * 10) / 10)
    most = max((score.minutes or 0.0 for _, score in curve.points), default=0.0)
    top = max(10.0, 10.0 * int(most / 10 + 1))
    said = ", ".join(f"{shown(v)}: {s.precision:.2f} and {s.recall:.2f}" for v, s in curve.points)
    parts = [
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(curve.name)}: precision and recall, {escape(said)}">',
        *_axis(SHARES, floor, 1.0, "{:.1f}"),
        *_axis(MINUTES, 0.0, top, "{:.0f}"),
    ]
    place = next(n for n, (value, _) in enumerate(curve.points) if value == curve.value)
    parts.append(
        f'<line x1="{xs[place]:.1f}" x2="{xs[place]:.1f}" y1="{SHARES[0]:.0f}" y2="{MINUTES[1]:.0f}" stroke="var(--rul)" '
        'stroke-width="6" opacity=".6"/>'
    )
    lines = (
        ("precision", "a", SHARES, floor, 1.0, [score.precision for _, score in curve.points]),
        ("recall", "b", SHARES, floor, 1.0, [score.recall for _, score in curve.points]),
        ("minutes", "c", MINUTES, 0.0, top, [score.minutes for _, score in curve.points]),
    )
    ends: list[float] = []
    for name, colour, panel, low, high, values in lines:
        dots = [(x, _y(panel, low, high, v)) for x, v in zip(xs, values, strict=True) if v is not None]
        if not dots:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="var(--{colour})" stroke-width="2"/>')
        parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="var(--{colour})"/>' for x, y in dots)
        end = dots[-1][1]
        while any(abs(end - other) < 12 for other in ends):
            end += 12
        ends.append(end)
        parts.append(
            f'<text x="{dots[-1][0] + 8:.1f}" y="{end + 4:.1f}" style="fill:var(--{colour})">{name}</text>'
        )
    for n, (x, (value, _)) in enumerate(zip(xs, curve.points, strict=True)):
        marked = ' class="set"' if n == place else ""
        high = n % 2 and len(shown(value)) * 6.5 > step
        parts.append(
            f'<text x="{x:.1f}" y="{268 if high else 256}" text-anchor="middle"{marked}>{shown(value)}</text>'
        )
    return "".join(parts) + "</svg>"


def _axis(panel: tuple[float, float], low: float, high: float, form: str) -> list[str]:
    found = []
    for share in (0.0, 0.5, 1.0):
        value = low + (high - low) * share
        y = _y(panel, low, high, value)
        found.append(
            f'<line x1="{LEFT:.0f}" x2="{WIDTH - RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--rul)"/>'
        )
        text = form.format(value) if (high - low) >= 0.2 or not share % 1 else f"{value:.2f}"
        found.append(f'<text x="{LEFT - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    return found


def _y(panel: tuple[float, float], low: float, high: float, value: float) -> float:
    top, bottom = panel
    return bottom - (bottom - top) * (value - low) / ((high - low) or 1.0)
