"""kubeconfig, service account, TLS, tokens that rotate; what is refused, and that no secret is ever told."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer

from ullage_collector.allocation.kubernetes.access import Access, Credential, checked_server
from ullage_collector.allocation.kubernetes.client import Client, Denied, Unreachable
from ullage_collector.allocation.kubernetes.kubeconfig import from_file, in_cluster
from ullage_collector.allocation.kubernetes.settings import from_part
from ullage_contract.clock import ManualClock, SystemClock
from ullage_contract.errors import ConfigError

CONFIG = """
apiVersion: v1
kind: Config
preferences: {}
current-context: "east"   # the one that counts
clusters:
- name: east
  cluster:
    server: https://10.0.0.1:6443
    certificate-authority-data: QUJD
    tls-server-name: api.example.com
- cluster: {}
  name: west
contexts:
  - context:
      cluster: east
      user: 'someone''s'
      namespace: default
    name: east
users:
- name: someone's
  user:
    token: 12345
    extensions: [a, "b", 3]
notes: |
  two
    lines
"""


def kubeconfig(path: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> Path:
    document = {
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": cluster}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(document))
    return path


# ------------------------------------------------------------------------------------ kubeconfig


def test_a_kubeconfig_gives_server_authority_name_and_token(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(CONFIG)
    access = from_file(path, None, SystemClock())
    assert access.server == "https://10.0.0.1:6443"
    assert access.authority is not None and access.authority() == b"ABC"
    assert access.server_name == "api.example.com"
    assert access.credential().token == "12345"
    assert "12345" not in repr(access) + repr(access.credential())


@pytest.mark.parametrize(
    ("cluster", "user", "says"),
    [
        ({"server": "https://a", "insecure-skip-tls-verify": True}, {}, "always verified"),
        ({"server": "https://a", "proxy-url": "http://p"}, {}, "proxy-url"),
        ({"server": "http://10.0.0.1"}, {}, "write https"),
        ({"server": "10.0.0.1"}, {}, "https://host:port"),
        ({"server": "https://a", "certificate-authority-data": "?"}, {}, "no base64"),
        ({"server": "https://a"}, {"username": "a", "password": "geheim"}, "token or a certificate"),
        ({"server": "https://a"}, {"exec": {"command": "aws"}}, "exec = true"),
        ({"server": "https://a"}, {"client-certificate-data": "QQ=="}, "go together"),
    ],
)
def test_what_is_not_safe_is_refused_with_what_to_do(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        from_file(kubeconfig(tmp_path / "config", cluster, user), None, SystemClock())
    assert "geheim" not in str(caught.value)


def test_a_context_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(CONFIG)
    with pytest.raises(ConfigError, match="no context 'north'; there are east"):
        from_file(path, "north", SystemClock())
    with pytest.raises(ConfigError, match="cannot be read"):
        from_file(tmp_path / "none", None, SystemClock())
    path.write_text("a: &b c")
    with pytest.raises(ConfigError, match="view --raw -o json"):
        from_file(path, None, SystemClock())


def test_a_token_file_is_read_again_when_it_changes_and_kept_while_it_is_away(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    path = kubeconfig(tmp_path / "config", {"server": "https://a"}, {"tokenFile": "token", "token": "old"})
    access = from_file(path, None, SystemClock())
    assert access.credential().token == "first"
    new = tmp_path / "token.new"
    new.write_text("second, and longer")
    new.replace(token)
    assert access.credential().token == "second, and longer"
    token.unlink()
    assert access.credential().token == "second, and longer"


def test_a_pods_service_account_is_used_inside_a_pod(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="runs in no pod"):
        in_cluster({}, tmp_path)
    (tmp_path / "token").write_text("t0ken")
    (tmp_path / "ca.crt").write_text("PEM")
    host = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    access = in_cluster(host, tmp_path)
    assert access.server == "https://[fd00::1]:6443"
    assert access.credential().token == "t0ken"
    assert access.authority is not None and access.authority() == b"PEM"


def test_an_allowed_command_gives_credentials_until_they_end(tmp_path: Path) -> None:
    script = tmp_path / "login"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib\n"
        "assert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['kind'] == 'ExecCredential'\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r}); n = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(n))\n"
        "status = {'token': f'token-{n}', 'expirationTimestamp': '2027-01-15T08:20:00Z'}\n"
        "print(json.dumps({'kind': 'ExecCredential', 'status': status}))\n"
    )
    script.chmod(0o755)
    clock = ManualClock(wall=1_800_000_000.0)  # 2027-01-15T08:00:00Z
    path = kubeconfig(tmp_path / "config", {"server": "https://a"}, {"exec": {"command": "./login"}})
    access = from_file(path, None, clock, allow_exec=True)
    assert [access.credential().token for _ in range(3)] == ["token-1"] * 3
    clock.advance(1150)  # within a minute of the end
    assert access.credential().token == "token-2"
    script.write_text(f"#!{sys.executable}\nprint('geheim')\nraise SystemExit(3)\n")
    clock.advance(10_000)
    with pytest.raises(ConfigError, match="ended with 3") as caught:
        access.credential()
    assert "geheim" not in str(caught.value)


def test_plain_http_is_for_this_machine_only() -> None:
    assert checked_server("http://127.0.0.1:8001", "x") and checked_server("http://localhost:8001", "x")
    with pytest.raises(ConfigError):
        checked_server("https://user:pw@host", "x")


# ------------------------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, server (for localhost) and client of one CA; made by openssl."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    try:
        subprocess.run(["openssl", "version"], capture_output=True, check=True)
    except OSError:
        pytest.skip("openssl is not here")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
            "-out", "ca.pem", "-days", "30", "-subj", "/CN=test CA")  # fmt: skip
    for name, extension in (
        ("server", "subjectAltName=DNS:localhost"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
        (folder / "ext").write_text(extension)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "30", "-extfile", "ext", "-out", f"{name}.pem")  # fmt: skip
    return folder


@pytest.fixture
def secure(certificates: Path) -> Iterator[ApiServer]:
    server = ApiServer(
        tls=(certificates / "server.pem", certificates / "server.key"), client_ca=certificates / "ca.pem"
    ).start()
    yield server
    server.kill()


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_client_certificate_opens_a_verified_connection(
    secure: ApiServer, certificates: Path, tmp_path: Path
) -> None:
    cluster = {
        "server": f"https://localhost:{secure.port}",
        "certificate-authority-data": data(certificates / "ca.pem"),
    }
    user = {
        "client-certificate-data": data(certificates / "client.pem"),
        "client-key": str(certificates / "client.key"),
    }
    access = from_file(kubeconfig(tmp_path / "config", cluster, user), None, SystemClock())
    client = Client(access, SystemClock())
    assert client.page("/api/v1/pods").items == []
    assert client.page("/api/v1/nodes").items == []  # over the same connection
    client.close()
    assert list(Path(tempfile.gettempdir()).glob("ullage-tls-*")) == []


def test_an_unverified_server_is_not_spoken_to(secure: ApiServer, certificates: Path) -> None:
    def access(host: str, authority: bytes | None, name: str | None = None) -> Access:
        shown = Credential(
            certificate=(certificates / "client.pem").read_bytes(),
            key=(certificates / "client.key").read_bytes(),
        )
        return Access(
            server=f"https://{host}:{secure.port}",
            credential=lambda: shown,
            where="test",
            authority=None if authority is None else (lambda: authority),
            server_name=name,
        )

    ca = (certificates / "ca.pem").read_bytes()
    for wrong in (access("localhost", None), access("127.0.0.1", ca)):
        with pytest.raises(Unreachable, match="certificate is not trusted"):
            Client(wrong, SystemClock()).page("/api/v1/pods")
    assert Client(access("127.0.0.1", ca, "localhost"), SystemClock()).page("/api/v1/pods").items == []
    with pytest.raises(ConfigError, match="cannot be used"):
        Client(access("localhost", b"no certificate"), SystemClock()).page("/api/v1/pods")
    assert all("pods" in request for request in secure.requests)


def test_a_server_that_is_not_there_is_unreachable() -> None:
    access = Access(server="http://127.0.0.1:9", credential=Credential, where="test")
    with pytest.raises(Unreachable):
        Client(access, SystemClock()).get("/version")


def test_a_refused_token_is_named_by_where_it_came_from() -> None:
    server = ApiServer(tokens={}).start()
    access = Access(server=server.url, credential=lambda: Credential("s3cret"), where="/etc/x context y")
    with pytest.raises(Denied, match=r"401.*/etc/x context y is not accepted") as caught:
        Client(access, SystemClock()).page("/api/v1/pods")
    assert "s3cret" not in str(caught.value)
    server.kill()


# ------------------------------------------------------------------------------------ settings


def test_clusters_stand_in_tables_and_every_key_of_the_example_is_known() -> None:
    example = Path(__file__).parents[2] / "collector" / "collector.example.toml"
    lines = example.read_text().splitlines()
    below = lines[lines.index("#[[allocation.kubernetes]]") :]
    block = [line[1:] for line in takewhile(lambda line: line.startswith("#"), below)]
    table = tomllib.loads("\n".join(block))["allocation"]
    (settings,) = from_part(table, "x")
    assert (settings.cluster, settings.context, settings.exec_allowed) == ("k8s-east", "east", False)
    assert settings.drivers == ("gpu.example.com",) and settings.naming.users == ("label:example.com/user",)
    assert from_part({}, "x") == [] and from_part({"slurm": {}}, "x") == []


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "cluster"),
        ({"cluster": "a/b"}, "without /"),
        ({"cluster": "a", "kubconfig": "/x"}, "did you mean kubeconfig"),
        ({"cluster": "a", "context": "x"}, "of a kubeconfig"),
        ({"cluster": "a", "user_from": ["team"]}, "label:KEY"),
        ({"cluster": "a", "kubeconfig": "x"}, "absolute path"),
        ([{"cluster": "a"}, {"cluster": "a"}], "stands twice"),
        ("a", "a table a cluster"),
    ],
)
def test_a_wrong_setting_says_what_to_write(table: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        from_part({"kubernetes": table}, "collector.toml")
