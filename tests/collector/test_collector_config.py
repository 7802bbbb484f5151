"""collector.toml: defaults, and errors that say file, key, value and what to write."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ullage_collector import config
from ullage_collector.cli import main
from ullage_contract.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "collector" / "collector.example.toml"


def test_the_example_is_the_defaults() -> None:
    example = config.load(EXAMPLE)
    plain = config.Config()
    assert (example.log_level, example.data) == (plain.log_level, plain.data)
    assert example.listen == plain.listen
    assert example.receive == plain.receive
    assert example.store == plain.store


def test_the_example_holds_every_key(tmp_path: Path) -> None:
    """Also the commented ones: uncommented, each is known."""
    text = EXAMPLE.read_text()
    lines = [
        line[2:] if line.startswith("# ") and " = " in line and not line.startswith("# k8s") else line
        for line in text.splitlines()
    ]
    path = tmp_path / "all.toml"
    path.write_text("\n".join(lines))
    loaded = config.load(path)
    assert loaded.listen.client_ca == Path("/etc/ullage/tls/nodes-ca.pem")
    document = tomllib.loads(path.read_text())
    for name in ("receive", "store", "listen"):
        keys = {"address": ("host", "port")}
        fields = set(type(getattr(loaded, name)).__dataclass_fields__)
        listed = {field for key in document[name] for field in keys.get(key, (key,))}
        assert listed == fields


def test_a_missing_default_file_means_defaults_a_named_one_is_an_error(tmp_path: Path) -> None:
    assert config.load(data=tmp_path).data == tmp_path
    with pytest.raises(ConfigError, match="no such file"):
        config.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[listen]\nadress = '1:1'", r"\[listen\] adress = '1:1': no such key; did you mean address"),
        ("[listen]\naddress = '9736'", "address:port"),
        ("[listen]\naddress = '127.0.0.1:99999'", "address:port"),
        ("[listen]\naddress = '127.0.0.1:²'", "address:port"),
        ("[listen]\ntls_key = '/x'", "go together"),
        ("[listen]\nclient_ca = '/x'", "client certificates need"),
        ("[listen]\ntls_key = 'x'\ntls_certificate = '/y'", "absolute path"),
        ("[listen]\nmax_connections = 1.5", "whole number"),
        ("[listen]\nmax_connections = 0", "from 1 to"),
        ("[listen]\nsocket = 1", "true or false"),
        ("[listen]\nhosts = 'a'", "list of texts"),
        ("[receive]\nmax_pending_bytes = true", "whole number"),
        ("[store]\nurl = 'postgres://x'", "duckdb:///"),
        ("log_level = 'loud'", "one of debug"),
        ("listen = 5", r"write a table: \[listen\]"),
        ("[lisen]\n", "no such key; did you mean listen"),
        ("[listen\n", "not TOML"),
    ],
)
def test_a_wrong_setting_says_where_and_what_to_write(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as error:
        config.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("before", [True, False])
def test_options_count_before_and_after_the_command(
    tmp_path: Path, before: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(tmp_path / "here")]
    arguments = [*options, "token", "n"] if before else ["token", "n", *options]
    assert main(arguments) == 0
    assert (tmp_path / "here" / "collector" / "tokens.toml").exists()
    assert capsys.readouterr().out.startswith("ullage_node_")


def test_a_missing_named_file_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path / "none.toml"), "token", "n"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_command_of_one_part_imports_no_other(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from ullage_collector.cli import main\n"
        f"code = main(['--data', {str(tmp_path)!r}, 'token', 'n'])\n"
        "heavy = [m for m in ('duckdb', 'pyarrow', 'starlette', 'uvloop', 'google.protobuf') if m in sys.modules]\n"
        "raise SystemExit(str(heavy) if heavy else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.splitlines()[1:]) == (0, [])
