"""The AMD reader against directories of our own making: in process, and once in a real child."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.agent.amd_tree import MI300X, NAVI21, AmdTree, MetricsV13, MetricsV17, metrics, mi300x_metrics

from ullage_agent.backend import Host, Reading
from ullage_agent.backends.amd import backend, gpu_metrics
from ullage_agent.backends.amd.kernel import PATTERNS
from ullage_agent.backends.amd.reader import open_reader
from ullage_agent.backends.amd.throttling import reasons_of_bits
from ullage_agent.backends.roster import Roster
from ullage_agent.children.supervisor import Deadlines, Supervisor
from ullage_agent.detection import detect
from ullage_agent.sources.kernel_log import decode as decode_log
from ullage_contract import catalogue
from ullage_contract.catalogue import THROTTLE_REASONS, Tier, bits_of
from ullage_contract.clock import ManualClock
from ullage_contract.errors import Broken, DeadlineExceeded, NotPresent, NotSupported
from ullage_contract.event import Severity
from ullage_contract.sample import FACT_NAMES, Facts, Family

T = TypeVar("T")
UUID = "2f6e8d1a3c5b7e90"
ADDRESS = "0000:c1:00.0"


def straight(card: str, name: str, function: Callable[[], T]) -> T:
    return function()


@pytest.fixture
def tree(tmp_path: Path) -> AmdTree:
    return AmdTree(tmp_path)


@pytest.fixture
def reader(tree: AmdTree) -> Iterator[Callable[[], Roster]]:
    made: list[Roster] = []

    def make() -> Roster:
        host = Host(node_id="n1", sysfs=tree.sysfs, proc=tree.proc, settings={"rocm": str(tree.proc)})
        made.append(open_reader(host))
        return made[-1]

    yield make
    for one in made:
        one.close()


def readings(roster: Roster, tier: Tier = Tier.SLOW, call: Any = straight) -> dict[str, Reading]:
    return {item.subject: item for item in roster.read(tier, call) if isinstance(item, Reading)}


def facts(roster: Roster) -> dict[str, Facts]:
    return {item.subject: item for item in roster.facts(straight)}


def mi300x(tree: AmdTree, **files: str | bytes) -> Path:
    return tree.card(1, ADDRESS, {**MI300X, "gpu_metrics": mi300x_metrics(), **files})


def test_what_the_files_say_is_what_we_say(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    mi300x(tree)
    reading = readings(reader())[UUID]
    assert reading.failed == {}
    assert reading.values == {
        "utilization_ratio": pytest.approx(0.93),
        "memory_bandwidth_ratio": pytest.approx(0.41),
        "memory_used_bytes": 103070826496,
        "memory_total_bytes": 206141652992,
        "memory_host_used_bytes": 26214400,
        "power_watts": pytest.approx(655.0),
        "power_instant_watts": pytest.approx(655.0),
        "power_limit_watts": pytest.approx(750.0),
        "energy_joules": 1000.0,
        "temperature_celsius": 71.0,
        "hotspot_temperature_celsius": 71.0,
        "memory_temperature_celsius": 58.0,
        "temperature_limit_celsius": 100.0,
        "clock_core_hertz": 2098e6,
        "clock_core_max_hertz": 2104e6,
        "clock_memory_hertz": 1300e6,
        "pcie_replays": 5,
        "pcie_generation": 5,
        "pcie_generation_max": 5,
        "pcie_width": 16,
        "pcie_width_max": 16,
        "pcie_aer_correctable": 3,
        "pcie_aer_nonfatal": 0,
        "pcie_aer_fatal": 0,
        "link_rx_bytes": 7 * 1000 * 1024,
        "link_tx_bytes": 7 * 2000 * 1024,
        "links_active": 6,
        "links_total": 7,
        "ecc_corrected": 12,
        "ecc_uncorrected": 0,
        "sram_ecc_corrected": 1,
        "sram_ecc_uncorrected": 0,
        "retired_pages": 2,
        "remap_pending": 0,
        "remap_failure": 0,
        "health": "ok",
        "health_detail": "no uncorrectable error in 3 RAS blocks",
    } | {key: value for key, value in reading.values.items() if key.startswith("throttle_")}
    assert set(reading.values) <= set(catalogue.keys(Family.CARD))


def test_facts_name_the_card_and_what_it_cannot(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    mi300x(tree)
    card = facts(reader())[UUID].attributes
    assert card["vendor"] == "amd"
    assert card["model"] == "AMD Instinct MI300X OAM"
    assert card["serial"] == "692251000123"
    assert card["pci_address"] == ADDRESS
    assert card["driver_version"] == "6.12.12"
    assert card["firmware_version"] == "113-M3000100-102"
    assert card["numa_node"] == 1
    assert card["partition_mode"] == "none"
    assert card["power_limit_default_watts"] == 750.0
    assert card["device_node"] == "/dev/dri/card1"
    assert set(card) <= set(FACT_NAMES)
    unsupported = set(card["unsupported"] or ())  # type: ignore[arg-type]
    assert {"fan_rpm", "fan_ratio", "voltage_volts", "sm_active_ratio", "performance_state"} <= unsupported
    assert not unsupported & {"power_watts", "energy_joules", "ecc_uncorrected", "throttle_reasons"}


def test_a_sleeping_radeon_is_left_asleep(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    device = tree.card(0, "0000:03:00.0", NAVI21)
    roster = reader()
    awake = readings(roster)["n1-0000:03:00.0"]
    assert awake.values["power_watts"] == pytest.approx(33.0)
    assert awake.values["performance_state"] == "active"
    tree.set(device, "power/runtime_status", "suspended")
    for name in ("gpu_metrics", "hwmon/hwmon3/power1_average", "gpu_busy_percent"):
        tree.set(device, name, "must not be read")
    asleep = readings(roster)["n1-0000:03:00.0"]
    assert asleep.failed == {}
    assert asleep.values == {"performance_state": "suspended", "utilization_ratio": 0.0}


def test_a_radeon_says_what_it_has_and_no_energy_of_zero(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    tree.card(0, "0000:03:00.0", NAVI21)
    roster = reader()
    card = facts(roster)["n1-0000:03:00.0"].attributes
    reading = readings(roster)["n1-0000:03:00.0"]
    assert reading.values["temperature_celsius"] == 45.0
    assert reading.values["hotspot_temperature_celsius"] == 52.0
    assert reading.values["fan_rpm"] == 900.0
    assert reading.values["fan_ratio"] == 0.2
    assert reading.values["voltage_volts"] == pytest.approx(0.775)
    assert reading.values["clock_core_hertz"] == 800e6
    assert reading.values["throttle_reasons"] == bits_of(THROTTLE_REASONS, ["software_thermal"])
    assert "energy_joules" not in reading.values
    assert {"energy_joules", "ecc_uncorrected", "health", "links_active"} <= set(card["unsupported"] or ())  # type: ignore[arg-type]


def test_another_makers_display_is_no_card(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    tree.card(0, "0000:02:00.0", {"device": "0x2000"}, vendor="0x1a03")
    mi300x(tree)
    assert list(readings(reader())) == [UUID]


def test_partitions_are_slices_and_power_is_the_cards(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    busy = [[10 * (i + 1)] + [0xFFFFFFFF] * 7 for i in range(4)]
    table = bytearray(mi300x_metrics(num_partition=4))
    for i, values in enumerate(busy):
        place = MetricsV17.xcp_stats.offset + i * MetricsV17.xcp_stats.size // 8
        struct.pack_into("<8I", table, place, *values)
    mi300x(tree, gpu_metrics=bytes(table), current_compute_partition="QPX", current_memory_partition="NPS4")
    tree.node(0, 0, 0, 0)
    for i in range(4):
        # newer kernels put the partition into bits 31..28 of location_id
        tree.node(i + 1, 100 + i, (i << 28) | 0xC100, 48 << 30)
    roster = reader()
    known = facts(roster)
    assert known[UUID].attributes["partition_mode"] == "qpx/nps4"
    part = known[f"{UUID}/xcp1"].attributes
    assert part["card_id"] == UUID
    assert part["profile"] == "qpx/nps4"
    assert part["compute_share"] == 0.25
    assert part["memory_total_bytes"] == 48 << 30
    found = readings(roster)
    assert [found[f"{UUID}/xcp{i}"].values["utilization_ratio"] for i in range(4)] == [0.1, 0.2, 0.3, 0.4]
    assert all("power_watts" not in found[f"{UUID}/xcp{i}"].values for i in range(4))
    assert found[UUID].values["power_watts"] == pytest.approx(655.0)


def test_two_dies_of_a_board_count_its_power_once(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    base = {
        **MI300X,
        "device": "0x7408",
        "product_name": "AMD Instinct MI250X",
        "serial_number": "692131000777",
    }
    first = {**base, "unique_id": "00000000000000a1", "hwmon/hwmon1/power1_average": "430000000"}
    second = {**base, "unique_id": "00000000000000a2", "hwmon/hwmon2/power1_average": "0"}
    for one in (first, second):
        for name in [name for name in one if "hwmon7" in name]:
            del one[name]
    tree.card(0, "0000:c1:00.0", first)
    tree.card(1, "0000:c6:00.0", second)
    roster = reader()
    known = facts(roster)
    assert {known[f"00000000000000a{i}"].attributes["board_id"] for i in (1, 2)} == {"amd-692131000777"}
    assert [known[f"00000000000000a{i}"].attributes["chip"] for i in (1, 2)] == [0, 1]
    found = readings(roster)
    assert found["00000000000000a1"].values["board_power_watts"] == pytest.approx(430.0)
    assert "power_watts" not in found["00000000000000a1"].values
    assert "board_power_watts" not in found["00000000000000a2"].values


def test_an_uncorrectable_error_is_an_event_and_a_critical_health(
    tree: AmdTree, reader: Callable[[], Roster]
) -> None:
    device = mi300x(tree)
    roster = reader()
    readings(roster)
    tree.set(device, "ras/umc_err_count", "ue: 2\nce: 12")
    tree.set(device, "ras/gfx_err_count", "ue: 1\nce: 1")
    reading = readings(roster)[UUID]
    assert reading.values["ecc_uncorrected"] == 2
    assert reading.values["sram_ecc_uncorrected"] == 1
    assert reading.values["health"] == "critical"
    assert reading.values["health_detail"] == "gfx ue=1, umc ue=2"
    told = list(roster.events(straight))
    assert [event.kind for event in told] == ["ecc_uncorrected", "ecc_uncorrected", "ras"]
    assert told[-1].attributes["pci_address"] == ADDRESS


@pytest.mark.parametrize(
    ("pages", "pending", "failure", "health"),
    [
        ("0x1 : 0x1000 : R\n0x2 : 0x1000 : P", 1, 0, "degraded"),
        ("0x1 : 0x1000 : F", 0, 1, "critical"),
        ("", 0, 0, "ok"),
    ],
)
def test_bad_pages_wait_or_fail(
    tree: AmdTree, reader: Callable[[], Roster], pages: str, pending: int, failure: int, health: str
) -> None:
    mi300x(tree, **{"ras/gpu_vram_bad_pages": pages})
    values = readings(reader())[UUID].values
    assert (values["remap_pending"], values["remap_failure"], values["health"]) == (pending, failure, health)
    assert values["retired_pages"] == len(pages.splitlines())


def test_counts_of_a_sleeping_block_are_no_errors(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    mi300x(
        tree,
        **{
            "ras/umc_err_count": "ue: 2097120\nce: 2097120",
            "ras/gfx_err_count": "ue: 1048560\nce: 0",
            "ras/sdma_err_count": "ue: 1048560\nce: 0",
            "ras/aca_umc": "ue: 1048560\nce: 0",
        },
    )
    reading = readings(reader())[UUID]
    assert reading.failed["ecc_uncorrected"] == "broken"
    assert "health" not in reading.values
    assert list(readings(reader())[UUID].failed) == list(reading.failed)


def test_one_blocks_trouble_leaves_the_others_and_gives_no_clean_bill(
    tree: AmdTree, reader: Callable[[], Roster]
) -> None:
    mi300x(tree, **{"ras/gfx_err_count": "ue: 1048560\nce: 0"})
    reading = readings(reader())[UUID]
    assert reading.values["ecc_uncorrected"] == 0
    assert "health" not in reading.values


def test_processes_are_kfds_and_carry_no_arguments(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    mi300x(tree)
    tree.node(1, 4660, 0xC100, 192 << 30)
    tree.node(2, 4661, 0xD100, 192 << 30)
    tree.process(4711, {4660: 5 << 30, 4661: 0})
    tree.process(4712, {4661: 1 << 30})
    roster = reader()
    items = list(roster.read(Tier.SLOW, straight))
    known = {i.subject: i.attributes for i in items if isinstance(i, Facts)}
    found = {i.subject: i.values for i in items if isinstance(i, Reading)}
    assert found[UUID]["processes"] == 1
    assert found[f"{UUID}#4711"] == {"process_memory_used_bytes": 5 << 30}
    assert known[f"{UUID}#4711"]["command"] == "python3"
    assert known[f"{UUID}#4711"]["cgroup"] == "/slurm/job_77"
    assert f"{UUID}#4712" not in found


def test_time_held_down_is_the_residencys_share_of_the_firmwares_clock(
    tree: AmdTree, reader: Callable[[], Roster]
) -> None:
    device = mi300x(tree)
    roster = reader()
    readings(roster)
    # 10 s later: of 10 000 cycles 2 500 held down by power, 100 by heat
    later = mi300x_metrics(
        accumulation_counter=20_000,
        ppt_residency_acc=2_600,
        hbm_thm_residency_acc=100,
        firmware_timestamp=2_000_000_000,
    )
    tree.set(device, "gpu_metrics", later)
    values = readings(roster)[UUID].values
    assert values["throttle_power_seconds"] == pytest.approx(2.5)
    assert values["throttle_thermal_seconds"] == pytest.approx(0.1)
    assert values["throttle_hardware_seconds"] == 0.0
    assert values["throttle_reasons"] == bits_of(THROTTLE_REASONS, ["software_power_cap", "software_thermal"])


def test_a_card_that_goes_is_lost_and_comes_back(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    mi300x(tree)
    tree.card(2, "0000:d1:00.0", {**MI300X, "unique_id": "00000000000000b2", "serial_number": ""})
    roster = reader()
    assert len(readings(roster)) == 2
    link = tree.sysfs / "class/drm/card1"
    device = (link / "device").resolve()
    aside = tree.sysfs / "aside"
    shutil.move(device, aside)
    found = readings(roster)
    assert found[UUID].values == {"health": "lost", "health_detail": "it is not listed any more"}
    assert found["00000000000000b2"].values["power_watts"] == pytest.approx(655.0)
    assert [event.kind for event in roster.events(straight)] == ["card_lost"]
    shutil.move(aside, device)
    assert readings(roster)[UUID].values["utilization_ratio"] == pytest.approx(0.93)
    assert [event.kind for event in roster.events(straight)] == ["card_back"]


def test_a_driver_without_cards_says_so(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    with pytest.raises(NotPresent, match="is the driver loaded"):
        readings(reader())


def test_a_call_that_hangs_fails_that_metric_alone(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    mi300x(tree)
    roster = reader()
    readings(roster)

    def hung(card: str, name: str, function: Callable[[], T]) -> T:
        if name == "power1":
            raise DeadlineExceeded("it hung before")
        return function()

    reading = readings(roster, call=hung)[UUID]
    assert reading.failed == {"power_watts": "deadline", "power_instant_watts": "deadline"}
    assert reading.values["utilization_ratio"] == pytest.approx(0.93)


def test_garbage_fails_and_is_no_number(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    device = mi300x(tree)
    roster = reader()
    readings(roster)
    tree.set(device, "gpu_metrics", b"\x08\x00")
    tree.set(device, "mem_info_vram_used", "many")
    tree.set(device, "hwmon/hwmon7/temp3_input", "-274000")
    reading = readings(roster)[UUID]
    assert reading.failed["energy_joules"] == "broken"
    assert reading.failed["memory_used_bytes"] == "broken"
    assert "memory_temperature_celsius" not in reading.values
    assert reading.values["utilization_ratio"] == pytest.approx(0.93)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_we_may_not_read_says_so(tree: AmdTree, reader: Callable[[], Roster]) -> None:
    device = mi300x(tree)
    (device / "mem_info_vram_used").chmod(0)
    assert readings(reader())[UUID].failed["memory_used_bytes"] == "not_permitted"


# ---- gpu_metrics


def test_metrics_follow_the_kernels_layout() -> None:
    found = gpu_metrics.parse(
        metrics(
            MetricsV13, 1, 3, temperature_edge=45, energy_accumulator=7, throttle_status=3,
            indep_throttle_status=1, voltage_gfx=800, current_fan_speed=900, pcie_link_width=16,
        )
    )  # fmt: skip
    assert found.version == (1, 3)
    assert found.fields == {
        "edge": 45, "energy": 7, "throttle_status": 3, "independent_throttle": 1, "voltage_gfx_mv": 800,
        "fan_rpm": 900, "pcie_width": 16,
    }  # fmt: skip


def test_all_ones_are_no_value_and_clocks_are_averaged_over_what_is_there() -> None:
    found = gpu_metrics.parse(metrics(MetricsV17, 1, 7, current_gfxclk=[2000, 2100, 0xFFFF]))
    assert found.one("current_gfxclk") == 2050
    assert "energy" not in found.fields
    assert found.partitions == ()


def test_a_version_of_attributes_is_read_by_its_own_words() -> None:
    def attribute(identity: int, kind: int, *values: int) -> bytes:
        code = "BbHhIiQq"[kind]
        return struct.pack(f"<Q{len(values)}{code}", kind << 20 | identity << 10 | len(values), *values)

    body = (
        attribute(3, 2, 650) + attribute(7, 6, 65536) + attribute(999, 4, 1, 2) + attribute(33, 2, 2000, 2100)
    )
    raw = struct.pack("<HBBi", 8 + len(body), 1, 9, 4) + body
    found = gpu_metrics.parse(raw)
    assert found.one("current_socket_power") == 650
    assert found.one("energy") == 65536
    assert found.one("current_gfxclk") == 2050
    with pytest.raises(Broken, match="ends within attribute"):
        gpu_metrics.parse(raw[:-3])


def test_a_torn_or_unknown_table_is_refused() -> None:
    whole = mi300x_metrics()
    for raw in (b"", whole[:3], whole[:100]):
        with pytest.raises(Broken):
            gpu_metrics.parse(raw)
    with pytest.raises(NotSupported, match=r"3\.0"):
        gpu_metrics.parse(struct.pack("<HBB", 256, 3, 0) + bytes(252))


def test_throttle_bits_are_named_and_new_ones_are_unknown() -> None:
    def words(bits: int | None) -> list[str]:
        return catalogue.bit_names(THROTTLE_REASONS, reasons_of_bits(bits))

    assert words(1) == ["software_power_cap"]
    assert words(1 << 16 | 1 << 34) == ["software_thermal", "current_limit"]
    assert words(1 << 47) == ["hardware_thermal"]
    assert words(1 << 60) == ["unknown"]
    assert words(None) == ["unknown"]


# ---- kernel log


def test_the_drivers_lines_are_events_and_all_clears_are_not() -> None:
    text = "\n".join(
        [
            "[100.0] amdgpu 0000:c1:00.0: amdgpu: socket: 0, die: 0 2 new uncorrectable hardware errors detected in umc block",
            "[100.1] amdgpu 0000:c1:00.0: amdgpu: socket: 0, die: 0 2 uncorrectable hardware errors detected in total in umc block",
            "[101.0] amdgpu 0000:c1:00.0: amdgpu: {7}1 new uncorrectable hardware errors detected in gfx block",
            "[102.0] amdgpu 0000:d1:00.0: amdgpu: no uncorrectable hardware errors detected",
            "[103.0] [drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring sdma0 timeout, but soft recovered",
            "[104.0] amdgpu 0000:d1:00.0: amdgpu: ring comp_1.0.0 timeout, signaled seq=1, emitted seq=3",
            "[105.0] amdgpu 0000:d1:00.0: amdgpu: GPU reset begin!",
            "[106.0] amdgpu 0000:d1:00.0: amdgpu: GPU reset end with ret = -110",
            "[200.0] amdgpu 0000:c1:00.0: amdgpu: RAS records:245 exceeds 90% of threshold:256",
            "[300.0] amdgpu 0000:c1:00.0: amdgpu: RAS records:257 exceed threshold:256",
            "[400.0] amdgpu 0000:e1:00.0: amdgpu: device lost from bus!",
        ]
    )
    events = decode_log(text, PATTERNS, maker="amd").events
    assert [(event.kind, event.attributes.get("name"), event.severity) for event in events] == [
        ("ecc_uncorrected", "UNCORRECTABLE", Severity.CRITICAL),
        ("ras", "UNCORRECTABLE", Severity.CRITICAL),
        ("driver_error", "RING_TIMEOUT", Severity.WARNING),
        ("driver_error", "GPU_RESET", Severity.WARNING),
        ("driver_error", "GPU_RESET_FAILED", Severity.CRITICAL),
        ("ras", "BAD_PAGES_NEAR_THRESHOLD", Severity.WARNING),
        ("ras", "BAD_PAGES_THRESHOLD", Severity.FATAL),
        ("driver_error", "LOST_FROM_BUS", Severity.FATAL),
    ]
    assert events[0].code == "umc"
    assert events[1].code == "gfx"
    assert events[0].attributes["pci_address"] == ADDRESS


# ---- the real way


def test_through_a_real_child_the_same_numbers_come(tree: AmdTree, clock: ManualClock) -> None:
    mi300x(tree)
    host = Host(node_id="n1", sysfs=tree.sysfs, proc=tree.proc)
    assert detect(host, backend).cards_expected == 1
    supervisor = Supervisor(
        replace(backend), host, clock, environment=dict(os.environ), deadlines=Deadlines(call=5.0, start=20.0)
    )
    items: list[Any] = []
    try:
        supervisor.tick(Tier.SLOW, items.append, facts=True)
    finally:
        supervisor.close()
    cards = {i.subject: i for i in items if isinstance(i, Reading) and i.family is Family.CARD}
    assert cards[UUID].values["power_watts"] == pytest.approx(655.0)
    assert cards[UUID].values["health"] == "ok"
    known = {i.subject: i for i in items if isinstance(i, Facts)}
    assert known[UUID].attributes["model"] == "AMD Instinct MI300X OAM"


def test_a_card_keeps_its_key_while_its_name_cannot_be_read(
    tree: AmdTree, reader: Callable[[], Roster], monkeypatch: pytest.MonkeyPatch
) -> None:
    mi300x(tree)
    old, fresh = reader(), reader()
    assert UUID in readings(old)
    real = Path.read_text

    def busy(self: Path, *arguments: Any, **more: Any) -> str:
        if self.name == "unique_id":
            raise OSError(errno.EBUSY, "busy")
        return real(self, *arguments, **more)

    monkeypatch.setattr(Path, "read_text", busy)
    assert set(readings(old)) == {UUID}
    assert readings(fresh) == {}, "of a new card nothing is told before it says who it is"
    monkeypatch.undo()
    assert set(readings(fresh)) == {UUID}
