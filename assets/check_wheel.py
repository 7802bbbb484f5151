"""Fail when a built wheel lacks an asset, its licence, or carries another file than was made.

Run by `make dist` on dist/*.whl: without this, a wheel built before `make assets` would install
well and then show boxes for Chinese names and a console that does nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = "ullage_assets/files/"
TABLE = Path(__file__).resolve().parent / "ullage_assets" / "assets.toml"


def expected(table: Path = TABLE) -> list[str]:
    """Names of every asset and every licence text."""
    with table.open("rb") as file:
        packages = tomllib.load(file)["package"]
    return [file["name"] for package in packages for file in (*package["file"], package["licence"])]


def faults(wheel: Path, names: Sequence[str]) -> list[str]:
    """What is wrong with the wheel, a line each; empty when nothing is."""
    with zipfile.ZipFile(wheel) as archive:
        content = {
            name.removeprefix(FOLDER): archive.read(name)
            for name in archive.namelist()
            if name.startswith(FOLDER) and not name.endswith("/")
        }
    if "manifest.json" not in content:
        return [f"no {FOLDER}manifest.json: the assets were not made before the wheel"]
    made = json.loads(content.pop("manifest.json"))["files"]
    found = [f"{name} is missing" for name in names if name not in content]
    for name, data in sorted(content.items()):
        if hashlib.sha256(data).hexdigest() != made.get(name):
            found.append(f"{name} is not what the manifest says was made")
    return found


def main(arguments: Sequence[str]) -> int:
    wheels = [Path(argument) for argument in arguments]
    if not wheels:
        print("usage: check_wheel.py WHEEL...", file=sys.stderr)
        return 2
    broken = False
    for wheel in wheels:
        for fault in faults(wheel, expected()):
            broken = True
            print(f"{wheel}: {fault}; run `make assets`, then build it again", file=sys.stderr)
    if not broken:
        print(f"{len(wheels)} wheel(s) carry all {len(expected())} assets and licences")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
