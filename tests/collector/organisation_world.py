"""Where departments come from, for tests of their import: files, an HR system behind TLS, a directory, and what was kept."""

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
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ullage_collector.cli import main
from ullage_collector.config import Store as StoreSettings
from ullage_collector.organisation import Organisation
from ullage_collector.ownership.reading import organisation, us
from ullage_collector.store.store import Store

TREE = "id,name,owner,deputy,cost_center,key\nrd,R&D,ada,bob,100,k0\nrd/nlp,NLP,eve,,110,k1\nrd/cv,CV,,,,k2\n"
BY_KEY = '[departments]\nkey = "{id}"\nparent_key = "{up|}"\nstep = "{code}"\nname = "{title.en|}"\nowner = "{head.mail|}"\n'
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

Import = Callable[..., tuple[int, dict[str, Any]]]


def own_root_handlers() -> Iterator[None]:
    """The command logs to the stderr of its test: give the root logger its own handlers back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers, level = before
    root.setLevel(level)


def taking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
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


def certificates_in(folder: Path) -> Path:
    """A CA and a certificate for localhost, made by openssl."""
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


def hr_system(certificates: Path, tmp_path: Path) -> Iterator[Any]:
    """An ``Hr`` that serves over TLS, with ``map``, a map of it that knows its token and its CA."""
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


def slapd_of(certificates: Path, folder: Path) -> Iterator[Any]:
    """A real slapd of our own with a certificate for localhost."""
    pytest.importorskip("ldap3", reason="ldap3 is not installed: pip install 'ullage[ldap]'")
    slapd, slapadd = (
        shutil.which("slapd", path="/usr/sbin:/usr/bin"),
        shutil.which("slapadd", path="/usr/sbin:/usr/bin"),
    )
    schema = Path("/etc/ldap/schema")
    if slapd is None or slapadd is None or not schema.is_dir():
        pytest.skip("slapd is not here: apt-get install slapd")
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
