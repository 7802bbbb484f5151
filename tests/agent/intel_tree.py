"""A server with two Intel cards as xe (Linux 6.15) and i915 (Intel's packages) show them, and one inside the processor."""

from __future__ import annotations

from maker_tree import Tree

XE, I915 = "0000:4d:00.0", "0000:9a:00.0"
XE_SWITCH = "0000:49:01.0/0000:4a:00.0/0000:4b:00.0/0000:4c:01.0"
"""Server's port, server's switch..., then the card's own upstream (4b) and downstream (4c) ports."""

XE_FILES = {
    "power/runtime_status": "active",
    "numa_node": 1,
    "config": b"\x86\x80\xc0\x56",
    "current_link_speed": "2.5 GT/s PCIe",
    "current_link_width": 1,
    "max_link_speed": "2.5 GT/s PCIe",
    "max_link_width": 1,
    "aer_dev_correctable": "RxErr 2\nTOTAL_ERR_COR 2",
    "sriov_numvfs": 0,
    "tile0/physical_vram_size_bytes": 17163091968,
    "tile0/gt0/freq0/act_freq": 2050,
    "tile0/gt0/freq0/rp0_freq": 2400,
    "tile0/gt0/freq0/throttle/status": 1,
    "tile0/gt0/freq0/throttle/reason_pl1": 1,
    "tile0/gt0/freq0/throttle/reason_thermal": 0,
    "tile0/gt0/freq0/throttle/reason_prochot": 0,
    "tile0/gt0/freq0/throttle/reason_vr_tdc": 1,
    "tile0/gt0/gtidle/idle_residency_ms": 500_000,
    "tile0/gt1/freq0/act_freq": 1025,
    "tile0/gt1/freq0/rp0_freq": 1200,
    "tile0/gt1/freq0/throttle/status": 0,
    "tile0/gt1/gtidle/idle_residency_ms": 900_000,
    "hwmon/hwmon3/name": "xe",
    "hwmon/hwmon3/energy1_label": "card",
    "hwmon/hwmon3/energy1_input": 5_000_000_000,
    "hwmon/hwmon3/energy2_label": "pkg",
    "hwmon/hwmon3/energy2_input": 3_000_000_000,
    "hwmon/hwmon3/power1_max": 150_000_000,
    "hwmon/hwmon3/power1_rated_max": 150_000_000,
    "hwmon/hwmon3/temp2_label": "pkg",
    "hwmon/hwmon3/temp2_input": 61000,
    "hwmon/hwmon3/temp2_max": 100000,
    "hwmon/hwmon3/temp3_label": "vram",
    "hwmon/hwmon3/temp3_input": 72000,
    "hwmon/hwmon3/in1_input": 812,
    "hwmon/hwmon3/fan1_input": 1800,
    "drm/card1/dev": "226:1",
    "drm/renderD128/dev": "226:128",
}
I915_FILES = {
    "power/runtime_status": "active",
    "numa_node": 0,
    "config": b"\x86\x80\xd5\x0b",
    "current_link_speed": "32.0 GT/s PCIe",
    "current_link_width": 16,
    "max_link_speed": "32.0 GT/s PCIe",
    "max_link_width": 16,
    "hwmon/hwmon5/name": "i915_gt0",
    "hwmon/hwmon5/energy1_input": 1,
    "hwmon/hwmon4/name": "i915",
    "hwmon/hwmon4/energy1_input": 7_000_000_000,
    "hwmon/hwmon4/power1_max": 0,
    "hwmon/hwmon4/in0_input": 700,
    "drm/renderD129/dev": "226:129",
    "drm/card2/lmem_total_bytes": 137438953472,
    "drm/card2/gt/gt0/rps_act_freq_mhz": 1600,
    "drm/card2/gt/gt0/rps_RP0_freq_mhz": 1600,
    "drm/card2/gt/gt0/rc6_residency_ms": 1_000,
    "drm/card2/gt/gt0/throttle_reason_status": 0,
    "drm/card2/gt/gt0/error_counter/correctable_guc": 4,
    "drm/card2/gt/gt0/error_counter/fatal_guc": 0,
    "drm/card2/gt/gt0/error_counter/soc_fatal_hbm_ss0_0": 0,
    "drm/card2/gt/gt1/rps_act_freq_mhz": 1400,
    "drm/card2/gt/gt1/rps_RP0_freq_mhz": 1600,
    "drm/card2/gt/gt1/rc6_residency_ms": 2_000,
    "drm/card2/gt/gt1/throttle_reason_status": 0,
    "drm/card2/gt/gt1/error_counter/correctable_guc": 1,
    "drm/card2/gt/gt1/error_counter/fatal_guc": 0,
}


def build(tree: Tree) -> None:
    """Flex 170 behind its own switch, Max 1550, the processor's graphics, a virtual function and a foreign card."""
    for name, vendor in (("0000:49:01.0", "8086"), ("0000:4a:00.0", "10b5"), ("0000:4b:00.0", "8086")):
        above = XE_SWITCH.split(name)[0].strip("/")
        link = (
            {"current_link_speed": "16.0 GT/s PCIe", "current_link_width": 16}
            if name == "0000:4b:00.0"
            else {}
        )
        limits = {"max_link_speed": "16.0 GT/s PCIe", "max_link_width": 16} if link else {}
        tree.function(name, f"{vendor}:4fa0", "060400", "pcieport", {**link, **limits}, above=above)
    tree.function("0000:4c:01.0", "8086:4fa4", "060400", "pcieport", above=XE_SWITCH.rsplit("/", 1)[0])
    tree.function(XE, "8086:56c0", "038000", "xe", XE_FILES, above=XE_SWITCH)
    tree.function(I915, "8086:0bd5", "038000", "i915", I915_FILES, above="0000:99:01.0")
    tree.function("0000:00:02.0", "8086:a780", "030000", "i915", {"drm/card0/gt/gt0/rc6_residency_ms": 5})
    tree.function("0000:03:00.0", "1a03:2000", "030000", "ast")
    tree.write("module/i915", {"version": "I915_25.2.57_PSB_250224.65"})


def xe_client(cycles: int, total: int, resident_kib: int, *, client: int = 3, pdev: str = XE) -> str:
    """fdinfo as xe prints it."""
    return (
        f"pos:\t0\nflags:\t0100002\ndrm-driver:\txe\ndrm-client-id:\t{client}\ndrm-pdev:\t{pdev}\n"
        f"drm-resident-system:\t12 KiB\ndrm-total-vram0:\t99999999 KiB\ndrm-resident-vram0:\t{resident_kib} KiB\n"
        f"drm-cycles-rcs:\t0\ndrm-total-cycles-rcs:\t{total}\n"
        f"drm-cycles-ccs:\t{cycles}\ndrm-total-cycles-ccs:\t{total}\ndrm-engine-capacity-ccs:\t4\n"
    )


def i915_client(busy_ns: int, resident_mib: int, *, client: int = 9) -> str:
    """fdinfo as i915 prints it."""
    return (
        f"drm-driver:\ti915\ndrm-client-id:\t{client}\ndrm-pdev:\t{I915}\n"
        f"drm-resident-local0:\t{resident_mib} MiB\ndrm-resident-system0:\t5 MiB\n"
        f"drm-engine-compute:\t{busy_ns} ns\ndrm-engine-capacity-compute:\t2\ndrm-engine-copy:\t1000 ns\n"
    )
