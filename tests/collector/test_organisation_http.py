"""Departments come over TLS from a server that is known, whole or not at all, and the token is never told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.organisation_world import (
    Import,
    certificates_in,
    hr_system,
    kept,
    own_root_handlers,
    paths,
    taking,
)

from ullage_collector.imports import fetch_json
from ullage_collector.imports.departments import parse
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.settings import Table


@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    yield from own_root_handlers()


@pytest.fixture
def take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    return taking(tmp_path, capsys)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def hr(certificates: Path, tmp_path: Path) -> Iterator[Any]:
    yield from hr_system(certificates, tmp_path)


def test_departments_come_over_tls_page_by_page_and_a_move_keeps_the_identity(
    hr: Any, tmp_path: Path, take: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = take("--url", f"{hr.url}/departments", "--map", hr.map)
    assert (code, said["rows_added"], said["file"]) == (0, 3, f"{hr.url}/departments")
    assert {token for _, token in hr.asked} == {"Bearer s3cret"}
    assert paths(kept(tmp_path / "data"), "2020-01-01")[-1] == "acme > acme/rd > acme/rd/nlp"
    code, said = take("--url", f"{hr.url}/departments", "--map", hr.map, "--from", "2026-10-01")
    assert (code, said["rows_added"], said["imported_before"]) == (0, 0, True)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/moved", "it redirects to"),
        ("/away", "the next page is on another server"),
        ("/round", "the pages do not end"),
        ("/odd", "data.items is no list"),
        ("/text", "is no JSON"),
    ],
)
def test_an_answer_that_is_none_is_told_and_never_the_token(hr: Any, path: str, said: str) -> None:
    spec = fetch_json.read_spec(parse(hr.map.read_text(), "hr.toml").rest["http"])
    with pytest.raises(BadInput, match=said) as refused:
        list(fetch_json.fetch(hr.url + path, spec))
    assert "s3cret" not in str(refused.value)
    assert len([asked for asked, _ in hr.asked if asked == "/departments"]) == 0


def test_a_body_over_its_bound_and_one_that_drips_are_given_up(
    hr: Any, certificates: Path, tmp_path: Path
) -> None:
    table = {"token_file": str(tmp_path / "token"), "ca_file": str(certificates / "ca.pem")}
    small = fetch_json.read_spec(Table({**table, "max_bytes": 1000}, "m", "http"))
    with pytest.raises(BadInput, match=r"more than \[http\] max_bytes"):
        list(fetch_json.fetch(f"{hr.url}/long", small))
    ticks = iter(range(10_000))
    hasty = fetch_json.read_spec(Table({**table, "timeout_seconds": 5}, "m", "http"))
    with pytest.raises(BadInput, match=r"not done in \[http\] timeout_seconds"):
        list(fetch_json.fetch(f"{hr.url}/drip", hasty, monotonic=lambda: float(next(ticks))))


def test_a_certificate_nobody_vouches_for_and_a_wrong_token_are_refused(hr: Any, tmp_path: Path) -> None:
    unknown = fetch_json.read_spec(Table({"token_file": str(tmp_path / "token")}, "m", "http"))
    with pytest.raises(BadInput, match="ca_file"):
        list(fetch_json.fetch(f"{hr.url}/departments", unknown))
    assert hr.asked == [], "nothing is said to a server that is not known"
    (tmp_path / "token").write_text("wrong")
    spec = fetch_json.read_spec(parse(hr.map.read_text(), "hr.toml").rest["http"])
    with pytest.raises(BadInput, match="answers 401; is token_file right"):
        list(fetch_json.fetch(f"{hr.url}/departments", spec))


@pytest.mark.parametrize(
    "url",
    ["http://hr.example.com/x", "ftp://x", "https://user:pw@hr.example.com/", "hr.example.com", "https://"],
)
def test_a_url_that_would_tell_too_much_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        list(fetch_json.fetch(url, fetch_json.read_spec(Table({}, "m", "http"))))
    assert "pw" not in str(refused.value)
