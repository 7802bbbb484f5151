"""Who speaks and what they may."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.collector.front_world import Front

from ullage_collector.cli import main
from ullage_collector.config import Listen
from ullage_collector.receive.identity import (
    COOKIE,
    LOCAL,
    SESSION_SECONDS,
    SOCKET,
    Doorkeeper,
    Identity,
    Refusal,
    Role,
    Tokens,
    add_token,
    hash_token,
    session_secret,
)
from ullage_contract.clock import ManualClock
from ullage_contract.errors import BadInput, ConfigError

NOW = 1_800_000_000.0


def doorkeeper(path: Path, listen: Listen | None = None, clock: ManualClock | None = None) -> Doorkeeper:
    tokens = Tokens(path)
    tokens.load()
    return Doorkeeper(tokens, listen or Listen(), clock or ManualClock(NOW), b"s" * 32)


def ask(
    keeper: Doorkeeper, method: str = "GET", *, unix: bool = False, peer: str | None = None, **headers: str
) -> Identity | None:
    sent = {b"host": b"localhost:9736"}
    sent |= {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return keeper.identify(method=method, headers=sent, peer_name=peer, unix=unix)


# ---- roles


def test_each_role_includes_the_one_before_and_a_node_reads_nothing() -> None:
    ladder = [Role.DEPARTMENT, Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    for i, mine in enumerate(ladder):
        assert [Identity("x", mine).allows(asked) for asked in ladder] == [j <= i for j in range(4)]
    assert not any(Identity("n", Role.NODE, node="n").allows(asked) for asked in ladder)
    assert [Identity("x", role).allows(Role.NODE) for role in Role] == [True, False, False, False, True]


def test_a_department_sees_its_own_and_what_lies_below() -> None:
    mine = Identity("x", Role.DEPARTMENT, departments=("rd/nlp",))
    assert mine.sees_department("rd/nlp")
    assert mine.sees_department("rd/nlp/speech")
    assert not mine.sees_department("rd/nlp2")
    assert not mine.sees_department("rd")
    assert Identity("x", Role.VIEWER).sees_department("rd")
    assert not Identity("x", Role.NODE, node="n").sees_department("rd")


# ---- where the listener may be bound


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "collector.example"])
def test_a_bind_beyond_loopback_without_anybody_to_ask_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="ullage-collector token"):
        doorkeeper(tmp_path / "tokens.toml", Listen(host=host)).check_bind()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_without_tokens_is_open_to_this_machine(tmp_path: Path, host: str) -> None:
    keeper = doorkeeper(tmp_path / "tokens.toml", Listen(host=host))
    keeper.check_bind()
    assert ask(keeper) == LOCAL
    assert LOCAL.role is Role.ADMIN


def test_with_a_token_or_client_certificates_any_bind_is_good(tmp_path: Path) -> None:
    doorkeeper(tmp_path / "none.toml", Listen(host="0.0.0.0", client_ca=tmp_path / "ca.pem")).check_bind()
    add_token(tmp_path / "tokens.toml", name="a", role=Role.ADMIN, now=NOW)
    doorkeeper(tmp_path / "tokens.toml", Listen(host="0.0.0.0")).check_bind()


def test_serving_an_open_network_address_without_tokens_ends_with_a_usage_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[listen]\naddress = "0.0.0.0:0"\n')
    assert main(["--config", str(config), "--data", str(tmp_path / "d"), "serve"]) == 2
    assert "there are neither tokens nor client certificates" in capfd.readouterr().err


# ---- tokens


def test_a_token_is_found_by_its_hash_and_by_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    token = add_token(path, name="gpu-a01", role=Role.NODE, node="gpu-a01", cluster="c1", now=NOW)
    assert token not in path.read_text()
    assert hash_token(token) in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keeper = doorkeeper(path)
    assert ask(keeper, authorization=f"Bearer {token}") == Identity("gpu-a01", Role.NODE, "gpu-a01", "c1")
    assert ask(keeper) is None
    for wrong in (
        f"Bearer {token}x",
        f"Bearer {token[:-1]}",
        "Bearer ",
        token,
        f"Basic {token}",
        f"Bearer {hash_token(token)}",
    ):
        with pytest.raises(Refusal) as refused:
            ask(keeper, authorization=wrong)
        assert refused.value.status == 401
        assert token[:-1] not in refused.value.message


def test_tokens_are_added_and_the_old_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    made = [add_token(path, name=f'n"{i}\\', role=Role.NODE, node=f"n{i}", now=NOW) for i in range(5)]
    assert len(set(made)) == 5
    keeper = doorkeeper(path)
    for i, token in enumerate(made):
        found = ask(keeper, authorization=f"bearer {token}")
        assert found is not None
        assert (found.node, found.name) == (f"n{i}", f'n"{i}\\')


def test_an_expired_token_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    until = datetime.fromtimestamp(NOW + 100, UTC)
    token = add_token(path, name="v", role=Role.VIEWER, expires=until, now=NOW)
    clock = ManualClock(NOW)
    keeper = doorkeeper(path, clock=clock)
    assert ask(keeper, authorization=f"Bearer {token}") is not None
    clock.advance(100)
    with pytest.raises(Refusal):
        ask(keeper, authorization=f"Bearer {token}")


def test_a_new_token_is_known_without_a_restart_and_a_removed_one_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    first = add_token(path, name="a", role=Role.VIEWER, now=NOW)
    keeper = doorkeeper(path)
    before = keeper.generation
    kept = path.read_text()
    second = add_token(path, name="b", role=Role.VIEWER, now=NOW)
    keeper.reload()
    assert keeper.generation != before
    assert ask(keeper, authorization=f"Bearer {second}") is not None
    path.write_text(kept)
    keeper.reload()
    assert ask(keeper, authorization=f"Bearer {first}") is not None
    with pytest.raises(Refusal):
        ask(keeper, authorization=f"Bearer {second}")


@pytest.mark.parametrize("broken", ["[[token", "[[token]]\nrole = 'king'\n", "tokens = 3\n", ""])
def test_a_broken_file_leaves_the_tokens_in_force(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "tokens.toml"
    token = add_token(path, name="a", role=Role.VIEWER, now=NOW)
    keeper = doorkeeper(path)
    if broken:
        path.write_text(broken)
    else:
        path.unlink()  # a missing file must not open the door to everybody
    keeper.reload()
    keeper.reload()
    assert ask(keeper, authorization=f"Bearer {token}") is not None
    assert ask(keeper) is None


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("role = 'node'\nname = 'a'\nsha256 = '" + "0" * 64 + "'", "needs node"),
        ("role = 'king'\nname = 'a'\nsha256 = '" + "0" * 64 + "'", "none of node"),
        ("role = 'viewer'\nname = 'a'\nsha256 = 'secret'", "64 hexadecimal"),
        ("role = 'viewer'\nname = ''\nsha256 = '" + "0" * 64 + "'", "cannot be a key"),
        ("role = 'viewer'\nname = 'a'\ntoken = 'x'\nsha256 = '" + "0" * 64 + "'", "no such key: token"),
        ("role = 'department'\nname = 'a'\nsha256 = '" + "0" * 64 + "'", "departments"),
        ("role = 'viewer'\nname = 'a'\nexpires = 2027-01-01\nsha256 = '" + "0" * 64 + "'", "with a zone"),
    ],
)
def test_a_wrong_entry_is_said_with_its_place(tmp_path: Path, entry: str, says: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(f"[[token]]\n{entry}\n")
    with pytest.raises(ConfigError, match=r"number 1.*" + says):
        Tokens(path).load()


def test_a_name_with_a_control_character_makes_no_token(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        add_token(tmp_path / "tokens.toml", name="a\nsha256 = ''", role=Role.VIEWER, now=NOW)
    assert not (tmp_path / "tokens.toml").exists()


def test_the_command_prints_the_token_once_and_stores_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "gpu-a01", "--data", str(tmp_path), "--cluster", "c1"]) == 0
    out, err = capsys.readouterr()
    token = out.strip()
    path = tmp_path / "collector" / "tokens.toml"
    assert hash_token(token) in path.read_text()
    assert token not in err
    tokens = Tokens(path)
    tokens.load()
    assert tokens.find(token, NOW) == Identity("gpu-a01", Role.NODE, "gpu-a01", "c1")
    assert main(["token", "finance", "--role", "department", "--data", str(tmp_path)]) == 2


# ---- sockets and certificates


def test_the_socket_has_operator_rights_whatever_else_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    add_token(path, name="a", role=Role.ADMIN, now=NOW)
    assert ask(doorkeeper(path), "POST", unix=True, authorization="Bearer wrong") == SOCKET
    assert SOCKET.allows(Role.OPERATOR)
    assert not SOCKET.allows(Role.ADMIN)


def test_a_certificates_name_is_a_node(tmp_path: Path) -> None:
    found = ask(doorkeeper(tmp_path / "none.toml"), peer="gpu-a01")
    assert found == Identity("gpu-a01", Role.NODE, "gpu-a01", how="certificate")
    assert found.speaks_for("any", "gpu-a01")
    assert not found.speaks_for("any", "gpu-a02")


# ---- browsers


def test_a_page_of_another_site_reaches_nothing_on_an_open_loopback(tmp_path: Path) -> None:
    keeper = doorkeeper(tmp_path / "none.toml")
    assert ask(keeper, "POST") == LOCAL  # curl and agents send no Origin
    assert ask(keeper, "POST", origin="http://localhost:9736") == LOCAL
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"host": "evil.example"},  # a name that resolves to 127.0.0.1
        {"host": "evil.example", "origin": "http://evil.example"},
    ):
        with pytest.raises(Refusal) as refused:
            ask(keeper, "POST", **headers)
        assert refused.value.status == 403
    with pytest.raises(Refusal):
        ask(keeper, "GET", host="evil.example")


def test_a_name_of_the_machine_can_be_allowed(tmp_path: Path) -> None:
    keeper = doorkeeper(tmp_path / "none.toml", Listen(hosts=("console.internal",)))
    assert ask(keeper, host="console.internal:9736") == LOCAL


@pytest.mark.parametrize("host", ["127.0.0.1:9736", "[::1]:9736", "[::1]", "LOCALHOST", "localhost"])
def test_every_spelling_of_loopback_is_loopback(tmp_path: Path, host: str) -> None:
    assert ask(doorkeeper(tmp_path / "none.toml"), host=host) == LOCAL


def session(keeper: Doorkeeper, token: str) -> str:
    opened = keeper.open_session(token)
    assert opened is not None
    return f"other=1; {COOKIE}={opened[0]}"


def test_a_session_is_its_tokens_owner_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    token = add_token(path, name="ops", role=Role.OPERATOR, now=NOW)
    clock = ManualClock(NOW)
    keeper = doorkeeper(path, clock=clock)
    cookie = session(keeper, token)
    assert ask(keeper, cookie=cookie) == Identity("ops", Role.OPERATOR, how="session")
    assert token not in cookie
    assert ask(doorkeeper(path, clock=clock), cookie=cookie) is not None  # a restart ends no session
    clock.advance(SESSION_SECONDS)
    assert ask(keeper, cookie=cookie) is None


def test_a_session_ends_with_its_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    add_token(path, name="other", role=Role.VIEWER, now=NOW)
    kept = path.read_text()
    token = add_token(path, name="ops", role=Role.OPERATOR, now=NOW)
    keeper = doorkeeper(path)
    cookie = session(keeper, token)
    path.write_text(kept)
    keeper.reload()
    assert ask(keeper, cookie=cookie) is None


def test_a_cookie_nobody_signed_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    token = add_token(path, name="v", role=Role.VIEWER, now=NOW)
    keeper = doorkeeper(path)
    value = session(keeper, token).partition(f"{COOKIE}=")[2]
    name, until, signature = value.split(".")
    for forged in (
        f"{name}.{int(until) + 1}.{signature}",
        f"{name}.{until}.{'0' * 64}",
        f"{name}.{until}.",
        f"{name}.{until}.\u00fc",
        f"{'0' * 32}.{until}.{signature}",
        "",
        "..",
        "a.b.c",
        f"{name}.99999999999999999999.{signature}",
    ):
        assert ask(keeper, cookie=f"{COOKIE}={forged}") is None


def test_a_session_acts_only_for_pages_of_its_own_site(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    keeper = doorkeeper(path)
    token = add_token(path, name="ops", role=Role.OPERATOR, now=NOW)
    keeper.reload()
    cookie = session(keeper, token)
    assert ask(keeper, "POST", cookie=cookie, origin="http://localhost:9736") is not None
    with pytest.raises(Refusal):
        ask(keeper, "POST", cookie=cookie, origin="http://evil.example")
    assert ask(keeper, "GET", cookie=cookie, sec_fetch_site="cross-site") is not None  # a link to a page


def test_a_nodes_token_opens_no_console(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    token = add_token(path, name="n", role=Role.NODE, node="n", now=NOW)
    assert doorkeeper(path).open_session(token) is None


def test_the_key_of_sessions_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    path = tmp_path / "session.key"
    first = session_secret(path)
    assert len(first) == 32
    assert session_secret(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_login_sets_a_cookie_that_scripts_cannot_read(tmp_path: Path) -> None:
    with Front(tmp_path, tokens=True) as front:
        form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
        got = front.request(
            "POST", "/login", f"token={front.token['viewer']}&next=//evil.example/".encode(), form
        )
        assert got.status == 303
        assert got.headers["location"] == "/"
        cookie = got.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        got = front.request("POST", "/login", b"token=wrong", form)
        assert (got.status, got.headers["location"]) == (303, "/login?failed=1")
        got = front.request("POST", "/login", b'{"token": "wrong"}', {"Content-Type": "application/json"})
        assert got.status == 401
        token = front.token["gpu-a01"]
        got = front.request(
            "POST", "/login", f'{{"token": "{token}"}}'.encode(), {"Content-Type": "application/json"}
        )
        assert got.status == 401


def test_health_and_metrics_ask_nobody(tmp_path: Path) -> None:
    with Front(tmp_path, tokens=True) as front:
        assert front.request("GET", "/healthz").json["status"] == "ok"
        assert front.request("GET", "/metrics").body == b"up 1\n"
        assert front.request("GET", "/no-such-page").json["error"] == "not_found"


def test_a_kept_connection_with_a_token_taken_away_is_refused(tmp_path: Path) -> None:
    import http.client

    from tests.collector.front_world import batch

    with Front(tmp_path, tokens=True) as front:
        connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
        token = front.token["gpu-a01"]
        assert front.push(batch(1), token=token, connection=connection).status == 200
        front.tokens_path.write_text("")
        os.utime(front.tokens_path)
        front.run(_reload(front))
        assert front.push(batch(2), token=token, connection=connection).status == 401
        connection.close()


async def _reload(front: Front) -> None:
    front.doorkeeper.reload()
