"""Departments from files, JSON over TLS and a directory; a re-organisation is a dated fact; a broken tree changes nothing."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.collector_process import CollectorProcess

from ullage_collector.cli import main
from ullage_collector.config import Store as StoreSettings
from ullage_collector.imports import fetch_json, fetch_ldap
from ullage_collector.imports.departments import departments_of, json_rows, parse, rows_of
from ullage_collector.organisation import Department, Organisation, trouble
from ullage_collector.ownership.history import since
from ullage_collector.ownership.reading import organisation, us
from ullage_collector.store.store import Store
from ullage_contract.errors import BadInput, ConfigError
from ullage_contract.settings import Table

TREE = "id,name,owner,deputy,cost_center,key\nrd,R&D,ada,bob,100,k0\nrd/nlp,NLP,eve,,110,k1\nrd/cv,CV,,,,k2\n"


@pytest.fixture(autouse=True)
def _root_handlers() -> Iterator[None]:
    """The command logs to the stderr of its test: give the root logger its own handlers back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, level = before
    root.setLevel(level)


Import = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    """Run ``import departments`` without a collector: exit code and report."""

    def run(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
        code = main(["--data", str(tmp_path / "data"), "import", "departments", *map(str, arguments)])
        out = capsys.readouterr().out
        return code, json.loads(out)["imports"][0] if out else {}

    return run


def kept(data: Path) -> Organisation:
    store = Store.open(data / "collector" / "store.duckdb", StoreSettings(threads=1))
    try:
        return organisation(store.reader())
    finally:
        store.close()


def paths(found: Organisation, at: str) -> list[str]:
    tree = found.tree(us(datetime.fromisoformat(at).replace(tzinfo=UTC)))
    return sorted(" > ".join(tree.place(name).path) for name in tree.departments)


# ------------------------------------------------------------------------------- files
def test_a_file_is_the_tree_and_the_same_again_changes_nothing(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    code, said = take(file)
    assert (code, said["rows_added"], said["rows_ended"]) == (0, 3, 0)
    code, said = take(file)
    assert (code, said["rows_added"], said["rows_ended"], said["imported_before"]) == (0, 0, 0, True)
    tree = kept(tmp_path / "data").tree(0)
    head = tree.departments["rd"]
    assert (head.name, head.owner, head.deputy, head.cost_center, head.source_key) == (
        "R&D",
        "ada",
        "bob",
        "100",
        "k0",
    )
    assert head.source == "import:hr.csv"
    assert tree.place("rd/nlp").path == ("rd", "rd/nlp")


def test_a_reorganisation_closes_what_changed_at_its_date_and_opens_the_new(
    tmp_path: Path, take: Import
) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    take(file)
    file.write_text(TREE.replace("rd/nlp,NLP", "rd/cv/nlp,NLP"))
    code, said = take(file, "--from", "2026-10-01T00:00:00Z")
    assert (code, said["rows_ended"], said["rows_added"]) == (0, 1, 2), "the old one ends, the new one begins"
    found = kept(tmp_path / "data")
    assert paths(found, "2026-09-30T23:59:59") == ["rd", "rd > rd/cv", "rd > rd/nlp"]
    assert paths(found, "2026-10-01") == ["rd", "rd > rd/cv", "rd > rd/cv > rd/cv/nlp"]
    before = found.place(
        "rd/nlp", us(datetime(2026, 9, 1, tzinfo=UTC)), us(datetime(2026, 11, 1, tzinfo=UTC))
    )
    assert before.path == ("rd", "rd/cv", "rd/cv/nlp"), "its stable id is still the same"


def test_a_reorganisation_told_late_goes_before_the_one_that_followed(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    head = "id,name\nrd,R&D\n"
    for date, rest in (
        ("2026-01-01", "rd/a,A\n"),
        ("2026-10-01", "rd/c,C\n"),
        ("2026-05-01", "rd/b,B\n"),
    ):
        file.write_text(head + rest)
        assert take(file, "--from", date)[0] == 0
    found = kept(tmp_path / "data")
    for at, name in (("2026-02-01", "a"), ("2026-06-01", "b"), ("2026-11-01", "c")):
        assert paths(found, at) == ["rd", f"rd > rd/{name}"]
    assert len([row for row in found.believed() if row.department_id == "rd"]) == 1, (
        "what never changed is one row"
    )


def test_dates_in_the_file_are_its_whole_history_by_local_midnights(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(
        "id,name,from,to\nrd,R&D,2026-01-01,\nrd/nlp,NLP,2026-01-01,2026-10-01\nrd/ai,AI,2026-10-01,\n"
    )
    zone = tmp_path / "map.toml"
    zone.write_text(
        '[departments]\nid = "{id}"\nname = "{name}"\nfrom = "from"\nto = "to"\nzone = "Asia/Shanghai"\n'
    )
    assert take(file, "--map", zone)[0] == 0
    found = kept(tmp_path / "data")
    assert paths(found, "2026-09-30T15:59:59") == ["rd", "rd > rd/nlp"]
    assert paths(found, "2026-09-30T16:00:00") == ["rd", "rd > rd/ai"]
    code, _ = take(file, "--map", zone, "--from", "2026-11-01")
    assert code == 2


def test_what_was_believed_is_kept_and_can_be_asked_for(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    take(file)
    before = us(datetime.now(UTC))
    file.write_text(TREE.replace("eve", "mallory"))
    take(file)
    found = kept(tmp_path / "data")
    assert found.tree(0, before).departments["rd/nlp"].owner == "eve"
    assert found.tree(0).departments["rd/nlp"].owner == "mallory"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name\nrd,R\nrd/x/y,Y\n", "row 2: the parent 'rd/x' of 'rd/x/y' is not there"),
        ("id,name\nrd,R\nsales,S\n", "2 roots at one time ('rd' in row 1, 'sales' in row 2)"),
        ("id,name\nrd,R\nrd,Again\n", "row 1 and row 2: id 'rd' twice"),
        ("id,name,parent\na,A,b\nb,B,a\n", "row 1, row 2: a circle"),
        ("id,name,key\nrd,R,1\nrd/a,A,1\n", "row 1 and row 2: key '1' twice"),
        ("id,name\n,R\n", "row 1: no id"),
        ("id,name\nplatform,R\n", "is Ullage's own"),
        ("id,name\nrd//x,R\n", "is no path"),
        ("id,name,from,to\nrd,R,2026-02-01,2026-01-01\n", "ends before it begins"),
        ("id,name,from\nrd,R,soon\n", "from 'soon' is no time"),
        ("id,name\n", "there is no department in it"),
        ("id,name\nrd\n", "row 1 has not as many fields"),
    ],
)
def test_a_tree_that_does_not_hold_together_is_refused_whole_and_names_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    command = ["--data", str(tmp_path / "data"), "import", "departments", str(file)]
    assert main(command) == 0
    capsys.readouterr()
    file.write_text(text)
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert (out, said in err) == ("", True), err
    assert len(kept(tmp_path / "data").believed()) == 3


def test_many_roots_are_taken_where_the_map_says_so(tmp_path: Path, take: Import) -> None:
    file = tmp_path / "hr.csv"
    file.write_text("id,name\nrd,R\nsales,S\n")
    spec = tmp_path / "map.toml"
    spec.write_text('[departments]\nid = "{id}"\nname = "{name}"\nroots = "many"\n')
    assert take(file, "--map", spec)[0] == 0


def test_another_source_may_hang_its_departments_below_and_hears_when_the_parent_goes(
    tmp_path: Path, take: Import
) -> None:
    hr, lab = tmp_path / "hr.csv", tmp_path / "lab.csv"
    hr.write_text(TREE)
    lab.write_text("id,name\nrd/cv/lab,Lab\n")
    take(hr)
    assert take(lab)[0] == 0
    hr.write_text("id,name,key\nrd,R&D,k0\n")
    _, said = take(hr, "--from", "2026-10-01")
    assert said["warnings"] == [
        "'rd/cv/lab' of import:lab.csv: its parent 'rd/cv' is not in the organisation"
    ]


def test_a_department_of_a_mapping_file_is_taken_over(tmp_path: Path, take: Import, capsys: Any) -> None:
    rules = tmp_path / "mapping.toml"
    rules.write_text('[[department]]\nid = "rd"\nname = "old"\ndeputy = "bob"\nkey = "k"\n')
    assert main(["--data", str(tmp_path / "data"), "import", "mapping", str(rules)]) == 0
    capsys.readouterr()
    assert kept(tmp_path / "data").tree(0).departments["rd"].deputy == "bob"
    file = tmp_path / "hr.csv"
    file.write_text(TREE)
    assert take(file, "--from", "2026-10-01")[0] == 0
    found = kept(tmp_path / "data")
    assert found.tree(0).departments["rd"].name == "old"
    assert found.tree(us(datetime(2026, 10, 2, tzinfo=UTC))).departments["rd"].name == "R&D"


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.sets(st.sampled_from("abcd")), st.sampled_from("xy")),
        min_size=1,
        max_size=6,
    )
)
def test_after_any_order_of_statements_each_instant_is_as_the_newest_about_it_says(
    told: Sequence[tuple[int, set[str], str]],
) -> None:
    """A statement from t on holds until the next instant at which something was said to change."""
    believed: list[Department] = []
    expected: dict[int, dict[str, str]] = {at: {} for at in range(60)}
    for at, names, owner in told:
        edges = {row.valid_from_us for row in believed} | {
            row.valid_to_us for row in believed if row.valid_to_us is not None
        }
        until = min((edge for edge in edges if edge > at), default=60)
        rows = [Department(name, name, owner=owner) for name in names]
        believed = since(rows, believed, "import:s", at)
        for instant in range(at, min(until, 60)):
            expected[instant] = dict.fromkeys(names, owner)
        for instant in range(60):
            there = {row.department_id: row.owner for row in believed if row.valid(instant)}
            assert there == expected[instant]
            assert len([row for row in believed if row.valid(instant)]) == len(there)


# ------------------------------------------------------------------------------- sources without paths
BY_KEY = '[departments]\nkey = "{id}"\nparent_key = "{up|}"\nstep = "{code}"\nname = "{title.en|}"\nowner = "{head.mail|}"\n'


def test_ids_are_paths_of_steps_where_the_source_has_numbers_only() -> None:
    rows, dated = departments_of(
        json_rows(
            [
                {"id": 3, "up": 2, "code": "nlp", "title": {"en": "NLP"}, "head": {"mail": "eve@x"}},
                {"id": 1, "up": None, "code": "acme", "title": {"en": "Acme"}},
                {"id": 2, "up": 1, "code": "rd", "title": {"en": "R&D"}},
            ]
        ),
        parse(BY_KEY, "hr.toml"),
    )
    assert not dated
    by_id = {row.department_id: row for _, row in rows}
    assert sorted(by_id) == ["acme", "acme/rd", "acme/rd/nlp"]
    assert by_id["acme/rd/nlp"].parent_id == "acme/rd"
    assert (by_id["acme/rd/nlp"].source_key, by_id["acme/rd/nlp"].owner) == ("3", "eve@x")
    assert trouble(rows) == []


def test_circles_and_orphans_by_key_are_told_with_their_rows() -> None:
    with pytest.raises(BadInput) as refused:
        departments_of(
            json_rows(
                [
                    {"id": 1, "up": 2, "code": "a"},
                    {"id": 2, "up": 1, "code": "b"},
                    {"id": 3, "up": 9, "code": "c"},
                    {"id": 4, "code": "d/e"},
                ]
            ),
            parse(BY_KEY, "hr.toml"),
        )
    for said in (
        "row 1: a circle of parents: 1 below 2 below 1",
        "row 3: the parent '9'",
        "row 4: step 'd/e'",
    ):
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[departments]\n", r'write id = "\{path\}"'),
        ('[departments]\nid = "{a"\n', "columns in braces"),
        ('[departments]\nid = "{a}"\nroot = "x"\n', "did you mean roots"),
        ('[departments]\nstep = "{a}"\n', "needs key and parent_key"),
        ('[departments]\nid = "{a}"\nzone = "Mars"\n', "IANA zone"),
        ('[departments]\nid = "{a}"\n[mapping]\n', "no such key"),
        ('[departments]\nid = "{a}"\nparent_key = "{b}"\nfrom = "f"\n', "a parent_key has no time"),
        ('[departments]\nid = "{a}"\n[file]\nencoding = "klingon"\n', "codec"),
    ],
)
def test_a_wrong_map_is_told_with_its_key(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text, "hr.toml")


def test_a_file_of_another_encoding_and_delimiter_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hr.csv"
    file.write_bytes("id;name\nrd;研发\n".encode("gb18030"))
    spec = parse(
        '[file]\nencoding = "gb18030"\ndelimiter = ";"\n[departments]\nid = "{id}"\nname = "{name}"\n', "m"
    )
    rows, _ = departments_of(rows_of(file, spec), spec)
    assert rows[0][1].name == "研发"
    with pytest.raises(BadInput, match=r"say \[file\] encoding"):
        list(rows_of(file, parse('[departments]\nid = "{id}"\n', "m")))


# ------------------------------------------------------------------------------- HTTP
@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA and a certificate for localhost, made by openssl."""
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")

    def openssl(*arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new, "-subj", "/CN=localhost", "-keyout", "localhost.key", "-out", "localhost.csr")
    (folder / "san").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "localhost.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "san", "-out", "localhost.pem")  # fmt: skip
    return folder


class Hr(BaseHTTPRequestHandler):
    """An HR system: two pages behind a token, a redirect, an answer that is too long, one that drips."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, self.headers.get("Authorization")))
        if self.headers.get("Authorization") != "Bearer s3cret":
            self.send_error(401)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", server.elsewhere)
            self.end_headers()
            return
        pages = {
            "/departments": {
                "data": {"items": [{"id": 1, "code": "acme"}, {"id": 2, "up": 1, "code": "rd"}]},
                "next": "/departments?page=2",
            },
            "/departments?page=2": {"data": {"items": [{"id": 3, "up": 2, "code": "nlp"}]}, "next": None},
            "/away": {"data": {"items": []}, "next": "https://evil.example/x"},
            "/round": {"data": {"items": []}, "next": "/round"},
            "/odd": {"data": {"items": {"id": 1}}},
        }
        self.send_response(200)
        self.end_headers()
        if self.path == "/long":
            self.wfile.write(b"[" + b" " * 100_000 + b"]")
        elif self.path == "/drip":
            for _ in range(200):
                self.wfile.write(b" ")
                self.wfile.flush()
                if server.ended.wait(0.05):
                    return
        elif self.path == "/text":
            self.wfile.write(b"<html>")
        else:
            self.wfile.write(json.dumps(pages[self.path]).encode())

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def hr(certificates: Path, tmp_path: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hr)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "localhost.pem", certificates / "localhost.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda request, address: None  # a client that refuses the certificate just goes
    server.asked, server.ended = [], threading.Event()
    server.url = f"https://localhost:{server.server_address[1]}"
    server.elsewhere = f"{server.url}/departments"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (tmp_path / "token").write_text("s3cret\n")
    server.map = tmp_path / "hr.toml"
    server.map.write_text(
        BY_KEY + f'[http]\nrows = "data.items"\nnext = "next"\ntoken_file = "{tmp_path}/token"\n'
        f'ca_file = "{certificates}/ca.pem"\n'
    )
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        thread.join(10)
        server.server_close()


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


# ------------------------------------------------------------------------------- LDAP
ENTRIES = """dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=ullage,dc=example,dc=com
objectClass: simpleSecurityObject
objectClass: organizationalRole
cn: ullage
userPassword: s3cret

dn: ou=Departments,dc=example,dc=com
objectClass: organizationalUnit
ou: acme
ou: Departments
description: Acme

dn: ou=R\\2C D,ou=Departments,dc=example,dc=com
objectClass: organizationalUnit
ou: R, D
street: ada
description: Research

dn: ou=NLP,ou=R\\2C D,ou=Departments,dc=example,dc=com
objectClass: organizationalUnit
ou: NLP
street: eve
description: Language
"""
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


@pytest.fixture(scope="module")
def directory(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real slapd of our own with a certificate for localhost."""
    pytest.importorskip("ldap3", reason="ldap3 is not installed: pip install 'ullage[ldap]'")
    slapd, slapadd = (
        shutil.which("slapd", path="/usr/sbin:/usr/bin"),
        shutil.which("slapadd", path="/usr/sbin:/usr/bin"),
    )
    schema = Path("/etc/ldap/schema")
    if slapd is None or slapadd is None or not schema.is_dir():
        pytest.skip("slapd is not here: apt-get install slapd")
    folder = tmp_path_factory.mktemp("ldap")
    (folder / "db").mkdir()
    module = (
        "modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
        if Path("/usr/lib/ldap/back_mdb.so").exists()
        else ""
    )
    (folder / "slapd.conf").write_text(
        "".join(f"include {schema}/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
        + module
        + f"pidfile {folder}/pid\nTLSCACertificateFile {certificates}/ca.pem\n"
        f"TLSCertificateFile {certificates}/localhost.pem\nTLSCertificateKeyFile {certificates}/localhost.key\n"
        "sizelimit size.soft=2 size.hard=2 size.prtotal=unlimited size.pr=500\n"
        "require authc\nsecurity tls=1\n"
        f'database mdb\nsuffix "dc=example,dc=com"\ndirectory {folder}/db\nmaxsize 10485760\n'
        'access to attrs=userPassword by anonymous auth by * none\naccess to * by dn.exact="cn=ullage,dc=example,dc=com" read\n'
    )
    (folder / "entries.ldif").write_text(ENTRIES)
    done = subprocess.run(
        [slapadd, "-f", str(folder / "slapd.conf"), "-l", str(folder / "entries.ldif")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        plain, secure = first.getsockname()[1], second.getsockname()[1]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [
            *(slapd, "-d", "0", "-f", str(folder / "slapd.conf")),
            *("-h", f"ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{secure}"),
        ],
        stdout=log,
        stderr=log,
        env={"PATH": os.environ.get("PATH", "")},
    )
    try:
        _answers(process, plain, folder)
        yield {
            "ldap": f"ldap://localhost:{plain}",
            "ldaps": f"ldaps://localhost:{secure}",
            "ca": certificates / "ca.pem",
        }
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _answers(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
    raise AssertionError("slapd does not answer")


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
    assert main([*command, str(ldap_map(tmp_path, directory, "wr0ng"))]) == 1
    err = capsys.readouterr().err
    assert "invalidCredentials" in err
    assert "wr0ng" not in err
    spec = ldap_map(tmp_path, directory)
    spec.write_text(spec.read_text().replace(str(directory["ca"]), str(_other_ca(tmp_path))))
    assert main([*command, str(spec)]) == 1
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


# ------------------------------------------------------------------------------- through a collector that serves
def test_departments_rules_and_closing_go_through_a_collector_that_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = CollectorProcess(tmp_path / "data")
    served.start()
    try:
        command = ["--data", str(served.directory), "--log-level", "error"]
        file = tmp_path / "hr.csv"
        file.write_text(TREE)
        rules = tmp_path / "mapping.toml"
        rules.write_text('[[rule]]\nmatch = "slurm:nlp"\ndepartment = "rd/gone"\n')
        held = tmp_path / "held.csv"
        held.write_text(
            "cluster_id,node_id,card_id,workload_id,kind,namespace,from,to\n"
            "c1,n1,G1,slurm/c1/7,slurm_job,nlp,2026-10-07 00:00:00,2026-10-08 00:00:00\n"
        )
        owned = tmp_path / "owned.csv"
        owned.write_text(
            "cluster_id,node_id,card_id,vendor,model,from\nc1,n1,G1,nvidia,H800,2026-10-07 00:00:00\n"
        )
        assert main([*command, "import", "departments", str(file)]) == 0
        for kind, given_ in (("mapping", rules), ("inventory", owned), ("allocations", held)):
            assert main([*command, "import", kind, str(given_)]) == 0
        capsys.readouterr()
        assert main([*command, "publish", "--day", "2026-10-07"]) == 0
        assert json.loads(capsys.readouterr().out)["failed"] == []
        assert (
            main([*command, "mapping", "check", "--at", "2026-10-08T12:00:00Z", "--days", "2", "--json"]) == 3
        )
        said = json.loads(capsys.readouterr().out)
        assert [gone["rule"]["department"] for gone in said["gone"]] == ["rd/gone"]
        close = [
            *command,
            "close",
            "--from",
            "2026-10-07",
            "--to",
            "2026-10-08",
            "--zone",
            "UTC",
            "--reason",
            "signed",
        ]
        assert main(close) == 0
        capsys.readouterr()
        assert main(close) == 1
        assert "shares time with the closed period" in capsys.readouterr().err
        assert main([*command, "mapping", "explain", "7"]) == 0
        out = capsys.readouterr().out
        assert "belonged to rd/gone" in out
        assert "the period is closed and stands as believed at" in out
    finally:
        served.stop()
