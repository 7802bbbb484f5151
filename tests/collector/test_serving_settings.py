"""Which servers are asked and which systems are known: what is wrong is said with what to write."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.collector.serving_world import source

from ullage_collector.serving import prometheus
from ullage_collector.serving.settings import Source, sources_of
from ullage_collector.serving.systems import by_prefix, parse, shipped
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.served import KINDS


def test_every_system_says_where_its_names_are_from_and_no_name_means_two_things() -> None:
    for system in shipped().values():
        assert system.source.startswith("https://")
        assert set(system.names) <= set(KINDS)
    own = [name for s in shipped().values() if not s.plain for names in s.names.values() for name in names]
    assert len(own) == len(set(own))
    assert by_prefix()["vllm:request_success"][1] == "requests", "OpenTelemetry may drop _total"
    assert {"vllm", "sglang", "tgi", "triton", "kserve", "mindie", "ray_serve"} <= shipped().keys()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "url"),
        ({"url": "ftp://x"}, "http"),
        ({"url": "http://p", "systems": ["vlm"]}, "known"),
        ({"url": "http://p", "systems": ["mindie", "nim"]}, "same names"),
        ({"url": "http://p", "match": ['a="b"}) or vector(1)']}, "label matchers"),
        ({"url": "http://p", "job": "{slurm}", "pod": "{pod}"}, "Slurm"),
        ({"url": "http://p", "user": "u"}, "go together"),
        ({"url": "http://p", "tokenfile": "/x"}, "did you mean token_file"),
        ({"url": "http://p", "every_seconds": 1}, "from 15"),
    ],
)
def test_a_wrong_setting_says_what_to_write(table: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        sources_of({"sources": (table,)})


def test_the_example_names_every_key_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "collector" / "collector.example.toml").read_text()
    block = text.split("#[[serving]]\n")[1].split("\n\n")[0]
    table = tomllib.loads("\n".join(line.removeprefix("#") for line in block.splitlines()))
    for_slurm = ("namespace", "pod", "user", "password_file")
    for without in (("job", "token_file"), for_slurm):
        sources_of({"sources": ({key: value for key, value in table.items() if key not in without},)})
    assert {field.name for field in fields(Source)} == table.keys() - {"match"} | {"matchers"}


def test_sources_need_names_of_their_own_and_slurm_jobs_are_named_by_a_label() -> None:
    with pytest.raises(ConfigError, match="stands twice"):
        sources_of({"sources": ({"url": "http://p"}, {"url": "http://p:1"})})
    job = source(job="{slurm_job}")
    assert prometheus.workload_of(job, {"slurm_job": "77"}) == "slurm/dc1/77"
    assert prometheus.workload_of(job, {}) is None
    with pytest.raises(ConfigError, match="source"):
        parse('schema_version = 1\n[[system]]\nname = "x"\nrequests = ["a"]\n', "own.toml")


def test_a_refusal_is_told_with_what_the_server_says(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Connection refused"):
        prometheus.ask(source(url="http://127.0.0.1:9", timeout_seconds=1), 0, 60)
