"""Google TPU: a bus of our own making, a stand-in for libtpu's metric service, and tpu-info's tables."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.damage import damaged, survives
from tests.agent.libtpu import HUFFMAN_NAME, Libtpu, message, response
from tests.agent.maker_bench import (
    PCIE_SAYS,
    Bench,
    Child,
    children,
    holder,
    link,
    of_the_bus,
    pci_function,
    put,
    put_link,
)

from ullage_agent.backend import Host
from ullage_agent.backends.tpu import backend, runtime
from ullage_agent.backends.tpu.decode import decode
from ullage_agent.backends.tpu.reader import open_reader
from ullage_agent.backends.tpu.runtime import DUTY, TOTAL, USED
from ullage_agent.detection import detect
from ullage_agent.grpc_call import _huffman, call
from ullage_contract.catalogue import Tier
from ullage_contract.errors import BadInput, Broken, NotPresent, NotSupported

FIXTURES = Path(__file__).parents[1] / "fixtures/tpu"
GIB = 1 << 30
FOUR: dict[str, list[tuple[int, int | float]]] = {
    # a slice of several hosts: the runtime's ids are not 0..3
    DUTY: [(8, 100.0), (9, 50.0), (13, 25.0), (12, 0.0)],
    USED: [(8, 18 * GIB), (9, 10 * GIB), (12, 3), (13, 0)],
    TOTAL: [(8, 31 * GIB), (9, 31 * GIB), (12, 31 * GIB), (13, 31 * GIB)],
}


def chips(root: Path, count: int, device: str = "006f") -> None:
    """v6e chips behind vfio; group numbers ascend against the addresses, as they may."""
    for number in range(count):
        place = pci_function(root / "sys", f"0000:00:0{4 + number}.0", "1ae0", device, "120000",
                             current_link_speed="32.0 GT/s PCIe")  # fmt: skip
        group = count - 1 - number
        link(place / "iommu_group", f"../../../kernel/iommu_groups/{group}")
        put(root / "dev/vfio", {str(group): ""})


@pytest.fixture
def serve() -> Iterator[Callable[..., Libtpu]]:
    made: list[Libtpu] = []

    def make(*arguments: Any, **more: Any) -> Libtpu:
        made.append(Libtpu(*arguments, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def host(tmp_path: Path, *ports: int) -> Host:
    (tmp_path / "proc").mkdir(exist_ok=True)
    chosen = ",".join(map(str, ports or (_closed_port(),)))
    return Host(
        node_id="n1",
        sysfs=tmp_path / "sys",
        proc=tmp_path / "proc",
        dev=tmp_path / "dev",
        settings={"ports": chosen},
    )


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def card(group: int, count: int = 4) -> str:
    return f"n1-0000:00:0{4 + count - 1 - group}.0"


child_of = pytest.fixture(children)


def test_chips_get_the_runtimes_rows_in_order(tmp_path: Path, serve: Callable[..., Libtpu]) -> None:
    chips(tmp_path, 4)
    holder(tmp_path / "proc", 1052, "python3", *[f"/dev/vfio/{n}" for n in range(4)])
    server = serve(FOUR)
    bench = Bench(open_reader(host(tmp_path, server.port)))
    facts = bench.facts().facts()
    assert facts[card(0)].attributes["model"] == "TPU v6e"
    assert facts[card(0)].attributes["device_node"] == "/dev/vfio/0"
    assert "power_watts" in facts[card(0)].attributes["unsupported"]  # type: ignore[operator]
    server.calls = 0
    seen = bench.read()
    assert server.calls == 3  # one a metric, for all chips
    cards = seen.cards()
    assert [cards[card(n)].values["utilization_ratio"] for n in range(4)] == [1.0, 0.5, 0.0, 0.25]
    assert [cards[card(n)].values["memory_used_bytes"] for n in range(4)] == [18 * GIB, 10 * GIB, 3, 0]
    assert cards[card(0)].values["memory_total_bytes"] == 31 * GIB
    assert cards[card(0)].values["processes"] == 1 and cards[card(0)].values["pcie_generation"] == 5
    assert "health" not in cards[card(0)].values
    assert set(seen.processes()) == {f"{card(n)}#1052" for n in range(4)}
    server.rows = {**FOUR, DUTY: [(8, 10.0), (9, 10.0), (12, 10.0), (13, 10.0)]}
    assert bench.read(Tier.FAST).cards()[card(0)].values["utilization_ratio"] == pytest.approx(0.1)


def test_the_bus_says_link_and_errors(tmp_path: Path) -> None:
    chips(tmp_path, 1)
    put_link(tmp_path / "sys", "0000:00:04.0")
    bench = Bench(open_reader(host(tmp_path)))
    bench.facts()
    assert of_the_bus(bench.read().card().values) == PCIE_SAYS


def test_nobody_on_the_chips_is_idle(tmp_path: Path) -> None:
    chips(tmp_path, 2)
    reading = Bench(open_reader(host(tmp_path))).read().cards()[card(0, 2)]
    assert reading.values["utilization_ratio"] == 0.0 and reading.values["memory_used_bytes"] == 0
    assert "memory_total_bytes" not in reading.values and not reading.failed


def test_a_held_chip_that_nobody_reports_is_unknown_not_idle(tmp_path: Path) -> None:
    chips(tmp_path, 2)
    holder(tmp_path / "proc", 9, "python3", "/dev/vfio/1")
    bench = Bench(open_reader(host(tmp_path)))
    bench.facts()
    cards = bench.read().cards()
    assert cards[card(1, 2)].failed["utilization_ratio"] == "broken"
    assert cards[card(0, 2)].values["utilization_ratio"] == 0.0


def test_rows_go_to_the_chips_that_are_held(tmp_path: Path, serve: Callable[..., Libtpu]) -> None:
    chips(tmp_path, 4)
    holder(tmp_path / "proc", 9, "python3", "/dev/vfio/1", "/dev/vfio/3")
    server = serve(
        {DUTY: [(0, 90.0), (1, 30.0)], USED: [(0, GIB), (1, 2 * GIB)], TOTAL: [(0, 32 * GIB), (1, 32 * GIB)]}
    )
    cards = Bench(open_reader(host(tmp_path, server.port))).read().cards()
    assert [cards[card(n)].values["utilization_ratio"] for n in range(4)] == [
        0.0, pytest.approx(0.9), 0.0, pytest.approx(0.3),
    ]  # fmt: skip


def test_counts_that_do_not_fit_are_not_guessed(tmp_path: Path, serve: Callable[..., Libtpu]) -> None:
    chips(tmp_path, 4)
    holder(tmp_path / "proc", 9, "python3", "/dev/vfio/1")
    server = serve({DUTY: [(0, 90.0), (1, 30.0)]})
    cards = Bench(open_reader(host(tmp_path, server.port))).read().cards()
    assert all(cards[card(n)].failed["utilization_ratio"] == "broken" for n in range(4))


def test_two_devices_of_a_chip_are_one_card(tmp_path: Path, serve: Callable[..., Libtpu]) -> None:
    for number in range(2):
        place = pci_function(tmp_path / "sys", f"0000:00:0{4 + number}.0", "1ae0", "0027", "120000",
                             subsystem_device="0x004f")  # fmt: skip
        (place / f"accel/accel{number}").mkdir(parents=True)
    holder(tmp_path / "proc", 9, "python3", "/dev/accel0", "/dev/accel1")
    server = serve({DUTY: [(0, 90.0), (1, 30.0)], USED: [(0, 1), (1, 2), (2, 4), (3, 8)]})
    bench = Bench(open_reader(host(tmp_path, server.port)))
    assert bench.facts().facts()["n1-0000:00:04.0"].attributes["model"] == "TPU v3"
    cards = bench.read().cards()
    assert [r.values["memory_used_bytes"] for r in cards.values()] == [3, 12]
    assert [r.values["utilization_ratio"] for r in cards.values()] == [pytest.approx(0.9), pytest.approx(0.3)]
    assert cards["n1-0000:00:04.0"].failed == {"memory_total_bytes": "broken"}


def test_several_ports_are_one_host(tmp_path: Path, serve: Callable[..., Libtpu]) -> None:
    chips(tmp_path, 2)
    holder(tmp_path / "proc", 9, "a", "/dev/vfio/0")
    holder(tmp_path / "proc", 10, "b", "/dev/vfio/1")
    first, second = serve({DUTY: [(0, 90.0)]}), serve({DUTY: [(1, 30.0)]})
    cards = Bench(open_reader(host(tmp_path, first.port, second.port))).read().cards()
    assert cards[card(0, 2)].values["utilization_ratio"] == pytest.approx(0.9)
    assert cards[card(1, 2)].values["utilization_ratio"] == pytest.approx(0.3)


def _silent(connection: socket.socket) -> None:
    time.sleep(3)


def _http1(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def _closes(connection: socket.socket) -> None:
    connection.recv(10)


def _noise(connection: socket.socket) -> None:
    connection.sendall(b"\x00\x00\x10" + b"\xff" * 400)


def _endless(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"\x00\x40\x00\x00\x00\x00\x00\x00\x01" + b"\x00" * 16384)


@pytest.mark.parametrize("speak", [_silent, _http1, _closes, _noise, _endless])
def test_a_server_that_is_no_libtpu_is_broken(
    tmp_path: Path, serve: Callable[..., Libtpu], speak: Callable[[socket.socket], None]
) -> None:
    chips(tmp_path, 1)
    holder(tmp_path / "proc", 9, "python3", "/dev/vfio/0")
    server = serve({}, speak=speak)
    reading = Bench(open_reader(host(tmp_path, server.port))).read().card()
    assert reading.failed["utilization_ratio"] == "broken"
    assert reading.values["processes"] == 1


def test_huffman_coded_answers_are_understood(serve: Callable[..., Libtpu]) -> None:
    assert _huffman("grpc-status") == HUFFMAN_NAME
    answer = runtime.ask("127.0.0.1", serve({DUTY: [(0, 7.5)]}, huffman=True).port, 2.0)
    assert answer[DUTY] == [(0, 7.5)]
    assert isinstance(answer[USED], NotSupported)


def test_nobody_and_a_foreign_answer_are_two_things() -> None:
    with pytest.raises(NotPresent):
        call(("127.0.0.1", _closed_port()), "/a/B", [b""], 1.0)
    with pytest.raises(Broken):
        runtime.rows(b"\xff\xff\xff")
    assert runtime.rows(response(USED, [(0, 0), (3, 2**40), (-1, 5)])) == [
        (0, 0.0),
        (3, float(2**40)),
        (-1, 5.0),
    ]
    text_id = message(1, message(3, message(1, message(2, message(1, b"4"))) + message(3, b"\x10\x09")))
    assert runtime.rows(text_id) == [(4, 9.0)]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 80), st.integers(0, 20))
def test_damaged_messages_never_crash(noise: bytes, at: int, cut: int) -> None:
    whole = response(DUTY, [(8, 100.0), (9, 3)])
    try:
        runtime.rows(whole[:at] + noise + whole[at + cut :])
    except Broken as e:
        assert str(e)


def test_a_real_grpc_server_understands_us() -> None:
    grpc = pytest.importorskip(
        "grpc", reason="grpcio is not installed: our client is only tried on our stand-in"
    )
    from concurrent import futures

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            if details.method != runtime.METHOD:
                return None
            return grpc.unary_unary_rpc_method_handler(lambda request, _: response("x", [(4, 12.5)]))

    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=(Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert runtime.ask("127.0.0.1", port, 5.0)[DUTY] == [(4, 12.5)]
        (refused,) = call(("127.0.0.1", port), "/no/Such", [b""], 5.0)
        assert isinstance(refused, NotSupported)
    finally:
        server.stop(0)


def test_a_chip_that_leaves_the_bus_is_lost(tmp_path: Path) -> None:
    chips(tmp_path, 2)
    bench = Bench(open_reader(host(tmp_path)))
    bench.read()
    (tmp_path / "sys/bus/pci/devices/0000:00:04.0").rename(tmp_path / "away")
    seen = bench.read()
    assert seen.cards()["n1-0000:00:04.0"].values["health"] == "lost"
    assert [e.kind for e in seen.events()] == ["card_lost"]


def test_the_real_child_reads_the_service(
    tmp_path: Path, serve: Callable[..., Libtpu], child_of: Callable[..., Child]
) -> None:
    chips(tmp_path, 4)
    seen = child_of(backend, host(tmp_path, serve(FOUR).port)).tick(Tier.SLOW, facts=True)
    assert seen.cards()[card(1)].values["utilization_ratio"] == 0.5


def test_google_network_cards_are_no_accelerators(tmp_path: Path) -> None:
    pci_function(tmp_path / "sys", "0000:00:01.0", "1ae0", "0042", "020000")
    assert not detect(host(tmp_path), backend).present
    chips(tmp_path, 2)
    assert detect(host(tmp_path), backend).cards_expected == 2


def test_tables_with_bars_are_decoded() -> None:
    decoded = decode((FIXTURES / "tpu_info_ascii.txt").read_text(encoding="utf-8"))
    assert [c.extra["device_path"] for c in decoded.cards] == ["/dev/accel0", "/dev/accel1"]
    assert decoded.cards[0].processes == [{"pid": 4711, "name": "python3"}]
    assert [row["memory_used_gib"] for row in decoded.extra["runtime"]] == [8.0, 8.0, 0.5, 0.0]
    assert [row["duty_cycle_pct"] for row in decoded.extra["runtime"]] == [99.5, None, 0.0, None]
    assert decoded.extra["cores"][1] == {"core": 1, "utilization_pct": 12.9}
    assert (decoded.extra["libtpu_version"], decoded.extra["accelerator_type"]) == ("0.0.20", "v3")


def test_an_idle_host_has_chips_and_no_runtime() -> None:
    decoded = decode((FIXTURES / "tpu_info_idle.txt").read_text(encoding="utf-8"))
    assert [c.model for c in decoded.cards] == ["TPU v5e chip"] * 2
    assert decoded.extra["runtime"] == [] and decoded.cards[0].processes is None


@pytest.mark.parametrize("text", ["", "x", "| a | b |"])
def test_strange_texts_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        decode(text)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_texts_never_crash(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["tpu_info_ascii.txt", "tpu_info_idle.txt"]))
    survives(decode, data.draw(damaged((FIXTURES / name).read_text(encoding="utf-8"))))
