"""report.toml: a wrong setting names file, key and value, whatever command reads it; nothing is written where nobody meant it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ullage_contract.command import USAGE
from ullage_contract.errors import ConfigError
from ullage_reports import cli, config, formats


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[report]\nlog_level = "loud"', "report.log_level = 'loud': write one of debug, info, warning"),
        (
            '[report]\nformats = ["html", "pfd"]',
            "report.formats = ['html', 'pfd']: 'pfd' is not known; did you mean pdf?",
        ),
        ("[report]\nformats = []", "report.formats = []: nothing would be written; write some of html, pdf"),
        ('[report]\nlang = "fr"', "report.lang = 'fr': write one of zh, en"),
        ('[report]\nzone = "Mars/Base"', "report.zone = 'Mars/Base': that is no IANA time zone"),
        ('[report]\ncurrency = "yuan"', "report.currency = 'yuan': write an ISO 4217 code"),
        ('[report]\nout = ""', 'report.out = "": write a folder'),
        ("[report]\nfiscal_start_month = 13", "report.fiscal_start_month = 13: write a month"),
        ('[wach]\nbudgets = "b.toml"', "[wach] is not known; did you mean [watch]?"),
        ('[polcy]\nid = "a"', "[polcy] is not known; did you mean [[policy]]?"),
        ("[zzz]", "[zzz] is not known; known: [report], [focus], [mail]"),
        ('zone = "UTC"', "zone stands in no table; write it below [report]"),
        ('formats = ["html"]', "formats stands in no table; write it below [report]"),
    ],
)
def test_a_wrong_setting_names_its_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    file = tmp_path / "report.toml"
    file.write_text(text, encoding="utf-8")
    words = ["daily", "--date", "last", "--data", str(tmp_path), "--config", str(file)]
    assert cli.main(words) == USAGE
    err = capsys.readouterr().err
    assert err.startswith(f"ullage-report: {file}: {said}"), err
    assert err.count("\n") == 1 and "--" not in err, "no option that nobody gave"
    assert [path.name for path in tmp_path.iterdir()] == ["report.toml"]


@pytest.mark.parametrize("key", ["budgets", "anomalies"])
def test_a_file_to_watch_without_a_name_is_no_folder(tmp_path: Path, key: str) -> None:
    file = tmp_path / "report.toml"
    file.write_text(f'[watch]\n{key} = ""', encoding="utf-8")
    with pytest.raises(ConfigError, match=rf'report\.toml: watch\.{key} = "": write the path of a file'):
        config.watch(file)


def test_focus_of_the_settings_is_not_blamed_on_an_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.toml"
    file.write_text('[report]\nformats = ["html", "focus"]', encoding="utf-8")
    words = ["daily", "--date", "last", "--data", str(tmp_path), "--config", str(file)]
    assert cli.main(words) == USAGE
    assert f"{file}: report.formats: focus is of a month" in capsys.readouterr().err


def test_an_unknown_format_is_told_all_there_are() -> None:
    with pytest.raises(ConfigError, match="parquet, json, focus"):
        formats.renderer("pfd")
    for level in ("INFO", "debug"):
        assert level.lower() in config.LOG_LEVELS


@pytest.mark.parametrize("option", ["--out", "--zone", "--format", "--lang", "--currency"])
def test_an_empty_option_is_not_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["daily", "--date", "last", "--data", str(tmp_path), option, ""])
    assert ended.value.code == USAGE
    assert f"argument {option}: is empty; write a value, or leave the option out" in capsys.readouterr().err
