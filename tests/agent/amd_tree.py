"""A /sys with AMD cards of our own making, as the amdgpu driver lays it out (kernel Documentation/gpu/amdgpu)."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

HBM, LINKS, XCC, PARTITIONS = 4, 8, 8, 8


class MetricsV13(ctypes.Structure):
    """gpu_metrics_v1_3 in the header's order; the compiler's alignment, not ours."""

    _fields_ = [
        ("size", ctypes.c_uint16), ("format", ctypes.c_uint8), ("content", ctypes.c_uint8),
        *((name, ctypes.c_uint16) for name in (
            "temperature_edge", "temperature_hotspot", "temperature_mem", "temperature_vrgfx", "temperature_vrsoc",
            "temperature_vrmem", "average_gfx_activity", "average_umc_activity", "average_mm_activity",
            "average_socket_power",
        )),
        ("energy_accumulator", ctypes.c_uint64), ("system_clock_counter", ctypes.c_uint64),
        *((name, ctypes.c_uint16) for name in (
            "average_gfxclk", "average_socclk", "average_uclk", "average_vclk0", "average_dclk0", "average_vclk1",
            "average_dclk1", "current_gfxclk", "current_socclk", "current_uclk", "current_vclk0", "current_dclk0",
            "current_vclk1", "current_dclk1",
        )),
        ("throttle_status", ctypes.c_uint32),
        *((name, ctypes.c_uint16) for name in ("current_fan_speed", "pcie_link_width", "pcie_link_speed", "padding")),
        ("gfx_activity_acc", ctypes.c_uint32), ("mem_activity_acc", ctypes.c_uint32),
        ("temperature_hbm", ctypes.c_uint16 * HBM), ("firmware_timestamp", ctypes.c_uint64),
        *((name, ctypes.c_uint16) for name in ("voltage_soc", "voltage_gfx", "voltage_mem", "padding1")),
        ("indep_throttle_status", ctypes.c_uint64),
    ]  # fmt: skip


class Partition(ctypes.Structure):
    """amdgpu_xcp_metrics_v1_1."""

    _fields_ = [
        ("gfx_busy_inst", ctypes.c_uint32 * XCC), ("jpeg_busy", ctypes.c_uint16 * 32), ("vcn_busy", ctypes.c_uint16 * 4),
        ("gfx_busy_acc", ctypes.c_uint64 * XCC), ("gfx_below_host_limit_acc", ctypes.c_uint64 * XCC),
    ]  # fmt: skip


class MetricsV17(ctypes.Structure):
    """gpu_metrics_v1_7: MI300."""

    _fields_ = [
        ("size", ctypes.c_uint16), ("format", ctypes.c_uint8), ("content", ctypes.c_uint8),
        *((name, ctypes.c_uint16) for name in (
            "temperature_hotspot", "temperature_mem", "temperature_vrsoc", "curr_socket_power", "average_gfx_activity",
            "average_umc_activity",
        )),
        *((name, ctypes.c_uint64) for name in ("mem_max_bandwidth", "energy_accumulator", "system_clock_counter")),
        *((name, ctypes.c_uint32) for name in (
            "accumulation_counter", "prochot_residency_acc", "ppt_residency_acc", "socket_thm_residency_acc",
            "vr_thm_residency_acc", "hbm_thm_residency_acc", "gfxclk_lock_status",
        )),
        *((name, ctypes.c_uint16) for name in ("pcie_link_width", "pcie_link_speed", "xgmi_link_width", "xgmi_link_speed")),
        ("gfx_activity_acc", ctypes.c_uint32), ("mem_activity_acc", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in (
            "pcie_bandwidth_acc", "pcie_bandwidth_inst", "pcie_l0_to_recov_count_acc", "pcie_replay_count_acc",
            "pcie_replay_rover_count_acc",
        )),
        ("pcie_nak_sent_count_acc", ctypes.c_uint32), ("pcie_nak_rcvd_count_acc", ctypes.c_uint32),
        ("xgmi_read_data_acc", ctypes.c_uint64 * LINKS), ("xgmi_write_data_acc", ctypes.c_uint64 * LINKS),
        ("xgmi_link_status", ctypes.c_uint16 * LINKS), ("padding", ctypes.c_uint16),
        ("firmware_timestamp", ctypes.c_uint64),
        ("current_gfxclk", ctypes.c_uint16 * 8), ("current_socclk", ctypes.c_uint16 * 4),
        ("current_vclk0", ctypes.c_uint16 * 4), ("current_dclk0", ctypes.c_uint16 * 4),
        ("current_uclk", ctypes.c_uint16), ("num_partition", ctypes.c_uint16),
        ("xcp_stats", Partition * PARTITIONS), ("pcie_lc_perf_other_end_recovery", ctypes.c_uint32),
    ]  # fmt: skip


def metrics(kind: type[ctypes.Structure], form: int, content: int, **values: Any) -> bytes:
    """A table as the driver makes it: all ones, then the header, then what the card measures."""
    table = kind.from_buffer_copy(b"\xff" * ctypes.sizeof(kind))
    for name, value in {"size": ctypes.sizeof(kind), "format": form, "content": content, **values}.items():
        if isinstance(value, list | tuple):
            array = getattr(table, name)
            for i, element in enumerate(value):
                array[i] = element
        else:
            setattr(table, name, value)
    return bytes(table)


class AmdTree:
    """Cards as directories; ``set`` changes a file in place, as the kernel does."""

    def __init__(self, root: Path) -> None:
        self.sysfs = root / "sys"
        self.proc = root / "proc"
        (self.sysfs / "module/amdgpu").mkdir(parents=True)
        (self.sysfs / "module/amdgpu/version").write_text("6.12.12\n")
        (self.sysfs / "class/drm").mkdir(parents=True)
        self.proc.mkdir()

    def card(
        self, index: int, address: str, files: dict[str, str | bytes], *, vendor: str = "0x1002"
    ) -> Path:
        """One card: cardN with a connector beside it, its device directory and the bus link."""
        device = self.sysfs / "devices" / f"pci0000:{address[5:7]}" / address
        drm = device / "drm" / f"card{index}"
        drm.mkdir(parents=True)
        (drm / "device").symlink_to("../../../" + device.name)
        (self.sysfs / f"class/drm/card{index}").symlink_to(drm)
        (self.sysfs / f"class/drm/card{index}-DP-1").mkdir()
        bus = self.sysfs / "bus/pci/devices"
        bus.mkdir(parents=True, exist_ok=True)
        (bus / address).symlink_to(device)
        for name, text in {"vendor": vendor, "class": "0x120000", **files}.items():
            self.set(device, name, text)
        return device

    def set(self, device: Path, name: str, text: str | bytes) -> None:
        path = device / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.write(text if isinstance(text, bytes) else f"{text}\n".encode())
            file.truncate()

    def node(self, number: int, gpu_id: int, location: int, memory: int, *, simds: int = 304) -> None:
        """A compute node of the KFD topology; gpu_id 0 is the host's."""
        place = self.sysfs / f"class/kfd/kfd/topology/nodes/{number}"
        (place / "mem_banks/0").mkdir(parents=True)
        (place / "gpu_id").write_text(f"{gpu_id}\n")
        (place / "properties").write_text(
            f"simd_count {simds}\nvendor_id {0x1002 if gpu_id else 0}\nlocation_id {location}\ndomain 0\n"
        )
        (place / "mem_banks/0/properties").write_text(f"heap_type 1\nsize_in_bytes {memory}\n")

    def process(self, pid: int, used: dict[int, int], *, command: str = "python3") -> None:
        """A compute process; used: gpu_id -> bytes."""
        place = self.sysfs / f"class/kfd/kfd/proc/{pid}"
        place.mkdir(parents=True)
        for gpu_id, amount in used.items():
            (place / f"vram_{gpu_id}").write_text(f"{amount}\n")
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "comm").write_text(f"{command}\n")
        (self.proc / str(pid) / "cgroup").write_text("0::/slurm/job_77\n")


MI300X: dict[str, str | bytes] = {
    "device": "0x74a1",
    "unique_id": "2f6e8d1a3c5b7e90",
    "serial_number": "692251000123",
    "product_name": "AMD Instinct MI300X OAM",
    "vbios_version": "113-M3000100-102",
    "numa_node": "1",
    "power/runtime_status": "unsupported",
    "gpu_busy_percent": "93",
    "mem_busy_percent": "41",
    "mem_info_vram_total": "206141652992",
    "mem_info_vram_used": "103070826496",
    "mem_info_gtt_used": "26214400",
    "pcie_replay_count": "5",
    "pp_dpm_sclk": "0: 132Mhz\n1: 2100Mhz *\n2: 2104Mhz",
    "current_link_speed": "32.0 GT/s PCIe",
    "max_link_speed": "32.0 GT/s PCIe",
    "current_link_width": "16",
    "max_link_width": "16",
    "aer_dev_correctable": "RxErr 0\nBadTLP 3\nTOTAL_ERR_COR 3",
    "aer_dev_nonfatal": "DLP 0\nTOTAL_ERR_NONFATAL 0",
    "aer_dev_fatal": "DLP 0\nTOTAL_ERR_FATAL 0",
    "current_compute_partition": "SPX",
    "current_memory_partition": "NPS1",
    "hwmon/hwmon7/temp2_label": "junction",
    "hwmon/hwmon7/temp2_input": "71000",
    "hwmon/hwmon7/temp2_crit": "100000",
    "hwmon/hwmon7/temp3_label": "mem",
    "hwmon/hwmon7/temp3_input": "58000",
    "hwmon/hwmon7/power1_input": "655000000",
    "hwmon/hwmon7/power1_cap": "750000000",
    "hwmon/hwmon7/power1_cap_default": "750000000",
    "hwmon/hwmon7/freq1_label": "sclk",
    "hwmon/hwmon7/freq1_input": "2098000000",
    "hwmon/hwmon7/freq2_label": "mclk",
    "hwmon/hwmon7/freq2_input": "1300000000",
    "ras/umc_err_count": "ue: 0\nce: 12",
    "ras/gfx_err_count": "ue: 0\nce: 1",
    "ras/sdma_err_count": "ue: 0\nce: 0",
    "ras/aca_umc": "ue: 0\nce: 12\nde: 0",
    "ras/gpu_vram_bad_pages": "0x027f5d43 : 0x00001000 : R\n0x027f5d4b : 0x00001000 : R",
}
"""What our reader asks of an MI300X, gpu_metrics apart."""


def mi300x_metrics(**values: Any) -> bytes:
    """gpu_metrics 1.7 of a card with 7 xGMI links, one of them down."""
    given: dict[str, Any] = {
        "temperature_hotspot": 71,
        "temperature_mem": 58,
        "curr_socket_power": 655,
        "average_gfx_activity": 93,
        "average_umc_activity": 41,
        "energy_accumulator": 65536 * 1000,
        "accumulation_counter": 10_000,
        "prochot_residency_acc": 0,
        "ppt_residency_acc": 100,
        "socket_thm_residency_acc": 0,
        "vr_thm_residency_acc": 0,
        "hbm_thm_residency_acc": 0,
        "firmware_timestamp": 1_000_000_000,
        "pcie_replay_count_acc": 5,
        "xgmi_read_data_acc": [1000] * 7,
        "xgmi_write_data_acc": [2000] * 7,
        "xgmi_link_status": [1, 1, 1, 0, 1, 1, 1],
        "current_gfxclk": [2100, 2090, 2110, 2100, 2100, 2100, 2100, 2100],
        "current_uclk": 1300,
        "num_partition": 1,
    }
    return metrics(MetricsV17, 1, 7, **{**given, **values})


NAVI21: dict[str, str | bytes] = {
    "device": "0x73bf",
    "unique_id": "0000000000000000",
    "product_name": "",
    "power/runtime_status": "active",
    "gpu_busy_percent": "7",
    "mem_info_vram_total": "17163091968",
    "mem_info_vram_used": "1073741824",
    "mem_info_gtt_used": "1048576",
    "hwmon/hwmon3/temp1_label": "edge",
    "hwmon/hwmon3/temp1_input": "45000",
    "hwmon/hwmon3/temp1_crit": "100000",
    "hwmon/hwmon3/temp2_label": "junction",
    "hwmon/hwmon3/temp2_input": "52000",
    "hwmon/hwmon3/power1_average": "33000000",
    "hwmon/hwmon3/power1_cap": "255000000",
    "hwmon/hwmon3/fan1_input": "900",
    "hwmon/hwmon3/pwm1": "51",
    "hwmon/hwmon3/pwm1_max": "255",
    "hwmon/hwmon3/in0_label": "vddgfx",
    "hwmon/hwmon3/in0_input": "775",
    "gpu_metrics": metrics(
        MetricsV13,
        1,
        3,
        temperature_edge=45,
        temperature_hotspot=52,
        average_gfx_activity=7,
        average_umc_activity=3,
        average_socket_power=33,
        energy_accumulator=0,
        current_gfxclk=800,
        current_uclk=96,
        throttle_status=0x20,
        indep_throttle_status=1 << 36,
        current_fan_speed=900,
    ),
}
"""A Radeon without RAS, sleeping when idle; it does not count its energy."""
