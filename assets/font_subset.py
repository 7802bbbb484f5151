"""Cut a Chinese font down to the characters our readers meet.

Names of people decide the size. GB 2312 has 6,763 han and misses many given names (喆 镕 堃 珺);
GBK has those and misses others (㐂 䶮). A report that prints a box for somebody's name is wrong,
so reports take every han that a common standard asks for and this font draws. The console mostly
shows our own words on machines that have a font: its fallback stays small.

Characters the font lacks are left out silently (𠮷, emoji): what prints text tells about those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from fontTools import subset

# Unicode blocks that both sets take whole. Unicode 16, Blocks.txt
_BLOCKS = (
    range(0x0020, 0x0250),  # Latin with all European accents
    range(0x0370, 0x0530),  # Greek, Cyrillic
    range(0x1E00, 0x3400),  # Vietnamese, punctuation, arrows, maths, boxes, kana, ㎡ ㏄ ㊣
    range(0xF900, 0x10000),  # compatibility han, full-width and half-width forms
)
_UNIFIED_HAN = range(0x4E00, 0xA000)
# Above the BMP the font draws little beside what the Table of General Standard Characters has.
_HAN_ABOVE_BMP = range(0x20000, 0x40000)
# 通用规范汉字表 (State Council, 2013), which registry offices go by: its characters of Extension A.
_STANDARD_EXTENSION_A = (
    "㑇㑊㕮㘎㙍㙘㙦㛃㛚㛹㟃㠇㠓㤘㥄㧐㧑㧟㫰㬊㬎㬚㭎㭕㮾㰀㳇㳘㳚㴔㵐㶲㸆㸌㺄㻬㽏㿠䁖䂮䃅䃎䅟䌹䎃䎖䏝䏡"
    "䏲䐃䓖䓛䓨䓫䓬䗖䗛䗪䗴䜣䝙䢺䢼䣘䥽䦃䲟䲠䲢䴓䴔䴕䴖䴗䴘䴙䶮"
)
# What the layout needs and no more: spacing, ligatures, even digits, regional forms.
_FEATURES = ["kern", "liga", "tnum", "locl", "palt"]


def for_reports() -> set[int]:
    """Code points of PDF reports: mainland, Taiwan, Hong Kong and Japanese standards together."""
    standards = (_encodable(codec) for codec in ("gbk", "big5", "big5hkscs", "shift_jis_2004"))
    own = (_UNIFIED_HAN, _HAN_ABOVE_BMP, map(ord, _STANDARD_EXTENSION_A))
    return set().union(*_BLOCKS, *own, *standards)


def for_console() -> set[int]:
    """Code points of the console's fallback font: everyday simplified Chinese."""
    return set().union(*_BLOCKS, _encodable("gb2312"))


CHARACTERS: dict[str, Callable[[], set[int]]] = {"reports": for_reports, "console": for_console}


def cut(source: Path, target: Path, characters: str) -> int:
    """Write ``target``, the font ``source`` with only the named set; return how many it covers.

    characters: a key of CHARACTERS. The suffix of ``target`` decides the format: .ttf or .woff2.
    The same input gives the same bytes: no time of making is written.
    """
    options = subset.Options()
    options.hinting = False  # three quarters of a megabyte that no print and no modern screen uses
    options.layout_features = _FEATURES
    options.drop_tables += ["vhea", "vmtx"]  # nothing here is set vertically
    options.notdef_outline = True  # a missing character shows a box, not a gap
    options.flavor = "woff2" if target.suffix == ".woff2" else None
    font = subset.load_font(str(source), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=CHARACTERS[characters]())
    cutter.subset(font)
    subset.save_font(font, str(target), options)
    return len(font.getBestCmap())


def _encodable(codec: str) -> Iterable[int]:
    """Code points of one legacy character set, as Python's codec knows it."""
    for point in (*range(0xD800), *range(0xE000, 0x30000)):
        try:
            chr(point).encode(codec)
        except UnicodeEncodeError:
            continue
        yield point
