"""Numbers and dates as people read them, in Chinese and English. Decimals in, text out; nothing is added up.

Rounding here is for reading alone and only where a unit says so (万元, million, whole per cent); figures of
tables are printed with every digit the model gives them. The minus is U+2212, so that it is as wide as a plus.
Not here: words (texts).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Final
from zoneinfo import ZoneInfo

DASH: Final = "–"
"""What stands where nothing is known; never 0."""
MINUS: Final = "−"

# Words for one unit of the currencies our readers meet; any other prints its code. CLDR 46, zh, unit names.
_ZH_UNITS: Final = {
    "CNY": "元",
    "USD": "美元",
    "EUR": "欧元",
    "HKD": "港元",
    "JPY": "日元",
    "SGD": "新加坡元",
}


@dataclass(frozen=True, slots=True)
class Format:
    """How one language prints. lang: ``zh`` or ``en``; zone: where dates are told; currency: ISO 4217."""

    lang: str
    zone: ZoneInfo
    currency: str

    def number(self, value: Decimal | int | None, places: int | None = None) -> str:
        """With thousands separators; ``places`` decimals, or those the value has. None is a dash."""
        if value is None:
            return DASH
        figure = Decimal(value)
        if places is not None:
            figure = figure.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
        text = format(abs(figure), ",f")
        return MINUS + text if figure < 0 else text

    def money(self, value: Decimal | None) -> str:
        """A full amount with its currency: ``CNY 1,234.50``, ``1,234.50 元``."""
        return DASH if value is None else self._with_unit(self.number(value))

    def money_short(self, value: Decimal | None) -> str:
        """An amount to be spoken, about four figures: ``CNY 1.23 million``, ``123.4 万元``, ``CNY 9,120``."""
        if value is None:
            return DASH
        size = abs(value)
        if self.lang == "zh":
            steps = ((Decimal(10) ** 8, " 亿"), (Decimal(10) ** 4, " 万"))
        else:
            steps = ((Decimal(10) ** 9, " billion"), (Decimal(10) ** 6, " million"))
        for step, word in steps:
            # our choice: a step starts where its first digit shows, so 0.99 million stays 990,000
            if size >= step:
                places = 2 if size < step * 100 else 1
                return self._with_unit(self.number(value / step, places) + word)
        return self._with_unit(self.number(value, 0 if size >= 100 else None))

    def percent(self, ratio: Decimal | None, places: int = 1) -> str:
        """A ratio of 0..1 as per cent; None is a dash. A part that is not 0 never prints as 0."""
        if ratio is None:
            return DASH
        least = Decimal(1).scaleb(-places)
        figure = ratio * 100
        if 0 < abs(figure) < least / 2:
            return f"<{least}%" if figure > 0 else f">{MINUS}{least}%"
        return self.number(figure, places) + "%"

    def percent_plain(self, ratio: Decimal | None) -> str:
        """Whole per cent for a sentence: ``31%``; below one per cent with one decimal."""
        if ratio is None:
            return DASH
        small = 0 < abs(ratio) < Decimal("0.01")
        return self.percent(ratio, 1 if small else 0)

    def signed(self, text: str, value: Decimal) -> str:
        """Already formatted text with a plus in front when value is above 0; a minus is there already."""
        return f"+{text}" if value > 0 else text

    def change(self, ratio: Decimal | None) -> str:
        """A change as per cent with its sign: ``+6.1%``, ``−3.0%``; None is a dash."""
        return DASH if ratio is None else self.signed(self.percent(ratio), ratio)

    def points(self, difference: Decimal) -> str:
        """A difference of two ratios in percentage points, signed, one decimal; the word is the caller's."""
        return self.signed(self.number(difference * 100, 1), difference)

    def day(self, value: date) -> str:
        """``2026-11-20``: the same in both languages, unmistakable, sorts."""
        return value.isoformat()

    def instant(self, value: datetime | None) -> str:
        """Minute in the report's zone: ``2026-11-20 08:05``; None is a dash."""
        return DASH if value is None else value.astimezone(self.zone).isoformat(" ", "minutes")[:16]

    def span(self, first: date, last: date) -> str:
        """A range of local days, both included; one day alone prints once."""
        return (
            self.day(first)
            if first == last
            else f"{self.day(first)} {'至' if self.lang == 'zh' else 'to'} {self.day(last)}"
        )

    def axis(self, value: Decimal) -> str:
        """A tick of an axis: short, exact enough to read: ``12,000``, ``1.2 万``, ``1.2M``."""
        size = abs(value)
        if self.lang == "zh" and size >= 100_000:
            return self._trimmed(value / 10_000) + " 万"
        if self.lang != "zh" and size >= 1_000_000:
            return self._trimmed(value / 1_000_000) + "M"
        return self._trimmed(value)

    def _trimmed(self, value: Decimal) -> str:
        text = self.number(value.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN))
        return text.rstrip("0").rstrip(".") if "." in text else text

    def _with_unit(self, number: str) -> str:
        if self.lang == "zh" and self.currency in _ZH_UNITS:
            join = "" if number[-1:] in "万亿" else " "
            return f"{number}{join}{_ZH_UNITS[self.currency]}"
        if number.startswith(MINUS):
            return f"{MINUS}{self.currency} {number[1:]}"
        return f"{self.currency} {number}"


def plain_number(value: Decimal | int | None) -> str:
    """For files: ASCII digits, no separators, ``-`` for minus; None is empty."""
    return "" if value is None else plain_digits(value) if isinstance(value, Decimal) else str(value)


def plain_digits(value: Decimal) -> str:
    """ASCII digits without exponent or separators, ``-`` for minus."""
    text = str(value)
    return format(value, "f") if "E" in text else text
