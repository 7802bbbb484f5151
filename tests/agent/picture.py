"""One fixed picture of a node for the exporters' tests: real and simulated, sound, failed and lost cards."""

from __future__ import annotations

from ullage_agent.outputs.latest import Latest
from ullage_agent.outputs.push_sink import LaneStatus
from ullage_agent.source import SourceReport
from ullage_contract import catalogue
from ullage_contract.catalogue import Kind, Type
from ullage_contract.clock import ManualClock
from ullage_contract.sample import Facts, Family, Origin, Sample, Value

GPU = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"
NODE = "gpu-a017"


def row(
    family: Family, subject: str, values: dict[str, Value], interval: float = 10.0, **more: object
) -> Sample:
    return Sample(family, subject, 1_800_000_000.0, 1_000.0, interval, values, **more)  # type: ignore[arg-type]


def fill(clock: ManualClock) -> Latest:
    latest = Latest(clock)
    latest.facts(
        [
            Facts(
                Family.CARD,
                GPU,
                1.0,
                {
                    "vendor": "nvidia",
                    "model": 'NVIDIA "H100"\\80GB',
                    "uuid": GPU,
                    "serial": "1652722000123",
                    "pci_address": "0000:3b:00.0",
                    "driver_version": "580.65.06",
                    "partition_mode": "mig",
                    "unsupported": ["fan_ratio"],
                },
            ),
            Facts(
                Family.SLICE,
                f"{GPU}/7",
                1.0,
                {"card_id": GPU, "vendor": "nvidia", "model": "H100", "profile": "1g.10gb"},
            ),
            Facts(
                Family.CARD,
                "huawei-1-c0",
                1.0,
                {"vendor": "ascend", "model": "910B3", "board_id": "huawei-1"},
            ),
            Facts(
                Family.PORT, f"{NODE}/mlx5_0/1", 1.0, {"device": "mlx5_0", "port": 1, "hca_type": "MT4129"}
            ),
        ]
    )
    latest.facts(
        [Facts(Family.CARD, "SIM-0", 1.0, {"vendor": "nvidia", "model": "H20"})], origin=Origin.SIMULATED
    )
    latest.samples(
        [
            row(
                Family.CARD,
                GPU,
                {
                    "utilization_ratio": 0.0,
                    "memory_used_bytes": 68_719_476_736,
                    "power_watts": 612.5,
                    "energy_joules": 123456789.125,
                    "throttle_reasons": 0b101,
                    "health": "ok",
                    "temperature_celsius": float("nan"),
                    "pcie_rx_bytes": 2**63,
                    "links_total": 18,
                    "performance_state": "P0",
                    "ecc_uncorrected": 0,
                },
                interval=60.0,
                failed={"fan_ratio": "broken"},
                counters_epoch="b-1",
            ),
            row(Family.CARD, "huawei-1-c0", {"health": "lost"}, failed={"power_watts": "card_lost"}),
            row(Family.SLICE, f"{GPU}/7", {"memory_used_bytes": 1_048_576}),
            row(
                Family.PORT,
                f"{NODE}/mlx5_0/1",
                {"link_downed": 3, "state": "active", "rate_bits_per_second": 400_000_000_000},
            ),
            row(Family.NODE, NODE, {"load1": 12.75, "memory_total_bytes": 2**40, "network_rx_bytes": 7}),
            row(Family.PROCESS, f"{GPU}#4242", {"process_memory_used_bytes": 5}),
        ]
    )
    latest.samples([row(Family.CARD, "SIM-0", {"utilization_ratio": 0.5})], origin=Origin.SIMULATED)
    latest.sources(
        [
            SourceReport("nvidia", True, 0.0123456789, children=1, stuck_children=0),
            SourceReport("rdma", False, 2.0, message="no answer"),
        ]
    )
    return latest


def lanes() -> tuple[LaneStatus, ...]:
    return (
        LaneStatus("samples", True, 2, 3_000, 10, 1, 4, 0, 1_800_000_000.5),
        LaneStatus("events", None, 0, 0, 0, 0, 0, 0, None),
    )


def everything(clock: ManualClock, cards: int = 2) -> Latest:
    """Every metric of the catalogue with a value."""
    latest = Latest(clock)
    rows = []
    for family, subjects in (
        (Family.CARD, [f"GPU-{n}" for n in range(cards)]),
        (Family.SLICE, ["GPU-0/1"]),
        (Family.PORT, [f"{NODE}/mlx5_0/1"]),
        (Family.NODE, [NODE]),
    ):
        values: dict[str, Value] = {}
        for key, metric in catalogue.keys(family).items():
            if metric.kind is Kind.STATE:
                values[key] = 3 if metric.type is Type.INTEGER else (*metric.words, "P0")[0]
            else:
                values[key] = 5 if metric.type is Type.INTEGER else 0.25
        rows += [row(family, subject, values) for subject in subjects]
    latest.facts(
        [Facts(Family.CARD, f"GPU-{n}", 1.0, {"vendor": "nvidia", "model": "H100"}) for n in range(cards)]
    )
    latest.samples(rows)
    return latest
