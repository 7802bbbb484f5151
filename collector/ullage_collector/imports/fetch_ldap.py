"""Departments from a directory (LDAP): one paged search, over TLS, by the extra ``ldap``.

    [ldap]
    base = "ou=departments,dc=example,dc=com"
    filter = "(objectClass=organizationalUnit)"
    bind_dn = "cn=ullage,dc=example,dc=com"     # left out: anonymous
    password_file = "/etc/ullage/ldap.password"
    ca_file = "/etc/ullage/ldap-ca.pem"         # left out: the system's

A template names attributes, of which the first value counts; besides there are ``{dn}``, ``{parent_dn}`` (empty at the top)
and ``{rdn}``, the value before the first comma. ldaps:// is TLS from the start, ldap:// begins it before anything is said; ldapi:// is
a socket of this machine.
"""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ullage_collector.imports.departments import DepartmentMap, Row
from ullage_collector.imports.fetch_bounded import read_secret
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.settings import Table

PAGE: Final = (
    500  # our choice: because servers refuse more than 500 or 1000 entries at once (RFC 2696 pages them)
)
MOST_ENTRIES: Final = 100_000  # our choice: because no company has more departments
_GIVEN: Final = ("dn", "parent_dn", "rdn")
_SPECIAL: Final = re.compile(r'([,+"\\<>;=#])')  # what RFC 4514 writes behind a backslash
_ESCAPED: Final = r"\\\1"


@dataclass(frozen=True, slots=True)
class LdapSpec:
    """[ldap] of a map. attributes: those the map's templates name."""

    base: str
    filter: str
    bind_dn: str | None
    password_file: Path | None
    ca_file: Path | None
    timeout_seconds: float
    attributes: tuple[str, ...]


def read_spec(table: Table, spec: DepartmentMap) -> LdapSpec:
    """[ldap] checked. Raises ConfigError."""
    base = table.text("base")
    if not base:
        raise table.wrong(
            "base", base, 'write where the departments stand, e.g. "ou=departments,dc=example,dc=com"'
        )
    templates = [t for t in (spec.id, spec.step, *spec.fields.values()) if t is not None]
    names = {name for template in templates for name in template.names()}
    names.update(column for column in (spec.starts, spec.ends) if column)
    found = LdapSpec(
        base=base,
        filter=table.text("filter", "(objectClass=organizationalUnit)") or "",
        bind_dn=table.text("bind_dn"),
        password_file=table.path("password_file"),
        ca_file=table.path("ca_file"),
        timeout_seconds=table.number("timeout_seconds", 60, 1, 3600),
        attributes=tuple(sorted(names - set(_GIVEN))),
    )
    if (found.bind_dn is None) != (found.password_file is None):
        raise table.wrong("bind_dn", found.bind_dn, "write bind_dn and password_file, or neither: anonymous")
    table.finish()
    return found


def fetch(url: str, spec: LdapSpec) -> Iterator[Row]:
    """Every entry the search finds. Raises BadInput or ConfigError; never says the password."""
    try:
        import ldap3
        from ldap3.core.exceptions import LDAPException
    except ModuleNotFoundError as e:
        raise ConfigError("ldap3 is not installed; pip install 'ullage[ldap]'") from e
    server, how = _server(ldap3, url, spec)
    password = read_secret(spec.password_file, "password_file") if spec.password_file else None
    entries: list[Mapping[str, Any]] = []
    try:
        with warnings.catch_warnings():
            # ldap3 2.9 checks the host's name with what Python 3.11 calls old and 3.12 has no more (there it has its own).
            warnings.filterwarnings("ignore", "ssl.match_hostname", DeprecationWarning)
            connection = ldap3.Connection(
                server,
                user=spec.bind_dn,
                password=password,
                auto_bind=how,
                read_only=True,
                raise_exceptions=True,
                receive_timeout=int(spec.timeout_seconds),
                auto_referrals=False,
            )
        with connection:
            for entry in connection.extend.standard.paged_search(
                spec.base,
                spec.filter,
                search_scope=ldap3.SUBTREE,
                attributes=list(spec.attributes) or [ldap3.NO_ATTRIBUTES],
                paged_size=PAGE,
                time_limit=int(spec.timeout_seconds),
                generator=True,
            ):
                if entry["type"] == "searchResEntry":
                    entries.append(entry)
                if len(entries) > MOST_ENTRIES:
                    raise BadInput(f"{url}: more than {MOST_ENTRIES} entries; narrow [ldap] base or filter")
    except LDAPException as e:
        said = type(e).__name__.removeprefix("LDAP").removesuffix("Result")
        raise BadInput(f"{url}: {said}: {str(e)[:200]}") from e
    except (OSError, ssl.SSLError) as e:
        raise BadInput(f"{url}: {type(e).__name__}: {str(e)[:200]}") from e
    yield from rows_of(entries, spec.base)


def _server(ldap3: Any, url: str, spec: LdapSpec) -> tuple[Any, Any]:
    """The server, and how a connection to it begins."""
    parsed = urlsplit(url)
    seconds = spec.timeout_seconds
    if parsed.scheme == "ldapi":
        return ldap3.Server(
            f"ldapi://{unquote(parsed.netloc)}", connect_timeout=seconds
        ), ldap3.AUTO_BIND_NO_TLS
    if parsed.scheme not in ("ldap", "ldaps") or not parsed.hostname or "@" in parsed.netloc:
        raise ConfigError(
            f"--ldap {url.split('?')[0][:200]!r}: write ldaps://host, ldap://host or ldapi://%2Frun%2Fslapd%2Fldapi"
        )
    if spec.ca_file is not None and not spec.ca_file.is_file():
        raise ConfigError(f"ca_file {spec.ca_file}: no such file")
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(spec.ca_file) if spec.ca_file else None)
    secure = parsed.scheme == "ldaps"
    server = ldap3.Server(
        parsed.hostname,
        port=parsed.port or (636 if secure else 389),
        use_ssl=secure,
        tls=tls,
        connect_timeout=seconds,
        get_info=ldap3.NONE,
    )
    return server, ldap3.AUTO_BIND_NO_TLS if secure else ldap3.AUTO_BIND_TLS_BEFORE_BIND


def rows_of(entries: Iterable[Mapping[str, Any]], base: str) -> Iterator[Row]:
    """Entries as rows: the first value of each attribute, and the names of entry and parent in one spelling."""
    listed = [(_plain(entry["dn"]), entry) for entry in entries]
    there = {dn for dn, _ in listed}
    top = _plain(base)
    for dn, entry in sorted(listed, key=lambda pair: (pair[0].count(","), pair[0])):
        parent = _parent(dn)
        row = {"dn": dn, "parent_dn": "" if dn == top or (parent == top and top not in there) else parent}
        row["rdn"] = _rdn(entry["dn"])
        for name, values in entry.get("attributes", {}).items():
            value = values[0] if isinstance(values, list | tuple) and values else values
            if value not in ([], (), None):
                row[str(name)] = value.isoformat() if hasattr(value, "isoformat") else str(value)
        yield f"entry {entry['dn']}", row


def _parts(dn: str) -> list[tuple[str, str]]:
    """Attribute and plain value of each part of a DN, the entry's own first."""
    from ldap3.utils.dn import parse_dn

    return [(attribute.lower(), _unescaped(value)) for attribute, value, _ in parse_dn(dn, strip=True)]


def _written(parts: Iterable[tuple[str, str]]) -> str:
    return ",".join(f"{attribute}={_SPECIAL.sub(_ESCAPED, value)}" for attribute, value in parts)


def _plain(dn: str) -> str:
    """A DN in one spelling: names compare without case (RFC 4517, caseIgnoreMatch)."""
    return _written((attribute, value.lower()) for attribute, value in _parts(dn))


def _parent(dn: str) -> str:
    return _written(_parts(dn)[1:])


def _rdn(dn: str) -> str:
    return _parts(dn)[0][1]


def _unescaped(value: str) -> str:
    """A value of a DN as it is meant: RFC 4514 writes a backslash and the character, or two hexadecimal digits a byte."""
    found, at = bytearray(), 0
    while at < len(value):
        if value[at] == "\\" and at + 1 < len(value):
            digits = value[at + 1 : at + 3]
            if len(digits) == 2 and all(c in "0123456789abcdefABCDEF" for c in digits):
                found.append(int(digits, 16))
                at += 3
            else:
                found += value[at + 1].encode()
                at += 2
        else:
            found += value[at].encode()
            at += 1
    return found.decode("utf-8", "replace")
