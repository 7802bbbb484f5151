"""What others wrote where a number stands: a superscript is a digit to Python's ``isdigit`` and no number to ``int``."""

from __future__ import annotations

from typing import Any

import pytest

from ullage_collector.isolate import slurm_calls, slurm_card
from ullage_collector.notify import settings
from ullage_collector.quota.readers import slurm
from ullage_contract.errors import ConfigError
from ullage_contract.settings import Table


def test_a_superscript_is_no_number() -> None:
    assert slurm._share("²") is None
    assert slurm_calls._seconds("²") is None
    assert slurm_calls._job("x|²|RUNNING|a|1|2||n1||").job_id == 0
    assert slurm_card._minutes("²-00:05:00") == 5
    assert slurm_card._minutes("²:05:00") == 5


def test_a_port_of_superscripts_names_its_key() -> None:
    content: dict[str, Any] = {"server": "smtp.example.com:²", "to": ["ops@example.com"], "from": "a@b.c"}
    with pytest.raises(ConfigError, match=r"server = 'smtp.example.com:²'"):
        settings._mail(Table(content, "collector.toml", "notify"))
