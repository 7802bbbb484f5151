"""Departments come from a real directory over TLS, an entry has one spelling, and the password is never told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.collector.organisation_world import (
    Import,
    certificates_in,
    kept,
    own_root_handlers,
    paths,
    slapd_of,
    taking,
)

from ullage_collector.cli import main
from ullage_collector.imports import fetch_ldap
from ullage_collector.imports.departments import parse
from ullage_contract.errors import BadInput, ConfigError

LDAP_MAP = """[departments]
key = "{dn}"
parent_key = "{parent_dn|}"
step = "{rdn}"
name = "{description|}"
owner = "{street|}"
[ldap]
base = "ou=departments,dc=example,dc=com"
bind_dn = "cn=ullage,dc=example,dc=com"
"""


@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    yield from own_root_handlers()


@pytest.fixture
def take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    return taking(tmp_path, capsys)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates_in(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def directory(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from slapd_of(certificates, tmp_path_factory.mktemp("ldap"))


def ldap_map(tmp_path: Path, directory: Any, password: str = "s3cret") -> Path:
    (tmp_path / "password").write_text(password)
    found = tmp_path / "ldap.toml"
    found.write_text(LDAP_MAP + f'password_file = "{tmp_path}/password"\nca_file = "{directory["ca"]}"\n')
    return found


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_departments_come_from_a_real_directory_over_tls(
    directory: Any, tmp_path: Path, take: Import, scheme: str
) -> None:
    code, said = take("--ldap", directory[scheme], "--map", ldap_map(tmp_path, directory))
    assert (code, said["rows_read"], said["file"]) == (0, 3, directory[scheme])
    found = kept(tmp_path / "data")
    assert paths(found, "2020-01-01") == [
        "Departments",
        "Departments > Departments/R, D",
        "Departments > Departments/R, D > Departments/R, D/NLP",
    ]
    nlp = found.tree(0).departments["Departments/R, D/NLP"]
    assert (nlp.name, nlp.owner, nlp.source_key) == (
        "Language",
        "eve",
        "ou=nlp,ou=r\\, d,ou=departments,dc=example,dc=com",
    )


def test_a_wrong_password_and_an_unknown_certificate_are_told_and_the_password_never(
    directory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "--data",
        str(tmp_path / "data"),
        "import",
        "departments",
        "--ldap",
        directory["ldaps"],
        "--map",
    ]
    assert main([*command, str(ldap_map(tmp_path, directory, "wr0ng"))]) == 2
    err = capsys.readouterr().err
    assert "invalidCredentials" in err
    assert "wr0ng" not in err
    spec = ldap_map(tmp_path, directory)
    spec.write_text(spec.read_text().replace(str(directory["ca"]), str(_other_ca(tmp_path))))
    assert main([*command, str(spec)]) == 2
    err = capsys.readouterr().err
    assert "certificate" in err.lower()
    assert "s3cret" not in err


def _other_ca(tmp_path: Path) -> Path:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=other", "-keyout", "other.key", "-out", "other.pem"],
        cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    return tmp_path / "other.pem"


@pytest.mark.parametrize(
    ("dn", "plain", "rdn"),
    [
        ("ou=NLP,ou=R\\2C D,DC=x", "ou=nlp,ou=r\\, d,dc=x", "NLP"),
        ("OU=\\E7\\A0\\94\\E5\\8F\\91 , DC=x", "ou=研发,dc=x", "研发"),
        ('ou=a\\+b\\"c,dc=x', 'ou=a\\+b\\"c,dc=x', 'a+b"c'),
    ],
)
def test_names_of_entries_have_one_spelling(dn: str, plain: str, rdn: str) -> None:
    pytest.importorskip("ldap3", reason="ldap3 is not installed: pip install 'ullage[ldap]'")
    entries = [{"dn": dn, "attributes": {"ou": ["x", "y"], "empty": []}}]
    ((where, row),) = fetch_ldap.rows_of(entries, "dc=x")
    assert (where, row["dn"], row["rdn"], row["ou"]) == (f"entry {dn}", plain, rdn, "x")
    assert "empty" not in row


def test_a_directory_that_is_not_there_is_bad_input_and_a_url_that_is_none_is_usage(tmp_path: Path) -> None:
    pytest.importorskip("ldap3", reason="ldap3 is not installed: pip install 'ullage[ldap]'")
    spec = parse(LDAP_MAP.replace('bind_dn = "cn=ullage,dc=example,dc=com"\n', ""), "m")
    read = fetch_ldap.read_spec(spec.rest["ldap"], spec)
    with pytest.raises(BadInput, match="SocketOpen"):
        list(fetch_ldap.fetch("ldap://localhost:1", read))
    with pytest.raises(ConfigError, match="write ldaps"):
        list(fetch_ldap.fetch("http://localhost", read))
    with pytest.raises(ConfigError, match="bind_dn and password_file, or neither"):
        half = parse(LDAP_MAP, "m")
        fetch_ldap.read_spec(half.rest["ldap"], half)
