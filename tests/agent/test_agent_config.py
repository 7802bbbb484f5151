"""agent.toml: every wrong setting is named with file, key, value and what to write."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from ullage_agent import config
from ullage_contract.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "agent/agent.example.toml"


def _load(tmp_path: Path, text: str) -> config.Config:
    file = tmp_path / "agent.toml"
    file.write_text(text, encoding="utf-8")
    return config.load(file, environ={}, fqdn="n1")


def test_the_example_holds_the_defaults(tmp_path: Path) -> None:
    example = config.load(EXAMPLE, environ={}, fqdn="n1")
    plain = _load(tmp_path, "")
    for part in (
        "cluster",
        "log_level",
        "sampling",
        "sources",
        "metrics",
        "push",
        "spool",
        "otlp",
        "enabled",
    ):
        assert getattr(example, part) == getattr(plain, part), part


def test_the_example_names_every_key() -> None:
    """Commented out or not: a key that is not in the example is not documented."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for section in (config.Sampling, config.Sources, config.Metrics, config.Push, config.Spool, config.Otlp):
        for field in fields(section):
            assert f"\n{field.name} =" in text or f"\n# {field.name} =" in text, field.name


def test_every_commented_key_of_the_example_is_accepted(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    bare = [
        line[2:] if line.startswith("# ") and (" = " in line or line.startswith("# [")) else line
        for line in lines
    ]
    text = "\n".join(
        line for line in bare if line.startswith(("[",)) or (" = " in line and not line.startswith("#"))
    )
    tomllib.loads(text)
    loaded = _load(tmp_path, text)
    assert loaded.push.url == "https://collector.example:9736"
    assert loaded.enabled == {"simulated": True}


def test_a_missing_default_file_means_defaults_and_a_missing_named_file_does_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[sampling]\nfast_seconds = 'ten'", r"\[sampling\] fast_seconds = 'ten': write a number"),
        ("[sampling]\nfast_seconds = true", "write a number"),
        ("[sampling]\nfast_seconds = 0", "from 1 to 3600"),
        ("[sampling]\nfast_secs = 5", "did you mean fast_seconds"),
        ("[sampling]\ncall_deadline_seconds = 9", "less than tick_budget_seconds"),
        ("[push]\nurl = 'collector:9736'", "write http://host:port"),
        ("[push]\nurl = 'https://user:pw@host'", "without a user or password"),
        ("[push]\ntoken_file = 'token'", "an absolute path"),
        ("[push]\ncertificate_file = '/a'", "go together"),
        ("[metrics]\nlisten = '9735'", "address:port"),
        ("[metrics]\nlisten = '[::]:²'", "address:port"),
        ("[sources]\nrdma = 'yes'", "true or false"),
        ("[backends]\nnvidia = 1", r"write a table: \[backends.nvidia\]"),
        ("[backends.nvidia]\nenabled = 'maybe'", 'true, false or "auto"'),
        ("[backends.nvidia.x]\ny = 1", "write text, a number"),
        ("log_level = 'loud'", "one of debug, info"),
        ("cluster = 5", "write text in quotes"),
        ('cluster = "a\\u0007b"', "without control characters"),
        ("nodes = 'x'", "did you mean node"),
        ("x = ", "not TOML"),
    ],
)
def test_a_wrong_setting_says_where_what_and_what_instead(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        _load(tmp_path, text)
    assert str(tmp_path / "agent.toml") in str(caught.value)


def test_the_node_is_named_by_configuration_then_kubernetes_then_slurm_then_the_host(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("node = 'a'")
    both = {"NODE_NAME": "k", "SLURMD_NODENAME": "s"}
    assert config.load(file, environ=both).node == "a"
    file.write_text("")
    assert config.load(file, environ=both).node == "k"
    assert config.load(file, environ={"SLURMD_NODENAME": "s"}).node == "s"
    assert config.load(file, environ={}, fqdn="f.example").node == "f.example"


def test_a_makers_own_keys_are_passed_on_and_enabled_is_ours(tmp_path: Path) -> None:
    loaded = _load(tmp_path, "[backends.x]\nenabled = true\nlibrary = '/opt/x.so'\ncards = [1, 2]")
    assert loaded.enabled == {"x": True}
    assert dict(loaded.settings("x")) == {"library": "/opt/x.so", "cards": [1, 2]}
    assert dict(loaded.settings("y")) == {}
